"""Fits as they run, are stopped and go on: segments, callbacks, limits, progress and resuming change no number."""

import io
import signal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import rich
import tolerances
from helpers import traces
from native_fits import FAST, OTHER_BOUNDS, PROBLEM, Broken, Stop, assert_same, build
from scipy.optimize import OptimizeResult, minimize

from q2mm_accel.io.checkpoint import load_checkpoint
from q2mm_accel.solvers import fits as fit
from q2mm_accel.solvers import native as solve
from q2mm_accel.solvers import watch
from q2mm_accel.solvers.lane import Status
from q2mm_accel.solvers.methods import METHODS

every_method = pytest.mark.parametrize("method", METHODS)
one_or_many = pytest.mark.parametrize("n_starts", [1, 5])


@pytest.fixture
def objective():
    return build()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


SHORT = ("lbfgsb", FAST)
shorter = pytest.mark.parametrize(
    ("method", "n_starts"),
    [
        pytest.param(method, n_starts, marks=() if n_starts == 1 or method in SHORT else pytest.mark.exhaustive)
        for method in METHODS
        for n_starts in (1, 5)
    ],
)


@shorter
def test_the_length_of_segments_changes_nothing(objective, method, n_starts):
    options = dict(method=method, n_starts=n_starts, maxiter=60)
    whole = objective.solve_native(callback_every=64, **options)
    for steps in (1, 7):
        callback = Stop()
        assert_same(whole, objective.solve_native(callback_every=steps, callback=callback, **options))
        assert len(callback.seen) >= whole.nit / steps


def test_limits_and_tolerances_of_any_type_compile_nothing(objective):
    objective.solve_native(FAST, maxiter=1)
    before = traces.copy()
    for maxiter in (np.int32(1), 10**30, np.uint8(7)):
        objective.solve_native(FAST, maxiter=maxiter, tol=np.float32(1e-3), gtol=0, callback_every=np.int8(3))
    assert traces == before


class Listener:
    """An object whose methods are callbacks."""

    def __init__(self, seen):
        self.seen = seen

    def __call__(self, intermediate_result):
        self.seen(intermediate_result)

    def at(self, xk):
        self.seen(xk)


