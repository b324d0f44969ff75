"""Quadratic functions under inequalities: the conditions of a minimum, and an independent solver."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear
from tolerances import QUADRATIC

from q2mm_accel.errors import SolverError
from q2mm_accel.solvers import quadratic
from q2mm_accel.solvers.quadratic import Minimum, QuadraticProgram


def nearest(matrix, slope, normals, limits) -> Minimum:
    return QuadraticProgram(matrix, normals).minimum(slope, limits)


def program(n: int, seed: int):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((2 * n, n))
    matrix = rows.T @ rows / (2 * n)
    normals = np.vstack([np.eye(n), -np.eye(n), rng.standard_normal((n // 2, n))])
    limits = np.concatenate([-np.ones(n), -2.0 * np.ones(n), -0.5 * np.ones(n // 2)])
    return matrix, 3.0 * rng.standard_normal(n), normals, limits


@pytest.mark.parametrize("n", [2, 10, 80])
@pytest.mark.parametrize("seed", range(3))
def test_conditions_of_a_minimum_hold(n, seed):
    matrix, slope, normals, limits = program(n, seed)
    found = nearest(matrix, slope, normals, limits)
    gap = normals @ found.point - limits
    assert gap.min() > -QUADRATIC and found.multipliers.min() >= 0.0
    assert np.abs(found.multipliers * gap).max() < QUADRATIC
    np.testing.assert_allclose(matrix @ found.point + slope, normals.T @ found.multipliers, rtol=0.0, atol=QUADRATIC)


def test_bounds_alone_give_what_bounded_least_squares_gives():
    rng = np.random.default_rng(7)
    rows, values = rng.standard_normal((40, 12)), rng.standard_normal(40)
    found = nearest(rows.T @ rows, -rows.T @ values, np.vstack([np.eye(12), -np.eye(12)]), np.full(24, -0.05))
    known = lsq_linear(rows, values, (-0.05, 0.05), method="bvls", tol=1e-14)
    np.testing.assert_allclose(found.point, known.x, rtol=0.0, atol=QUADRATIC)


def test_without_anything_in_the_way_it_is_the_free_minimum():
    matrix, slope, normals, limits = program(6, 0)
    known = np.linalg.solve(matrix, -slope)
    for rows, bounds in ((normals, limits - 100.0), (normals[:0], limits[:0])):
        found = nearest(matrix, slope, rows, bounds)
        np.testing.assert_allclose(found.point, known, rtol=0.0, atol=QUADRATIC)
        assert not found.multipliers.any()


def test_contradictions_are_refused():
    with pytest.raises(SolverError, match="no point"):
        nearest(np.eye(2), np.zeros(2), np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([1.0, 1.0]))
    with pytest.raises(SolverError, match="no point"):
        nearest(np.eye(2), np.zeros(2), np.zeros((1, 2)), np.array([1.0]))


def test_inequalities_may_become_more():
    matrix, slope, normals, limits = program(20, 1)
    grown = QuadraticProgram(matrix, normals[:40])
    grown.minimum(slope, limits[:40])
    grown.add(normals[40:])
    found, known = grown.minimum(slope, limits), nearest(matrix, slope, normals, limits)
    np.testing.assert_allclose(found.point, known.point, rtol=0.0, atol=QUADRATIC)
    np.testing.assert_allclose(found.multipliers, known.multipliers, rtol=0.0, atol=QUADRATIC)


def test_too_many_steps_are_an_error_with_a_name(monkeypatch):
    def endless(*_, **__):
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr(quadratic, "nnls", endless)
    with pytest.raises(SolverError, match="Maximum.*stiffness"):
        nearest(np.eye(1), np.zeros(1), np.ones((1, 1)), np.ones(1))
