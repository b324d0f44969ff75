"""Priors and q2mm's regularization: further residuals, by hand."""

import numpy as np
import pytest
import tolerances
from helpers import traces
from refusals import LABELS, START, SYSTEM, assert_refused, forcefield, refusals
from scipy.optimize import minimize

from q2mm_accel import FusedObjective, Prior, ReferenceData, Tie
from q2mm_accel.errors import OptionError, ParameterError

PRIORS = (
    Prior("bond_force_constants", 20.0),
    Prior(["angle *"], width=7.0, center=90.0),
    Prior("bond 0 k", 50.0, 480.0),
    Prior(np.array([False, True, False, False]), 0.05),
)
SCALE = np.array([50.0, 0.1, 30.0, 5.0])


def build(**options):
    data = ReferenceData()
    data.add_hessian(SYSTEM.molecule.hessian, weight_diagonal=1.0, weight_offdiagonal=1.0)
    data.add_energy(0.5, weight=0.1)
    return FusedObjective([SYSTEM], forcefield(), data, parameter_scale=SCALE, **options)


def penalty(p):
    """The sum of the squares of the priors above, and its derivatives by the force field's parameters."""
    k, r0, angle_k, theta0 = p
    terms = [(k, 500.0, 20.0), (angle_k, 90.0, 7.0), (theta0, 90.0, 7.0), (k, 480.0, 50.0), (r0, 0.97, 0.05)]
    slopes = [2 * (value - center) / width**2 for value, center, width in terms]
    by_parameter = np.array([slopes[0] + slopes[3], slopes[4], slopes[1], slopes[2]])
    return sum(((value - center) / width) ** 2 for value, center, width in terms), by_parameter


@pytest.fixture(scope="module")
def plain():
    return build()


@pytest.fixture(scope="module")
def known():
    return build(priors=PRIORS)


@pytest.fixture(scope="module")
def x(plain):
    return plain.x0 * [1.03, 0.99, 0.9, 1.01]


def test_the_loss_is_that_of_the_references_and_of_the_priors(plain, known, x):
    value, slopes = penalty(x * SCALE)
    assert known.fun(x) == pytest.approx(plain.fun(x) + value, rel=tolerances.REGROUP)
    expected = plain.jac(x) + slopes * SCALE
    np.testing.assert_allclose(known.jac(x), expected, rtol=0.0, atol=tolerances.JAC * np.abs(expected).max())


def test_the_gradient_agrees_with_finite_differences(known, x):
    step = 1e-5
    numeric = [(known.fun(x + step * unit) - known.fun(x - step * unit)) / (2 * step) for unit in np.eye(4)]
    np.testing.assert_allclose(known.jac(x), numeric, rtol=0.0, atol=tolerances.CHECK_GRAD * np.abs(numeric).max())


def test_their_residuals_follow_those_of_the_references(plain, known, x):
    residuals, (k, r0, angle_k, theta0) = known.residuals(x), x * SCALE
    assert known.fun(x) == pytest.approx(np.sum(residuals**2), rel=tolerances.REGROUP)
    expected = plain.residuals(x)
    np.testing.assert_allclose(residuals[:46], expected, rtol=0.0, atol=tolerances.REGROUP_GRADIENT * np.abs(expected).max())
    expected = [(500.0 - k) / 20.0, (90.0 - angle_k) / 7.0, (90.0 - theta0) / 7.0, (480.0 - k) / 50.0, (0.97 - r0) / 0.05]
    np.testing.assert_allclose(residuals[46:], expected, rtol=1e-13, atol=1e-14)
    assert known.residual_labels[:46] == known.reference_labels == plain.residual_labels
    assert known.residual_labels[46:] == tuple(f"prior: {LABELS[i]}" for i in (0, 2, 3, 0, 1))
    expected = plain.predictions(x)
    np.testing.assert_allclose(
        known.predictions(x), expected, rtol=0.0, atol=tolerances.REGROUP_GRADIENT * np.abs(expected).max()
    )


def test_regularization_is_the_squared_distance_of_all_parameters_in_their_units(plain, x):
    regularized = build(l2=0.3)
    expected = plain.fun(x) + 0.3 * np.sum((x - np.array(START) / SCALE) ** 2)
    assert regularized.fun(x) == pytest.approx(expected, rel=tolerances.REGROUP)
    assert regularized.fun(x) == pytest.approx(np.sum(regularized.residuals(x) ** 2), rel=tolerances.REGROUP)
    assert regularized.fun(regularized.x0) == pytest.approx(plain.fun(plain.x0), rel=tolerances.REGROUP)


