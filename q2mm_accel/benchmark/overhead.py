"""Compilation and time per evaluation of `solve_native` beside those of an evaluation from Python and of SciPy."""

import time
from collections.abc import Callable
from functools import partial
from importlib import import_module

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from q2mm_accel.benchmark.cases import NATIVE_METHODS, objectives
from q2mm_accel.benchmark.timing import first_call, nearby
from q2mm_accel.objective import FusedObjective

ITERATIONS = 30
_POINTS = 6
"""Evaluations from Python in each round."""


def measure(name: str, form: str, rounds: int) -> dict:
    """All figures of one problem.

    Args:
        name: of `PROBLEMS`.
        form: functional form.
        rounds: evaluations from Python; there are a sixth as many runs of every solver, but at least 3.

    Returns:
        Medians over the runs: times [s] and, of figures measured in the same run, ratios.
    """
    plain, scaled = objectives(name, form)
    row = {
        "problem": name,
        "form": form,
        "parameters": len(plain.x0),
        "first_fun_and_jac_s": first_call(lambda: plain.fun_and_jac(plain.x0)),
        "import_s": first_call(lambda: import_module("q2mm_accel.solvers.native")),
        "compile_s": {method: first_call(partial(plain.solve_native, method, maxiter=0)) for method in NATIVE_METHODS},
    }
    runs = max(3, rounds // _POINTS)
    points = nearby(plain.x0, runs * _POINTS).reshape(runs, _POINTS, -1)
    found = [_round(plain, scaled, points[number]) for number in range(runs)]
    for key in ("evaluation_s", "scipy_evaluation_s", "scipy_evaluations_per_iteration"):
        row[key] = _median(each[key] for each in found)
    row["methods"] = {
        method: {key: _median(each[method][key] for each in found) for key in found[0][method]} for method in NATIVE_METHODS
    }
    return row


def _round(plain: FusedObjective, scaled: FusedObjective, points: np.ndarray) -> dict:
    evaluation = float(np.median([first_call(partial(plain.fun_and_jac, x)) for x in points]))
    seconds, fit = _timed(partial(_scipy, scaled))
    by_scipy = seconds / fit.nfev
    figures = {
        "evaluation_s": evaluation,
        "scipy_evaluation_s": by_scipy,
        "scipy_evaluations_per_iteration": fit.nfev / fit.nit,
    }
    for method in NATIVE_METHODS:
        marks: list[tuple[float, int]] = []
        options = {"maxiter": ITERATIONS, "callback": _marking(marks)}
        seconds, fit = _timed(partial(plain.solve_native, method, **options))
        loop = _seconds_between(marks)
        figures[method] = {
            "iterations": fit.nit,
            "evaluations_per_iteration": fit.nfev / fit.nit,
            "loop_evaluation_s": loop,
            "loop_evaluation / fun_and_jac": loop / evaluation,
            "iteration_s": seconds / fit.nit,
            "iteration / (scipy_evaluation x evaluations_per_iteration)": seconds / fit.nfev / by_scipy,
        }
    return figures


def _marking(marks: list[tuple[float, int]]) -> Callable:
    """A callback that writes down the time and the number of evaluations."""

    def callback(intermediate_result: OptimizeResult) -> None:
        marks.append((time.perf_counter(), intermediate_result.nfev))

    return callback


def _seconds_between(marks: list[tuple[float, int]]) -> float:
    """Time per evaluation from the first to the last call of the callback; NaN when a fit ended before the second."""
    (begin, before), (end, after) = marks[0], marks[-1]
    return (end - begin) / (after - before) if after > before else np.nan


def _scipy(objective: FusedObjective) -> OptimizeResult:
    options = {"maxiter": ITERATIONS, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-8}
    return minimize(
        objective.fun_and_jac, objective.x0, jac=True, method="L-BFGS-B", bounds=objective.bounds, options=options
    )


def _timed(function: Callable) -> tuple[float, OptimizeResult]:
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def _median(values) -> float | None:
    median = float(np.median(list(values)))
    return median if np.isfinite(median) else None
