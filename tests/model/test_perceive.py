"""From molecules to types and a first force field: what a textbook says, in any order of the atoms."""

import itertools
from collections import Counter

import numpy as np
import pytest
from bare import perceive_bare
from tolerances import CLOSED_FORM

from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import FragmentWarning, ParameterError, TopologyError, UnmatchedTermWarning
from q2mm_accel.model import topology
from q2mm_accel.model.kinds import parameter_fields
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.perceive import START_ANGLE, START_BOND, perceive
from q2mm_accel.model.terms import UFF

BENT_MOLECULES = ("ch3f", "water", "methanol", "ethane", "formaldehyde", "h2o2")
COUPLED = {"stretch_stretch": True, "stretch_bend": True, "bend_bend": True, "stiff_torsions": True}
START_ROUNDING = 1e-3
"""Relative: 360 kcal/mol/Å² and 36 kcal/mol/rad² are the start values in three digits."""


def ring(size: int) -> Molecule:
    """A flat ring of carbon atoms, 1.5 Å apart."""
    around = 2.0 * np.pi * np.arange(size) / size
    radius = 0.75 / np.sin(np.pi / size)
    return Molecule(["C"] * size, radius * np.stack([np.cos(around), np.sin(around), 0.0 * around], axis=1))


def acetylene() -> Molecule:
    """Four atoms in line."""
    return Molecule("HCCH", [[0, 0, -1.67], [0, 0, -0.603], [0, 0, 0.603], [0, 0, 1.67]], name="acetylene")


def planar_star(order=(0, 1, 2, 3, 4, 5)) -> Molecule:
    """A boron with three carbons around it, one of which carries hydrogen and another fluorine, all in one plane."""
    directions = np.array([[np.cos(angle), np.sin(angle), 0.0] for angle in 2.0 * np.pi / 3.0 * np.arange(3)])
    coordinates = np.concatenate([np.zeros((1, 3)), 1.55 * directions, [2.63 * directions[0], 2.9 * directions[1]]])
    return Molecule([("B", "C", "C", "C", "H", "F")[atom] for atom in order], coordinates[list(order)], name="star")


def permuted(molecule: Molecule, order) -> Molecule:
    """The same atoms, numbered differently."""
    return Molecule([molecule.symbols[atom] for atom in order], molecule.coordinates[list(order)])


def type_names(forcefield, kind: str) -> list[str]:
    """The names of the types of a kind, in their order, from the labels of the parameters."""
    labels = [label for label in forcefield.labels if label.split()[0] == kind]
    return list(dict.fromkeys(label.rsplit(" ", 1)[0] for label in labels))


def term_counts(systems, forcefield) -> Counter:
    """How often each type occurs."""
    return Counter(
        type_names(forcefield, kind)[number]
        for system in systems
        for kind in system.kinds
        for number in system.terms(kind)[1]
    )


def test_ethane_has_the_terms_of_a_textbook():
    (system,), forcefield = perceive_bare([load_molecule("ethane")], vdw=True, periodicities=(3,))
    assert len(system.bond_atoms) == 7
    assert len(system.angle_atoms) == 12
    assert len(system.torsion_atoms) == 9
    assert len(system.vdw_pairs) == 9
    assert forcefield.labels == (
        "bond C-C k",
        "bond C-C r0",
        "bond C-H k",
        "bond C-H r0",
        "angle C-C-H k",
        "angle C-C-H theta0",
        "angle H-C-H k",
        "angle H-C-H theta0",
        "torsion H-C-C-H n=3 k",
        "vdw C radius",
        "vdw C epsilon",
        "vdw H radius",
        "vdw H epsilon",
    )


def test_a_three_membered_ring_has_no_torsions_and_no_urey_bradley_terms():
    (system,), _ = perceive_bare([ring(3)], urey_bradley=True)
    assert (len(system.bond_atoms), len(system.angle_atoms)) == (3, 3)
    assert (len(system.torsion_atoms), len(system.urey_bradley_atoms)) == (0, 0)


def test_a_four_membered_ring_has_each_torsion_and_each_diagonal_once():
    (system,), forcefield = perceive_bare([ring(4)], urey_bradley=True, periodicities=(2,))
    assert len(system.torsion_atoms) == 4
    assert system.urey_bradley_atoms.tolist() == [[1, 3], [0, 2]]
    assert forcefield.labels[-2:] == ("urey_bradley C-C-C k", "urey_bradley C-C-C r0")
    np.testing.assert_allclose(forcefield.urey_bradley_lengths, [1.5 * np.sqrt(2.0)], rtol=CLOSED_FORM)


