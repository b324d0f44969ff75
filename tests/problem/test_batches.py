"""Batches of molecules that take turns: the same results, with no more padding than batches of one size need."""

import pickle
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import problem_of
from oracles.cases import references_of_all_kinds, systems_with_all_terms
from refusals import SYSTEM, assert_refused, forcefield

from q2mm_accel import FusedObjective, ReferenceData
from q2mm_accel.benchmark.cases import alkane
from q2mm_accel.errors import OptionError
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.kernel.jacobian import residuals_and_jacobian
from q2mm_accel.model.plausibility import CHECKS
from q2mm_accel.problem import layout
from q2mm_accel.runtime import exclusive_eigh

originals = cache(systems_with_all_terms)


@cache
def objective_of(batch_size=None):
    """Five molecules with every kind of term, and references of every kind; relative energies belong to all of them."""
    systems, field = originals("mm3")
    return FusedObjective(systems, field, references_of_all_kinds(systems), batch_size=batch_size)


def assert_regrouped(found, expected, tolerance=tolerances.REGROUP_GRADIENT):
    """Equal but for the order of additions and the size of matrices, relative to the largest element."""
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance * np.abs(expected).max())


def turns(objective):
    """Number of batches of each stack."""
    return [len(stack.read) for stack in objective.problem.stacks]


MOST = ("jac", "residuals_jac", "predictions")


@pytest.mark.parametrize(
    ("batch_size", "expected", "names"),
    [
        (3, [2], MOST),
        (100, [1], MOST),
        pytest.param(1, [5], (*MOST, "residuals"), marks=pytest.mark.exhaustive),
        pytest.param(3, [2], ("residuals",), marks=pytest.mark.exhaustive),
    ],
)
def test_all_results_are_those_of_one_batch(batch_size, expected, names):
    whole, objective = objective_of(), objective_of(batch_size)
    assert turns(whole) == [1] and turns(objective) == expected
    x = whole.x0
    assert objective.fun(x) == pytest.approx(whole.fun(x), rel=tolerances.REGROUP)
    for name in names:
        assert_regrouped(getattr(objective, name)(x), getattr(whole, name)(x))
    if "residuals" in names:
        vectors = np.stack([x, 1.01 * x])
        assert_regrouped(objective.fun_batch(vectors), whole.fun_batch(vectors), tolerances.BATCH)


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.exhaustive), 3])
def test_relative_energies_of_molecules_in_several_batches_share_one_constant(batch_size):
    objective = objective_of(batch_size)
    computed = objective.predictions(objective.x0)
    kinds = np.array([reference.kind for reference in objective.references])
    shifts = computed[kinds == "relative_energy"] - computed[kinds == "energy"]
    assert len(shifts) == 5
    np.testing.assert_allclose(shifts, shifts[0], rtol=tolerances.CLOSED_FORM)
    values = np.array([each.value for each in objective.references])[kinds == "relative_energy"]
    assert shifts[0] == pytest.approx(np.mean(values - computed[kinds == "energy"]), rel=tolerances.CLOSED_FORM)


def test_stacks_of_several_sizes_follow_each_other(monkeypatch):
    systems, field = originals("mm3")
    chosen = systems[:3]
    references = list(references_of_all_kinds(chosen))
    expected = evaluated(chosen, field, references)
    monkeypatch.setattr(layout, "COMPILE_SECONDS", 0.0)
    problem = problem_of(chosen, field, references, batch_size=1)
    assert [len(stack.read) for stack in problem.stacks] == [1, 2]
    for found, other in zip(evaluated(chosen, field, references, batch_size=1), expected, strict=True):
        assert_regrouped(found, other)


def evaluated(systems, field, references, **options):
    """The loss and its gradient."""
    with exclusive_eigh():
        return jax.tree.map(
            np.asarray, loss_and_gradient(problem_of(systems, field, references, **options), field.parameters)
        )


