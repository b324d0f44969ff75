"""Robust losses and balanced kinds: SciPy's own costs, exact derivatives, sums of squares whatever the option."""

from collections import Counter
from functools import partial

import jax
import mpmath
import numpy as np
import pytest
import tolerances
from helpers import problem_of, traces
from refusals import SYSTEM, assert_refused, forcefield, refusals
from scipy.optimize import least_squares

from q2mm_accel import FusedObjective, Reference, ReferenceData
from q2mm_accel.errors import OptionError
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.kernel.robust import shaped
from q2mm_accel.parameters.priors import NO_ROWS, Prior, prior_rows
from q2mm_accel.problem.checks import LOSSES

ROBUST = tuple(name for name in LOSSES if name != "linear")
KINDS = ("energy", "frequency", "hessian_element")


def references():
    """Deviations from far below to far above a scale of 0.05."""
    molecule = SYSTEM.molecule
    data = ReferenceData()
    data.add_energy(0.5, weight=0.3)
    data.add_frequencies(molecule.frequencies()[6:], modes=(6, 7, 8), weight=0.001)
    data.add_hessian(molecule.hessian, weight_diagonal=1.0, weight_offdiagonal=0.5)
    return data


def build(**options):
    return FusedObjective([SYSTEM], forcefield(form="mm3"), references(), parameter_scale="typical", **options)


@pytest.fixture(scope="module")
def plain():
    return build()


@pytest.fixture(scope="module", params=ROBUST)
def robust(request):
    return build(loss=request.param, f_scale=0.05), request.param


def scipy_cost(plain, loss, f_scale, x):
    """Twice SciPy's cost at x."""
    found = least_squares(plain.residuals, x, jac=lambda x: np.ones((49, 4)), loss=loss, f_scale=f_scale, max_nfev=1)
    np.testing.assert_array_equal(found.x, x)
    return 2.0 * found.cost


def test_the_loss_is_twice_the_cost_of_scipy(robust, plain):
    fitted, loss = robust
    ratios = np.abs(plain.residuals(plain.x0)) / 0.05
    assert ratios.min() < 0.1 and ratios.max() > 3.0, "both sides of the border are tested"
    for x in (plain.x0, plain.x0 * [1.2, 1.01, 0.7, 1.03]):
        assert fitted.fun(x) == pytest.approx(scipy_cost(plain, loss, 0.05, x), rel=tolerances.CLOSED_FORM)
        assert fitted.fun_batch(x[None])[0] == pytest.approx(fitted.fun(x), rel=tolerances.BATCH)


def test_the_loss_is_the_sum_of_squares_of_residuals_with_their_signs(robust, plain):
    fitted, _ = robust
    x = 1.01 * plain.x0
    before, after = plain.residuals(x), fitted.residuals(x)
    assert fitted.fun(x) == pytest.approx(np.sum(after**2), rel=tolerances.REGROUP)
    np.testing.assert_array_equal(np.sign(after), np.sign(before))
    assert np.all(np.abs(after) <= np.abs(before) * (1.0 + tolerances.ROUNDING))


def test_the_gradient_agrees_with_finite_differences(robust):
    fitted, _ = robust
    x, step = fitted.x0 * [1.01, 1.001, 0.99, 1.002], 1e-5
    numeric = [(fitted.fun(x + step * unit) - fitted.fun(x - step * unit)) / (2 * step) for unit in np.eye(4)]
    np.testing.assert_allclose(fitted.jac(x), numeric, rtol=0.0, atol=tolerances.CHECK_GRAD * np.abs(numeric).max())


RHO = {
    "soft_l1": lambda z: 2 * (mpmath.sqrt(1 + z) - 1),
    "huber": lambda z: z if z <= 1 else 2 * mpmath.sqrt(z) - 1,
    "cauchy": mpmath.log1p,
    "arctan": mpmath.atan,
}
RATIOS = [1e-9, 1e-3, 0.05, 0.0999, 0.1001, 0.5, 0.999, 1.001, 3.0, 1e4]
"""Deviations in units of C: within and beyond the borders between the pieces."""


def differentiated(loss, ratio):
    """Value, first and second derivative of s(t) = t sqrt(ρ(t²) / t²) in 100 digits."""
    with mpmath.workdps(100):
        step = mpmath.mpf(ratio) * mpmath.mpf(10) ** -12
        low, middle, high = (mpmath.sqrt(RHO[loss]((mpmath.mpf(ratio) + k * step) ** 2)) for k in (-1, 0, 1))
        return [float(v) for v in (middle, (high - low) / (2 * step), (high - 2 * middle + low) / step**2)]


@partial(jax.jit, static_argnums=0)
def with_derivatives(loss, ratios, unit, f_scale):
    """Shaped residuals in a unit, and their first and second derivatives by it."""

    def one(ratio):
        return shaped(loss, unit * ratio[None], f_scale)[0] / unit

    return [jax.vmap(f)(ratios) for f in (one, jax.grad(one), jax.grad(jax.grad(one)))]


@pytest.mark.parametrize("loss", ROBUST)
def test_a_shaped_residual_and_its_derivatives_are_exact(loss):
    points = np.array(RATIOS)
    both = [np.asarray(each) for each in with_derivatives(loss, np.concatenate([points, -points]), 0.37, 0.37)]
    found = [each[: len(points)] for each in both]
    expected = np.transpose([differentiated(loss, ratio) for ratio in RATIOS])
    for order, (values, exact) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(values, exact, rtol=tolerances.SHAPED, atol=tolerances.SHAPED, err_msg=f"order {order}")
    np.testing.assert_allclose(both[0][len(points) :], -found[0], rtol=0.0)