FORMS = {
    "x": lambda seen: lambda xk: seen(xk),
    "result": lambda seen: lambda intermediate_result: seen(intermediate_result),
    "result by keyword": lambda seen: lambda *, intermediate_result: seen(intermediate_result),
    "result and more": lambda seen: lambda intermediate_result, more=None: seen(intermediate_result),
    "anything": lambda seen: lambda *details, **named: seen(*details, **named),
    "an object": Listener,
    "a method": lambda seen: Listener(seen).at,
    "a partial function": lambda seen: partial(lambda more, intermediate_result: seen(intermediate_result), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_callback_gets_what_scipy_gives_it(objective, form):
    seen = []
    callback = FORMS[form](seen.append)
    minimize(lambda x: (x @ x, 2.0 * x), np.ones(8), jac=True, method="L-BFGS-B", callback=callback)
    kinds = {type(given) for given in seen}
    seen.clear()
    objective.solve_native(FAST, callback=callback, callback_every=1, maxiter=3)
    assert len(seen) == 3 and {type(given) for given in seen} == kinds
    points = [given.x if isinstance(given, OptimizeResult) else given for given in seen]
    assert [objective.fun(x) for x in points] == sorted((objective.fun(x) for x in points), reverse=True)


@one_or_many
def test_a_callback_sees_the_best_so_far(objective, n_starts):
    callback = Stop()
    result = objective.solve_native("lbfgsb", callback=callback, callback_every=7, n_starts=n_starts, maxiter=60)
    losses = [seen.fun for seen in callback.seen]
    assert losses == sorted(losses, reverse=True) and losses[-1] == result.history["fun"].min()
    assert np.array_equal(callback.seen[-1].x, result.x) and callback.seen[-1].nfev == result.nfev
    if n_starts == 1:
        assert [seen.nit for seen in callback.seen] == [*range(7, result.nit, 7), result.nit]
    for seen in callback.seen:
        assert objective.fun(seen.x) == pytest.approx(seen.fun, rel=tolerances.LOSS)


@one_or_many
def test_a_callback_may_spoil_what_it_gets(objective, n_starts):
    def by_name(intermediate_result):
        intermediate_result.x[:] = np.nan
        intermediate_result.fun = intermediate_result.nit = None

    def by_position(x):
        x *= 0.0

    options = dict(method="lbfgsb", n_starts=n_starts, maxiter=20, callback_every=1)
    whole = objective.solve_native(**options)
    for callback in (by_name, by_position):
        assert_same(whole, objective.solve_native(callback=callback, **options))


@every_method
def test_stop_iteration_ends_the_fit_where_maxiter_would(objective, method):
    stopped = objective.solve_native(method, callback=Stop(at=5), callback_every=1)
    limited = objective.solve_native(method, maxiter=5)
    assert (stopped.status, limited.status) == (Status.STOPPED, Status.ITERATION_LIMIT)
    assert not stopped.success and "StopIteration" in stopped.message and stopped.nit == 5
    assert_same(stopped, limited, but=("status",))


def test_stop_iteration_ends_all_starts(objective):
    callback = Stop(at=4)
    stopped = objective.solve_native("lbfgsb", n_starts=5, callback=callback, callback_every=1)
    assert stopped.status == Status.STOPPED and not stopped.success and len(callback.seen) == 4
    assert {*stopped.starts["status"]} == {Status.STOPPED} and {*stopped.starts["nfev"]} == {4}
    assert callback.seen[-1].fun == stopped.starts["fun"].min()


@one_or_many
def test_an_exception_in_a_callback_passes_and_the_best_is_kept(objective, path, n_starts):
    options = dict(method="lbfgsb", n_starts=n_starts, callback_every=1, maxiter=30)
    callback, handler = Stop(at=6, error=Broken("six")), signal.getsignal(signal.SIGINT)
    with pytest.raises(Broken, match="six"):
        objective.solve_native(callback=callback, checkpoint=path, **options)
    assert signal.getsignal(signal.SIGINT) is handler
    assert np.array_equal(objective.best.x, callback.seen[-1].x)
    assert objective.best.fun == pytest.approx(min(seen.fun for seen in callback.seen), rel=tolerances.LOSS)
    assert_same(objective.solve_native(resume=path, **options), objective.solve_native(**options))


@one_or_many
def test_no_time_is_one_segment(objective, n_starts):
    result = objective.solve_native("lbfgsb", n_starts=n_starts, time_limit=0, callback_every=3)
    assert result.status == Status.TIME_LIMIT and not result.success and "time limit" in result.message
    assert (result.nit == 3) if n_starts == 1 else ({*result.starts["nfev"]} == {3})
    assert result.fun < objective.fun(objective.x0)


def test_a_fit_goes_on_until_its_time_is_over(objective, monkeypatch):
    now = iter(range(100))
    for module in (solve, watch):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(now)))
    result = objective.solve_native("lbfgsb", time_limit=3.5, callback_every=2)
    assert result.status == Status.TIME_LIMIT and result.nit == 8
    assert_same(result, objective.solve_native("lbfgsb", maxiter=8), but=("status",))


def test_a_fit_that_converges_as_its_time_ends_has_converged(objective):
    result = objective.solve_native(FAST, time_limit=0, callback_every=64)
    assert result.status == Status.CONVERGED and result.success


@pytest.fixture
def screen():
    """What appears on a terminal."""
    console, text = rich.get_console(), io.StringIO()
    before = console.__dict__
    rich.reconfigure(file=text, force_terminal=True, width=100)
    yield text
    console.__dict__ = before


@one_or_many
def test_progress_is_shown_and_changes_nothing(objective, screen, n_starts):
    options = dict(method="lbfgsb", n_starts=n_starts, maxiter=20)
    quiet = objective.solve_native(**options)
    assert screen.getvalue() == ""
    assert_same(quiet, objective.solve_native(progress=True, callback_every=5, **options))
    assert f"loss {quiet.fun:.6g}" in screen.getvalue() and "100%" in screen.getvalue()


def test_an_exception_puts_the_progress_away(objective, screen):
    with pytest.raises(Broken):
        objective.solve_native(FAST, progress=True, callback=Stop(at=1, error=Broken))
    objective.solve_native(FAST, progress=True, maxiter=2)


