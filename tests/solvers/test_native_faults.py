"""Faults injected while solve_native fits: wrong gradients, losses that are not finite, solvers that leave their bounds."""

from contextlib import contextmanager
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from native_problems import changed, projected_gradient, scipy_minimum
from refusals import assert_refused
from scipy.optimize import Bounds, minimize

from q2mm_accel import FusedObjective, ReferenceData, register_form
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import NonFiniteError, SolverError
from q2mm_accel.kernel.potentials import harmonic
from q2mm_accel.model.seminario import estimate_force_constants
from q2mm_accel.solvers import fits as fit
from q2mm_accel.solvers import loop
from q2mm_accel.solvers.lane import Status
from q2mm_accel.solvers.methods import METHODS, jaxopt

each_method = pytest.mark.parametrize("method", METHODS)


@cache
def water():
    """Water's Hessian elements, in harmonic terms."""
    return built(("water",), "harmonic")


def built(names, form, **options):
    molecules = [load_molecule(name) for name in names]
    systems, start = perceive_bare(molecules, form=form)
    data = ReferenceData()
    for number, molecule in enumerate(molecules):
        data.add_hessian(molecule.hessian, number, weight_diagonal=10.0, weight_offdiagonal=5.0)
    return FusedObjective(systems, estimate_force_constants(systems, start), data, **options)


@contextmanager
def compiled_apart(program, module, **functions):
    """Replace functions of a module while the loop is traced, which is kept for its name and apart from the healthy one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "run_segment", program)
        for name, function in functions.items():
            patch.setattr(module, name, function)
        yield


def new_program():
    return jax.jit(lambda *arguments: fit.native(*arguments), static_argnums=(0, 1, 2))


# ---- faults of the evaluation: gtol and tol tell which and where. They are arguments of the loop: one program for all.

FAULTS = (
    "none",
    "wrong sign",
    "NaN in a slab",
    "NaN far away",
    "inf far away",
    "1e308 far away",
    "NaN slopes far away",
    "1e308",
)
BARRED = [name for name in FAULTS if "far" in name]
REACH = 0.3
"""How far from the start, in typical changes, a loss is in order; the minimum is farther."""
_FAULTY, _true_evaluate = new_program(), loop.evaluate


def faulty_evaluate(method, setting, point):
    """The evaluation with a fault."""
    value, gradient, residuals, jacobian = _true_evaluate(method, setting, point)
    x, _ = method.space.outside(point, setting.scale, setting.lower, setting.upper)
    far = jnp.max(jnp.abs((x - water().x0) / setting.scale)) > REACH
    is_fault = {name: jnp.round(setting.gtol * 1e30) == number for number, name in enumerate(FAULTS)}
    slab = jnp.abs(x[0] - setting.ftol * 1e15) < 1e-3
    value = jnp.where(is_fault["NaN in a slab"] & slab | is_fault["NaN far away"] & far, jnp.nan, value)
    value = jnp.where(is_fault["inf far away"] & far, jnp.inf, value)
    value = jnp.where(is_fault["1e308 far away"] & far | is_fault["1e308"], 1e308, value)
    sign = jnp.where(is_fault["wrong sign"], -1.0, 1.0)
    gradient = jnp.where(is_fault["NaN slopes far away"] & far, jnp.nan, sign * gradient)
    if method.squares:
        in_order = (value < 1e307) & jnp.all(jnp.isfinite(gradient))
        residuals, jacobian = jnp.where(in_order, residuals, 1e150), jnp.where(in_order, sign * jacobian, 0.0)
    return loop.Evaluation(value, gradient, residuals, jacobian)


def fitted_with(fault, method, place=1000.0, **options):
    with compiled_apart(_FAULTY, loop, evaluate=faulty_evaluate):
        return water().solve_native(method, gtol=FAULTS.index(fault) * 1e-30, tol=place * 1e-15, **options)


def assert_not_worse(objective, result):
    assert result.fun <= objective.fun(objective.x0)
    assert result.fun == objective.fun(result.x)
    assert np.all(np.isfinite(result.x)) and np.all(np.isfinite(result.jac))


@each_method
def test_a_trial_that_is_not_finite_is_taken_back_and_the_fit_goes_on(method):
    healthy, first = fitted_with("none", method), fitted_with("none", method, maxiter=1)
    result = fitted_with("NaN in a slab", method, place=first.x[0])
    assert result.history["nfev"][1] > first.history["nfev"][1], "the first accepted point must not be accepted again"
    assert np.all(np.isfinite(result.history["fun"]))
    assert result.success and healthy.success
    assert result.fun == pytest.approx(healthy.fun, rel=tolerances.NATIVE_MINIMUM)


@each_method
def test_a_gradient_of_the_wrong_sign_is_a_failed_line_search(method):
    result = fitted_with("wrong sign", method)
    assert result.status == Status.LINE_SEARCH_FAILED and not result.success
    assert "not converged" in result.message
    assert_not_worse(water(), result)


def test_a_gradient_of_the_wrong_sign_does_not_make_scipy_worse():
    objective = water()
    start = {"x0": objective.x0, "jac": lambda x: -objective.jac(x), "bounds": objective.bounds}
    result = minimize(objective.fun, method="L-BFGS-B", **start)
    assert not result.success and result.fun <= objective.fun(objective.x0)


@each_method
@pytest.mark.parametrize("fault", BARRED)
def test_where_the_way_to_the_minimum_is_barred_no_fit_has_converged(method, fault):
    objective = water()
    result = fitted_with(fault, method)
    assert_not_worse(objective, result)
    assert np.abs((result.x - objective.x0) / objective.typical_scale).max() <= REACH
    assert projected_gradient(objective, result.x) > 0.01 * projected_gradient(objective, objective.x0)
    assert result.status in (Status.LINE_SEARCH_FAILED, Status.NON_FINITE) and not result.success


@each_method
def test_a_loss_of_1e308_is_no_success(method):
    result = fitted_with("1e308", method)
    assert not result.success
    assert_not_worse(water(), result)


# ---- a solver that proposes what it must not


def misled_update(self, params, state, bounds, *arguments, _update=jaxopt.LBFGSB.update):
    """A far step along the gradient's signs if there are bounds, else one uphill."""
    _, after = _update(self, params, state, bounds, *arguments)
    bounded = jnp.all(jnp.isfinite(bounds[0]))
    point = params + jnp.where(bounded, -100.0 * jnp.sign(state.grad), 0.01 * state.grad)
    value, gradient = self.fun(point)
    return jaxopt.OptStep(point, after._replace(value=value, grad=gradient))


