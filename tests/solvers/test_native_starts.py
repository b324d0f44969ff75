"""solve_native from many starts: where they begin, where they end, the best of them; reproducibility, traces, memory."""

import os
import pickle
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tolerances
from helpers import traces
from native_problems import assert_same, by_frequencies, ch3f, projected_gradient, scipy_minimum
from refusals import assert_refused

from q2mm_accel import FusedObjective, ReferenceData
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import OptionError
from q2mm_accel.solvers.lane import Status
from q2mm_accel.solvers.methods import METHODS

N = 20
TIGHT = {"tol": 1e-12, "gtol": 1e-8}
TABLE = {"x0": (N, 8), "x": (N, 8), "fun": (N,), "nit": (N,), "nfev": (N,), "status": (N,)}

each_method = pytest.mark.parametrize("method", METHODS)


@cache
def fitted(method):
    return ch3f().solve_native(method, n_starts=N, **TIGHT)


@cache
def scipy_loss():
    return scipy_minimum(ch3f(), ch3f().x0).fun


@each_method
def test_nearly_all_starts_reach_the_minimum_of_scipy(method):
    starts = fitted(method).starts
    reached = starts["fun"] <= scipy_loss() * (1.0 + tolerances.NATIVE_MINIMUM)
    assert reached.mean() >= 0.95, starts["fun"]
    assert np.all(starts["fun"] >= scipy_loss() * (1.0 - tolerances.NATIVE_MINIMUM))


@each_method
def test_the_table_holds_what_its_columns_say(method):
    result, objective = fitted(method), ch3f()
    assert {name: column.shape for name, column in result.starts.items()} == TABLE
    assert all(column.flags.owndata and column.flags.writeable for column in result.starts.values())
    assert all(result.starts[name].dtype == np.int64 for name in ("nit", "nfev", "status"))
    x0, x, fun = (result.starts[name] for name in ("x0", "x", "fun"))
    np.testing.assert_allclose(fun, [objective.fun(each) for each in x], rtol=tolerances.BATCH)
    assert np.all(fun <= [objective.fun(each) * (1.0 + tolerances.BATCH) for each in x0])
    for points in (x0, x):
        assert np.all((points >= objective.bounds.lb) & (points <= objective.bounds.ub))
    np.testing.assert_array_equal(x0[0], objective.x0)
    assert result.nfev == result.njev == result.starts["nfev"].sum()


@each_method
def test_the_result_is_that_of_the_best_start(method):
    result = fitted(method)
    best = int(np.argmin(result.starts["fun"]))
    np.testing.assert_array_equal(result.x, result.starts["x"][best])
    assert result.fun == ch3f().fun(result.x)
    assert result.fun == pytest.approx(result.starts["fun"].min(), rel=tolerances.BATCH)
    assert result.nit == result.starts["nit"][best] == len(result.history["fun"]) - 1
    assert result.status == result.starts["status"][best] and result.success
    converged = (result.starts["status"] == Status.CONVERGED).sum()
    assert f"Best of {N} starts: number {best}; {converged} converged" in result.message


def test_a_fit_among_minima_of_different_depth_has_only_converged_at_a_stationary_point():
    # bonds of the mm3 form are soft beyond 0.2 Å, and the loss of this method may rise for a while
    problem = load_problem("water", "mm3")
    data = ReferenceData()
    data.add_hessian(problem.systems[0].molecule.hessian, weight_diagonal=10.0, weight_offdiagonal=5.0)
    objective = FusedObjective(problem.systems, problem.forcefield, data)
    starts = objective.solve_native("projected-gradient", n_starts=N, **TIGHT).starts
    done = starts["status"] == Status.CONVERGED
    assert done.sum() > N / 2
    assert_stationary(objective, starts["x"][done])


def assert_stationary(objective, points):
    slopes = np.array([projected_gradient(objective, x) for x in points])
    assert np.all(slopes <= tolerances.STATIONARY * projected_gradient(objective, objective.x0)), slopes


@each_method
def test_every_start_has_converged_at_a_stationary_point(method):
    assert np.all(fitted(method).starts["status"] == Status.CONVERGED)
    assert_stationary(ch3f(), fitted(method).starts["x"])


@pytest.mark.parametrize(
    ("method", "lanes"),
    [
        ("levenberg-marquardt", 3),
        ("projected-gradient", 2),
        pytest.param("projected-gradient", 8, marks=pytest.mark.exhaustive),
    ],
)
def test_the_table_does_not_depend_on_the_number_of_lanes(method, lanes):
    options = {**TIGHT, "n_starts": N, "maxiter": 4}  # over more steps, other rounding may lead to other counts
    expected = ch3f().solve_native(method, **options).starts
    found = ch3f().solve_native(method, lanes=lanes, **options).starts
    np.testing.assert_array_equal(found["x0"], expected["x0"])
    for name in ("nit", "nfev", "status"):
        np.testing.assert_array_equal(found[name], expected[name])
    np.testing.assert_allclose(found["fun"], expected["fun"], rtol=tolerances.LANES)
    np.testing.assert_allclose(found["x"], expected["x"], rtol=tolerances.LANES)
    whole = ch3f().solve_native(method, n_starts=N, lanes=lanes, **TIGHT).starts
    np.testing.assert_array_equal(whole["status"], fitted(method).starts["status"])
    np.testing.assert_allclose(whole["fun"], fitted(method).starts["fun"], rtol=tolerances.LANES)