@shorter
def test_two_halves_are_the_whole(objective, path, method, n_starts):
    options = dict(method=method, n_starts=n_starts)
    whole = objective.solve_native(maxiter=14, **options)
    half = objective.solve_native(maxiter=7, checkpoint=path, **options)
    assert half.status == Status.ITERATION_LIMIT and half.nit == 7
    resumed = objective.solve_native(maxiter=14, resume=path, checkpoint=path, callback_every=3, **options)
    assert_same(resumed, whole)
    assert_same(objective.solve_native(maxiter=14, resume=path, **options), whole)


@pytest.mark.parametrize("at", [1, 2, 7, 12])
def test_killed_while_starts_wait_for_a_lane_and_resumed_is_the_whole(objective, path, at):
    options = dict(method=FAST, n_starts=5, lanes=2, callback_every=4)
    whole = objective.solve_native(**options)
    with pytest.raises(Broken):
        objective.solve_native(callback=Stop(at=at, error=Broken), checkpoint=path, **options)
    assert int(load_checkpoint(path).arrays["waiting"]) < 5 or at > 2
    assert_same(objective.solve_native(resume=path, **options), whole)


def test_starts_that_reached_maxiter_and_lost_their_lane_keep_what_they_have(objective, path):
    options = dict(method=FAST, n_starts=5, lanes=2)
    half = objective.solve_native(maxiter=4, checkpoint=path, **options).starts
    resumed = objective.solve_native(maxiter=8, resume=path, **options)
    assert np.all(resumed.starts["fun"] <= half["fun"]) and resumed.fun < half["fun"].min()


@pytest.mark.parametrize("at", [2, 3])
def test_ctrl_c_while_lanes_change_hands_leaves_the_last_good_checkpoint(objective, path, monkeypatch, at):
    options, calls, real = dict(method=FAST, n_starts=5, lanes=2, callback_every=4), [], fit.open_lanes

    def open_lanes(*arguments):
        calls.append(arguments)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(*arguments)

    whole = objective.solve_native(**options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fit, "open_lanes", open_lanes)
        objective.solve_native(checkpoint=path, checkpoint_every=0, **options)
    assert_same(objective.solve_native(resume=path, **options), whole)


def test_a_finished_fit_is_resumed_without_an_evaluation(objective, path):
    whole = objective.solve_native(FAST, checkpoint=path)
    callback = Stop()
    assert_same(objective.solve_native(FAST, resume=path, callback=callback), whole)
    assert callback.seen == []


def test_fewer_iterations_than_were_taken_add_none(objective, path):
    taken = objective.solve_native("lbfgsb", callback=Stop(at=8), callback_every=1, checkpoint=path)
    resumed = objective.solve_native("lbfgsb", resume=path, maxiter=5)
    assert_same(resumed, taken, but=("status",))


OTHERWISE = {
    "another method": dict(method="lbfgs"),
    "more starts": dict(n_starts=5),
    "another start": dict(x0=PROBLEM.forcefield.parameters * 1.01),
    "other bounds": dict(bounds=OTHER_BOUNDS),
}


@pytest.mark.parametrize("change", OTHERWISE, ids=str)
def test_otherwise_a_fit_goes_on_from_the_best_point(objective, path, change):
    first = objective.solve_native("lbfgsb", maxiter=12, checkpoint=path)
    saved = load_checkpoint(path)
    assert saved.method == "lbfgsb" and np.array_equal(saved.x, first.x) and saved.fun == first.fun
    resumed = objective.solve_native(**{"method": "lbfgsb"} | OTHERWISE[change], resume=path, maxiter=12)
    assert resumed.fun < saved.fun
    if change == "more starts":
        assert np.array_equal(resumed.starts["x0"][0], saved.x)
    else:
        assert resumed.history["fun"][0] == pytest.approx(saved.fun, rel=tolerances.LOSS) and resumed.nit == 12


@every_method
@one_or_many
def test_the_loss_at_the_saved_point_is_the_saved_one_to_the_last_bit(objective, path, method, n_starts):
    result = objective.solve_native(method, n_starts=n_starts, maxiter=9, checkpoint=path)
    other = build()
    assert load_checkpoint(path).fun == other.fun(other.resume_point(path)) == result.fun
