"""Parameters found again from references that they made: every fit from within 20 % of them, by all routes."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from scipy.optimize import least_squares, minimize

from q2mm_accel import FusedObjective, ReferenceData
from q2mm_accel.datasets.problems import load_problem

N = 20
TORSIONS = (1.7, -1.5, 1.3)
"""[kcal/mol]. Only two combinations of the three change the Hessian at one dihedral angle."""


@cache
def truth_and_objective():
    """H2O2 with harmonic bonds and angles, and its own predictions of the Hessian as references."""
    problem = load_problem("h2o2", "harmonic")
    forcefield = replace(problem.forcefield, torsion_force_constants=TORSIONS)
    factors = 1.0 + 0.05 * np.cos(1.0 + np.arange(forcefield.n_parameters))
    forcefield = forcefield.with_parameters(factors * forcefield.parameters)
    data = ReferenceData()
    data.add_hessian(np.zeros_like(problem.systems[0].molecule.hessian), weight_diagonal=1.0, weight_offdiagonal=1.0)
    empty = FusedObjective(problem.systems, forcefield, data, parameter_scale="typical")
    values = empty.predictions(empty.x0).tolist()
    data = [replace(reference, value=value) for reference, value in zip(data, values, strict=True)]
    return empty.x0, FusedObjective(problem.systems, forcefield, data, parameter_scale="typical")


@cache
def identifiable():
    """Which parameters the references determine: those without a part in the null space of the residuals' Jacobian."""
    truth, objective = truth_and_objective()
    _, singular, vectors = np.linalg.svd(objective.residuals_jac(truth))
    null = vectors[singular < 1e-10 * singular[0]]
    assert len(null) == 1
    return np.abs(null).max(axis=0) < 1e-10


@cache
def native(method):
    truth, objective = truth_and_objective()
    result = objective.solve_native(method, x0=truth, n_starts=N + 1, spread=0.2, tol=0.0, gtol=1e-12, lanes=N)
    return result.starts


def assert_recovered(starts, points):
    truth, objective = truth_and_objective()
    assert objective.fun(truth) <= 1e-28
    assert np.abs(starts / truth - 1.0).max() <= 0.2 * (1.0 + tolerances.ROUNDING)
    assert np.abs(starts / truth - 1.0).mean() > 0.05
    ratios = np.array([objective.fun(x) / objective.fun(start) for start, x in zip(starts, points, strict=True)])
    good = ratios <= tolerances.RECOVERED_LOSS
    assert good.sum() >= 0.95 * N, ratios
    deviations = np.abs(points[good] / truth - 1.0)[:, identifiable()]
    assert deviations.max() <= tolerances.RECOVERED


def test_what_can_be_found_again():
    truth, objective = truth_and_objective()
    names = [label for label, known in zip(objective.labels, identifiable(), strict=True) if known]
    assert names == [label for label in objective.labels if not label.startswith("torsion")]
    assert np.any(np.abs(native("lbfgsb")["x"][1:] / truth - 1.0)[:, ~identifiable()] > 0.01)


@pytest.mark.parametrize("method", ["lbfgsb", "levenberg-marquardt"])
def test_native_solvers_find_the_parameters_again(method):
    starts = native(method)
    np.testing.assert_array_equal(starts["x0"][0], truth_and_objective()[0])
    assert_recovered(starts["x0"][1:], starts["x"][1:])


def test_scipy_finds_the_parameters_again_by_gradients():
    _, objective = truth_and_objective()
    starts = native("lbfgsb")["x0"][1:]
    options = {"ftol": 0.0, "gtol": 1e-12, "maxiter": 3000}
    fitted = [
        minimize(objective.fun_and_jac, x, jac=True, method="L-BFGS-B", bounds=objective.bounds, options=options).x
        for x in starts
    ]
    assert_recovered(starts, np.array(fitted))


def test_scipy_finds_the_parameters_again_by_least_squares():
    _, objective = truth_and_objective()
    starts = native("lbfgsb")["x0"][1:]
    limits = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
    fitted = [
        least_squares(objective.residuals, x, jac=objective.residuals_jac, bounds=objective.bounds, **limits).x
        for x in starts
    ]
    assert_recovered(starts, np.array(fitted))