def test_a_torsion_through_a_linear_angle_is_left_out_with_a_warning_that_names_it():
    with pytest.warns(UnmatchedTermWarning, match=r"acetylene: 1 torsion.*0-1-2-3"):
        (system,), forcefield = perceive_bare([acetylene()])
    assert len(system.torsion_atoms) == 0
    assert forcefield.n_types("torsion") == 0
    np.testing.assert_allclose(forcefield.angle_values, [180.0], rtol=CLOSED_FORM)


def test_without_torsions_there_is_no_warning_about_them():
    (system,), _ = perceive_bare([acetylene()], torsions=False)
    assert len(system.torsion_atoms) == 0


def test_a_planar_carbonyl_has_one_improper_with_its_centre_third():
    (system,), forcefield = perceive_bare([load_molecule("formaldehyde")], impropers=True)
    ((i, j, centre, end),) = system.improper_atoms
    symbols = system.molecule.symbols
    assert (symbols[i], symbols[j], symbols[centre], symbols[end]) == ("H", "H", "C", "O")
    assert forcefield.labels[-1] == "improper H-H-C-O n=2 k"
    assert (forcefield.improper_periodicities.tolist(), forcefield.improper_phases.tolist()) == ([2.0], [180.0])
    x = system.molecule.coordinates
    normals = np.cross(x[j] - x[i], x[centre] - x[j]), np.cross(x[centre] - x[j], x[end] - x[centre])
    cosine = np.dot(*normals) / np.linalg.norm(normals[0]) / np.linalg.norm(normals[1])
    np.testing.assert_allclose(abs(cosine), 1.0, rtol=CLOSED_FORM)  # planar: the term is at its minimum


@pytest.mark.parametrize("by", ["element", "environment"])
@pytest.mark.parametrize("name", BENT_MOLECULES)
def test_the_order_of_atoms_does_not_change_the_types(name, by):
    molecule = load_molecule(name)
    systems, forcefield = perceive([molecule], by=by, vdw=True, urey_bradley=True, **COUPLED)
    values = dict(zip(forcefield.labels, forcefield.parameters, strict=True))
    shuffled = np.random.default_rng(7).permutation(molecule.n_atoms)
    for order in (range(molecule.n_atoms)[::-1], shuffled):
        shuffled_molecule = permuted(molecule, order)
        other_systems, other = perceive([shuffled_molecule], by=by, vdw=True, urey_bradley=True, **COUPLED)
        assert term_counts(other_systems, other) == term_counts(systems, forcefield)
        assert set(other.labels) == set(values)
        expected = [values[label] for label in other.labels]
        np.testing.assert_allclose(other.parameters, expected, rtol=CLOSED_FORM)


@pytest.mark.parametrize("by", ["element", "environment"])
def test_an_improper_between_like_elements_has_the_same_type_in_any_order_of_atoms(by):
    types = set()
    for order in itertools.permutations(range(4)):
        with pytest.warns(UnmatchedTermWarning):  # B-C-H and B-C-F are straight
            _, forcefield = perceive_bare([planar_star((*order, 4, 5))], by=by, impropers=True)
        types.update(type_names(forcefield, "improper"))
    assert types == {"improper C-C-B-C n=2" if by == "element" else "improper C(B)-C(BF)-B(CCC)-C(BH) n=2"}


def test_types_are_shared_over_all_molecules_and_equilibria_are_means_over_them():
    molecules = [load_molecule("ethane"), load_molecule("methanol")]
    systems, forcefield = perceive_bare(molecules)
    assert type_names(forcefield, "bond") == ["bond C-C", "bond C-H", "bond C-O", "bond H-O"]
    hydrogens = np.concatenate(
        [topology.distances(system.molecule.coordinates, system.bond_atoms[system.bond_types == 1]) for system in systems]
    )
    assert len(hydrogens) == 9
    np.testing.assert_allclose(forcefield.bond_lengths[1], np.mean(hydrogens), rtol=CLOSED_FORM)


def test_environments_tell_apart_what_elements_do_not():
    molecules = [load_molecule("ethane"), load_molecule("methanol")]
    _, forcefield = perceive_bare(molecules, by="environment", vdw=True)
    assert type_names(forcefield, "bond") == [
        "bond C(CHHH)-C(CHHH)",
        "bond C(CHHH)-H(C)",
        "bond C(HHHO)-O(CH)",
        "bond C(HHHO)-H(C)",
        "bond H(O)-O(CH)",
    ]
    carbons = [name for name in type_names(forcefield, "vdw") if name.startswith("vdw C")]
    assert carbons == ["vdw C(CHHH)", "vdw C(HHHO)"]


