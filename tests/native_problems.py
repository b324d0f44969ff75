"""Problems for the tests of `solve_native`, and the minima that SciPy finds."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize

from q2mm_accel import FusedObjective, ReferenceData
from q2mm_accel.datasets.problems import load_problem

N_PARAMETERS = 8
"""Of CH3F: two bond and two angle types."""


def references(problem, matrix: float, spectrum: float) -> ReferenceData:
    """Eigenmatrix and frequencies of the first molecule, whichever is given more weight."""
    data = ReferenceData()
    data.add_eigenmatrix(
        problem.systems[0].molecule.hessian, weight_first=matrix, weight_diagonal=matrix, weight_offdiagonal=0.5 * matrix
    )
    known = list(problem.references)
    data.add_frequencies([each.value for each in known], [each.index for each in known], weight=spectrum)
    return data


@cache
def ch3f(matrix: float = 10.0, spectrum: float = 1e-6, **options) -> FusedObjective:
    """CH3F with harmonic terms: by default a smooth loss with one minimum. Other weights run in the same program."""
    problem = load_problem("ch3f", "harmonic")
    return FusedObjective(problem.systems, problem.forcefield, references(problem, matrix, spectrum), **options)


def by_frequencies() -> FusedObjective:
    """The same molecule, fitted to its frequencies; a little of the eigenmatrix decides what they leave open."""
    return ch3f(matrix=1.0, spectrum=0.01)


def scipy_minimum(objective: FusedObjective, x: np.ndarray, bounds: Bounds | None = None) -> OptimizeResult:
    """L-BFGS-B to rounding, in units of `typical_scale`; its x is in those of the objective."""
    scale, bounds = objective.typical_scale, objective.bounds if bounds is None else bounds

    def scaled(point):
        value, gradient = objective.fun_and_jac(np.clip(point * scale, bounds.lb, bounds.ub))
        return value, gradient * scale

    options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-16, "gtol": 1e-13, "maxcor": 20}
    limits = Bounds(bounds.lb / scale, bounds.ub / scale)
    result = minimize(scaled, x / scale, jac=True, method="L-BFGS-B", bounds=limits, options=options)
    result.x = np.clip(result.x * scale, bounds.lb, bounds.ub)
    return result


def projected_gradient(objective: FusedObjective, x: np.ndarray, bounds: Bounds | None = None) -> float:
    """Largest element of the gradient by x in units of `typical_scale`, without what only leads out of the bounds."""
    scale, bounds = objective.typical_scale, objective.bounds if bounds is None else bounds
    step = np.clip(x - objective.jac(x) * scale**2, bounds.lb, bounds.ub) - x
    return float(np.abs(step / scale).max())


def changed(values: np.ndarray, places: Sequence[int], new) -> np.ndarray:
    """A copy with some elements replaced."""
    copy = np.array(values, dtype=np.float64)
    copy[list(places)] = new
    return copy


def assert_same(found: OptimizeResult, expected: OptimizeResult) -> None:
    """Check that two results are bitwise the same."""
    for name in ("x", "jac"):
        np.testing.assert_array_equal(found[name], expected[name])
    for name in ("fun", "nit", "nfev", "status", "message"):
        assert found[name] == expected[name]
    for table in ("history", "starts"):
        for name, values in expected.get(table, {}).items():
            np.testing.assert_array_equal(found[table][name], values)
