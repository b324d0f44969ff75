"""What must not matter for a set does not: order of molecules and types, company, scale of the weights, repetition.

Five molecules with every kind of term away from equilibrium, both forms, every kind of reference at a fixed geometry.
Not covered here: padding and buckets, and the number of devices.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from oracles.cases import FORMS, references_of_all_kinds, systems_with_all_terms

from q2mm_accel import ForceField, FusedObjective, ReferenceData

# one molecule of the set has not every type
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

originals = cache(systems_with_all_terms)


def objective_of(systems, forcefield, references=None):
    """The objective with references of every kind, or with others."""
    return FusedObjective(systems, forcefield, references_of_all_kinds(systems) if references is None else references)


@cache
def reference_objective(form):
    """That of the molecules as they are."""
    return objective_of(*originals(form))


def moved_references(references, places):
    """The references with system i called `places[i]`."""
    return ReferenceData(replace(reference, system=places[reference.system]) for reference in references)


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_the_molecules_does_not_matter(form):
    systems, forcefield = originals(form)
    first, order = reference_objective(form), [3, 0, 4, 1, 2]
    references = moved_references(first.references, np.argsort(order).tolist())
    second = objective_of([systems[number] for number in order], forcefield, references)
    (value, gradient), (loss, slope) = (objective.fun_and_jac(first.x0) for objective in (first, second))
    assert abs(loss - value) <= tolerances.REGROUP * value
    assert_regrouped(slope, gradient)
    print(f"order {form}: {abs(loss / value - 1.0):.1e}, {np.abs(slope - gradient).max() / np.abs(gradient).max():.1e}")


def assert_regrouped(found, expected):
    """Equal but for the order of additions, relative to the largest element."""
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerances.REGROUP * np.abs(expected).max())


def test_a_molecule_given_twice_counts_twice():
    systems, forcefield = originals("mm3")
    system, single = systems[2], references_of_all_kinds(systems[2:3], energies=False)
    once = objective_of([system], forcefield, single)
    second = moved_references(single, [1])
    twice = objective_of([system, system], forcefield, [*single, *second])
    halves = np.split(twice.residuals(once.x0), 2)
    assert_regrouped(halves[0], halves[1])
    # programs for one and for two molecules differ, and with them the order of additions
    assert_regrouped(twice.fun(once.x0), 2.0 * once.fun(once.x0))
    assert_regrouped(twice.jac(once.x0), 2.0 * once.jac(once.x0))


def test_molecules_that_differ_in_their_types_only_do_not_mix():
    (_, _, system, *_), forcefield = originals("mm3")
    rows = np.arange(forcefield.n_types("bond"))
    wider = replace(
        forcefield,
        bond_force_constants=np.concatenate([forcefield.bond_force_constants, 1.1 * forcefield.bond_force_constants]),
        bond_lengths=np.concatenate([forcefield.bond_lengths, 1.02 * forcefield.bond_lengths]),
        labels=None,
        limits=None,
    )
    other = replace(system, bond_types=system.bond_types + len(rows))
    references = references_of_all_kinds([system], energies=False)
    alone = [objective_of([each], wider, references) for each in (system, other)]
    both = objective_of([system, other], wider, [*references, *moved_references(references, [1])])
    assert len(both.problem.stacks[0].buckets) == 1
    x, first_types = wider.parameters, slice(0, 2 * len(rows))
    second_types = slice(2 * len(rows), 4 * len(rows))
    assert_regrouped(both.fun(x), sum(each.fun(x) for each in alone))
    np.testing.assert_array_equal(alone[0].jac(x)[second_types], 0.0)
    np.testing.assert_array_equal(alone[1].jac(x)[first_types], 0.0)
    assert_regrouped(both.jac(x), alone[0].jac(x) + alone[1].jac(x))
    # references to one of two molecules in a bucket leave the other's types alone, to the last bit
    for number, types in ((0, second_types), (1, first_types)):
        partly = objective_of([system, other], wider, moved_references(references, [number]))
        np.testing.assert_array_equal(partly.jac(x)[types], 0.0)


@pytest.mark.parametrize("factor", [4.0, 3.0, 0.7])
def test_weights_times_s_make_the_loss_times_s_squared(factor):
    objective = reference_objective("mm3")
    references = [replace(reference, weight=factor * reference.weight) for reference in objective.references]
    scaled = objective_of(objective.systems, originals("mm3")[1], references)
    (value, gradient), (loss, slope) = (each.fun_and_jac(objective.x0) for each in (objective, scaled))
    assert loss == pytest.approx(factor**2 * value, rel=tolerances.ROUNDING)
    assert_regrouped(slope, factor**2 * gradient)


def test_weight_0_is_the_same_as_no_reference():
    objective = reference_objective("mm3")
    silent = [replace(r, weight=0.0) if number % 3 == 0 else r for number, r in enumerate(objective.references)]
    without = [r for number, r in enumerate(objective.references) if number % 3 != 0]
    first, second = (objective_of(objective.systems, originals("mm3")[1], each) for each in (silent, without))
    assert first.reference_labels == second.reference_labels
    assert first.fun(objective.x0) == second.fun(objective.x0)
    np.testing.assert_array_equal(first.jac(objective.x0), second.jac(objective.x0))


def with_types_renumbered(systems, forcefield, rng):
    """The same force field with its types in another order; also where each old parameter has gone."""
    start, places, fields, type_of = 0, [], {}, {}
    names = {
        "bond": ("bond_force_constants", "bond_lengths"),
        "angle": ("angle_force_constants", "angle_values"),
        "torsion": ("torsion_force_constants",),
        "vdw": ("vdw_radii", "vdw_epsilons"),
        "urey_bradley": ("urey_bradley_force_constants", "urey_bradley_lengths"),
    }
    for kind, columns in names.items():
        order = rng.permutation(forcefield.n_types(kind))
        fixed = ("torsion_periodicities", "torsion_phases") if kind == "torsion" else ()
        fields |= {name: getattr(forcefield, name)[order] for name in (*columns, *fixed)}
        places.append((start + len(columns) * order[:, None] + np.arange(len(columns))).ravel())
        type_of[kind] = np.argsort(order)
        start += len(columns) * len(order)
    renamed = [
        replace(system, **{f"{kind}_types": type_of[kind][getattr(system, f"{kind}_types")] for kind in names})
        for system in systems
    ]
    return renamed, ForceField(form=forcefield.form, **fields), np.concatenate(places)


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_the_types_does_not_matter(form):
    systems, forcefield = originals(form)
    renamed, renumbered_forcefield, places = with_types_renumbered(systems, forcefield, np.random.default_rng(6))
    first, second = reference_objective(form), objective_of(renamed, renumbered_forcefield)
    np.testing.assert_array_equal(second.x0, first.x0[places])
    assert_regrouped(second.fun(second.x0), first.fun(first.x0))
    assert_regrouped(second.jac(second.x0), first.jac(first.x0)[places])


def test_a_point_gives_the_same_bits_whenever_it_is_evaluated():
    systems, forcefield = originals("mm3")
    objective = objective_of(systems, forcefield)
    rng, x = np.random.default_rng(7), objective.x0
    value, gradient = objective.fun_and_jac(x)
    residuals, predictions = objective.residuals(x), objective.predictions(x)
    for _ in range(100):
        objective.fun(x * rng.uniform(0.99, 1.01, len(x)))
    runs = objective.kernel_runs
    again = objective.fun_and_jac(x)
    assert objective.kernel_runs == runs + 1, "the point came from the memory of the last points"
    fresh = objective_of(systems, forcefield)
    for loss, slope in (again, fresh.fun_and_jac(x)):
        assert loss == value
        np.testing.assert_array_equal(slope, gradient)
    np.testing.assert_array_equal(objective.residuals(x), residuals)
    np.testing.assert_array_equal(objective.predictions(x), predictions)