def test_tied_and_frozen_parameters_count_in_priors_and_regularization(plain):
    """r0 is frozen and angle k = k / 10: a prior on either is one on what it follows from, or a constant."""
    ties = Tie.ratio(LABELS[2], LABELS[0], 0.1)
    prior = [Prior(LABELS[2], 4.0, 60.0), Prior(LABELS[1], 0.1, 1.0)]
    reduced = build(active=[LABELS[0], LABELS[2], LABELS[3]], ties=ties, priors=prior, l2=2.0)
    x = np.array([10.5, 20.9])
    full = np.array([525.0, 0.97, 52.5, 104.5])
    np.testing.assert_allclose(reduced.expand(x), full, rtol=tolerances.ROUNDING)
    expected = ((52.5 - 60.0) / 4.0) ** 2 + 0.3**2 + 2.0 * np.sum(((full - START) / SCALE) ** 2)
    assert reduced.fun(x) - plain.fun(full / SCALE) == pytest.approx(expected, rel=1e-11)


def test_robust_losses_leave_priors_as_they_are(x):
    without, with_priors = (build(loss="cauchy", f_scale=0.01, priors=priors) for priors in ((), PRIORS))
    assert with_priors.fun(x) == pytest.approx(without.fun(x) + penalty(x * SCALE)[0], rel=tolerances.REGROUP)


def test_a_narrow_prior_holds_its_parameter(plain):
    free = minimize(plain.fun_and_jac, plain.x0, jac=True, method="BFGS").x
    held = build(priors=Prior("angle 0 k", 1e-4, 55.0))
    fitted = minimize(held.fun_and_jac, held.x0, jac=True, method="BFGS").x
    assert abs(free[2] * 30.0 - 55.0) > 1.0
    assert fitted[2] * 30.0 == pytest.approx(55.0, abs=1e-4)


def test_other_widths_and_centers_do_not_compile_again(known, x):
    known.fun(x)
    count = sum(traces.values())
    other = build(priors=[Prior(p.parameters, 2.0 * p.width, None if p.center is None else p.center + 1.0) for p in PRIORS])
    assert other.fun(x) != known.fun(x)
    regularized = build(priors=PRIORS[:1], l2=0.4)  # as many rows
    assert regularized.fun(x) != known.fun(x)
    assert sum(traces.values()) == count


BAD_PRIORS = {
    "a prior on nothing": (lambda: build(priors=Prior("torsion *", 1.0)), ("priors[0]", "'torsion *'", LABELS[0])),
    "a prior on a mask of wrong length": (lambda: build(priors=[Prior([True], 1.0)]), ("priors[0]", "a mask of 1 entries")),
    "a prior on numbers": (lambda: build(priors=[Prior([0, 1], 1.0)]), ("priors[0][0] is 0",)),
    "a prior on a number": (lambda: Prior(1, 1.0), ("of the prior on 1", "labels")),
    "a width of 0": (lambda: Prior("bond*", 0.0), ("the width of the prior on 'bond*' is 0.0", "above 0")),
    "a negative width": (lambda: Prior("bond*", -1.0), ("is -1.0", "above 0")),
    "a width that is NaN": (lambda: Prior("bond*", np.nan), ("the width", "finite")),
    "a width for each": (lambda: Prior("bond*", [1.0, 2.0]), ("the width", "shape")),
    "a center that is infinite": (lambda: Prior("bond*", 1.0, np.inf), ("the center", "finite")),
    "a center that is text": (lambda: Prior("bond*", 1.0, "here"), ("the center", "real numbers")),
    "priors that are a tuple": (lambda: build(priors=[("bond*", 1.0)]), ("priors[0] is a tuple", "Prior")),
    "priors that are a number": (lambda: build(priors=1.0), ("priors is 1.0",)),
}
BAD_L2 = {
    "a negative l2": (lambda: build(l2=-0.1), ("l2 is -0.1", "0 or above")),
    "an l2 that is NaN": (lambda: build(l2=np.nan), ("l2", "finite")),
    "an l2 for each": (lambda: build(l2=np.ones(4)), ("l2", "shape")),
}


@refusals(
    {sentence: (call, ParameterError, words) for sentence, (call, words) in BAD_PRIORS.items()},
    {sentence: (call, OptionError, words) for sentence, (call, words) in BAD_L2.items()},
)
def test_an_objective_is_refused_for(call, error, words):
    assert_refused(call, error, words)
