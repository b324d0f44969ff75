"""Checkpoints of SciPy's fits and native ones: where a fit starts again, which files are refused, and writes that fail."""

import math
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from inspect import signature

import numpy as np
import pytest
import tolerances
from native_fits import FAST, OTHER_BOUNDS, PROBLEM, Broken, Stop, assert_same, build
from refusals import assert_refused
from scipy.optimize import least_squares, minimize

from q2mm_accel import Molecule
from q2mm_accel.errors import CheckpointError, CheckpointWarning, ParameterError
from q2mm_accel.io import atomic
from q2mm_accel.io.checkpoint import load_checkpoint


@pytest.fixture
def objective():
    return build()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


SCIPY = {
    **{method: {"bounds": True} for method in ("L-BFGS-B", "TNC", "SLSQP", "trust-constr")},
    **{method: {} for method in ("BFGS", "CG", "Newton-CG")},
    **{method: {"bounds": True, "jac": False} for method in ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")},
}


@pytest.mark.parametrize("method", SCIPY)
def test_a_fit_of_scipy_is_resumed_natively(objective, path, method):
    save = objective.checkpoint(path, every=0)
    limit = {"maxfun" if method == "TNC" else "maxiter": 12}
    jac = objective.jac if SCIPY[method].get("jac", True) else None
    bounds = objective.bounds if SCIPY[method].get("bounds") else None
    minimize(objective.fun, objective.x0, method=method, jac=jac, bounds=bounds, options=limit, callback=save)
    assert load_checkpoint(path).fun >= objective.best.fun
    save.save()
    assert_resumed_from_scipy(objective, path)


def assert_resumed_from_scipy(objective, path):
    """Check a checkpoint of the objective's best point, and that a fit of another process would start there."""
    saved, other = load_checkpoint(path), build()
    assert np.array_equal(saved.x, objective.best.x) and np.array_equal(other.resume_point(path), saved.x)
    assert other.fun(saved.x) == saved.fun
    resumed = other.solve_native(FAST, resume=path, maxiter=2)
    assert resumed.history["fun"][0] == pytest.approx(saved.fun, rel=tolerances.LOSS) and resumed.fun < saved.fun


@pytest.mark.skipif("callback" not in signature(least_squares).parameters, reason="SciPy before 1.16 calls nothing there")
def test_a_least_squares_fit_of_scipy_is_resumed_natively(objective, path):
    save, limits = objective.checkpoint(path, every=0), (objective.bounds.lb, objective.bounds.ub)
    result = least_squares(objective.residuals, objective.x0, bounds=limits, x_scale="jac", max_nfev=4, callback=save)
    assert objective.best.fun <= 2.0 * result.cost * (1.0 + tolerances.LOSS) < 0.1 * objective.fun(objective.x0)
    assert_resumed_from_scipy(objective, path)


def test_an_exception_in_a_callback_of_scipy_passes_and_the_best_is_kept(objective, path):
    save, losses = objective.checkpoint(path, every=0), []

    def callback(intermediate_result):
        losses.append(intermediate_result.fun)
        save(intermediate_result)
        if len(losses) == 6:
            raise Broken

    with pytest.raises(Broken):
        minimize(objective.fun, objective.x0, jac=objective.jac, method="L-BFGS-B", callback=callback)
    assert min(losses) >= objective.best.fun == load_checkpoint(path).fun == objective.fun(objective.best.x)


def test_what_is_saved_before_any_evaluation_is_the_start(objective, path):
    objective.checkpoint(path).save()
    assert np.array_equal(objective.resume_point(path), objective.x0)
    assert load_checkpoint(path).fun == objective.fun(objective.x0)


def test_a_best_point_outside_the_bounds_is_refused_by_name(path):
    narrow = build(bounds=[(None, None)] * 7 + [(109.0, 111.0)])
    save = narrow.checkpoint(path, every=0)
    minimize(narrow.fun, narrow.x0, jac=narrow.jac, method="BFGS", callback=save, options={"maxiter": 30})
    assert not 109.0 <= load_checkpoint(path).x[7] <= 111.0
    words = ("angle H-C-H theta0", "outside its bounds 109 to 111")
    assert_refused(lambda: narrow.solve_native(FAST, resume=path), ParameterError, words)
    assert narrow.solve_native(FAST, resume=path, bounds=[(None, None)] * 8, maxiter=1).fun < load_checkpoint(path).fun


def moved():
    molecule = PROBLEM.systems[0].molecule
    step = np.zeros((molecule.n_atoms, 3))
    step[0, 2] = 1e-6
    other = Molecule(molecule.symbols, molecule.coordinates + step, molecule.hessian, molecule.energy, name=molecule.name)
    return [replace(PROBLEM.systems[0], molecule=other)]


OTHER_PROBLEMS = {
    "weights": lambda: build(references=[replace(each, weight=0.0011) for each in PROBLEM.references]),
    "reference value": lambda: build(references=[replace(each, value=each.value + 1.0) for each in PROBLEM.references]),
    "geometry": lambda: build(systems=moved()),
    "bounds": lambda: build(bounds=OTHER_BOUNDS),
    "loss": lambda: build(loss="huber"),
    "scale of a loss": lambda: build(loss="huber", f_scale=0.5),
    "regularization": lambda: build(l2=1e-6),
    "units": lambda: build(parameter_scale="typical"),
    "active parameters": lambda: build(active="bond *"),
}


@pytest.mark.parametrize("other", OTHER_PROBLEMS, ids=str)
def test_checkpoints_of_another_problem_are_neither_resumed_nor_overwritten(objective, path, other):
    objective.checkpoint(path).save()
    content, different = path.read_bytes(), OTHER_PROBLEMS[other]()
    words = (str(path), "another problem")
    for call in (different.resume_point, different.checkpoint):
        assert_refused(partial(call, path), CheckpointError, words)
    for option in ("resume", "checkpoint"):
        assert_refused(partial(different.solve_native, **{option: path}), CheckpointError, words)
    assert path.read_bytes() == content


def test_another_start_is_the_same_problem(objective, path):
    objective.checkpoint(path).save()
    assert np.array_equal(build(x0=objective.x0 * 1.01).resume_point(path), objective.x0)


def count_writes(monkeypatch, fails_from=math.inf):
    """Count the files that are put into place; from a number on, that fails."""
    count, real = Counter(), os.replace

    def put(source, target):
        count["tried"] += 1
        if count["tried"] >= fails_from:
            raise OSError("the mount is gone")
        real(source, target)

    monkeypatch.setattr(atomic.os, "replace", put)
    return count


@pytest.mark.parametrize(("every", "expected"), [(0, 13), (30.0, 1), (math.inf, 1)])
def test_a_checkpoint_is_written_once_per_interval_and_at_the_end(objective, path, monkeypatch, every, expected):
    count = count_writes(monkeypatch)
    result = objective.solve_native(FAST, maxiter=12, callback_every=1, checkpoint=path, checkpoint_every=every)
    assert count["tried"] == expected and load_checkpoint(path).arrays["nit"] == [12]
    assert_same(result, objective.solve_native(FAST, maxiter=12))


def test_a_fit_goes_on_when_writing_fails_and_the_last_good_checkpoint_stays(objective, path, monkeypatch):
    options = dict(method=FAST, maxiter=12, callback_every=1)
    whole = objective.solve_native(**options)
    with monkeypatch.context() as patch, pytest.warns(CheckpointWarning, match="the mount is gone") as caught:
        count_writes(patch, fails_from=4)
        assert_same(objective.solve_native(checkpoint=path, checkpoint_every=0, **options), whole)
    assert len(caught) == 10 and load_checkpoint(path).arrays["nit"] == [3]
    assert_same(objective.solve_native(resume=path, **options), whole)


def test_a_fit_of_scipy_goes_on_when_writing_fails(objective, path, monkeypatch):
    call = partial(minimize, objective.fun, objective.x0, jac=objective.jac, method="L-BFGS-B", options={"maxiter": 8})
    whole = call()
    with monkeypatch.context() as patch, pytest.warns(CheckpointWarning, match="the mount is gone"):
        count_writes(patch, fails_from=3)
        assert np.array_equal(call(callback=objective.checkpoint(path, every=0)).x, whole.x)
    assert objective.fun(objective.resume_point(path)) == load_checkpoint(path).fun >= whole.fun


STARTS = {"method": FAST, "n_starts": 4, "callback_every": 2}


def test_several_starts_go_on_in_as_many_lanes_as_before(objective, path):
    whole = objective.solve_native(lanes=2, **STARTS)
    stopped = build().solve_native(lanes=2, callback=Stop(at=2), checkpoint=path, **STARTS)
    resumed = build(batch_size=1).solve_native(resume=path, **STARTS)
    assert stopped.nfev < whole.nfev == resumed.nfev
    np.testing.assert_array_equal(resumed.starts["x"], whole.starts["x"])


DIFFERENT = {
    "the method was levenberg-marquardt": {"method": "lbfgs"},
    "n_starts, lanes or history_size differ": {"n_starts": 3},
    "the precision differs": {"precision": "float32"},
    "x0, bounds or what draws the starts differ": {"seed": 1},
}


@pytest.mark.parametrize("difference", DIFFERENT)
def test_where_several_starts_cannot_go_on_a_warning_says_why(objective, path, difference):
    first = objective.solve_native(checkpoint=path, maxiter=2, **STARTS)
    with pytest.warns(CheckpointWarning, match=f"holds 4 fits, of which only the best point is used: {difference}"):
        resumed = build().solve_native(resume=path, maxiter=2, **STARTS | DIFFERENT[difference])
    assert resumed.history["fun"][0] == pytest.approx(first.fun, rel=tolerances.SINGLE_MINIMUM)
