"""Error bars: against linear regression on paper, against repeated fits of noisy data, and against what data cannot tell."""

from dataclasses import replace

import numpy as np
import pytest
import tolerances
from refusals import assert_refused
from scipy.stats import binom, linregress

from q2mm_accel import FusedObjective
from q2mm_accel.datasets.modes import load_modes_problem
from q2mm_accel.errors import UncertaintyError
from q2mm_accel.uncertainty import Linearized, uncertainty_of

POINTS = np.array([0.0, 1.0, 2.0, 4.0, 7.0, 11.0])
VALUES = np.array([1.1, 2.9, 5.2, 8.7, 15.3, 22.8])
BASIS = np.stack([POINTS, np.ones_like(POINTS)], axis=1)


def linearized(jacobian, x, values, *, n_priors=0, bounds=np.inf, typical=1.0, groups=None):
    """Of a fit of values by jacobian @ x."""
    count, n = jacobian.shape
    ones = np.ones(n)
    return Linearized(
        residuals=values - jacobian @ x,
        jacobian=-jacobian,
        n_references=count - n_priors,
        groups=np.arange(count - n_priors) if groups is None else groups,
        x=x,
        lower=-bounds * ones,
        upper=bounds * ones,
        typical=typical * ones,
        scale=ones,
        labels=tuple(f"p{number}" for number in range(n)),
        units=("",) * n,
        references=[f"r{number}" for number in range(count - n_priors)],
    )


def fitted(jacobian, values, **options):
    return linearized(jacobian, np.linalg.lstsq(jacobian, values, rcond=None)[0], values, **options)


@pytest.mark.parametrize("typical", [1.0, 1e-4, 1e4])
def test_a_straight_line_has_the_errors_of_linear_regression(typical):
    found, expected = uncertainty_of(fitted(BASIS, VALUES, typical=typical)), linregress(POINTS, VALUES)
    errors = [expected.stderr, expected.intercept_stderr]
    np.testing.assert_allclose(found.standard_errors, errors, rtol=tolerances.CLOSED_FORM)
    correlation = -POINTS.sum() / np.sqrt(len(POINTS) * (POINTS @ POINTS))
    np.testing.assert_allclose(found.correlations, [[1.0, correlation], [correlation, 1.0]], rtol=tolerances.CLOSED_FORM)
    hat = np.diag(BASIS @ np.linalg.inv(BASIS.T @ BASIS) @ BASIS.T)
    np.testing.assert_allclose(found.leverage, hat, rtol=tolerances.CLOSED_FORM)
    assert found.degrees_of_freedom == pytest.approx(4.0)
    assert not (found.idle or found.open or found.at_bounds)
    assert found.n_determined == (0 if typical == 1e-4 else 2), "what is known to 0.1 is not to changes of 1e-4"


def test_robust_errors_are_whites():
    inverse, hat = np.linalg.inv(BASIS.T @ BASIS), BASIS @ np.linalg.inv(BASIS.T @ BASIS) @ BASIS.T
    linear = fitted(BASIS, VALUES)
    middle = BASIS.T @ np.diag(linear.residuals**2 / (1.0 - np.diag(hat))) @ BASIS
    expected = np.sqrt(np.diag(inverse @ middle @ inverse))
    np.testing.assert_allclose(uncertainty_of(linear).robust_errors, expected, rtol=tolerances.CLOSED_FORM)


def test_deviations_of_one_molecule_are_taken_together():
    groups = np.array([3, 3, 5, 5, 9, 9])
    linear = fitted(BASIS, VALUES, groups=groups)
    sums = [BASIS[groups == group].T @ linear.residuals[groups == group] for group in (3, 5, 9)]
    inverse = np.linalg.inv(BASIS.T @ BASIS)
    expected = np.sqrt(np.diag(inverse @ sum(np.outer(each, each) for each in sums) @ inverse))
    np.testing.assert_allclose(uncertainty_of(linear, by_molecule=True).robust_errors, expected, rtol=tolerances.CLOSED_FORM)


def test_weights_that_are_known_are_not_scaled():
    found = uncertainty_of(fitted(BASIS, VALUES), scaled=False)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(BASIS.T @ BASIS), rtol=tolerances.CLOSED_FORM)


def test_a_prior_alone_determines_what_data_do_not():
    jacobian, width = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.25]]), 4.0
    found = uncertainty_of(fitted(jacobian, np.array([1.0, 1.2, 0.0]), n_priors=1), scaled=False)
    np.testing.assert_allclose(found.standard_errors, [np.sqrt(0.5), width], rtol=tolerances.CLOSED_FORM)
    assert found.idle == ("p1",) and found.n_determined == 1 and found.degrees_of_freedom == pytest.approx(1.0)


