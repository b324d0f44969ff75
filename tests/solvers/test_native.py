"""solve_native from one start: the minimum that SciPy finds, what a result holds, bounds, fewer parameters."""

from functools import cache

import numpy as np
import pytest
import tolerances
from native_problems import assert_same, by_frequencies, ch3f, changed, projected_gradient, scipy_minimum
from refusals import assert_refused
from scipy.optimize import Bounds

from q2mm_accel import FusedObjective, Prior, ReferenceData, Tie
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import ParameterError
from q2mm_accel.solvers.lane import SENTENCES, Status
from q2mm_accel.solvers.methods import METHODS

MONOTONE = [method for method in METHODS if method != "projected-gradient"]
FIELDS = {"x", "fun", "jac", "success", "status", "message", "nit", "nfev", "njev", "history", "method"}
TIGHT = {"tol": 1e-12, "gtol": 1e-8}

each_method = pytest.mark.parametrize("method", METHODS)


@cache
def fitted(method):
    return ch3f().solve_native(method, **TIGHT)


@cache
def minimum():
    return scipy_minimum(ch3f(), ch3f().x0)


@each_method
def test_the_minimum_is_that_of_scipy(method):
    result = fitted(method)
    assert result.success and result.status == Status.CONVERGED and result.message == SENTENCES[Status.CONVERGED]
    assert result.fun <= minimum().fun * (1.0 + tolerances.NATIVE_MINIMUM)
    assert projected_gradient(ch3f(), result.x) <= tolerances.STATIONARY * projected_gradient(ch3f(), ch3f().x0)


@each_method
def test_a_result_holds_what_its_fields_say(method):
    result, objective = fitted(method), ch3f()
    assert set(result) == FIELDS and result.method == method
    assert result.fun == objective.fun(result.x) and type(result.fun) is float
    np.testing.assert_array_equal(result.jac, objective.jac(result.x))
    assert type(result.success) is bool and type(result.status) is Status and type(result.message) is str
    assert type(result.nit) is type(result.nfev) is type(result.njev) is int
    for array in (result.x, result.jac, *result.history.values()):
        assert type(array) is np.ndarray and array.flags.owndata and array.flags.writeable and array.flags.c_contiguous
    assert result.x.shape == result.jac.shape == objective.x0.shape
    assert result.x.dtype == result.jac.dtype == result.history["fun"].dtype == np.float64
    assert not np.shares_memory(result.x, objective.x0)
    assert np.all(result.x >= objective.bounds.lb) and np.all(result.x <= objective.bounds.ub)


@each_method
def test_the_history_is_that_of_the_accepted_points(method):
    result, objective = fitted(method), ch3f()
    losses, evaluations, norms = (result.history[name] for name in ("fun", "nfev", "gradient_norm"))
    assert set(result.history) == {"fun", "nfev", "gradient_norm"}
    assert len(losses) == len(evaluations) == len(norms) == result.nit + 1
    assert losses[0] == pytest.approx(objective.fun(objective.x0), rel=tolerances.BATCH)
    assert losses.min() == pytest.approx(result.fun, rel=tolerances.BATCH)
    assert evaluations.dtype == np.int64 and evaluations[0] == 1 and np.all(np.diff(evaluations) >= 1)
    assert evaluations[-1] <= result.nfev == result.njev
    if method != "lbfgs":  # whose internal variables are not x in other units
        start = np.linalg.norm(objective.jac(objective.x0) * objective.typical_scale)
        assert norms[0] == pytest.approx(start, rel=tolerances.JAC)


@pytest.mark.parametrize("method", MONOTONE)
def test_the_loss_never_rises(method):
    losses = fitted(method).history["fun"]
    assert np.all(np.diff(losses) <= tolerances.REGROUP * losses[1:])


@each_method
@pytest.mark.parametrize("maxiter", [0, 3])
def test_a_limit_of_iterations_is_kept_and_named(method, maxiter):
    objective = ch3f()
    result = objective.solve_native(method, maxiter=maxiter)
    assert result.status == Status.ITERATION_LIMIT and not result.success and "maxiter" in result.message
    assert result.nit == maxiter and len(result.history["fun"]) == maxiter + 1
    assert result.fun <= objective.fun(objective.x0)
    if maxiter == 0:
        np.testing.assert_allclose(result.x, objective.x0, rtol=tolerances.CLOSED_FORM)
        assert result.nfev == 1


@each_method
def test_frequencies_are_fitted_from_the_start(method):
    objective = by_frequencies()
    result = objective.solve_native(method)
    assert result.fun < 0.1 * objective.fun(objective.x0)
    assert result.fun == objective.fun(result.x)
    if method == "projected-gradient":  # needs many evaluations
        assert result.status in (Status.CONVERGED, Status.ITERATION_LIMIT)
    else:
        assert result.success
        assert projected_gradient(objective, result.x) <= 1e-5 * projected_gradient(objective, objective.x0)