loss_and_gradient = jax.jit(jax.value_and_grad(kernel.loss, argnums=1))


@jax.jit
def everything(problem, vector):
    return jax.value_and_grad(kernel.loss, argnums=1)(problem, vector), residuals_and_jacobian(problem, vector)


@pytest.mark.parametrize("fill", [1e30, np.nan, -np.inf], ids=str)
def test_what_padded_entries_of_batches_hold_changes_no_bit(fill):
    systems, field = originals("harmonic")
    chosen = [systems[number] for number in (0, 1, 4)]
    options = {"references": list(references_of_all_kinds(chosen)), "batch_size": 1, "n_devices": 2}
    clean, poisoned = (problem_of(chosen, field, fill=each, **options) for each in (0, fill))
    assert len(clean.stacks[0].read) == 4, "one batch has no molecule"
    with exclusive_eigh():
        expected, found = (jax.tree.leaves(everything(problem, field.parameters)) for problem in (clean, poisoned))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(np.all(np.isfinite(each)) for each in found)


@cache
def waters(batch_size=None, precision="float64"):
    """Three distorted water molecules with the frequencies of another force field."""
    rng, systems, references = np.random.default_rng(0), [], ReferenceData()
    for number in range(3):
        points = SYSTEM.molecule.coordinates + 0.05 * rng.standard_normal((3, 3))
        systems.append(replace(SYSTEM, molecule=replace(SYSTEM.molecule, coordinates=points, hessian=None, waived=CHECKS)))
        references.add_frequencies([1500.0, 3600.0, 3700.0 + 20.0 * number], (6, 7, 8), weight=0.01, system=number)
    field = forcefield(form="mm3", angle_force_constants=[60.0])
    return FusedObjective(systems, field, references, batch_size=batch_size, precision=precision)


@pytest.mark.exhaustive
def test_second_derivatives_are_those_of_one_batch():
    assert turns(waters(1)) == [3]
    found, expected = (np.asarray(jax.jit(jax.hessian(each.loss))(each.x0)) for each in (waters(1), waters()))
    scale = np.sqrt(np.abs(np.diag(expected)))
    np.testing.assert_allclose(found / np.outer(scale, scale), expected / np.outer(scale, scale), atol=tolerances.JAC)


@pytest.mark.exhaustive
def test_a_fit_with_batches_ends_where_one_without_does():
    found, expected = (waters(batch_size).solve_native("levenberg-marquardt") for batch_size in (2, None))
    assert found.fun == pytest.approx(expected.fun, rel=tolerances.SAME_MINIMUM)
    assert found.fun < 0.9 * waters().fun(waters().x0)


def test_pickled_copies_keep_precision_and_batches():
    original = waters(2, "float32")
    copied = pickle.loads(pickle.dumps(original))
    assert copied.precision == "float32" and turns(copied) == turns(original) == [2]
    assert copied.fun(original.x0) == original.fun(original.x0)
    np.testing.assert_array_equal(copied.jac(original.x0), original.jac(original.x0))


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, 2.0, True, "2", np.nan], ids=repr)
def test_a_batch_size_that_is_no_number_of_molecules_is_refused(batch_size):
    words = (f"batch_size is {batch_size!r}", "at least 1")
    assert_refused(lambda: waters.__wrapped__(batch_size), OptionError, words)


def test_one_large_molecule_does_not_pad_the_small_ones_of_a_set_in_batches():
    systems, field = perceive_bare([alkane(66), *(alkane(2, 0.01, seed) for seed in range(9))], form="mm3", vdw=True)
    references = ReferenceData()
    for number in range(10):
        references.add_energy(1.0, system=number)
        references.add_frequencies([1000.0], [20], system=number)
    objective = FusedObjective(systems, field, references, batch_size=4)
    shapes = {bucket.component_present.shape for stack in objective.problem.stacks for bucket in stack.buckets}
    assert shapes == {(1, 1, 600), (3, 3, 24)}
