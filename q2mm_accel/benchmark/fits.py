"""One fit in a fresh process: RMSD of the frequencies against seconds since the call, compilation included.

`python -m q2mm_accel.benchmark.fits PROBLEM FORM CASE SECONDS` prints one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from scipy.optimize import OptimizeResult, least_squares, minimize

from q2mm_accel.benchmark.cases import NATIVE_METHODS
from q2mm_accel.datasets.problems import FREQUENCY_WEIGHT, FitProblem, load_problem
from q2mm_accel.model.arguments import bounds_between
from q2mm_accel.objective import FusedObjective
from q2mm_accel.parameters.selection import selected

_POINTS = 300
"""Most points that are kept of a fit."""
_FORCE_CONSTANTS = "*k"
_OUTLIER = 50.0
"""Deviation from which on a robust loss counts less [cm⁻¹]."""
_UNLIMITED = 10**6


class Recorder:
    """Keeps when a fit was where, in the force field's units, and ends SciPy's fits when the time is over."""

    def __init__(self, limit: float) -> None:
        """The clock starts at the first call of `watch`."""
        self.limit = limit
        self.begin: float | None = None
        self.seconds: list[float] = []
        self.points: list[np.ndarray] = []

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.limit if self.begin is None else self.limit - (time.perf_counter() - self.begin)

    def watch(self, objective: FusedObjective) -> Callable:
        """A callback for a fit of this objective."""
        if self.begin is None:
            self.begin = time.perf_counter()
            self.add(objective, objective.x0)

        def callback(intermediate_result: OptimizeResult) -> None:
            if self.limit - self.left - self.seconds[-1] >= self.limit / _POINTS:
                self.add(objective, intermediate_result.x)
            if self.left <= 0.0:
                raise StopIteration

        return callback

    def add(self, objective: FusedObjective, x: np.ndarray) -> None:
        """Keep a point."""
        self.seconds.append(self.limit - self.left)
        self.points.append(objective.expand(x))


def _build(problem: FitProblem, **options) -> FusedObjective:
    return FusedObjective(problem.systems, problem.forcefield, problem.references, **options)


def _native(recorder: Recorder, objective: FusedObjective, method: str, part: float = 1.0, **options) -> OptimizeResult:
    """A fit that may take a part of the time left."""
    watch = recorder.watch(objective)
    options = {"maxiter": _UNLIMITED, "callback_every": 5, "time_limit": part * max(recorder.left, 0.0), **options}
    result = objective.solve_native(method, callback=watch, **options)
    recorder.add(objective, result.x)
    return result


def native(method: str, problem: FitProblem, recorder: Recorder, **options) -> OptimizeResult:
    """One call of `solve_native`."""
    return _native(recorder, _build(problem), method, **options)


def robust_first(problem: FitProblem, recorder: Recorder) -> OptimizeResult:
    """A rough fit of a loss that counts outliers less, then the sum of squares."""
    rough = _build(problem, loss="soft_l1", f_scale=FREQUENCY_WEIGHT * _OUTLIER)
    found = _native(recorder, rough, "lbfgsb", part=0.5, tol=1e-4)
    return _native(recorder, _build(problem), "lbfgsb", x0=found.x)


def force_constants_first(problem: FitProblem, recorder: Recorder) -> OptimizeResult:
    """A rough fit of force constants only, as another objective, then all parameters."""
    rough = _build(problem, active=_FORCE_CONSTANTS)
    found = _native(recorder, rough, "lbfgsb", part=0.5, tol=1e-4)
    return _native(recorder, _build(problem), "lbfgsb", x0=rough.expand(found.x))


def others_held_first(problem: FitProblem, recorder: Recorder) -> OptimizeResult:
    """The same with equal bounds of the other parameters, which takes no second compilation."""
    objective = _build(problem)
    free = selected(_FORCE_CONSTANTS, problem.forcefield, "active")
    lower, upper = (np.where(free, limit, objective.x0) for limit in (objective.bounds.lb, objective.bounds.ub))
    found = _native(recorder, objective, "lbfgsb", part=0.5, tol=1e-4, bounds=bounds_between(lower, upper))
    return _native(recorder, objective, "lbfgsb", x0=found.x)


def scipy_minimize(method: str, options: dict, problem: FitProblem, recorder: Recorder) -> OptimizeResult:
    """`scipy.optimize.minimize` with the exact gradient."""
    objective = _build(problem, parameter_scale="typical")
    watch, start = recorder.watch(objective), (objective.fun_and_jac, objective.x0)
    result = minimize(*start, jac=True, method=method, bounds=objective.bounds, callback=watch, options=options)
    recorder.add(objective, result.x)
    return result


def scipy_least_squares(problem: FitProblem, recorder: Recorder) -> OptimizeResult:
    """`scipy.optimize.least_squares` with the exact Jacobian; its callback needs SciPy 1.16."""
    objective = _build(problem, parameter_scale="typical")
    watch, start = recorder.watch(objective), (objective.residuals, objective.x0)
    settings: dict[str, Any] = {"jac": objective.residuals_jac, "x_scale": 1.0, "ftol": 1e-9, "xtol": None, "gtol": 1e-9}
    result = least_squares(*start, bounds=objective.bounds, method="trf", callback=watch, max_nfev=_UNLIMITED, **settings)
    recorder.add(objective, result.x)
    return result


_LBFGSB = {"maxcor": 30, "ftol": 1e-9, "gtol": 1e-9, "maxiter": _UNLIMITED, "maxfun": _UNLIMITED}
CASES: dict[str, Callable[[FitProblem, Recorder], OptimizeResult]] = {
    **{f"native {method}": partial(native, method) for method in NATIVE_METHODS},
    "native levenberg-marquardt, 16 starts": partial(native, "levenberg-marquardt", n_starts=16, spread=0.1),
    "native lbfgsb, soft_l1 first": robust_first,
    "native lbfgsb, force constants first": force_constants_first,
    "native lbfgsb, others held first": others_held_first,
    "SciPy L-BFGS-B": partial(scipy_minimize, "L-BFGS-B", _LBFGSB),
    "SciPy trust-constr": partial(scipy_minimize, "trust-constr", {"maxiter": _UNLIMITED}),
    "SciPy least_squares trf": scipy_least_squares,
}
"""By the names in the tables."""


def measure(name: str, form: str, case: str, limit: float) -> dict:
    """Fit, and evaluate the points afterwards.

    Args:
        name: of `PROBLEMS`.
        form: functional form.
        case: of `CASES`.
        limit: time for the fit [s].

    Returns:
        seconds and rmsd [cm⁻¹] of the points that were kept, and how the fit ended.
    """
    problem = load_problem(name, form)
    jax.clear_caches()
    recorder = Recorder(limit)
    result = CASES[case](problem, recorder)
    plain = _build(problem)
    reference = plain.references.value
    rmsd = [float(np.sqrt(np.mean((plain.predictions(point) - reference) ** 2))) for point in recorder.points]
    return {
        "case": case,
        "seconds": recorder.seconds,
        "rmsd": rmsd,
        "evaluations": int(result.nfev),
        "message": str(result.message),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))))