@each_method
def test_a_start_at_the_minimum_is_converged_at_once(method):
    objective = ch3f()
    result = objective.solve_native(method, x0=minimum().x, gtol=1e-7)
    assert result.success and (result.nit, result.nfev) == (0, 1)
    np.testing.assert_allclose(result.x, minimum().x, rtol=tolerances.CLOSED_FORM)


@pytest.mark.parametrize(
    "method",
    [
        method if method in ("lbfgsb", "levenberg-marquardt") else pytest.param(method, marks=pytest.mark.exhaustive)
        for method in METHODS
    ],
)
def test_a_single_parameter_is_fitted(method):
    problem = load_problem("ch3f", "harmonic")
    data = ReferenceData()
    data.add_hessian(problem.systems[0].molecule.hessian, weight_diagonal=10.0, weight_offdiagonal=5.0)
    single = FusedObjective(problem.systems, problem.forcefield, data, active="bond C-F k")
    slope, deviation = single.residuals_jac(single.x0)[:, 0], single.residuals(single.x0)
    expected = single.x0[0] - slope @ deviation / (slope @ slope)  # elements of the Hessian are linear in k
    result = single.solve_native(method, gtol=1e-10, tol=0.0)
    assert result.x.shape == result.jac.shape == (1,)
    assert result.x[0] == pytest.approx(expected, rel=tolerances.NATIVE_MINIMUM)


def test_the_default_method_depends_on_the_bounds():
    objective = ch3f()
    assert objective.solve_native(maxiter=0).method == "lbfgsb"
    assert objective.solve_native(maxiter=0, bounds=[(None, None)] * len(objective.x0)).method == "lbfgs"


def test_x0_may_be_any_array_and_is_left_alone():
    objective = ch3f()
    start = 1.01 * objective.x0
    before, expected = start.copy(), objective.solve_native("lbfgsb", x0=start, maxiter=3)
    start.flags.writeable = False
    for given in (start, list(start), start[::-1].copy()[::-1]):
        assert_same(objective.solve_native("lbfgsb", x0=given, maxiter=3), expected)
    np.testing.assert_array_equal(start, before)
    assert_same(ch3f().solve_native("lbfgsb", **TIGHT), fitted("lbfgsb"))


@each_method
@pytest.mark.parametrize("every", [1, 7, 64])
def test_how_often_the_host_looks_in_does_not_change_a_result(method, every):
    assert_same(ch3f().solve_native(method, callback_every=every, **TIGHT), fitted(method))


def part_of_the_way(places, part, elsewhere=np.inf):
    """Bounds that end some parameters' way from the start to the minimum after a part of it."""
    start, lowest = ch3f().x0, minimum().x
    end, cut, upwards = start + part * (lowest - start), np.isin(np.arange(8), places), lowest > start
    return Bounds(np.where(cut & ~upwards, end, -elsewhere), np.where(cut & upwards, end, elsewhere))


def starts_at_bounds():
    """All parameters start at a bound; the minimum lies beyond half of them."""
    start = ch3f().x0
    inwards = (minimum().x > start) ^ (np.arange(8) >= 4)
    return Bounds(np.where(inwards, start, -np.inf), np.where(inwards, np.inf, start))


def usual_but(places, lower, upper):
    """The objective's bounds with some replaced."""
    return Bounds(changed(ch3f().bounds.lb, places, lower), changed(ch3f().bounds.ub, places, upper))


LIMITS = {
    "one parameter is fixed": lambda: usual_but([2], 340.0, 340.0),
    "all parameters are fixed": lambda: Bounds(ch3f().x0, ch3f().x0),
    "there are no bounds": lambda: Bounds(np.full(8, -np.inf), np.full(8, np.inf)),
    "some bounds are missing": lambda: Bounds(usual_but([0, 1], -np.inf, 0).lb, usual_but([1, 4], 0, np.inf).ub),
    "the minimum is cut off": lambda: part_of_the_way([0, 3, 4], 0.4),
    "the minimum is cut off within wide bounds": lambda: part_of_the_way([0, 3, 4], 0.4, elsewhere=1e5),
    "the minimum is on a bound": lambda: part_of_the_way([1, 6], 1.0),
    "the start is on bounds": starts_at_bounds,
}


@cache
def limited_minimum(limits):
    """Bounds, a start within them, and SciPy's minimum."""
    bounds = LIMITS[limits]()
    start = np.clip(ch3f().x0, bounds.lb, bounds.ub)
    return bounds, start, scipy_minimum(ch3f(), start, bounds)


