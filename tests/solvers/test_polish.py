"""Fits in float32 and mixed precision, and the float64 fit that may follow."""

from functools import cache

import numpy as np
import pytest
import tolerances
from native_fits import Stop
from native_problems import assert_same, ch3f, scipy_minimum

from q2mm_accel.io.checkpoint import load_checkpoint
from q2mm_accel.solvers.lane import Status
from q2mm_accel.solvers.methods import METHODS

TIGHT = {"tol": 1e-12}
FAST = "levenberg-marquardt"
LOWER = ("float32", "mixed")

each_method = pytest.mark.parametrize("method", ["lbfgsb", FAST])
each_lower = pytest.mark.parametrize("precision", LOWER)


@cache
def optimum():
    """The lowest loss in float64."""
    return scipy_minimum(ch3f(), ch3f().x0).fun


@cache
def polished(method, precision="float32", n_starts=1):
    return ch3f().solve_native(method, precision=precision, polish=True, n_starts=n_starts, **TIGHT)


@cache
def unpolished(method, precision="float32", n_starts=1):
    return ch3f().solve_native(method, precision=precision, n_starts=n_starts, **TIGHT)


@pytest.mark.parametrize(
    "method",
    [method if method != "projected-gradient" else pytest.param(method, marks=pytest.mark.exhaustive) for method in METHODS],
)
def test_a_fit_in_float32_ends_near_the_minimum_and_says_so(method):
    result = unpolished(method)
    assert result.status == Status.CONVERGED and result.x.dtype == np.float64
    assert optimum() * (1.0 - tolerances.SAME_MINIMUM) <= result.fun <= optimum() * (1.0 + tolerances.SINGLE_MINIMUM)
    assert result.fun == ch3f().fun(result.x)


@each_method
@each_lower
def test_a_polished_fit_ends_at_the_minimum_of_float64(method, precision):
    result = polished(method, precision)
    assert result.status == Status.CONVERGED
    assert result.fun == pytest.approx(optimum(), rel=tolerances.SAME_MINIMUM)


@each_method
def test_a_polish_is_a_float64_fit_from_the_best_point(method):
    first, result = unpolished(method), polished(method)
    second = ch3f().solve_native(method, x0=first.x, **TIGHT)
    np.testing.assert_array_equal(result.x, second.x)
    assert result.nfev == result.njev == first.nfev + second.nfev and result.nit == first.nit + second.nit
    for name, values in result.history.items():
        np.testing.assert_array_equal(values, np.concatenate([first.history[name], second.history[name]]))


def test_the_best_of_many_starts_is_polished_and_the_table_is_of_all():
    first, result = unpolished(FAST, n_starts=4), polished(FAST, n_starts=4)
    second = ch3f().solve_native(FAST, x0=first.x, **TIGHT)
    for name, values in first.starts.items():
        np.testing.assert_array_equal(result.starts[name], values)
    np.testing.assert_array_equal(result.x, second.x)
    assert result.nfev == first.starts["nfev"].sum() + second.nfev
    assert result.fun == pytest.approx(optimum(), rel=tolerances.SAME_MINIMUM)
    assert f"Best of 4 starts: number {np.argmin(first.starts['fun'])}; 4 converged." in result.message


@each_lower
def test_objectives_in_lower_precision_fit_in_it_and_polish_in_float64(precision):
    objective = ch3f(precision=precision)
    result = objective.solve_native(FAST, polish=True, **TIGHT)
    assert ch3f().fun(result.x) == pytest.approx(optimum(), rel=tolerances.SAME_MINIMUM)
    assert result.fun == objective.fun(result.x) != ch3f().fun(result.x)
    np.testing.assert_array_equal(objective.solve_native(FAST, **TIGHT).x, unpolished(FAST, precision).x)


def test_a_fit_of_a_float32_objective_can_be_in_float64():
    result = ch3f(precision="float32").solve_native(FAST, precision="float64", **TIGHT)
    np.testing.assert_array_equal(result.x, ch3f().solve_native(FAST, **TIGHT).x)


