"""Fits from many starts: `solve_native` side by side, and SciPy's L-BFGS-B one after the other."""

import time
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from q2mm_accel.benchmark.cases import objectives
from q2mm_accel.benchmark.timing import first_call
from q2mm_accel.objective import FusedObjective
from q2mm_accel.solvers.lane import Status
from q2mm_accel.solvers.starts import draw_starts

EQUAL = 1e-6
"""Relative difference up to which two losses count as equal."""
EXACT = 1e-9
"""Part of the loss at x0 below which a fit is exact, and what is left a matter of rounding."""
_ITERATIONS = 3000
_LEAST_SQUARES_ITERATIONS = 200
"""Of Levenberg and Marquardt, that converge within few or creep along a valley."""
_UNLIMITED = 10**6


class Fitted(NamedTuple):
    """Results of S fits."""

    fun: np.ndarray
    """(S,) final losses."""
    converged: float
    """Fraction of the fits that did."""
    evaluations: int
    """Of all fits together."""
    seconds: float
    """Of all fits together, without compilation."""

    def figures(self) -> dict[str, float]:
        """For tables."""
        return {
            "median_loss": float(np.median(self.fun)),
            "best_loss": float(self.fun.min()),
            "converged": self.converged,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
        }


def starts_of(objective: FusedObjective, count: int) -> np.ndarray:
    """The starts that `solve_native` takes by default, shape (count, n): x0 and perturbations within 20 %."""
    limits, scale = objective.bounds, objective.typical_scale
    return draw_starts(objective.x0, limits.lb, limits.ub, scale, count, "perturbation", 0.2, 0)


def by_scipy(objective: FusedObjective, starts: np.ndarray, **options) -> Fitted:
    """L-BFGS-B from each start, (S, n) in the force field's units."""
    objective.fun(objective.x0)
    begin = time.perf_counter()
    fits = [_scipy(objective, start, options) for start in starts / objective.space.scale]
    seconds = time.perf_counter() - begin
    losses, successes = np.array([fit.fun for fit in fits]), np.array([fit.success for fit in fits])
    return Fitted(losses, float(successes.mean()), int(sum(fit.nfev for fit in fits)), seconds)


def _scipy(objective: FusedObjective, start: np.ndarray, options: dict) -> OptimizeResult:
    settings = {"maxcor": 20, "maxiter": _UNLIMITED, "maxfun": _UNLIMITED, **options}
    return minimize(objective.fun_and_jac, start, jac=True, method="L-BFGS-B", bounds=objective.bounds, options=settings)


def by_native(objective: FusedObjective, method: str, count: int, **options) -> tuple[Fitted, float]:
    """The fits, and the seconds that compilation took."""
    solve = partial(objective.solve_native, method, n_starts=count)
    objective.fun(objective.x0)
    compilation = first_call(partial(solve, maxiter=0))
    begin = time.perf_counter()
    result = solve(**options)
    seconds = time.perf_counter() - begin
    converged = float(np.mean(result.starts["status"] == int(Status.CONVERGED)))
    return Fitted(result.starts["fun"], converged, result.nfev, seconds), compilation


def compared(ours: np.ndarray, theirs: np.ndarray, first: float) -> dict[str, float]:
    """Fractions of the starts with a final loss (S,) as good as SciPy's, better, worse; as good, or exact but for rounding.

    `first` is the loss at x0, which says what is exact.
    """
    as_good = ours <= theirs * (1.0 + EQUAL)
    return {
        "as_good": float(np.mean(as_good)),
        "better": float(np.mean(ours < theirs * (1.0 - EQUAL))),
        "worse": float(np.mean(~as_good)),
        "as_good_or_exact": float(np.mean(as_good | (ours <= EXACT * first))),
    }


def quality(name: str, form: str, references: str, methods: list[str], count: int = 20) -> dict:
    """Final losses of tight fits from the same starts.

    Args:
        name: of `PROBLEMS`.
        form: functional form.
        references: "frequencies" or "eigenmatrix".
        methods: of `solve_native`.
        count: number of starts.

    Returns:
        Figures of SciPy and of each method, and of each method the fractions of `compared`.
    """
    plain, scaled = objectives(name, form, references)
    first = plain.fun(plain.x0)
    theirs = by_scipy(scaled, starts_of(plain, count), ftol=1e-15, gtol=1e-12, maxiter=10_000)
    row = {"problem": name, "form": form, "references": references, "starts": count, "methods": {}}
    row["scipy"] = theirs.figures()
    for method in methods:
        maxiter = 20_000 if method == "projected-gradient" else _ITERATIONS
        ours, compilation = by_native(plain, method, count, tol=1e-12, gtol=1e-12, maxiter=maxiter)
        row["methods"][method] = {"compile_s": compilation, **ours.figures(), **compared(ours.fun, theirs.fun, first)}
    return row


def throughput(name: str, form: str, methods: list[str], count: int, scipy_count: int) -> dict:
    """Fits per second with usual tolerances.

    Args:
        name: of `PROBLEMS`.
        form: functional form.
        methods: of `solve_native`.
        count: number of starts.
        scipy_count: of how many of them SciPy's time is measured, and scaled up.

    Returns:
        As `quality`, with the ratios of the times.
    """
    plain, scaled = objectives(name, form)
    first = plain.fun(plain.x0)
    some = starts_of(plain, count)[:scipy_count]
    theirs = by_scipy(scaled, some, ftol=1e-9, gtol=1e-8, maxiter=_ITERATIONS)
    seconds = theirs.seconds * count / scipy_count
    row = {"problem": name, "form": form, "starts": count, "scipy_starts": scipy_count, "methods": {}}
    row["scipy"] = {**theirs.figures(), "seconds": seconds, "evaluations": theirs.evaluations * count // scipy_count}
    for method in methods:
        maxiter = _LEAST_SQUARES_ITERATIONS if method == "levenberg-marquardt" else _ITERATIONS
        ours, compilation = by_native(plain, method, count, tol=1e-9, gtol=1e-8, maxiter=maxiter)
        row["methods"][method] = {
            "compile_s": compilation,
            **ours.figures(),
            **compared(ours.fun[:scipy_count], theirs.fun, first),
            "scipy_s / native_s": seconds / ours.seconds,
        }
    return row


def by_starts(name: str, form: str, counts: tuple[int, ...], methods: list[str], iterations: int = 50) -> list[dict]:
    """Time of a number of iterations from ever more starts.

    Args:
        name: of `PROBLEMS`.
        form: functional form.
        counts: numbers of starts.
        methods: of `solve_native`.
        iterations: most accepted steps of each fit.

    Returns:
        A row for each method and count.
    """
    objective, rows = objectives(name, form)[0], []
    evaluation = min(first_call(partial(objective.fun_and_jac, point)) for point in starts_of(objective, 20))
    for method in methods:
        for count in counts:
            solve = partial(objective.solve_native, method, n_starts=count)
            compilation = first_call(partial(solve, maxiter=0))
            begin = time.perf_counter()
            result = solve(maxiter=iterations)
            seconds = time.perf_counter() - begin
            rows.append(
                {
                    **{"problem": name, "form": form, "method": method, "starts": count, "compile_s": compilation},
                    **{"seconds": seconds, "evaluations": result.nfev, "evaluations_per_s": result.nfev / seconds},
                    **{"times one fun_and_jac at a time": result.nfev / seconds * evaluation, "best_loss": result.fun},
                }
            )
    return rows