def test_parameters_that_a_bound_holds_have_no_error_and_the_others_that_of_a_fit_without_them():
    x = np.array([2.0, 0.5])  # the slope is cut off from above, and the intercept free
    x[1] = np.mean(VALUES - x[0] * POINTS)
    linear = linearized(BASIS, x, VALUES + 3.0 * POINTS, bounds=2.0)
    linear = replace(linear, residuals=VALUES + 3.0 * POINTS - BASIS @ x)
    found = uncertainty_of(linear)
    assert found.at_bounds == ("p0",) and np.isnan(found.standard_errors[0])
    deviation = np.sqrt(linear.residuals @ linear.residuals / 5.0)
    assert found.standard_errors[1] == pytest.approx(deviation / np.sqrt(6.0), rel=tolerances.CLOSED_FORM)


def test_combinations_that_no_data_tell_apart_are_named_and_nothing_else():
    """p0 and p2 enter as p0 + 2 p2 only; p3, p4 and p5 as p3 - p4 and p4 - p5; p6 not at all."""
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((20, 4))
    columns = [parts[:, 0], parts[:, 1], 2.0 * parts[:, 0]]
    columns += [parts[:, 2], parts[:, 3] - parts[:, 2], -parts[:, 3], np.zeros(20)]
    jacobian = np.stack(columns, axis=1)
    found = uncertainty_of(fitted(jacobian, rng.standard_normal(20)))
    assert found.idle == ("p6",) and found.n_determined == 4
    assert found.open == ("p0", "p2", "p3", "p4", "p5", "p6")
    assert np.isinf(found.standard_errors).tolist() == [True, False, True, True, True, True, True]
    combinations = {frozenset(each.labels): dict(zip(each.labels, each.changes, strict=True)) for each in found.undetermined}
    assert set(combinations) == {frozenset(("p0", "p2")), frozenset(("p3", "p4", "p5"))}
    pair = combinations[frozenset(("p0", "p2"))]
    assert pair["p0"] / pair["p2"] == pytest.approx(-2.0)
    three = combinations[frozenset(("p3", "p4", "p5"))]
    assert three["p3"] == pytest.approx(three["p4"]) == pytest.approx(three["p5"])


def test_one_dihedral_cannot_tell_three_periodicities_apart():
    """Its torque and its stiffness are two numbers: Σ n k sin and Σ n² k cos of n (φ - phase) stay."""
    problem = load_modes_problem("h2o2", urey_bradley=False)
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references)
    found = objective.uncertainty(objective.solve_linear(None).x)
    (combination,) = found.undetermined
    changes = dict(zip(combination.labels, combination.changes, strict=True))
    assert set(changes) <= {label for label in found.labels if label.startswith("torsion")}
    system = problem.systems[0]
    angle = _dihedral(system.molecule.coordinates[system.torsion_atoms[0]])
    torque = stiffness = size = 0.0
    for number, label in enumerate(label for label in problem.forcefield.labels if label.startswith("torsion")):
        n, phase = problem.forcefield.torsion_periodicities[number], np.deg2rad(problem.forcefield.torsion_phases[number])
        torque += n * changes[label] * np.sin(n * angle - phase)
        stiffness += n**2 * changes[label] * np.cos(n * angle - phase)
        size += n**2 * abs(changes[label])
    assert abs(torque) < 1e-2 * size and abs(stiffness) < 1e-2 * size


def _dihedral(points):
    a, b, c = np.diff(points, axis=0)
    return np.arctan2(np.linalg.norm(b) * a @ np.cross(b, c), np.cross(a, b) @ np.cross(b, c))


@pytest.mark.exhaustive
def test_intervals_hold_the_truth_as_often_as_they_say():
    problem = load_modes_problem("ch3f", urey_bradley=False)
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references)
    best = objective.solve_linear(None).x
    truth, values = objective.expand(best), objective.predictions(best)
    rng, repeats, held = np.random.default_rng(1), 200, {0.6827: [], 0.95: []}
    for _ in range(repeats):
        noisy = values + 0.3 * rng.standard_normal(len(values)) / objective.references.weight
        references = [replace(each, value=float(value)) for each, value in zip(objective.references, noisy, strict=True)]
        again = FusedObjective(problem.systems, problem.forcefield, references)
        found = again.uncertainty(again.solve_linear(None).x)
        for level, each in held.items():
            lower, upper = found.intervals(level).T
            each.append((lower <= truth) & (truth <= upper))
    for level, each in held.items():
        for count in np.sum(each, axis=0):
            assert binom.cdf(count, repeats, level) > 1e-4 and binom.sf(count - 1, repeats, level) > 1e-4


def test_as_many_references_as_parameters_leave_nothing_to_tell_errors_from():
    words = ("2 references determine 2 parameters", "scaled=False")
    assert_refused(lambda: uncertainty_of(fitted(BASIS[:2], VALUES[:2])), UncertaintyError, words)
    assert np.isfinite(uncertainty_of(fitted(BASIS[:2], VALUES[:2]), scaled=False).standard_errors).all()
