"""FusedObjective as SciPy sees it: values, gradients, copies, caches, and every minimizer that takes a gradient."""

import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import traces
from scipy import optimize

from q2mm_accel import FusedObjective, frequencies
from q2mm_accel.datasets import load_molecule
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import NonFiniteError, ParameterError, PrecisionError, UnusedParameterWarning
from q2mm_accel.kernel.loss import loss
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.model.seminario import estimate_force_constants

METHODS = ("BFGS", "CG", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", "Newton-CG")


def water_problem():
    """Water's Hessian elements: smooth, with a well-conditioned minimum."""
    molecule = load_molecule("water")
    systems, start = perceive_bare([molecule], form="harmonic")
    references = ReferenceData()
    references.add_hessian(molecule.hessian, weight_diagonal=1.0, weight_offdiagonal=1.0)
    references.add_frequencies(molecule.frequencies()[6:], modes=(6, 7, 8), weight=1e-4)
    return systems, estimate_force_constants(systems, start), references


@pytest.fixture
def water():
    systems, start, references = water_problem()
    return FusedObjective(systems, start, references, parameter_scale=start.typical_scale)


@pytest.fixture(scope="module")
def ch3f():
    problem = load_problem("ch3f")
    return FusedObjective(problem.systems, problem.forcefield, problem.references)


def test_fun_is_a_python_float_and_jac_a_fresh_writable_contiguous_array(ch3f):
    value, gradient = ch3f.fun(ch3f.x0), ch3f.jac(ch3f.x0)
    assert type(value) is float
    assert gradient.dtype == np.float64 and gradient.shape == (8,)
    assert gradient.flags.c_contiguous and gradient.flags.writeable and gradient.flags.owndata
    gradient[:] = 0.0
    assert np.any(ch3f.jac(ch3f.x0) != 0.0)
    assert not np.shares_memory(ch3f.jac(ch3f.x0), ch3f.jac(ch3f.x0))
    assert not np.shares_memory(ch3f.fun_and_jac(ch3f.x0)[1], ch3f.jac(ch3f.x0))


def test_changing_x_afterwards_does_not_change_what_is_cached(ch3f):
    x = ch3f.x0.copy()
    value, gradient = ch3f.fun_and_jac(x)
    x[0] *= 1.5
    assert ch3f.fun(x) != value
    assert ch3f.fun(ch3f.x0) == value
    np.testing.assert_array_equal(ch3f.jac(ch3f.x0), gradient)


def test_value_and_gradient_of_one_point_take_one_run(ch3f):
    x = ch3f.x0 * 1.01
    runs = ch3f.kernel_runs
    ch3f.fun(x)
    ch3f.jac(x)
    ch3f.fun_and_jac(x)
    assert ch3f.kernel_runs == runs + 1


def test_l_bfgs_b_runs_the_kernel_once_per_evaluation(water):
    result = optimize.minimize(water.fun, water.x0, jac=water.jac, bounds=water.bounds, method="L-BFGS-B")
    assert water.kernel_runs == result.nfev


def fortran(x):
    return np.asfortranarray(np.stack([x, x]))[0]


def read_only(x):
    copy = x.copy()
    copy.flags.writeable = False
    return copy


FORMS_OF_X = {
    "a list": list,
    "a tuple": tuple,
    "objects": lambda x: x.astype(object),
    "strided": lambda x: np.repeat(x, 2)[::2],
    "a Fortran-ordered row": fortran,
    "read-only": read_only,
    "big-endian": lambda x: x.astype(">f8"),
    "a JAX array": jax.numpy.asarray,
}


@pytest.mark.parametrize("form", FORMS_OF_X, ids=str)
def test_any_array_like_gives_the_same_value(ch3f, form):
    x = ch3f.x0 * 1.003
    assert ch3f.fun(FORMS_OF_X[form](x)) == ch3f.fun(x)


def test_float32_and_integers_count_as_their_float64_values(ch3f):
    single = ch3f.x0.astype(np.float32)
    assert ch3f.fun(single) == ch3f.fun(single.astype(np.float64))
    whole = np.round(ch3f.x0) + 1.0
    assert ch3f.fun(whole.astype(np.int64)) == ch3f.fun(whole)


@pytest.mark.parametrize("method", METHODS)
def test_every_gradient_method_reaches_the_same_minimum(water, method):
    best = optimize.minimize(water.fun_and_jac, water.x0, jac=True, method="BFGS", options={"gtol": 1e-10}).fun
    bounds = water.bounds if method in ("L-BFGS-B", "TNC", "SLSQP", "trust-constr") else None
    options = {
        "TNC": {"maxfun": 2000, "ftol": 1e-15, "xtol": 1e-12, "gtol": 1e-12},
        "L-BFGS-B": {"ftol": 1e-15, "gtol": 1e-10},
        "SLSQP": {"ftol": 1e-15, "maxiter": 500},
        "trust-constr": {"gtol": 1e-10, "xtol": 1e-12, "maxiter": 1000},
        "Newton-CG": {"xtol": 1e-10},
        "CG": {"gtol": 1e-10, "maxiter": 2000},
        "BFGS": {"gtol": 1e-10},
    }[method]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="delta_grad == 0.0")
        result = optimize.minimize(water.fun, water.x0, jac=water.jac, bounds=bounds, method=method, options=options)
    assert result.fun == pytest.approx(best, rel=tolerances.SAME_MINIMUM)
    assert water.best.fun <= result.fun


