"""What must not matter to references at the force field's own minima does not: frames, numbering, padding, company, turns.

A linear molecule, a planar one and one that is neither, twice and with types of its own, away from their minima, with bonds,
angles and torsions: one program serves all tests but that of padding. Not covered here: other kinds of terms, whose
relaxation is compared in `test_stationary.py` and `kernel/test_coordinates.py`.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from helpers import poisoned
from oracles.cases import at, rotation, systems_with_all_terms

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, ReferenceData, System
from q2mm_accel.errors import NonFiniteError, RelaxationError
from q2mm_accel.objective import value_and_gradient
from q2mm_accel.parameters.space import parameter_space
from q2mm_accel.problem import layout
from q2mm_accel.problem.build import Relaxed, build_problem
from q2mm_accel.runtime import exclusive_eigh

# in one test the second molecule's own types are nobody's
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

KINDS = ("bond", "angle", "torsion")
NAMES = ("hcn", "formaldehyde", "h2o2")
TWICE = 2
"""The molecule that is there twice, first with the types of all, then with those of its own."""
SILENT = 1e-200
"""A weight whose square is 0."""
OFF = (0.013, 1.3, 4.0)
"""By how much references to lengths, angles and torsions differ from QM's [Å, degrees]."""


@cache
def originals() -> tuple[list[System], ForceField]:
    systems, forcefield = systems_with_all_terms("harmonic", NAMES)
    counts = {kind: forcefield.n_types(kind) for kind in KINDS}
    fields = {
        name: np.concatenate([array, array]) for name, array in forcefield.arrays.items() if name.split("_")[0] in KINDS
    }
    chosen = [System(system.molecule, arrays=_of_kinds(system)) for system in systems]
    own = {f"{kind}_types": chosen[TWICE].terms(kind)[1] + counts[kind] for kind in KINDS}
    return [*chosen, replace(chosen[TWICE], **own)], ForceField(form="harmonic", arrays=fields)


def _of_kinds(system: System) -> dict:
    return {name: array for name, array in system.arrays.items() if name.split("_")[0] in KINDS}


def references_of(systems, weights=None) -> ReferenceData:
    """All bonds, angles and torsions, not at QM's values, and two frequencies of each molecule."""
    references = ReferenceData()
    for number, system in enumerate(systems):
        collected = ReferenceData()
        collected.add_geometry(system.molecule, torsions=system.torsion_atoms[:1])
        for mode in (0, 2):
            collected.add(Reference("relaxed_frequency", 900.0, 0.01, 0, mode))
        off = dict(zip(("bond_length", "bond_angle", "torsion_angle"), OFF, strict=True))
        for each in collected:
            weight = each.weight * (1.0 if weights is None else weights[number])
            value = each.value + off.get(each.kind, 0.0)
            references.add(replace(each, system=number, weight=weight, value=value))
    return references


def objective_of(systems, references=None, **options) -> FusedObjective:
    return FusedObjective(systems, originals()[1], references_of(systems) if references is None else references, **options)


@cache
def reference_objective() -> FusedObjective:
    return objective_of(originals()[0])


@cache
def expected() -> tuple[float, np.ndarray]:
    """Loss and gradient."""
    objective = reference_objective()
    return objective.fun_and_jac(objective.x0)


def assert_same(objective: FusedObjective) -> None:
    """The same loss and gradient."""
    value, gradient = expected()
    loss, slope = objective.fun_and_jac(objective.x0)
    assert abs(loss - value) <= tolerances.RELAXED_RESIDUAL * np.sqrt(value)
    assert np.abs(slope - gradient).max() <= tolerances.RELAXED_JAC * np.abs(gradient).max()


def with_molecules(change) -> list[System]:
    return [replace(system, molecule=change(system.molecule)) for system in originals()[0]]