def test_a_fit_that_was_stopped_is_not_polished():
    stop = Stop(at=1)
    result = ch3f().solve_native("lbfgsb", precision="float32", polish=True, callback=stop, callback_every=2, **TIGHT)
    assert result.status == Status.STOPPED and result.nit == 2 and len(stop.seen) == 1


def test_a_fit_that_was_stopped_at_its_end_is_not_polished():
    ended = unpolished(FAST)
    for options in ({"time_limit": 0.0, "maxiter": 2}, {"callback": Stop(at=1), "callback_every": 64}):
        result = ch3f().solve_native(FAST, precision="float32", polish=True, **TIGHT | options)
        assert not result.success and result.status in (Status.TIME_LIMIT, Status.STOPPED)
        assert result.nit <= ended.nit and result.fun >= ended.fun


def test_a_polished_fit_of_many_starts_is_resumed_without_doing_them_again(tmp_path):
    path = tmp_path / "fit.checkpoint"
    options = {"precision": "float32", "n_starts": 4, **TIGHT}
    whole = ch3f().solve_native(FAST, polish=True, checkpoint=path, **options)
    resumed = ch3f().solve_native(FAST, polish=True, resume=path, **options)
    for name, values in whole.starts.items():
        np.testing.assert_array_equal(resumed.starts[name], values)
    assert resumed.fun <= whole.fun and resumed.nfev - whole.starts["nfev"].sum() <= whole.nfev - whole.starts["nfev"].sum()
    unpolished_result = ch3f().solve_native(FAST, resume=path, **options)
    assert unpolished_result.fun == whole.fun and unpolished_result.nfev == whole.starts["nfev"].sum()


def test_a_callback_is_called_while_polishing_and_can_stop_it():
    seen, again = Stop(), Stop()
    options = dict(method="lbfgs", precision="float32", callback_every=1)
    first = ch3f().solve_native(callback=seen, **options)
    again.at = len(seen.seen) + 2
    result = ch3f().solve_native(callback=again, polish=True, **options)
    assert len(again.seen) == again.at and result.status == Status.STOPPED
    assert result.nit == first.nit + 2 and result.fun < first.fun


@each_method
@each_lower
def test_a_fit_in_lower_precision_goes_on_from_its_checkpoint(method, precision, tmp_path):
    path, whole = tmp_path / "fit.checkpoint", unpolished(method, precision)
    ch3f().solve_native(method, precision=precision, maxiter=2, checkpoint=path, **TIGHT)
    dtypes = {array.dtype for name, array in load_checkpoint(path).arrays.items() if name == "lanes.0"}
    assert dtypes == {np.dtype("f4" if precision == "float32" else "f8")}
    assert_same(ch3f().solve_native(method, precision=precision, resume=path, **TIGHT), whole)


def test_a_fit_in_another_precision_goes_on_from_the_best_point(tmp_path):
    path = tmp_path / "fit.checkpoint"
    first = ch3f().solve_native(FAST, precision="float32", maxiter=2, checkpoint=path, **TIGHT)
    resumed = ch3f().solve_native(FAST, resume=path, **TIGHT)
    assert_same(resumed, ch3f().solve_native(FAST, x0=first.x, **TIGHT))


def test_a_polished_fit_can_be_resumed_from_its_last_checkpoint(tmp_path):
    path = tmp_path / "fit.checkpoint"
    result = ch3f().solve_native(FAST, precision="float32", polish=True, checkpoint=path, **TIGHT)
    np.testing.assert_array_equal(load_checkpoint(path).x, result.x)
    resumed = ch3f().solve_native(FAST, precision="float32", polish=True, resume=path, **TIGHT)
    assert resumed.fun <= result.fun


def test_the_fingerprint_does_not_depend_on_precision_or_batches():
    others = [ch3f(precision=precision) for precision in LOWER] + [ch3f(batch_size=1)]
    assert {each.fingerprint for each in others} == {ch3f().fingerprint}
    assert ch3f(matrix=9.0).fingerprint != ch3f().fingerprint