def test_every_periodicity_gets_a_type_of_its_own():
    (system,), forcefield = perceive_bare([load_molecule("ethane")])
    assert forcefield.torsion_periodicities.tolist() == [1.0, 2.0, 3.0]
    assert not forcefield.torsion_phases.any()
    assert not forcefield.torsion_force_constants.any()
    assert len(system.torsion_atoms) == 27
    assert Counter(system.torsion_types.tolist()) == {0: 9, 1: 9, 2: 9}


def test_force_constants_start_at_the_values_of_q2mm():
    _, forcefield = perceive_bare([load_molecule("water")], form="mm3", urey_bradley=True)
    assert forcefield.form == "mm3"
    assert forcefield.bond_force_constants.tolist() == [START_BOND]
    assert forcefield.angle_force_constants.tolist() == [START_ANGLE]
    np.testing.assert_allclose([START_BOND, START_ANGLE], [360.0, 36.0], rtol=START_ROUNDING)
    assert forcefield.urey_bradley_force_constants.tolist() == [10.0]


def test_a_transition_state_needs_a_larger_tolerance_for_its_partial_bonds():
    molecule = load_molecule("sn2_ts")
    with pytest.warns(FragmentWarning, match="sn2_ts: no term acts between its 3 fragments"):
        (tight,), _ = perceive_bare([molecule])
    (wide,), forcefield = perceive_bare([molecule], bond_tolerance=1.5)
    assert (len(tight.bond_atoms), len(wide.bond_atoms)) == (3, 5)
    assert type_names(forcefield, "angle") == ["angle F-C-F", "angle F-C-H", "angle H-C-H"]
    assert forcefield.angle_values[0] > 179.9


def test_separate_fragments_interact_by_van_der_waals_terms_only():
    molecule = Molecule(["H", "H", "F"], [[0, 0, 0], [0, 0, 0.74], [0, 0, 4.0]])
    (system,), forcefield = perceive_bare([molecule], vdw=True)
    assert system.bond_atoms.tolist() == [[0, 1]]
    assert system.vdw_pairs.tolist() == [[0, 2], [1, 2]]
    np.testing.assert_allclose(forcefield.vdw_radii, [2.886 / 2.0, 3.364 / 2.0], rtol=CLOSED_FORM)
    np.testing.assert_allclose(forcefield.vdw_epsilons, [0.044, 0.050], rtol=CLOSED_FORM)


def test_all_van_der_waals_parameters_are_inside_the_default_bounds():
    assert len(UFF) == 29
    radii, depths = (parameter_fields()[field] for field in ("vdw_radii", "vdw_epsilons"))
    for radius, depth in UFF.values():
        assert radii.bounds[0] < radius < radii.bounds[1]
        assert depths.bounds[0] < depth < depths.bounds[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"molecules": []}, TopologyError, "at least one Molecule"),
        ({"molecules": ring(3)}, TopologyError, "pass \\[molecule\\]"),
        ({"molecules": ["water"]}, TopologyError, "at least one Molecule"),
        ({"by": "hybridisation"}, TopologyError, "hybridisation"),
        ({"bond_tolerance": 0.0}, TopologyError, "tolerance is 0.0"),
        ({"bond_tolerance": float("nan")}, TopologyError, "tolerance is nan"),
        ({"periodicities": (1, 1)}, ParameterError, "different integers"),
        ({"periodicities": (0,)}, ParameterError, "different integers"),
        ({"periodicities": (1.5,)}, ParameterError, "different integers"),
    ],
)
def test_bad_arguments_are_refused_with_a_remedy(arguments, error, message):
    with pytest.raises(error, match=message):
        perceive_bare(**{"molecules": [ring(4)], **arguments})


def test_an_element_without_radius_is_named_with_its_atom():
    with pytest.raises(TopologyError, match=r"oddity: atom 1 \(Es\)"):
        perceive_bare([Molecule(["H", "Es"], [[0, 0, 0], [0, 0, 1.8]], name="oddity")])


def test_an_element_without_van_der_waals_parameters_is_named_with_its_atom():
    with pytest.raises(ParameterError, match=r"oddity: atom 1 \(Xe\).*vdw=False"):
        perceive_bare([Molecule(["F", "Xe"], [[0, 0, 0], [0, 0, 2.0]], name="oddity")], vdw=True)