@pytest.mark.parametrize("draws", [4, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_molecules_may_be_turned(draws):
    rng = np.random.default_rng(4)
    for _ in range(draws):
        assert_same(objective_of(with_molecules(lambda each: at(each, each.coordinates @ rotation(rng).T))))


@pytest.mark.parametrize("distance", [1.0, 20.0, 1000.0])
def test_molecules_may_be_anywhere(distance):
    shift = distance * np.array([2.0, -3.0, 6.0]) / 7.0
    assert_same(objective_of(with_molecules(lambda each: at(each, each.coordinates + shift))))


def renumbered(system: System, order: np.ndarray) -> System:
    """The system with atom `order[i]` in place i."""
    place, molecule = np.argsort(order), system.molecule
    moved = Molecule([molecule.symbols[atom] for atom in order], molecule.coordinates[order], name=molecule.name)
    return replace(system, molecule=moved, **{f"{kind}_atoms": place[system.terms(kind)[0]] for kind in KINDS})


def test_the_numbering_of_atoms_does_not_matter():
    rng, references = np.random.default_rng(5), list(reference_objective().references)
    orders = [rng.permutation(system.molecule.n_atoms) for system in originals()[0]]
    places = [np.argsort(order) for order in orders]
    moved = [
        replace(each, index=tuple(places[each.system][list(each.index)].tolist()))
        if each.kind != "relaxed_frequency"
        else each
        for each in references
    ]
    assert_same(objective_of([renumbered(*each) for each in zip(originals()[0], orders, strict=True)], moved))


def test_terms_and_references_read_the_same_forwards_and_backwards():
    backwards = [
        replace(system, **{f"{kind}_atoms": system.terms(kind)[0][:, ::-1] for kind in KINDS}) for system in originals()[0]
    ]
    references = [
        replace(each, index=each.index[::-1]) if each.kind != "relaxed_frequency" else each
        for each in reference_objective().references
    ]
    assert_same(objective_of(backwards, references))


def test_a_mirror_image_has_opposite_torsions():
    systems, forcefield = originals()
    mirrored = with_molecules(lambda each: at(each, each.coordinates * [1.0, -1.0, 1.0]))
    torsions = reference_objective().references.is_kind("torsion_angle")
    signs = np.where(torsions, -1.0, 1.0)
    references = [
        replace(each, value=sign * each.value) for each, sign in zip(reference_objective().references, signs, strict=True)
    ]
    opposite = replace(forcefield, torsion_phases=-forcefield.torsion_phases)
    assert_same(FusedObjective(mirrored, opposite, references))


def test_the_order_of_molecules_does_not_matter():
    order, references = [3, 1, 0, 2], list(reference_objective().references)
    moved = [replace(each, system=order.index(number)) for number in order for each in references if each.system == number]
    assert_same(objective_of([originals()[0][number] for number in order], moved))


def part_of(number: int, systems=None) -> tuple[float, np.ndarray]:
    """Loss and gradient of the references to one molecule alone, by the program of all."""
    chosen = originals()[0] if systems is None else systems
    weights = [1.0 if each == number else SILENT for each in range(len(chosen))]
    objective = objective_of(chosen, references_of(chosen, weights))
    return objective.fun_and_jac(objective.x0)


def test_molecules_do_not_mix_and_one_that_is_there_twice_counts_twice():
    """Equal types of other numbers have the other's gradient to the last digit, and none by those of the other molecule."""
    systems, forcefield = originals()
    halves = [np.concatenate([np.split(forcefield.positions(kind), 2)[half].ravel() for kind in KINDS]) for half in (0, 1)]
    parts = [part_of(number) for number in range(len(systems))]
    (value, gradient), (own_value, own_gradient) = parts[TWICE:]
    assert own_value == pytest.approx(value, abs=tolerances.RELAXED_RESIDUAL)
    scale = np.abs(gradient).max()
    np.testing.assert_allclose(own_gradient[halves[1]], gradient[halves[0]], rtol=0.0, atol=tolerances.RELAXED_JAC * scale)
    for _, slope in parts[:-1]:
        np.testing.assert_array_equal(slope[halves[1]], 0.0)
    np.testing.assert_array_equal(own_gradient[halves[0]], 0.0)
    # and the whole is the sum of its parts
    loss, slope = expected()
    assert loss == pytest.approx(sum(part for part, _ in parts), rel=tolerances.REGROUP)
    whole = sum(part for _, part in parts)
    np.testing.assert_allclose(slope, whole, rtol=0.0, atol=tolerances.REGROUP_GRADIENT * np.abs(slope).max())
    copies = [*systems[:-1], systems[TWICE]]
    both = objective_of(copies, references_of(copies, [SILENT, SILENT, 1.0, 1.0]))
    doubled, slope = both.fun_and_jac(both.x0)
    assert doubled == pytest.approx(2.0 * value, abs=tolerances.RELAXED_RESIDUAL)
    np.testing.assert_allclose(slope, 2.0 * gradient, rtol=0.0, atol=2.0 * tolerances.RELAXED_JAC * scale)


def padded(monkeypatch, extra: int, batch_size: int):
    """The problem in batches that take turns, with so many more entries of everything that is counted."""
    systems, forcefield = originals()
    quantised = layout.quantised
    monkeypatch.setattr(layout, "quantised", lambda count: quantised(count) + extra)
    how = Relaxed(systems, [0] * len(systems), batch_size=batch_size)
    return build_problem(systems, parameter_space(forcefield), references_of(systems), relaxed=how)


@pytest.mark.parametrize(
    "extra, batch_size",
    [(1, 3), pytest.param(0, 1, marks=pytest.mark.exhaustive), pytest.param(9, 7, marks=pytest.mark.exhaustive)],
)
def test_batches_and_padding_change_nothing_whatever_padded_entries_hold(monkeypatch, extra, batch_size):
    problem = padded(monkeypatch, extra, batch_size)
    slots = [bucket.component_present for stack in problem.relaxing for bucket in stack.batch.buckets]
    molecules = sum(int(each.any(axis=-1).sum()) for each in slots)
    assert molecules == len(originals()[0])
    assert not extra or sum(each.shape[0] * each.shape[1] for each in slots) > molecules, "no slot is empty"
    results = []
    for fill in (0.0, 1e30, np.nan):
        with exclusive_eigh():
            value, gradient = value_and_gradient(poisoned(problem, fill), originals()[1].parameters)
        results.append((float(value), np.asarray(gradient)))
    loss, slope = expected()
    assert results[0][0] == pytest.approx(loss, abs=tolerances.RELAXED_RESIDUAL * np.sqrt(loss))
    assert np.abs(results[0][1] - slope).max() <= tolerances.RELAXED_JAC * np.abs(slope).max()
    for value, gradient in results[1:]:
        assert value == results[0][0]
        np.testing.assert_array_equal(gradient, results[0][1])


def test_ten_evaluations_have_the_same_bits():
    """With others between them, and by objectives made anew."""
    x, rng, (value, gradient) = reference_objective().x0, np.random.default_rng(6), expected()
    for number in range(10):
        objective = reference_objective() if number % 2 else objective_of(originals()[0])
        for _ in range(5):  # more than an objective remembers
            objective.fun(x * rng.uniform(0.999, 1.001, len(x)))
        runs = objective.kernel_runs
        loss, slope = objective.fun_and_jac(x)
        assert objective.kernel_runs == runs + 1
        assert loss == value
        np.testing.assert_array_equal(slope, gradient)


def test_a_torsion_whose_inner_angle_becomes_straight_has_no_value():
    """Without stiffness against it, no relaxation fails: the coordinate itself does not exist any more."""
    own, x = reference_objective(), reference_objective().x0.copy()
    labels = np.array(own.labels)
    (angles,) = {*originals()[0][TWICE].angle_types.tolist()}
    x[np.char.startswith(labels, "torsion")] = 0.0
    x[labels == f"angle {angles} theta0"] = 180.0
    with pytest.raises(
        NonFiniteError, match=r"molecules h2o2 \(first: torsion_angle .* of system 2, one of whose inner angles"
    ):
        own.fun(x)
    # and a torsion term never lets it come to that
    x = np.where(labels == f"angle {angles} theta0", 180.0, own.x0)
    with pytest.raises(RelaxationError, match=r"hold 1 molecule.*: h2o2: "):
        own.fun(x)
