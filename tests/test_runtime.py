"""JAX itself: precision, known-bad versions, and eigenvalue batches that must not hang. Each in a process of its own."""

import json
import os
import subprocess
import sys

import jax
import pytest
import tolerances

from q2mm_accel.errors import PrecisionError, VersionError
from q2mm_accel.runtime import KNOWN_BAD_JAXLIB, check_jaxlib, require

BUILD = """
from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem
problem = load_problem("ch3f")
objective = FusedObjective(problem.systems, problem.forcefield, problem.references)
"""

MANY_CALLS = """
import sys
import numpy as np
from pathlib import Path
from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.problem import layout

layout.plan_buckets = lambda *_: [[1, 5, 6, 7], [0, 4], [2, 3]]
problem = load_problem("small")
objective = FusedObjective(problem.systems, problem.forcefield, problem.references, devices=DEVICES)
assert len(objective.problem.stacks[0].buckets) == 3
steps = 1e-4 * np.random.default_rng(0).standard_normal((CALLS, len(objective.x0)))
resident = []
for number, step in enumerate(steps):
    objective.fun_and_jac(objective.x0 * (1.0 + step))
    if number % (CALLS // 20) == CALLS // 20 - 1 and sys.platform == "linux":
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
print("calls:", objective.kernel_runs)
print("growth:", max(resident[1:], default=0) - resident[0] if resident else 0)
"""

MANY_FITS = """
objective.fun_batch(objective.x0 * (1.0 + steps[:200]))
fit = objective.solve_native("levenberg-marquardt", n_starts=16, maxiter=5)
print("fits:", len(fit.starts["fun"]))
"""


THREADS = """
from concurrent.futures import ThreadPoolExecutor
from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem
problem = load_problem("small")
objective = FusedObjective(problem.systems, problem.forcefield, problem.references)
with ThreadPoolExecutor(8) as pool:
    values = list(pool.map(lambda i: objective.fun_and_jac(objective.x0 * (1.0 + 1e-6 * i))[0], range(400)))
assert values == [objective.fun(objective.x0 * (1.0 + 1e-6 * i)) for i in range(400)]
print("threads agree")
"""


def run(code, limit, **environment):
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=limit,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize(
    ("calls", "devices"), [(1000, 2), *(pytest.param(10_000, each, marks=pytest.mark.exhaustive) for each in (1, 2, 4))]
)
def test_thousands_of_calls_over_three_buckets_and_vmapped_starts_do_not_hang_or_leak(calls, devices):
    # https://github.com/jax-ml/jax/issues/15803 and the hang of two concurrent batched eigh: two threads, default BLAS
    environment = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    # added to how the other tests compile
    environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    finished = run(many_calls(calls, devices) + MANY_FITS, limit=500, **environment)
    assert f"calls: {calls}" in finished.stdout and "fits: 16" in finished.stdout, finished.stderr[-3000:]
    assert int(finished.stdout.split("growth: ")[1].split()[0]) < tolerances.MEMORY_GROWTH


def many_calls(calls, devices):
    return MANY_CALLS.replace("CALLS", str(calls)).replace("DEVICES", str(devices))


@pytest.mark.parametrize("calls", [300, pytest.param(2000, marks=pytest.mark.exhaustive)])
def test_the_same_with_as_many_xla_threads_as_cores_does_not_hang(calls):
    finished = run(many_calls(calls, None), limit=300, NPROC="2")
    assert f"calls: {calls}" in finished.stdout, finished.stderr[-3000:]


def test_several_python_threads_do_not_hang_and_get_the_same_values():
    finished = run(THREADS, limit=200)
    assert "threads agree" in finished.stdout, finished.stderr


def test_float32_mode_chosen_by_the_user_is_refused_with_the_remedy():
    finished = run(BUILD, limit=120, JAX_ENABLE_X64="0")
    assert "PrecisionError" in finished.stderr and "JAX_ENABLE_X64=0" in finished.stderr


def test_float64_is_switched_on_with_the_first_public_name_where_nobody_chose():
    environment = {key: value for key, value in os.environ.items() if key != "JAX_ENABLE_X64"}
    code = "import q2mm_accel, jax; q2mm_accel.Molecule; print(jax.config.jax_enable_x64)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert finished.stdout.strip() == "True"


def test_float32_mode_switched_on_later_is_refused():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(PrecisionError, match="jax_enable_x64"):
            require("float64")
    finally:
        jax.config.update("jax_enable_x64", True)


@pytest.mark.parametrize("version", KNOWN_BAD_JAXLIB)
def test_a_jaxlib_known_to_be_wrong_is_refused_with_the_remedy(version):
    with pytest.raises(VersionError, match=rf"jaxlib {version}.*pip install"):
        check_jaxlib(version)


SUMS = """
import json
import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)


def products(m, v):
    return (jax.vmap(lambda row: m @ row)(v) ** 2).sum()


def blocks(weight, first, place):
    whole = weight[:, None, None] * (first[:, :, None] * first[:, None, :])
    return (jnp.zeros((40, 40)).at[place[:, :, None], place[:, None, :]].add(whole) ** 2).sum()


found = {}
for rows, dtype in (16_384, "float64"), (16_385, "float64"), (40_000, "float64"), (32_769, "float32"):
    found[f"{rows} {dtype}"] = float(jax.jit(products)(np.ones((128, 128), dtype), np.ones((rows, 128), dtype)))
for rows in 16_400, 33_000:
    rng = np.random.default_rng(0)
    arguments = rng.standard_normal(rows), rng.standard_normal((rows, 6)), rng.integers(0, 40, (rows, 6))
    with jax.disable_jit():
        expected = float(blocks(*map(jnp.asarray, arguments)))
    found[f"blocks {rows}"] = float(jax.jit(blocks)(*arguments)), expected
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def sums():
    """Sums as users compile them: https://github.com/jax-ml/jax/issues/39103, jaxlib 0.10.2 drops part of them on CPU."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    finished = subprocess.run([sys.executable, "-c", SUMS], capture_output=True, text=True, env=environment, timeout=200)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout)


@pytest.mark.parametrize(
    ("rows", "dtype"), [(16_384, "float64"), (16_385, "float64"), (40_000, "float64"), (32_769, "float32")]
)
def test_sums_of_many_small_products_are_right(sums, rows, dtype):
    expected = float(rows) * 128 * 128**2
    assert sums[f"{rows} {dtype}"] == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("rows", [16_400, 33_000])
def test_the_compiled_loss_of_many_terms_is_the_uncompiled_one(sums, rows):
    # the same miscompilation, in the pattern of the kernel: local blocks, scattered, reduced
    found, expected = sums[f"blocks {rows}"]
    assert found == pytest.approx(expected, rel=1e-12)