_MISLED = new_program()


def test_a_solver_that_leaves_the_bounds_is_an_error():
    objective = water()
    lowest = scipy_minimum(objective, objective.x0).x
    half = objective.x0 + 0.5 * (lowest - objective.x0)
    bounds = Bounds(np.minimum(objective.x0, half), np.maximum(objective.x0, half))
    with compiled_apart(_MISLED, jaxopt.LBFGSB, update=misled_update):
        words = ("lbfgsb left the bounds", "report", "another method")
        assert_refused(lambda: objective.solve_native("lbfgsb", bounds=bounds), SolverError, words)


def test_a_direction_uphill_is_no_convergence():
    objective = water()
    with compiled_apart(_MISLED, jaxopt.LBFGSB, update=misled_update):
        result = objective.solve_native("lbfgsb", bounds=[(None, None)] * 4)
    assert result.status == Status.LINE_SEARCH_FAILED and not result.success
    assert_not_worse(objective, result)


# ---- molecules of which one is at fault, above a bond force constant that lies on the way to the minimum

LIMIT = 560.0
NAME = "bond H-O k"
TWO = ("lbfgsb", "levenberg-marquardt")
TWO_METHODS = pytest.mark.parametrize("method", TWO)


def walled_bond(deviation, force_constant, equilibrium):
    """Not finite above a force constant, for bonds as short as O-H."""
    wrong = (force_constant > LIMIT) & (equilibrium < 1.075)
    return jnp.where(wrong, jnp.nan, 1.0) * harmonic(deviation, force_constant, equilibrium)


@pytest.fixture(scope="module")
def walled():
    """Water, whose bond meets the wall outside the objective's bounds, and formaldehyde, which has none."""
    register_form("harmonic with a wall", like="harmonic", bond=walled_bond)
    unlimited = built(("formaldehyde", "water"), "harmonic with a wall")
    upper = changed(unlimited.bounds.ub, [unlimited.labels.index(NAME)], LIMIT)
    return built(("formaldehyde", "water"), "harmonic with a wall", bounds=Bounds(unlimited.bounds.lb, upper))


def without_wall(objective):
    """Bounds that let the parameter pass the wall."""
    return Bounds(objective.bounds.lb, changed(objective.bounds.ub, [objective.labels.index(NAME)], 2.0 * LIMIT))


@pytest.mark.parametrize(
    "method", [method if method in TWO else pytest.param(method, marks=pytest.mark.exhaustive) for method in METHODS]
)
def test_a_start_that_is_not_finite_is_an_error_that_names_molecule_and_parameter(walled, method):
    start = changed(walled.x0, [walled.labels.index(NAME)], 600.0)
    words = ("the loss is not finite", "molecules water (first", f"{NAME} = 600")
    assert_refused(lambda: walled.solve_native(method, x0=start, bounds=without_wall(walled)), NonFiniteError, words)


@TWO_METHODS
def test_a_fit_that_ends_at_a_wall_says_so(walled, method):
    result = walled.solve_native(method, bounds=without_wall(walled))
    assert_not_worse(walled, result)
    assert result.x[walled.labels.index(NAME)] <= LIMIT
    assert not result.success
    if method == "levenberg-marquardt":  # the other may creep along the wall until maxiter
        assert result.status == Status.NON_FINITE
    if result.status == Status.NON_FINITE:
        assert "Affected: molecules" in result.message and "water" in result.message and f"{NAME} = " in result.message


@TWO_METHODS
def test_within_bounds_in_front_of_the_wall_the_fit_converges(walled, method):
    result = walled.solve_native(method)
    assert result.success and result.x[walled.labels.index(NAME)] == LIMIT
    assert_not_worse(walled, result)


@TWO_METHODS
def test_starts_that_are_not_finite_do_not_harm_the_others(walled, method):
    result = walled.solve_native(method, n_starts=12, lanes=1, spread=0.1, bounds=without_wall(walled), maxiter=10)
    starts = result.starts
    behind = starts["x0"][:, walled.labels.index(NAME)] > LIMIT
    assert 2 <= behind.sum() <= 10
    np.testing.assert_array_equal(starts["status"] == Status.NON_FINITE, behind)
    assert np.all(starts["fun"][behind] == np.inf) and np.all(np.isfinite(starts["fun"][~behind]))
    np.testing.assert_array_equal(starts["x"][behind], starts["x0"][behind])
    assert np.all(starts["nit"][behind] == 0) and np.all(starts["nfev"][behind] == 1) and np.all(starts["nit"][~behind] > 0)
    assert result.fun == pytest.approx(starts["fun"].min(), rel=tolerances.BATCH) and result.fun < walled.fun(walled.x0)
