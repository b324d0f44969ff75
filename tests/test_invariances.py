"""What must not matter does not: orientation, place, numbering, direction, mirror image, order, company, repetition.

Five molecules with every kind of term away from equilibrium, both forms, every kind of reference at a fixed geometry.
Not covered here: padding and buckets, and the number of devices.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from helpers import evaluate_all
from oracles import exact
from oracles.cases import FORMS, at, references_of_all_kinds, rotation, systems_with_all_terms

from q2mm_accel import ForceField, FusedObjective, Molecule, ReferenceData
from q2mm_accel.model.system import TERM_WIDTHS

# one molecule of the set has not every type
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

DRAWS = 50
CONDITION = 10.0
"""How much faster than the loss its gradient changes with the coordinates, both relative; see the translations."""


@cache
def originals(form):
    """Systems, force field, and each system's evaluation and sum of its terms' absolute energies."""
    systems, forcefield = systems_with_all_terms(form)
    scales = [float(exact.energy_scale(system, forcefield)) for system in systems]
    return systems, forcefield, evaluate_all(systems, forcefield), scales


def per_axis(matrix, n_atoms):
    """The same 3 x 3 matrix for every atom."""
    return np.kron(np.eye(n_atoms), matrix)


def errors(found, expected, scale):
    """Of energy, gradient, Hessian and frequencies, in the units of their tolerances; each argument is an Evaluation."""
    real = np.abs(expected.frequencies) >= tolerances.FREQUENCY_FLOOR
    return {
        "ENERGY": abs(found.energy - expected.energy) / scale,
        "FORCE": np.abs(found.gradient - expected.gradient).max() / np.abs(expected.gradient).max(),
        "HESSIAN": np.abs(found.hessian - expected.hessian).max() / np.abs(expected.hessian).max(),
        "FREQUENCY": np.abs(found.frequencies - expected.frequencies)[real].max(),
    }


def assert_within_tolerances(cases, what):
    """`cases`: one mapping of tolerance to error for each case."""
    for name in cases[0]:
        worst = max(case[name] for case in cases)
        print(f"{what} {name}: worst {worst:.1e}, allowed {getattr(tolerances, name):.0e}")
        assert worst <= getattr(tolerances, name), f"{what}: {name} is off by {worst:.2e}"


def turned_expectation(evaluation, turn):
    """The evaluation of a molecule whose coordinates are multiplied by the orthogonal matrix `turn`."""
    whole = per_axis(turn, len(evaluation.gradient))
    return replace(evaluation, gradient=evaluation.gradient @ turn.T, hessian=whole @ evaluation.hessian @ whole.T)


@pytest.mark.parametrize("form", FORMS)
def test_a_rotation_turns_forces_and_hessian_and_keeps_energy_and_frequencies(form):
    systems, forcefield, evaluations, scales = originals(form)
    rng = np.random.default_rng(1)
    turns = [rotation(rng) for _ in range(DRAWS)]
    turned = [
        replace(system, molecule=at(system.molecule, system.molecule.coordinates @ turn.T))
        for turn in turns
        for system in systems
    ]
    found = evaluate_all(turned, forcefield)
    expected = [turned_expectation(evaluation, turn) for turn in turns for evaluation in evaluations]
    cases = [errors(*case) for case in zip(found, expected, scales * DRAWS, strict=True)]
    assert_within_tolerances(cases, f"rotation {form}")


@pytest.mark.parametrize("form", FORMS)
def test_no_net_force_no_torque_and_no_stiffness_against_a_shift(form):
    for system, evaluation in zip(*originals(form)[:3:2], strict=True):
        centred = system.molecule.coordinates - system.molecule.coordinates.mean(axis=0)
        assert np.abs(evaluation.gradient.sum(axis=0)).max() <= tolerances.NET_FORCE
        assert np.abs(np.cross(centred, evaluation.gradient).sum(axis=0)).max() <= tolerances.NET_FORCE
        rows = evaluation.hessian.reshape(len(evaluation.hessian), -1, 3).sum(axis=1)
        assert np.abs(rows).max() <= tolerances.NET_HESSIAN * np.abs(evaluation.hessian).max()


@pytest.mark.parametrize("form", FORMS)
def test_a_turn_of_the_whole_molecule_costs_nothing_but_turns_the_forces(form):
    # derivative of g(R x) = R g(x) by the angle of the rotation: H t = axis x g, with t the displacements of a turn
    for system, evaluation in zip(*originals(form)[:3:2], strict=True):
        for axis in np.eye(3):
            displacement = np.cross(axis, system.molecule.coordinates).ravel()
            left = evaluation.hessian @ displacement
            right = np.cross(axis, evaluation.gradient).ravel()
            scale = np.abs(evaluation.hessian).max() * np.abs(displacement).max()
            assert np.abs(left - right).max() <= tolerances.NET_HESSIAN * scale


def renumbered(system, order):
    """The system with atom `order[i]` in place i, its QM Hessian and all terms moved along."""
    molecule, place = system.molecule, np.argsort(order)
    components = (3 * np.asarray(order)[:, None] + np.arange(3)).ravel()
    moved = Molecule(
        [molecule.symbols[atom] for atom in order],
        molecule.coordinates[order],
        hessian=molecule.hessian[np.ix_(components, components)],
        name=molecule.name,
    )
    atoms = {f"{kind}_atoms": place[system.terms(kind)[0]] for kind in TERM_WIDTHS}
    return replace(system, molecule=moved, vdw_pairs=place[system.vdw_pairs], vdw_types=system.vdw_types[order], **atoms)


@pytest.mark.parametrize("form", FORMS)
def test_the_numbering_of_the_atoms_does_not_matter(form):
    systems, forcefield, evaluations, scales = originals(form)
    rng = np.random.default_rng(2)
    orders = [rng.permutation(system.molecule.n_atoms) for system in systems]
    found = evaluate_all([renumbered(*pair) for pair in zip(systems, orders, strict=True)], forcefield)
    cases = []
    for evaluation, order, *rest in zip(evaluations, orders, found, scales, strict=True):
        columns = (3 * order[:, None] + np.arange(3)).ravel()
        hessian = evaluation.hessian[np.ix_(columns, columns)]
        expected = replace(evaluation, gradient=evaluation.gradient[order], hessian=hessian)
        cases.append(errors(rest[0], expected, rest[1]))
    assert_within_tolerances(cases, f"renumbered {form}")


@pytest.mark.parametrize("form", FORMS)
def test_terms_read_the_same_forwards_and_backwards(form):
    systems, forcefield, evaluations, scales = originals(form)
    backwards = [
        replace(
            system,
            vdw_pairs=system.vdw_pairs[:, ::-1],
            **{f"{kind}_atoms": system.terms(kind)[0][:, ::-1] for kind in TERM_WIDTHS},
        )
        for system in systems
    ]
    cases = [errors(*case) for case in zip(evaluate_all(backwards, forcefield), evaluations, scales, strict=True)]
    assert_within_tolerances(cases, f"backwards {form}")


@pytest.mark.parametrize("form", FORMS)
def test_terms_may_stand_in_any_order(form):
    systems, forcefield, evaluations, scales = originals(form)
    rng, shuffled = np.random.default_rng(4), []
    for system in systems:
        fields = {"vdw_pairs": rng.permutation(system.vdw_pairs)}
        for kind in TERM_WIDTHS:
            atoms, types = system.terms(kind)
            order = rng.permutation(len(types))
            fields |= {f"{kind}_atoms": atoms[order], f"{kind}_types": types[order]}
        shuffled.append(replace(system, **fields))
    cases = [errors(*case) for case in zip(evaluate_all(shuffled, forcefield), evaluations, scales, strict=True)]
    assert_within_tolerances(cases, f"shuffled {form}")


@pytest.mark.parametrize("form", FORMS)
def test_a_mirror_image_has_the_same_energy_with_opposite_phases(form):
    systems, forcefield, evaluations, scales = originals(form)
    mirror = np.diag([1.0, -1.0, 1.0])
    images = [replace(system, molecule=at(system.molecule, system.molecule.coordinates @ mirror)) for system in systems]
    found = evaluate_all(images, replace(forcefield, torsion_phases=-forcefield.torsion_phases))
    expected = [turned_expectation(evaluation, mirror) for evaluation in evaluations]
    assert_within_tolerances([errors(*case) for case in zip(found, expected, scales, strict=True)], f"mirror {form}")


def objective_of(systems, forcefield, references=None):
    """The objective with references of every kind, or with others."""
    return FusedObjective(systems, forcefield, references_of_all_kinds(systems) if references is None else references)


@cache
def reference_objective(form):
    """That of the molecules as they are."""
    systems, forcefield, *_ = originals(form)
    return objective_of(systems, forcefield)


@pytest.mark.parametrize("distance", tolerances.TRANSLATION)
@pytest.mark.parametrize("form", FORMS)
def test_a_shift_changes_the_loss_by_the_rounding_of_the_coordinates_only(form, distance):
    systems, forcefield, *_ = originals(form)
    shift = distance * np.array([2.0, -3.0, 6.0]) / 7.0
    shifted = [
        replace(system, molecule=at(system.molecule, system.molecule.coordinates + shift, system.molecule.hessian))
        for system in systems
    ]
    (value, gradient), (loss, slope) = (
        objective.fun_and_jac(forcefield.parameters)
        for objective in (reference_objective(form), objective_of(shifted, forcefield))
    )
    found = abs(loss / value - 1.0), np.abs(slope - gradient).max() / np.abs(gradient).max()
    print(f"shift {form} {distance:g} Å: loss {found[0]:.1e}, gradient {found[1]:.1e}")
    assert found[0] <= tolerances.TRANSLATION[distance]
    assert found[1] <= CONDITION * tolerances.TRANSLATION[distance]


def moved_references(references, places):
    """The references with system i called `places[i]`."""
    return ReferenceData(replace(reference, system=places[reference.system]) for reference in references)


@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_the_molecules_does_not_matter(form):
    systems, forcefield, *_ = originals(form)
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


def test_a_molecule_given_twice_counts_exactly_twice():
    systems, forcefield, *_ = originals("mm3")
    system, single = systems[2], references_of_all_kinds(systems[2:3], energies=False)
    once = objective_of([system], forcefield, single)
    second = moved_references(single, [1])
    twice = objective_of([system, system], forcefield, [*single, *second])
    halves = np.split(twice.residuals(once.x0), 2)
    np.testing.assert_array_equal(halves[0], halves[1])
    assert twice.fun(once.x0) == pytest.approx(2.0 * once.fun(once.x0), rel=tolerances.ROUNDING)
    # programs for one and for two molecules differ, and with them the order of additions
    assert_regrouped(twice.jac(once.x0), 2.0 * once.jac(once.x0))


def test_molecules_that_differ_in_their_types_only_do_not_mix():
    (_, _, system, *_), forcefield, *_ = originals("mm3")
    rows = np.arange(forcefield.n_types("bond"))
    wider = replace(
        forcefield,
        bond_force_constants=np.concatenate([forcefield.bond_force_constants, 1.1 * forcefield.bond_force_constants]),
        bond_lengths=np.concatenate([forcefield.bond_lengths, 1.02 * forcefield.bond_lengths]),
        labels=None,
    )
    other = replace(system, bond_types=system.bond_types + len(rows))
    references = references_of_all_kinds([system], energies=False)
    alone = [objective_of([each], wider, references) for each in (system, other)]
    both = objective_of([system, other], wider, [*references, *moved_references(references, [1])])
    assert len(both.problem.buckets) == 1
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
    if factor == 4.0:
        assert loss == 16.0 * value
        np.testing.assert_array_equal(slope, 16.0 * gradient)
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
    systems, forcefield, *_ = originals(form)
    renamed, renumbered_forcefield, places = with_types_renumbered(systems, forcefield, np.random.default_rng(6))
    first, second = reference_objective(form), objective_of(renamed, renumbered_forcefield)
    np.testing.assert_array_equal(second.x0, first.x0[places])
    assert second.fun(second.x0) == first.fun(first.x0)
    np.testing.assert_array_equal(second.jac(second.x0), first.jac(first.x0)[places])


def test_a_point_gives_the_same_bits_whenever_it_is_evaluated():
    systems, forcefield, *_ = originals("mm3")
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