def test_least_squares_over_the_residuals_reaches_that_minimum_too(water):
    best = optimize.minimize(water.fun_and_jac, water.x0, jac=True, method="BFGS", options={"gtol": 1e-10}).fun
    result = optimize.least_squares(water.residuals, water.x0, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    assert 2.0 * result.cost == pytest.approx(best, rel=tolerances.SAME_MINIMUM)


def test_basinhopping_and_differential_evolution_work(water):
    start = water.fun(water.x0)
    hop = optimize.basinhopping(
        water.fun,
        water.x0,
        niter=2,
        rng=1,
        minimizer_kwargs={"method": "L-BFGS-B", "jac": water.jac, "bounds": water.bounds},
    )
    assert hop.fun < start
    near = optimize.Bounds(water.x0 * 0.9, water.x0 * 1.1)
    evolved = optimize.differential_evolution(
        lambda points: water.fun_batch(points.T), near, vectorized=True, updating="deferred", maxiter=5, rng=1, polish=False
    )
    assert evolved.fun < start


def test_a_callback_can_stop_and_the_result_is_the_best_point(water):
    def stop(intermediate_result):
        raise StopIteration

    result = optimize.minimize(water.fun, water.x0, jac=water.jac, method="L-BFGS-B", callback=stop)
    assert result.nit == 1 and not result.success
    assert result.fun <= water.fun(water.x0)


def test_the_gradient_agrees_with_finite_differences(ch3f):
    gradient = ch3f.jac(ch3f.x0)
    error = optimize.check_grad(ch3f.fun, ch3f.jac, ch3f.x0, epsilon=1e-6 * np.abs(ch3f.x0).max())
    steps = 1e-6 * np.abs(ch3f.x0)
    numeric = [
        (ch3f.fun(ch3f.x0 + step) - ch3f.fun(ch3f.x0 - step)) / (2 * size)
        for size, step in zip(steps, np.diag(steps), strict=True)
    ]
    assert np.linalg.norm(numeric - gradient) <= tolerances.CHECK_GRAD * np.linalg.norm(gradient)
    assert np.isfinite(error)


def test_equal_bounds_keep_a_parameter_fixed(water):
    bounds = optimize.Bounds(water.bounds.lb.copy(), water.bounds.ub.copy())
    bounds.lb[1] = bounds.ub[1] = water.x0[1]
    result = optimize.minimize(water.fun, water.x0, jac=water.jac, bounds=bounds, method="L-BFGS-B")
    assert result.x[1] == water.x0[1] and result.fun < water.fun(water.x0)
    fixed = optimize.Bounds(water.x0, water.x0)
    result = optimize.minimize(water.fun, water.x0, jac=water.jac, bounds=fixed, method="L-BFGS-B")
    np.testing.assert_array_equal(result.x, water.x0)


def test_a_problem_of_one_parameter_works():
    molecule = load_molecule("water")
    systems, start = perceive_bare([molecule], form="harmonic")
    system = type(systems[0])(molecule)
    with_angle = type(system)(molecule, torsion_atoms=(), angle_atoms=[[1, 0, 2]], angle_types=[0])
    force_field = type(start)(form="harmonic", angle_force_constants=[50.0], angle_values=[105.0])
    references = ReferenceData()
    references.add_energy(1.0)
    fitted = FusedObjective([with_angle], force_field, references)
    assert fitted.jac(fitted.x0).shape == (2,)
    assert np.isfinite(fitted.fun(fitted.x0))


def test_residuals_squared_sum_to_the_loss_and_predictions_explain_them(ch3f):
    residuals, predictions = ch3f.residuals(ch3f.x0), ch3f.predictions(ch3f.x0)
    assert residuals.shape == predictions.shape == (len(ch3f.reference_labels),)
    assert np.sum(residuals**2) == pytest.approx(ch3f.fun(ch3f.x0), rel=tolerances.REGROUP)
    expected = [r.weight * (r.value - p) for r, p in zip(ch3f.references, predictions, strict=True)]
    np.testing.assert_allclose(residuals, expected, rtol=tolerances.REGROUP, atol=0.0)


def test_a_batch_gives_the_same_losses_one_by_one(ch3f):
    points = ch3f.x0 * (1.0 + 0.01 * np.random.default_rng(3).standard_normal((7, 8)))
    expected = [ch3f.fun(point) for point in points]
    np.testing.assert_allclose(ch3f.fun_batch(points), expected, rtol=tolerances.BATCH)
    np.testing.assert_allclose(ch3f.fun_batch(points[:1]), expected[:1], rtol=tolerances.BATCH)
    assert ch3f.fun_batch(np.zeros((0, 8))).shape == (0,)


def test_batches_of_similar_size_share_a_program(ch3f):
    points = np.stack([ch3f.x0] * 36)
    ch3f.fun_batch(points[:33])
    count = sum(traces.values())
    for size in (34, 35, 36):
        np.testing.assert_allclose(ch3f.fun_batch(points[:size]), ch3f.fun(ch3f.x0), rtol=tolerances.BATCH)
    assert sum(traces.values()) == count


def test_a_batch_larger_than_memory_allows_is_cut(ch3f):
    points = ch3f.x0 * (1.0 + 0.01 * np.random.default_rng(4).standard_normal((20_000, 8)))
    before = traces["loss"], ch3f.kernel_runs
    found = ch3f.fun_batch(points)
    assert traces["loss"] - before[0] <= 1 and ch3f.kernel_runs - before[1] == 2, "20,000 Hessians are more than 256 MiB"
    some = [0, 7, 10_000, -1]
    np.testing.assert_allclose(found[some], ch3f.fun_batch(points[some]), rtol=tolerances.BATCH)


def test_second_derivatives_of_the_pure_loss_are_right(ch3f):
    # a displaced molecule: second derivatives of degenerate modes that a parameter splits do not exist
    molecule = ch3f.systems[0].molecule
    coordinates = molecule.coordinates + 0.05 * np.random.default_rng(2).standard_normal((5, 3))
    system = replace(ch3f.systems[0], molecule=replace(molecule, coordinates=coordinates, check=False))
    start = ch3f.forcefield(ch3f.x0)
    references = ReferenceData()
    references.add_frequencies(molecule.frequencies()[9:], range(9, 15), weight=0.001)
    fitted = FusedObjective([system], start, references, parameter_scale=start.typical_scale)
    second = np.asarray(jax.jit(jax.hessian(fitted.loss))(fitted.x0))
    step = 1e-4
    numeric = [
        (fitted.jac(fitted.x0 + step * unit) - fitted.jac(fitted.x0 - step * unit)) / (2 * step)
        for unit in np.eye(len(fitted.x0))
    ]
    np.testing.assert_allclose(second, numeric, rtol=0.0, atol=tolerances.CHECK_GRAD * np.abs(numeric).max())


def test_single_precision_stays_single(ch3f):
    def single(leaf):
        return leaf.astype(np.float32) if leaf.dtype == np.float64 else leaf

    problem = jax.tree.map(single, ch3f.problem)
    value = jax.jit(loss)(problem, ch3f.x0.astype(np.float32))
    assert value.dtype == np.float32
    assert float(value) == pytest.approx(ch3f.fun(ch3f.x0), rel=1e-3)


def test_float32_mode_switched_on_after_building_is_refused(ch3f):
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(PrecisionError, match="jax_enable_x64"):
            ch3f.fun(1.234 * ch3f.x0)
    finally:
        jax.config.update("jax_enable_x64", True)


def test_frequencies_of_a_force_field_outside_the_bounds_of_fits_can_be_computed():
    systems, start, _ = water_problem()
    stiff = start.with_parameters(start.parameters * [10.0, 1.0, 1.0, 1.0])
    assert frequencies(systems, stiff)[0][-1] > 9000.0


def test_a_type_that_is_switched_off_does_not_spoil_the_gradient():
    molecule = load_molecule("ethane")
    systems, start = perceive_bare([molecule], form="mm3", vdw=True)
    values = start.parameters
    values[[label == "vdw H epsilon" for label in start.labels]] = 0.0
    references = ReferenceData()
    references.add_hessian(molecule.hessian)
    with pytest.warns(UnusedParameterWarning):
        fitted = FusedObjective(systems, start.with_parameters(values), references, bounds=[(None, None)] * len(values))
    assert np.all(np.isfinite(fitted.jac(fitted.x0)))


def test_the_pure_loss_can_be_used_inside_other_jax_programs(ch3f):
    doubled = jax.jit(lambda x: 2.0 * ch3f.loss(x))
    assert float(doubled(ch3f.x0)) == pytest.approx(2.0 * ch3f.fun(ch3f.x0), rel=tolerances.REGROUP)


def test_forcefield_returns_the_parameters_in_their_own_units(water):
    fitted = water.forcefield(1.1 * water.x0)
    np.testing.assert_allclose(fitted.parameters, 1.1 * water.forcefield(water.x0).parameters, rtol=1e-15)


def test_a_parameter_scale_changes_the_units_of_x_and_nothing_else(water):
    systems, start, references = water_problem()
    plain = FusedObjective(systems, start, references)
    scale = start.typical_scale
    assert plain.fun(plain.x0) == pytest.approx(water.fun(water.x0), rel=tolerances.REGROUP)
    np.testing.assert_allclose(plain.jac(plain.x0) * scale, water.jac(water.x0), rtol=tolerances.JAC)
    np.testing.assert_allclose(plain.bounds.lb, water.bounds.lb * scale, rtol=1e-15)


def test_the_best_point_survives_an_error(ch3f):
    ch3f.fun(ch3f.x0)
    best = ch3f.best
    bad = ch3f.x0.copy()
    bad[1] = 1e200
    with pytest.raises(NonFiniteError, match="ch3f.*bond C-F r0"):
        ch3f.fun(bad)
    assert ch3f.best.fun <= best.fun
    with pytest.raises(ParameterError):
        ch3f.fun(ch3f.x0[:-1])


@pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnmatchedTermWarning")  # acetylene's torsion
def test_new_parameters_never_recompile_and_few_programs_are_compiled():
    problem = load_problem("small")
    fitted = FusedObjective(problem.systems, problem.forcefield, problem.references)
    before = dict(traces)
    fitted.fun(fitted.x0)
    assert traces["loss"] - before.get("loss", 0) <= 1
    count = sum(traces.values())
    for point in fitted.x0 * (1.0 + 1e-4 * np.random.default_rng(0).standard_normal((1000, len(fitted.x0)))):
        fitted.fun(point)
    assert sum(traces.values()) == count


def test_a_molecule_that_fits_its_bucket_does_not_recompile():
    molecules = [load_molecule("water")] * 34
    systems, start = perceive_bare(molecules, form="harmonic")

    def build(count):
        references = ReferenceData()
        for number in range(count):
            references.add_frequencies(molecules[0].frequencies()[6:], modes=(6, 7, 8), system=number)
        return FusedObjective(systems[:count], start, references)

    fewer = build(33)
    fewer.fun(fewer.x0)
    count = sum(traces.values())
    more = build(34)
    assert more.fun(more.x0) == pytest.approx(fewer.fun(fewer.x0) * 34 / 33, rel=tolerances.BATCH)
    assert sum(traces.values()) == count


def test_frequencies_are_those_that_the_objective_predicts(ch3f):
    computed = frequencies(ch3f.systems, ch3f.forcefield(ch3f.x0))[0]
    modes = [reference.index for reference in ch3f.references]
    np.testing.assert_allclose(ch3f.predictions(ch3f.x0), computed[modes], rtol=1e-12)


def test_jacobians_belong_to_the_caller_though_their_memory_on_the_device_is_used_again():
    molecule = load_molecule("ch3f")
    systems, field = perceive_bare([molecule], form="mm3")
    references = ReferenceData()
    references.add_hessian(molecule.hessian)
    objective = FusedObjective(systems, field, references)
    first = objective.residuals_jac(objective.x0)
    kept = first.copy()
    elsewhere = objective.residuals_jac(1.1 * objective.x0)
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(elsewhere, kept)
    elsewhere[:] = 0.0
    with pytest.raises(NonFiniteError):
        objective.residuals_jac(1e200 * objective.x0)
    np.testing.assert_array_equal(objective.residuals_jac(objective.x0), kept)