@pytest.mark.parametrize("loss", ROBUST)
def test_residuals_of_0_and_huge_ones_have_finite_derivatives(loss):
    points = np.array([0.0, 1e-320, 1e-200, 1e100, 1e200, 1e300])
    values, slopes, curvatures = with_derivatives(loss, points, 1.0, 0.1)
    assert values[0] == 0.0 and slopes[0] == 1.0 and curvatures[0] == 0.0
    assert all(np.all(np.isfinite(array)) for array in (values, slopes, curvatures))
    assert np.all(np.diff(values) >= 0.0)
    assert np.all(np.asarray(values)[3:] > 0.1)


def test_what_padded_entries_hold_does_not_matter():
    start, rows = forcefield(form="mm3"), prior_rows([Prior("bond*", 2.0, 1.0)], 0.1, np.ones(4), forcefield())
    data = [*references()] * 2  # 98 references are padded to 104
    rows = type(rows)(*(np.tile(getattr(rows, name), 3) for name in ("parameter", "center", "weight")))
    value_and_gradient, results = jax.jit(jax.value_and_grad(kernel.loss, argnums=1)), []
    for fill in (0.0, 1e30, np.nan):
        problem = problem_of([SYSTEM], start, data, loss="cauchy", f_scale=0.05, priors=rows, fill=fill)
        assert not problem.references.present.all() and len(rows.weight) == 18 and len(problem.priors.present) == 18
        results.append(value_and_gradient(problem, start.parameters))
    for value, gradient in results[1:]:
        assert value == results[0][0]
        np.testing.assert_array_equal(gradient, results[0][1])


def test_f_scale_weights_and_tolerances_do_not_compile_again(robust):
    fitted, loss = robust
    fitted.fun(fitted.x0)
    fitted.residuals(fitted.x0)
    count = sum(traces.values())
    for options in ({"f_scale": 0.3}, {"balance": "count"}, {"balance": dict.fromkeys(KINDS, 2.0), "f_scale": 7.0}):
        other = build(**{"loss": loss, "f_scale": 0.05} | options)
        assert other.fun(other.x0) != fitted.fun(fitted.x0)
        assert other.fun(other.x0) == pytest.approx(np.sum(other.residuals(other.x0) ** 2), rel=tolerances.REGROUP)
    assert sum(traces.values()) == count


def sums_by_kind(fitted):
    squares = Counter()
    for reference, residual in zip(fitted.references, fitted.residuals(fitted.x0), strict=True):
        squares[reference.kind] += residual**2
    return squares


def test_count_divides_the_sum_of_each_kind_by_its_number(plain):
    balanced = build(balance="count")
    before, after = sums_by_kind(plain), sums_by_kind(balanced)
    for kind, count in {"energy": 1, "frequency": 3, "hessian_element": 45}.items():
        assert after[kind] == pytest.approx(before[kind] / count, rel=tolerances.CLOSED_FORM)
    assert balanced.fun(balanced.x0) == pytest.approx(sum(after.values()), rel=tolerances.REGROUP)
    assert balanced.references == plain.references


def test_tolerances_divide_the_deviations_of_each_kind(plain):
    tolerance = {"energy": 0.5, "frequency": 20.0, "hessian_element": 0.01, "relative_energy": 1.0}
    balanced = build(balance=tolerance)
    before, after = sums_by_kind(plain), sums_by_kind(balanced)
    for kind in KINDS:
        assert after[kind] == pytest.approx(before[kind] / tolerance[kind] ** 2, rel=tolerances.CLOSED_FORM)


def test_linear_is_the_plain_loss_to_the_last_bit(plain):
    linear = build(loss="linear", f_scale=0.01, balance=dict.fromkeys(KINDS, 1.0))
    assert linear.fun(1.02 * plain.x0) == plain.fun(1.02 * plain.x0)
    assert len(NO_ROWS.weight) == len(linear.problem.priors.present) == 0


BAD = {
    "an unknown loss": ({"loss": "tukey"}, ("loss is 'tukey'", "linear, soft_l1, huber, cauchy, arctan")),
    "a loss that is a function": ({"loss": np.abs}, ("loss is", "linear")),
    "a scale of 0": ({"loss": "huber", "f_scale": 0.0}, ("f_scale is 0.0", "above 0")),
    "a negative scale": ({"loss": "huber", "f_scale": -1.0}, ("f_scale is -1.0", "above 0")),
    "a scale that is NaN": ({"loss": "huber", "f_scale": np.nan}, ("f_scale", "finite")),
    "a scale for each reference": ({"loss": "huber", "f_scale": np.ones(49)}, ("f_scale", "shape")),
    "an unknown balance": ({"balance": "equal"}, ("balance is 'equal'", "'count'", "frequency")),
    "a balance that is a number": ({"balance": 2.0}, ("balance is 2.0", "'count'")),
    "kinds without tolerance": ({"balance": {"energy": 1.0}}, ("no tolerance for", "frequency, hessian_element")),
    "a kind that does not exist": ({"balance": dict.fromkeys((*KINDS, "gradient"), 1.0)}, ("'gradient'", "kinds")),
    "a tolerance of 0": ({"balance": dict.fromkeys(KINDS, 0.0)}, ("balance['energy'] is 0.0", "above 0")),
    "a tolerance that is text": ({"balance": dict.fromkeys(KINDS, "one")}, ("balance['energy']", "real numbers")),
}


@refusals(
    {sentence: (lambda options=options: build(**options), OptionError, words) for sentence, (options, words) in BAD.items()}
)
def test_an_objective_is_refused_for(call, error, words):
    assert_refused(call, error, words)


def test_a_balance_needs_no_tolerance_for_references_without_weight():
    data = [Reference("energy", 1.0), Reference("frequency", 1000.0, 0.0, 0, 6)]
    FusedObjective([SYSTEM], forcefield(), data, balance={"energy": 2.0})
