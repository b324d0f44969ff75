"""What must not matter for a molecule does not: orientation, place, numbering, direction, mirror image, order of its terms.

Five molecules with every kind of term away from equilibrium, both forms.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from helpers import evaluate_all
from oracles import exact
from oracles.cases import FORMS, at, references_of_all_kinds, rotation, systems_with_all_terms

from q2mm_accel import FusedObjective, Molecule
from q2mm_accel.model.kinds import term_kinds

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
    atoms = {f"{kind}_atoms": place[system.terms(kind)[0]] for kind in term_kinds()}
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
            **{f"{kind}_atoms": system.terms(kind)[0][:, ::-1] for kind in term_kinds()},
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
        for kind in term_kinds():
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


def objective_of(systems, forcefield):
    """The objective with references of every kind."""
    return FusedObjective(systems, forcefield, references_of_all_kinds(systems))


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
        for objective in (objective_of(systems, forcefield), objective_of(shifted, forcefield))
    )
    found = abs(loss / value - 1.0), np.abs(slope - gradient).max() / np.abs(gradient).max()
    print(f"shift {form} {distance:g} Å: loss {found[0]:.1e}, gradient {found[1]:.1e}")
    assert found[0] <= tolerances.TRANSLATION[distance]
    assert found[1] <= CONDITION * tolerances.TRANSLATION[distance]
