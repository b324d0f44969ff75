"""JAX for tests: CPU, float64, one thread per worker, no silent promotion of types or ranks.

Programs are compiled once for all workers and the processes that tests start: JAX keeps them in a folder of this run. They
are to be ready soon rather than to run fast: XLA's older emitters, without LLVM's optimizations and in one piece, take a
third of the time. The exhaustive tests, an example and the tests of known miscompilations compile as users do.
"""

import gc
import os
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

if "PYTEST_XDIST_WORKER" not in os.environ:
    _FOLDER = tempfile.TemporaryDirectory(prefix="q2mm_accel-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _FOLDER.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # programs from the folder are said to be for a slightly different processor
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # programs do not record which lines of Python made their operations

SOON = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def pytest_configure(config):
    """Choose how programs are compiled before anything is; workers and child processes inherit it."""
    if "XLA_FLAGS" not in os.environ and config.getoption("markexpr") == "not exhaustive":
        os.environ["XLA_FLAGS"] = " ".join(SOON)


import jax  # noqa: E402

# tracing makes very many objects, few of them in circles: at Python's own threshold collections take a sixth of the time
gc.set_threshold(100_000, 20, 100)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

LONGEST = (
    "test_devices.py",
    "test_relaxed_references.py",
    "test_examples.py",
    "test_jacobian.py",
    "test_precision.py",
    "test_linear.py",
    "test_curvature.py",
    "test_batches.py",
    "test_runtime.py",
    "test_native_starts.py",
    "test_interruptions.py",
    "test_exact.py",
    "test_derivatives.py",
    "test_engine_objective.py",
    "test_original.py",
    "test_polish.py",
    "test_gpu_programs.py",
    "test_cli.py",
    "test_memory.py",
    "test_kinds_together.py",
    "test_native_runs.py",
    "test_benchmark.py",
    "test_invariances_of_sets.py",
    "test_objective.py",
    "test_q2mm.py",
    "test_native.py",
    "test_native_faults.py",
    "test_bad_precisions.py",
    "test_robust.py",
)
"""Files that take longest. Each goes to one worker, whole, and first: else the last one would keep a single worker busy."""


def pytest_collection_modifyitems(items):
    """Long files first, the others in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
