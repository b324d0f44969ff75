"""q2mm's own driver (5.0.0a2) on an accelerated objective: the same steps, counts and end points."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import tolerances
from q2mm.models.forcefield import ForceField, VdwParam
from q2mm.optimizers.objective import ObjectiveFunction
from q2mm.optimizers.scipy_opt import ScipyOptimizer
from q2mm_cases import objective_of, water_objective
from refusals import assert_refused
from scipy.optimize import minimize
from small_engines import Springs, objective_on

from q2mm_accel import EngineObjective, FusedObjective, accelerate
from q2mm_accel.errors import (
    InteropError,
    NonFiniteError,
    NonFiniteWarning,
    OptionError,
    ParameterError,
    UnusedParameterWarning,
)

DRIVER = 1e-6
"""Relative, for losses after few steps of the same driver, which magnify rounding. Expected 1e-9."""
LINE_SEARCH = 1e-4
"""The same for Powell's, which go far beyond the bounds and take other steps for other rounding. Expected 1e-7."""


@pytest.fixture
def theirs():
    return water_objective()


def fitted(objective, **options):
    """The result of q2mm's driver, with which the force field must agree."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy's, on options that q2mm passes to all methods
        result = ScipyOptimizer(verbose=False, **options).optimize(objective)
    np.testing.assert_array_equal(objective.forcefield.get_param_vector(), result.final_params)
    return result


@pytest.mark.parametrize(
    ("method", "maxiter"), [("L-BFGS-B", 6), ("Nelder-Mead", 30), ("least_squares", 4), ("least_squares", 50)]
)
def test_the_driver_takes_the_same_steps(theirs, method, maxiter):
    start = theirs.forcefield.get_param_vector().copy()
    expected = fitted(theirs, method=method, maxiter=maxiter)
    theirs.forcefield.set_param_vector(start)
    found = fitted(accelerate(theirs), method=method, maxiter=maxiter)
    assert (found.success, found.message, found.method) == (expected.success, expected.message, expected.method)
    assert (found.n_iterations, found.n_evaluations) == (expected.n_iterations, expected.n_evaluations)
    assert found.initial_score == pytest.approx(expected.initial_score, rel=tolerances.Q2MM_LOSS)
    close = DRIVER * expected.initial_score
    assert found.final_score == pytest.approx(expected.final_score, rel=DRIVER, abs=close)
    np.testing.assert_allclose(found.history, expected.history, rtol=DRIVER, atol=close)


def test_line_searches_come_to_the_same_end(theirs):
    start = theirs.forcefield.get_param_vector().copy()
    expected = fitted(theirs, method="Powell", maxiter=2)
    theirs.forcefield.set_param_vector(start)
    found = fitted(accelerate(theirs), method="Powell", maxiter=2)
    assert (found.success, found.n_iterations) == (expected.success, expected.n_iterations)
    assert found.final_score == pytest.approx(expected.final_score, rel=LINE_SEARCH)


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-constr"])
def test_the_driver_gets_exact_gradients_for_all_references(theirs, method):
    with pytest.raises(NotImplementedError):
        fitted(theirs, method=method, jac="analytical")
    theirs = water_objective()
    fused, start = FusedObjective.from_q2mm(theirs), theirs.forcefield.get_param_vector().copy()
    found = fitted(accelerate(theirs), method=method, jac="analytical", maxiter=20, ftol=1e-10)
    options = {"maxiter": 20, "gtol" if method == "trust-constr" else "ftol": 1e-10}
    expected = minimize(
        fused.fun, start, jac=fused.jac, method=method, bounds=theirs.forcefield.get_bounds(), options=options
    )
    assert found.final_score == pytest.approx(expected.fun, rel=DRIVER, abs=DRIVER * found.initial_score)
    assert found.final_score < found.initial_score


def test_an_early_stop_reads_the_history(theirs):
    accelerated = accelerate(theirs)
    result = fitted(accelerated, method="Nelder-Mead", divergence_factor=1e-9, divergence_patience=2)
    assert result.message.startswith("Abandoned")
    assert result.history == accelerated.history


def test_values_counts_and_parameters_are_as_in_q2mm(theirs):
    accelerated, x = accelerate(theirs), 1.02 * theirs.forcefield.get_param_vector()
    assert isinstance(accelerated, ObjectiveFunction)
    assert (accelerated.n_eval, accelerated.history, theirs.n_eval) == (0, [], 0)
    for name in ("forcefield", "engine", "molecules", "reference"):
        assert getattr(accelerated, name) is getattr(theirs, name)
    for objective in (theirs, accelerated):
        objective(x), objective.residuals(1.01 * x)
    assert accelerated.n_eval == theirs.n_eval == 2
    np.testing.assert_allclose(accelerated.history, theirs.history, rtol=tolerances.Q2MM_LOSS)
    residuals, expected = accelerated.residuals(x), theirs.residuals(x)
    np.testing.assert_allclose(residuals, expected, rtol=0.0, atol=tolerances.Q2MM_LOSS * np.max(np.abs(expected)))
    assert 0.0 in expected

    accelerated.gradient(1.05 * x)
    assert accelerated.n_eval == 3
    np.testing.assert_array_equal(theirs.forcefield.get_param_vector(), 1.05 * x)
    for rows in (np.stack([x, 1.01 * x]), x):
        assert accelerated.batched_scores(rows)[0] == pytest.approx(theirs.history[0], rel=tolerances.Q2MM_LOSS)
    assert accelerated.n_eval == len(accelerated.history) == 6

    history = accelerated.history
    accelerated.reset()
    assert accelerated.n_eval == 0 and accelerated.history is history and not history
    assert theirs.n_eval == 3


@pytest.mark.parametrize("order", ["value first", "gradient first"])
def test_loss_and_gradient_belong_together(theirs, order):
    accelerated, x = accelerate(theirs), 1.03 * theirs.forcefield.get_param_vector()
    if order == "gradient first":
        accelerated.gradient(x)
    value, gradient = accelerated(x), accelerated.gradient(x)
    step = 1e-4 * x * np.random.default_rng(5).standard_normal(len(x))
    long, short = ((theirs(x + h * step) - theirs(x - h * step)) / (2.0 * h) for h in (1.0, 0.5))
    assert value == pytest.approx(theirs(x), rel=tolerances.Q2MM_LOSS)
    assert gradient @ step == pytest.approx(
        (4.0 * short - long) / 3.0, abs=tolerances.STENCIL * np.abs(gradient) @ np.abs(step)
    )


def test_a_point_is_computed_once_where_gradients_are_wanted(theirs):
    accelerated, x = accelerate(theirs), theirs.forcefield.get_param_vector().copy()
    accelerated.gradient(x)
    before = accelerated.fused.kernel_runs
    for factor in (1.01, 1.02, 1.03):
        accelerated(factor * x), accelerated.gradient(factor * x)
    assert accelerated.fused.kernel_runs == before + 3


class LaterForceField(ForceField):
    """As of commit 0c795729, whose objective leaves its force field alone."""

    def with_params(self, vector):
        other = self.copy()
        other.set_param_vector(vector)
        return other


def test_force_fields_of_later_versions_are_left_alone(theirs):
    start = theirs.forcefield.get_param_vector().copy()
    theirs.forcefield = LaterForceField(**vars(theirs.forcefield))
    accelerated = accelerate(theirs)
    accelerated(1.1 * start), accelerated.residuals(1.2 * start), accelerated.gradient(1.3 * start)
    np.testing.assert_array_equal(theirs.forcefield.get_param_vector(), start)


def test_where_there_is_no_loss_drivers_turn_back():
    theirs = objective_of("h2o2", [VdwParam("H", 1.2, 0.02), VdwParam("O", 1.8, 0.06)])
    with pytest.warns(UnusedParameterWarning):
        accelerated = accelerate(theirs)
    start = theirs.forcefield.get_param_vector().copy()
    nowhere = start.copy()
    nowhere[accelerated.fused.labels.index("vdw H epsilon")] = -0.01
    for call in (accelerated, accelerated.residuals, accelerated.gradient):
        assert_refused(lambda call=call: call(nowhere), NonFiniteError, ["vdw H epsilon", "-0.01"])
    value = accelerated(start)
    with pytest.warns(NonFiniteWarning, match="vdw H epsilon = -0.01"):
        assert accelerated(nowhere) == np.inf
    with pytest.warns(NonFiniteWarning, match="infinity"):
        residuals = accelerated.residuals(nowhere)
    assert np.array_equal(residuals == np.inf, theirs.residuals(start) != 0.0)
    assert accelerated.history == [value, np.inf, np.inf]
    assert_refused(lambda: accelerated.gradient(nowhere), NonFiniteError, ["vdw H epsilon"])


def test_drivers_may_ask_for_gradients_on_any_engine(theirs):
    theirs.engine.supports_analytical_gradients = lambda: False
    accelerated = accelerate(theirs)
    assert accelerated.engine.supports_analytical_gradients() and not theirs.engine.supports_analytical_gradients()
    assert type(accelerated.engine) is type(theirs.engine)


@pytest.mark.parametrize("name", ["x0", "bounds", "active", "ties", "parameter_scale", "priors", "l2", "balance", "loss"])
def test_options_that_change_vector_or_loss_are_refused(theirs, name):
    assert_refused(lambda: accelerate(theirs, **{name: None}), OptionError, [f"{name} = None", "from_q2mm"])


def test_other_options_are_passed_on(theirs):
    once = accelerate(theirs, batch_size=1)
    assert once.fused.inputs.batch_size == 1
    again = accelerate(once)
    assert again.original is theirs and type(again) is type(once) and again.fused.inputs.batch_size is None


def test_what_has_changed_since_is_refused(theirs):
    accelerated, x = accelerate(theirs), theirs.forcefield.get_param_vector().copy()
    accelerated(x)
    values = theirs.reference.values
    values[1].weight *= 2.0
    assert accelerated(x) > 0.0  # a driver in between is not slowed down by looking
    accelerated.reset()
    assert_refused(lambda: accelerated(x), InteropError, ["reference 1 (mode 7) has changed", "0.02", "accelerate again"])
    values.append(replace(values[0]))
    assert_refused(lambda: accelerated.gradient(x), InteropError, [f"there are {len(values)} references", "again"])
    theirs.molecules[0] = theirs.molecules[0].with_hessian(theirs.molecules[0].hessian)
    assert_refused(lambda: accelerated.residuals(x), InteropError, ["molecules have changed", "accelerate again"])


def test_bad_input_is_refused_as_in_from_q2mm(theirs):
    assert_refused(lambda: accelerate(None), InteropError, ["a NoneType was given"])
    x = theirs.forcefield.get_param_vector()
    assert_refused(lambda: accelerate(theirs)(np.full(len(x), np.nan)), ParameterError, ["x", "nan"])


def test_an_engine_whose_terms_are_unknown_is_accelerated_as_it_is():
    """Its gradient is by differences, which q2mm's driver may then ask for."""
    theirs = objective_on(Springs())
    accelerated = accelerate(theirs, steps=1e-4)
    assert isinstance(accelerated.fused, EngineObjective)
    x = theirs.forcefield.get_param_vector()
    np.testing.assert_array_equal(accelerated.residuals(x), theirs.residuals(x))
    expected = [(theirs(x + step) - theirs(x - step)) / 2e-4 for step in 1e-4 * np.eye(len(x))]
    np.testing.assert_allclose(accelerated.gradient(x), expected, rtol=1e-5)
    assert fitted(accelerated, method="L-BFGS-B", jac="analytical").final_score < accelerated.history[0]