@each_method
@pytest.mark.parametrize("limits", LIMITS)
def test_the_minimum_is_that_of_scipy_where(limits, method):
    bounds, start, expected = limited_minimum(limits)
    result = ch3f().solve_native(method, x0=start, bounds=bounds, **TIGHT)
    assert result.success, result.message
    assert np.all(result.x >= bounds.lb) and np.all(result.x <= bounds.ub)
    assert result.fun <= expected.fun * (1.0 + tolerances.NATIVE_MINIMUM)
    at_bound = (expected.x == bounds.lb) | (expected.x == bounds.ub)
    pressed = at_bound & (np.abs(ch3f().jac(expected.x) * ch3f().typical_scale) > tolerances.PRESSED)
    distance = np.abs(result.x - expected.x)[pressed]
    if method == "lbfgs":  # rests on a bound only in the limit
        assert np.all(distance <= tolerances.NEAR_BOUND * ch3f().typical_scale[pressed])
    else:
        assert np.all(distance == 0.0)


def test_a_variable_at_its_bound_but_for_rounding_does_not_keep_a_fit_from_ending():
    objective, rng = ch3f(), np.random.default_rng(0)
    scale, off = objective.typical_scale, 0
    for _ in range(12):
        start = objective.x0 * (1.0 + 1e-9 * rng.standard_normal(8))
        inwards = (minimum().x > start) ^ (np.arange(8) >= 4)
        bounds = Bounds(np.where(inwards, start, -np.inf), np.where(inwards, np.inf, start))
        off += np.any(start / scale * scale != start)
        result = objective.solve_native("levenberg-marquardt", x0=start, bounds=bounds, **TIGHT)
        assert result.success and result.nit < 40, f"{result.nit} steps: {result.message}"
        left = projected_gradient(objective, result.x, bounds)
        assert left <= tolerances.STATIONARY * projected_gradient(objective, start, bounds)
    assert off, "some variables must be off their bounds by rounding"


def test_bounds_may_be_pairs():
    bounds, start, _ = limited_minimum("the minimum is cut off")
    pairs = [tuple(None if np.isinf(limit) else limit for limit in pair) for pair in zip(bounds.lb, bounds.ub, strict=True)]
    found, expected = (ch3f().solve_native(x0=start, bounds=each, maxiter=3) for each in (pairs, bounds))
    assert_same(found, expected)


def test_a_start_outside_the_bounds_is_refused():
    bounds, start, _ = limited_minimum("one parameter is fixed")
    words = ("bond C-H k", "346", "340")
    assert_refused(lambda: ch3f().solve_native(x0=changed(start, [2], 346.0), bounds=bounds), ParameterError, words)


ACTIVE = ("bond*", "angle F-C-H k", "angle H-C-H k", "angle F-C-H theta0")
REDUCED = {
    "active": ACTIVE,
    "ties": Tie.ratio("angle F-C-H k", "angle H-C-H k", 1.1),
    "priors": Prior("bond C-F k", 300.0, 100.0),
    "loss": "huber",
    "f_scale": 0.05,
}


@pytest.fixture(scope="module")
def reduced():
    problem = load_problem("ch3f", "harmonic")
    data = ReferenceData()
    data.add_hessian(problem.systems[0].molecule.hessian, weight_diagonal=10.0, weight_offdiagonal=5.0)
    forcefield = problem.forcefield
    values = forcefield.parameters
    values[forcefield.labels.index("angle F-C-H k")] = 1.1 * values[forcefield.labels.index("angle H-C-H k")]
    return FusedObjective(problem.systems, forcefield.with_parameters(values), data, **REDUCED)


@pytest.mark.parametrize("method", ["lbfgsb", "levenberg-marquardt"])
def test_reduced_and_tied_parameters_priors_and_robust_losses(reduced, method):
    result = reduced.solve_native(method, **TIGHT)
    assert result.success and result.x.shape == reduced.x0.shape == (6,)
    outliers = np.abs(reduced.residuals(result.x)) > 1.001 * REDUCED["f_scale"]
    assert outliers.sum() > 3, "the loss must not be that of least squares"
    assert result.fun <= scipy_minimum(reduced, reduced.x0).fun * (1.0 + tolerances.NATIVE_MINIMUM)
    names, values = reduced.space.forcefield.labels, reduced.expand(result.x)
    frozen = names.index("angle H-C-H theta0")
    assert values[frozen] == reduced.space.forcefield.parameters[frozen]
    first, second = names.index("angle F-C-H k"), names.index("angle H-C-H k")
    assert values[first] == pytest.approx(1.1 * values[second], rel=tolerances.CLOSED_FORM)
