"""A strictly convex quadratic function under linear inequalities, by SciPy's non-negative least squares.

Least distance programming: in coordinates where the function is a squared distance, the nearest point of a polyhedron
follows from one non-negative least-squares problem, whose unknowns are the multipliers (Lawson and Hanson, Solving Least
Squares Problems, 1974, chapter 23).
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import nnls

from q2mm_accel.errors import SolverError


class Minimum(NamedTuple):
    """The minimum of ½ zᵀ M z + mᵀ z under A z >= b."""

    point: np.ndarray
    """(n,)."""
    multipliers: np.ndarray
    """(m,), 0 of inequalities that hold nothing back."""


def nearest(matrix: np.ndarray, slope: np.ndarray, normals: np.ndarray, limits: np.ndarray) -> Minimum:
    """The minimum of ½ zᵀ M z + mᵀ z under A z >= b.

    Args:
        matrix: M, shape (n, n), symmetric and positive definite.
        slope: m, shape (n,).
        normals: A, shape (m, n).
        limits: b, shape (m,).

    Raises:
        SolverError: no point fulfils all inequalities.
    """
    factor, _ = cho_factor(matrix, lower=True)
    free = -cho_solve((factor, True), slope)
    if len(limits) == 0:
        return Minimum(free, np.zeros(0))
    # w = Lᵀ (z - free): the function is ½ |w|² and a constant
    turned = solve_triangular(factor, normals.T, lower=True)
    short = limits - normals @ free
    sizes = np.linalg.norm(turned, axis=0)
    usable = sizes > 0.0
    if np.all(short[usable] <= 0.0) and np.all(short[~usable] <= 0.0):
        return Minimum(free, np.zeros(len(limits)))
    scaled, distances = turned[:, usable] / sizes[usable], short[usable] / sizes[usable]
    unit = max(float(distances.max()), 0.0)
    if unit == 0.0:
        raise SolverError("no point fulfils all inequalities, for one of them reads 0 >= 1. Widen the bounds.")
    found, _ = nnls(np.vstack([scaled, distances / unit]), np.append(np.zeros(len(slope)), 1.0), maxiter=20 * len(distances))
    rest = 1.0 - distances @ found / unit
    if rest <= np.finfo(float).eps:
        raise SolverError(
            "no point fulfils all inequalities: bounds and curvatures contradict each other. Widen the bounds."
        )
    multipliers = np.zeros(len(limits))
    multipliers[usable] = found / rest * unit / sizes[usable]
    return _refined(factor, free, turned, short, multipliers)


def _refined(factor, free, turned, short, multipliers) -> Minimum:
    """The same with the inequalities that hold taken as equations, so that they hold to rounding."""
    active = multipliers > 0.0
    held = turned[:, active]
    exact = np.linalg.lstsq(held.T @ held, short[active], rcond=None)[0]
    result = np.zeros(len(multipliers))
    result[active] = exact
    return Minimum(free + solve_triangular(factor, held @ exact, lower=True, trans=1), result)
