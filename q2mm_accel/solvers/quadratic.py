"""A strictly convex quadratic function under linear inequalities, by SciPy's non-negative least squares.

Least distance programming: in coordinates where the function is a squared distance, the nearest point of a polyhedron
follows from one non-negative least-squares problem, whose unknowns are the multipliers (Lawson and Hanson, Solving Least
Squares Problems, 1974, chapter 23). Few of many inequalities hold anything back, so the problem is solved with those that
did so last, and those that turn out to be violated are added until there are none.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

from q2mm_accel.errors import SolverError

_VIOLATED = 1e-10
"""Distance from which on an inequality counts as violated, beside the largest one at the free minimum."""


class Minimum(NamedTuple):
    """The minimum of ½ zᵀ M z + mᵀ z under A z >= b."""

    point: np.ndarray
    """(n,)."""
    multipliers: np.ndarray
    """(m,), 0 of inequalities that hold nothing back."""


class QuadraticProgram:
    """Functions ½ zᵀ M z + mᵀ z with the same M, under inequalities A z >= b that may become more.

    Attributes:
        normals: A, shape (m, n).
    """

    def __init__(self, matrix: np.ndarray, normals: np.ndarray) -> None:
        """Factorize.

        Args:
            matrix: M, shape (n, n), symmetric and positive definite.
            normals: A, shape (m, n).
        """
        self._factor = cholesky(matrix, lower=True)
        self.normals, self._turned = np.zeros((0, len(matrix))), np.zeros((len(matrix), 0))
        self._active = np.zeros(0, dtype=bool)
        self.add(normals)

    def add(self, normals: np.ndarray) -> None:
        """Further inequalities, behind those that there are.

        Args:
            normals: shape (k, n).
        """
        turned = solve_triangular(self._factor, normals.T, lower=True)
        self.normals, self._turned = np.vstack([self.normals, normals]), np.hstack([self._turned, turned])
        self._active = np.append(self._active, np.zeros(len(normals), dtype=bool))

    def minimum(self, slope: np.ndarray, limits: np.ndarray) -> Minimum:
        """The minimum.

        Args:
            slope: m, shape (n,).
            limits: b, shape (m,).

        Raises:
            SolverError: no point fulfils all inequalities.
        """
        free = -solve_triangular(self._factor, solve_triangular(self._factor, slope, lower=True), lower=True, trans=1)
        short = limits - self.normals @ free
        sizes = np.linalg.norm(self._turned, axis=0)
        if np.any(short[sizes == 0.0] > 0.0):
            raise SolverError("no point fulfils all inequalities, for one of them has no unknown. Widen the bounds.")
        unit = max(float(np.max(short / np.where(sizes > 0.0, sizes, 1.0), initial=0.0)), np.finfo(float).tiny)
        multipliers, chosen = np.zeros(len(limits)), self._active.copy()
        while True:
            multipliers[:] = 0.0
            rows = np.flatnonzero(chosen)
            multipliers[rows] = _nearest(self._turned[:, rows], short[rows])
            way = self._turned @ multipliers
            left = np.where(sizes > 0.0, short - way @ self._turned, 0.0)
            violated = (left > _VIOLATED * unit * sizes) & ~chosen
            if not violated.any():
                break
            chosen |= violated
        self._active = multipliers > 0.0
        return Minimum(free + solve_triangular(self._factor, way, lower=True, trans=1), multipliers)


def _nearest(turned: np.ndarray, short: np.ndarray) -> np.ndarray:
    """Multipliers (m,) of the shortest w with turnedᵀ w >= short, turned (n, m): w is turned times them."""
    if np.all(short <= 0.0):
        return np.zeros(len(short))
    sizes = np.linalg.norm(turned, axis=0)
    scaled, distances = turned / sizes, short / sizes
    unit = float(distances.max())
    aim = np.append(np.zeros(len(turned)), 1.0)
    try:
        found, _ = nnls(np.vstack([scaled, distances / unit]), aim, maxiter=20 * max(turned.shape))
    except RuntimeError as error:  # too many steps
        raise SolverError(
            f"the least-squares problem of {len(short)} inequalities is too ill-conditioned: {error} Widen bounds, "
            "lower the stiffness, or hold back what data do not determine (priors=)."
        ) from error
    if 1.0 - distances @ found / unit <= np.finfo(float).eps:
        raise SolverError(
            "no point fulfils all inequalities, which contradict each other. Widen bounds, or lower the stiffness."
        )
    # what holds is taken as equations, so that it holds to rounding
    held = np.flatnonzero(found > 0.0)
    result = np.zeros(len(short))
    result[held] = np.linalg.lstsq(scaled[:, held].T @ scaled[:, held], distances[held], rcond=None)[0] / sizes[held]
    return result
