"""FusedObjective against its floor, the peers' way, and q2mm."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import jax
import numpy as np
import scipy.linalg

from q2mm_accel.benchmark.baseline import baseline
from q2mm_accel.benchmark.timing import first_call, interleaved, nearby
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import Q2MMAccelWarning
from q2mm_accel.kernel.loss import expand
from q2mm_accel.kernel.observables import mechanics
from q2mm_accel.kernel.spectrum import mass_weighted
from q2mm_accel.objective import FusedObjective
from q2mm_accel.runtime import exclusive_eigh


def measure(name: str, form: str, rounds: int, with_baseline: bool) -> dict:
    """All figures of one problem.

    Args:
        name: of `PROBLEMS`.
        form: functional form.
        rounds: calls of each function; the median counts.
        with_baseline: whether to compile and time the peers' way (a minute for Rh-enamide).

    Returns:
        Times [s] and ratios.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)
        problem = load_problem(name, form)
        objective = FusedObjective(problem.systems, problem.forcefield, problem.references)
    x, compile_seconds = objective.x0, {}
    functions: dict[str, Callable] = {"fun_and_jac": objective.fun_and_jac, "fun": objective.fun, **_floor(objective)}
    functions["loss of 1 vector (fun_batch)"] = lambda point: objective.fun_batch(point[None])
    if with_baseline:
        functions["baseline (jax.hessian)"] = baseline(problem.systems, problem.forcefield, objective.references)
    for key, function in functions.items():
        compile_seconds[key] = first_call(partial(function, x))
    agreement = _agreement(objective, functions["baseline (jax.hessian)"], x) if with_baseline else ""
    points = nearby(x, rounds * len(functions))
    times = {key: float(np.median(value)) for key, value in interleaved(functions, points, rounds).items()}
    floor = min(times[key] for key in times if key.startswith("eigh"))
    return {
        "problem": name,
        "form": form,
        "molecules": len(problem.systems),
        "parameters": len(x),
        "references": len(objective.references),
        "cold": _cold(name, form),
        "median_s": times,
        "first_call_s": compile_seconds,
        "ratios": _ratios(times, floor),
        "agreement_with_baseline": agreement,
    }


def _floor(objective: FusedObjective) -> dict[str, Callable]:
    """`eigh` of the matrices that the objective diagonalizes, done by NumPy, SciPy and JAX."""
    problem = objective.problem
    (batch,) = (jax.tree.map(lambda leaf: leaf[0], stack) for stack in problem.stacks)

    def matrices(vector):
        found = mechanics(batch, expand(problem, vector)).hessians
        return [mass_weighted(b, matrix) for b, matrix in zip(batch.buckets, found, strict=True)]

    found = jax.jit(matrices)(objective.x0)
    single = []
    for bucket, each in zip(batch.buckets, found, strict=True):
        for present, matrix in zip(np.asarray(bucket.component_present), np.asarray(each), strict=True):
            if present.any():
                single.append(np.ascontiguousarray(matrix[np.ix_(present, present)]))
    batched = jax.jit(jax.lax.linalg.eigh)

    def with_jax(_):
        with exclusive_eigh():
            for each in found:
                jax.block_until_ready(batched(each))

    return {
        "eigh NumPy": lambda _: [np.linalg.eigh(matrix) for matrix in single],
        "eigh SciPy": lambda _: [scipy.linalg.eigh(matrix, check_finite=False) for matrix in single],
        "eigh JAX": with_jax,
    }


def _agreement(objective: FusedObjective, other: Callable, x: np.ndarray) -> str:
    """How far the peers' loss and gradient are from ours; they have no derivative where an angle is exactly linear."""
    value, gradient = objective.fun_and_jac(x)
    other_value, other_gradient = other(x)
    if not np.all(np.isfinite(other_gradient)):
        return "the baseline's gradient is not finite: a molecule is exactly linear"
    difference = np.linalg.norm(gradient - other_gradient) / np.linalg.norm(gradient)
    return f"loss differs by {abs(value - other_value) / value:.1e}, gradient by {difference:.1e}"


def _ratios(times: dict[str, float], floor: float) -> dict[str, float]:
    ratios = {"fun_and_jac / floor": times["fun_and_jac"] / floor}
    if "baseline (jax.hessian)" in times:
        ratios["baseline / fun_and_jac"] = times["baseline (jax.hessian)"] / times["fun_and_jac"]
    return ratios


def _cold(name: str, form: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "q2mm_accel.benchmark.cold", name, form]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(finished.stdout.strip().splitlines()[-1])


def against_q2mm(rounds: int) -> list[dict]:
    """q2mm's own objective (harmonic, as its JAX engine is) beside the same carried over, where q2mm is installed."""
    if find_spec("q2mm") is None:
        return []
    from q2mm_accel.benchmark.q2mm_objectives import ch3f, rh_enamide

    return [_beside_q2mm("ch3f", ch3f(), rounds), _beside_q2mm("rh-enamide", rh_enamide(), rounds)]


def _beside_q2mm(name: str, theirs: Callable, rounds: int) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)
        ours = FusedObjective.from_q2mm(theirs)
    functions = {"q2mm": theirs, "fun_and_jac": ours.fun_and_jac}
    first = {key: first_call(partial(function, ours.x0)) for key, function in functions.items()}
    times = interleaved(functions, nearby(ours.x0, 2 * rounds), rounds)
    median = {key: float(np.median(value)) for key, value in times.items()}
    calls = 2 * len(ours.x0) + 1
    return {
        "problem": name,
        "median_s": median,
        "first_call_s": first,
        "loss_difference": abs(theirs(ours.x0) - ours.fun(ours.x0)) / theirs(ours.x0),
        "q2mm_gradient_s": calls * median["q2mm"],
        "ratios": {
            "q2mm / fun_and_jac": median["q2mm"] / median["fun_and_jac"],
            f"q2mm gradient ({calls} evaluations) / fun_and_jac": calls * median["q2mm"] / median["fun_and_jac"],
        },
    }


def problems(quick: bool) -> list[tuple[str, str]]:
    """Names and forms that the benchmark runs."""
    if quick:
        return [("ch3f", "mm3")]
    return [("ch3f", "mm3"), ("small", "mm3"), ("rh-enamide", "harmonic"), ("rh-enamide", "mm3")]
