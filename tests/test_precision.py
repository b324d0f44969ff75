"""Objectives in float32 and mixed precision: how close they come to float64, and what they refuse."""

from functools import cache

import jax
import numpy as np
import pytest
import tolerances
from oracles.cases import references_of_all_kinds, systems_with_all_terms

from q2mm_accel import FusedObjective, ReferenceData
from q2mm_accel import objective as compiled
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.parameters.space import parameter_space
from q2mm_accel.problem.build import build_problem
from q2mm_accel.problem.precision import in_precision
from q2mm_accel.runtime import PRECISIONS, exclusive_eigh

# Rh-enamide has no term for some of its parameters
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

LOWER = PRECISIONS[1:]
STEPS = (0.0, 0.1, 0.3, 1.0, 1.0)
"""Largest changes of parameters from the start, in units of typical ones."""

each_lower = pytest.mark.parametrize("precision", LOWER)
mixed_first = pytest.mark.parametrize("precision", ["mixed", pytest.param("float32", marks=pytest.mark.exhaustive)])

loaded = cache(load_problem)


def points(field):
    """Parameters at the start of a force field and around it, within its bounds."""
    rng, start = np.random.default_rng(0), field.parameters
    moves = [step * field.typical_scale * rng.uniform(-1.0, 1.0, len(start)) for step in STEPS]
    return [np.clip(start + move, field.bounds.lb, field.bounds.ub) for move in moves]


def spectra(problem, precision):
    """All frequencies of all molecules at each of the points."""
    references = ReferenceData()
    for number, system in enumerate(problem.systems):
        references.add_frequencies(np.zeros(3 * system.molecule.n_atoms), system=number)
    arrays = in_precision(build_problem(problem.systems, parameter_space(problem.forcefield), tuple(references)), precision)
    with exclusive_eigh():
        found = [np.array(compiled.predictions(arrays, x), dtype=np.float64) for x in points(problem.forcefield)]
    return np.array(found)[:, : len(references)]


exact_spectra = cache(lambda name, form: spectra(loaded(name, form), "float64"))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("ch3f", "harmonic"),
        pytest.param("ch3f", "mm3", marks=pytest.mark.exhaustive),
        pytest.param("sn2_ts", "harmonic", marks=pytest.mark.exhaustive),
        ("sn2_ts", "mm3"),
        pytest.param("rh-enamide", "harmonic", marks=[pytest.mark.network, pytest.mark.exhaustive]),
        pytest.param("rh-enamide", "mm3", marks=pytest.mark.network),
    ],
)
@each_lower
def test_frequencies_above_50_are_those_of_float64_to_a_hundredth(name, form, precision):
    expected, found = exact_spectra(name, form), spectra(loaded(name, form), precision)
    stiff = expected > tolerances.FREQUENCY_FLOOR
    assert np.abs(found - expected)[stiff].max() <= tolerances.FREQUENCY_SINGLE
    assert not np.array_equal(found, expected)


@cache
def rh_enamide(form, precision):
    problem = loaded("rh-enamide", form)
    return FusedObjective(problem.systems, problem.forcefield, problem.references, precision=precision)


@pytest.mark.network
@pytest.mark.parametrize("form", [pytest.param("harmonic", marks=pytest.mark.exhaustive), "mm3"])
@mixed_first
def test_the_gradient_of_rh_enamide_is_that_of_float64_to_four_digits(form, precision):
    exact, objective = rh_enamide(form, "float64"), rh_enamide(form, precision)
    scale = exact.typical_scale
    for x in points(exact.space.forcefield):
        error = np.linalg.norm((objective.jac(x) - exact.jac(x)) * scale)
        assert error <= tolerances.JAC_SINGLE * np.linalg.norm(exact.jac(x) * scale)
        assert objective.fun(x) == pytest.approx(exact.fun(x), rel=tolerances.LOSS_SINGLE)


@cache
def every_kind(precision):
    """References of every kind to two molecules with every kind of term.

    Without the frequency of mode 6: where another mode is imaginary it is a rigid motion, whose value is rounding.
    """
    systems, field = systems_with_all_terms("mm3", ("formaldehyde", "h2o2"))
    references = [each for each in references_of_all_kinds(systems) if (each.kind, each.index) != ("frequency", 6)]
    return FusedObjective(systems, field, references, precision=precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_everything_that_comes_out_is_float64(precision):
    problem = loaded("ch3f", "mm3")
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references, precision=precision)
    x = objective.x0
    arrays = [objective.jac(x), objective.residuals(x), objective.residuals_jac(x), objective.predictions(x)]
    arrays += [objective.fun_batch([x, 1.01 * x]), objective.fun_and_jac(x)[1], objective.best.x]
    arrays += [objective.expand(x), objective.x0, objective.bounds.lb, objective.bounds.ub]
    assert all(type(array) is np.ndarray and array.dtype == np.float64 for array in arrays)
    assert all(array.flags.writeable for array in arrays[:7])
    assert type(objective.fun(x)) is type(objective.best.fun) is float


@pytest.mark.parametrize(
    ("precision", "assembly", "after"), [("float64", "f8", "f8"), ("float32", "f4", "f4"), ("mixed", "f4", "f8")]
)
def test_compiled_functions_compute_in_the_precision_asked_for(precision, assembly, after):
    objective = every_kind(precision)
    floats = {leaf.dtype for leaf in jax.tree.leaves(objective.problem.stacks) if leaf.dtype.kind == "f"}
    assert floats == {np.dtype(assembly), np.dtype(after)}
    for function in (kernel.predictions, kernel.residuals, kernel.loss, jax.grad(kernel.loss, argnums=1)):
        found = jax.eval_shape(function, objective.problem, objective.x0.astype(after))
        assert found.dtype == after


@mixed_first
def test_twice_the_residuals_times_their_jacobian_is_the_gradient(precision):
    objective, exact = every_kind(precision), every_kind("float64")
    for x in points(exact.space.forcefield):
        products = 2.0 * objective.residuals(x) @ objective.residuals_jac(x)
        gradient = objective.jac(x)
        for found in (products, gradient):
            assert np.abs(found - exact.jac(x)).max() <= tolerances.JAC_SINGLE * np.abs(exact.jac(x)).max()
        assert np.abs(products - gradient).max() <= tolerances.JAC_SINGLE * np.abs(gradient).max()
        assert float(objective.residuals(x) @ objective.residuals(x)) == pytest.approx(objective.fun(x), rel=1e-6)