def positions(starts, low, high):
    """Where starts lie between two limits, from 0 to 1."""
    return (starts - low) / (high - low)


def assert_even(parts, count):
    """Each of as many intervals as there are starts holds one, along every axis."""
    for column in np.floor(parts * count).T:
        assert sorted(column) == list(range(count))


@pytest.mark.parametrize("seed", [0, 7])
def test_perturbed_starts_are_spread_evenly_around_x0(seed):
    objective = ch3f()
    x0 = 1.05 * objective.x0
    starts = objective.solve_native(n_starts=33, x0=x0, spread=0.1, seed=seed, maxiter=0, lanes=N).starts["x0"]
    np.testing.assert_array_equal(starts[0], x0)
    assert_even(positions(starts[1:], 0.9 * x0, 1.1 * x0), 32)


def test_sobol_starts_cover_the_bounds():
    objective = ch3f()
    bounds = [(0.5 * x, 1.2 * x) for x in objective.x0]
    starts = objective.solve_native(n_starts=33, sampling="sobol", bounds=bounds, maxiter=0, lanes=N).starts["x0"]
    np.testing.assert_array_equal(starts[0], objective.x0)
    assert_even(positions(starts[1:], *np.transpose(bounds)), 32)


def test_sobol_starts_need_finite_bounds():
    bounds = [(None, None)] + [(0.0, 1000.0)] * 7
    call = {"n_starts": 3, "sampling": "sobol", "bounds": bounds}
    assert_refused(lambda: ch3f().solve_native(**call), OptionError, ("sobol", "finite bounds", "perturbation"))


def test_starts_keep_to_the_bounds():
    objective = ch3f()
    bounds = [(x, 1.01 * x) for x in objective.x0]
    result = objective.solve_native("lbfgsb", n_starts=N, bounds=bounds, maxiter=2, lanes=N)
    for name in ("x0", "x"):
        assert np.all(result.starts[name] >= objective.x0) and np.all(result.starts[name] <= 1.01 * objective.x0)


@each_method
@pytest.mark.parametrize("runs", [3, pytest.param(10, marks=pytest.mark.exhaustive)])
def test_several_runs_are_bitwise_the_same(method, runs):
    for _ in range(runs):
        assert_same(ch3f().solve_native(method, n_starts=N, seed=0, **TIGHT), fitted(method))


@each_method
def test_a_pickled_objective_gives_the_same_result(method):
    copied = pickle.loads(pickle.dumps(ch3f()))
    assert_same(copied.solve_native(method, n_starts=N, **TIGHT), fitted(method))


def test_another_seed_gives_other_starts():
    other = ch3f().solve_native("lbfgsb", n_starts=N, seed=1, **TIGHT).starts
    assert np.all(other["x0"][1:] != fitted("lbfgsb").starts["x0"][1:])
    assert np.all(other["fun"] <= scipy_loss() * (1.0 + tolerances.NATIVE_MINIMUM))


def test_only_another_method_compiles_again():
    objective, other = ch3f(), by_frequencies()
    few = {"n_starts": N, "lanes": N, "maxiter": 1}
    for method in METHODS:
        objective.solve_native(method, **few)
    before = traces["native"]
    for method in METHODS:
        objective.solve_native(method, x0=0.99 * objective.x0, tol=1e-3, gtol=1e-3, callback_every=3, **few | {"maxiter": 2})
        objective.solve_native(method, bounds=[(0.5 * x, 2.0 * x) for x in objective.x0], **few)
        objective.solve_native(method, bounds=[(None, None)] * 8, **few)
        objective.solve_native(method, seed=5, spread=0.01, **few | {"n_starts": 50})
        other.solve_native(method, **few)
    assert traces["native"] == before
    objective.solve_native("projected-gradient", history_size=5, **few)
    assert traces["native"] == before + 1


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident memory from /proc")
@pytest.mark.parametrize("what", ["evaluations", "fits"])
def test_memory_does_not_grow(what):
    objective, rng = ch3f(), np.random.default_rng(0)

    def evaluations(count):
        for _ in range(10 * count):
            objective.fun_and_jac(objective.x0 * (1.0 + 1e-4 * rng.standard_normal(8)))

    def fits(count):
        for _ in range(count):
            objective.solve_native("lbfgsb", x0=objective.x0 * (1.0 + 1e-4 * rng.standard_normal(8)), n_starts=N, maxiter=2)

    call = {"evaluations": evaluations, "fits": fits}[what]
    call(100)
    before = resident_bytes()
    call(200)
    assert resident_bytes() - before < tolerances.MEMORY_GROWTH
