"""Measurements that need a process of their own: peak memory, other devices, a start from nothing.

`python -m q2mm_accel.benchmark.fresh WHAT ARGUMENTS`, with one of `MEASUREMENTS` and its keyword arguments in JSON, prints
one line of JSON.
"""

import ctypes
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from q2mm_accel import keep_compiled
from q2mm_accel.benchmark.cases import alkanes
from q2mm_accel.benchmark.cold import peak_megabytes
from q2mm_accel.benchmark.starts import starts_of
from q2mm_accel.benchmark.timing import first_call, interleaved, nearby
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import Q2MMAccelWarning
from q2mm_accel.objective import FusedObjective

_ENOUGH = 10.0
"""Seconds after which a long evaluation is not repeated."""
_POINTS = 3
"""Parameter vectors at which losses and gradients are compared."""


def evaluations(carbons: int, count: int, batch_size: int | None, rounds: int) -> dict:
    """Time and memory of `fun_and_jac` of `count` alkanes, in batches.

    Returns:
        Seconds; MiB as estimated, as compiled, of the process once the molecules are loaded and at most thereafter, and
        of the device at most, None where it is the process'.
    """
    problem = alkanes(carbons, count)
    loaded = _forget_peak()
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references, batch_size=batch_size)
    warmed = objective.warmup()
    first = first_call(lambda: objective.fun_and_jac(objective.x0))
    rounds = int(np.clip(_ENOUGH / first, 2, rounds))
    times = interleaved({"fun_and_jac": objective.fun_and_jac}, nearby(objective.x0, rounds), rounds)["fun_and_jac"]
    on_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {
        **{"atoms": problem.systems[0].molecule.n_atoms, "molecules": count, "batch_size": batch_size},
        **{"compile_s": warmed.seconds, "fun_and_jac_s": float(np.median(times))},
        **{"estimate_MB": warmed.estimate.total / 2**20, "compiled_MB": warmed.bytes / 2**20},
        **{"loaded_MB": loaded, "peak_MB": peak_megabytes(), "device_peak_MB": on_device and on_device / 2**20},
    }


def _forget_peak() -> float:
    """Give free memory back and let the process' peak count anew, on Linux; its memory now, or its peak [MiB]."""
    status = Path("/proc/self/clear_refs")
    if status.exists():
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
        status.write_text("5")
    return peak_megabytes()


def sharing(name: str, form: str, devices: int, rounds: int) -> dict:
    """`fun_and_jac` on a number of this process' devices, beside one of them without a mesh."""
    alone, shared = _objective(name, form), _objective(name, form, devices=devices)
    return {**_beside(alone, shared, rounds), "devices": devices, "device": jax.devices()[0].device_kind}


def processes(name: str, form: str, number: int, count: int, port: int, rounds: int) -> dict:
    """The same on the devices of several processes on this machine; only the first evaluates alone, the others wait."""
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=count, process_id=number)
    mesh = jax.make_mesh((jax.device_count(),), ("molecules",))
    alone, shared = _objective(name, form), _objective(name, form, mesh=mesh)
    row = _beside(alone, shared, rounds, waits=number > 0)
    return {**row, "processes": count, "devices": jax.device_count(), "device": jax.devices()[0].device_kind}


def _objective(name: str, form: str, **options) -> FusedObjective:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)
        problem = load_problem(name, form)
        return FusedObjective(problem.systems, problem.forcefield, problem.references, **options)


def _beside(alone: FusedObjective, shared: FusedObjective, rounds: int, waits: bool = False) -> dict:
    """Median times [s], called in turn, and the largest relative differences of loss and gradient."""
    differences = []
    for x in starts_of(alone, _POINTS):
        (loss, gradient), (ours, slopes) = alone.fun_and_jac(x), shared.fun_and_jac(x)
        differences.append((abs(ours - loss) / loss, np.linalg.norm(slopes - gradient) / np.linalg.norm(gradient)))
    functions: dict[str, Callable] = {
        "alone": (lambda _: None) if waits else alone.fun_and_jac,
        "shared": shared.fun_and_jac,
    }
    times = interleaved(functions, nearby(alone.x0, 2 * rounds), rounds)
    loss, gradient = np.max(differences, axis=0)
    return {
        **{f"{key}_s": float(np.median(seconds)) for key, seconds in times.items()},
        **{"loss_difference": float(loss), "gradient_difference": float(gradient)},
    }


def start(name: str, form: str, folder: str, begun: float) -> dict:
    """Seconds since `begun` (`time.time()`) to the first loss and to a step of a fit, with a folder of compiled programs."""
    keep_compiled(folder)
    objective = _objective(name, form)
    built = time.time()
    objective.fun(objective.x0)
    evaluated = time.time()
    objective.solve_native("lbfgsb", maxiter=1)
    return {"built_s": built - begun, "first_fun_s": evaluated - begun, "first_fit_s": time.time() - begun}


MEASUREMENTS = {function.__name__: function for function in (evaluations, sharing, processes, start)}


if __name__ == "__main__":
    print(json.dumps(MEASUREMENTS[sys.argv[1]](**json.loads(sys.argv[2]))))
