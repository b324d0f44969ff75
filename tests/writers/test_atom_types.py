"""Types of atoms, made from types of terms: as few as name every parameter without a doubt."""

from dataclasses import replace

import numpy as np
import pytest
from writer_cases import problem

from q2mm_accel import ForceField, Molecule, System, perceive
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import FormatError
from q2mm_accel.writers.atom_types import CHAINS, atom_types, occurrences

NONE = ForceField("harmonic")
"""For messages, which are not asked for here."""


def names_of(system):
    types = atom_types([system], NONE, ".xml")
    return [types.names[number] for number in types.of_atoms[0]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ethane", ["C1", "C1", *["H1"] * 6]),
        ("methanol", ["C1", "O1", "H1", "H2", "H2", "H3"]),
        ("water", ["O1", "H1", "H1"]),
        ("formaldehyde", ["C1", "O1", "H1", "H2"]),  # the improper tells its first atom from its second
    ],
)
def test_atoms_that_nothing_tells_apart_share_a_type(name, expected):
    system, _ = problem(name, "harmonic")
    assert sorted(names_of(system)) == sorted(expected)


def test_the_order_of_atoms_does_not_matter():
    system, _ = problem("methanol", "harmonic", torsions=False, vdw=False)
    molecule = system.molecule
    order = np.random.default_rng(2).permutation(molecule.n_atoms)
    place = np.argsort(order)
    turned = Molecule([molecule.symbols[atom] for atom in order], molecule.coordinates[order], waived=molecule.waived)
    arrays = {name: place[array] if name.endswith("_atoms") else array for name, array in system.arrays.items()}
    arrays |= {name: array[order] for name, array in arrays.items() if name in ("vdw_types", "coulomb_types")}
    classes, again = (atom_types([each], NONE, ".xml").of_atoms[0] for each in (system, System(turned, arrays=arrays)))
    same = [[first == second for second in classes] for first in classes]
    assert [[again[place[i]] == again[place[k]] for k in range(len(order))] for i in range(len(order))] == same


def test_isotopes_and_types_of_pairs_are_told_apart():
    system, _ = problem("water", "harmonic", vdw=False)
    heavy = replace(system, molecule=replace(system.molecule, masses=[16.0, 1.0, 2.0]))
    assert len(set(names_of(heavy))) == 3
    charged = System(system.molecule, arrays=system.arrays, coulomb_types=[0, 1, 2])
    assert len(set(names_of(charged))) == 3


def test_conformers_and_other_molecules_share_types():
    methane, other = problem("methanol", "harmonic")[0], problem("methanol", "harmonic", seed=4)[0]
    types = atom_types([methane, replace(other, molecule=replace(other.molecule, name="other"))], NONE, ".xml")
    assert types.copies == (0, 0) and len(types.molecules) == 1
    molecules = [load_molecule(name) for name in ("ethane", "c2h2")]
    systems, _ = perceive(molecules, by="element", torsions=False)
    types = atom_types(systems, NONE, ".xml")
    assert types.copies == (0, 1) and types.of_atoms[0][0] != types.of_atoms[1][0]


def test_a_torsion_among_others_like_it_gets_types_of_its_own():
    """Refinement alone sees the same surroundings everywhere only until one of nine torsions has a term."""
    system, _ = problem("ethane", "harmonic", vdw=False)
    one = replace(system, torsion_atoms=system.torsion_atoms[:1], torsion_types=system.torsion_types[:1])
    types = atom_types([one], NONE, ".xml")
    (key,) = types.tuples("torsion")
    classes = types.of_atoms[0]
    named = [row for row, found in occurrences(one, "torsion") if tuple(classes[atom] for atom in row) in (key, key[::-1])]
    assert [tuple(sorted(row)) for row in named] == [tuple(sorted(one.torsion_atoms[0].tolist()))]


def ring():
    """Six like atoms whose terms refinement cannot tell apart, though bonds of two types alternate along them."""
    angle = np.arange(6) * np.pi / 3.0
    molecule = Molecule("C" * 6, 1.4 * np.stack([np.cos(angle), np.sin(angle), np.zeros(6)], axis=1), waived=())
    bonds = [(atom, (atom + 1) % 6) for atom in range(6)]
    chains = [tuple((start + step) % 6 for step in range(4)) for start in (0, 2, 4)]
    return System(molecule, bond_atoms=bonds, bond_types=[0] * 6, torsion_atoms=chains, torsion_types=[0] * 3)


def test_types_are_split_until_no_tuple_names_a_term_that_is_not_there():
    system = ring()
    types = atom_types([system], NONE, ".xml")
    classes = types.of_atoms[0]
    for kind in CHAINS:
        seen = {}
        for atoms, found in occurrences(system, kind):
            row = tuple(classes[atom] for atom in atoms)
            assert seen.setdefault(min(row, row[::-1]), found) == found
    assert 1 < len(types.names) <= 6


def test_terms_where_bonds_do_not_lead_are_refused_by_name():
    system, forcefield = problem("methanol", "harmonic", vdw=False)
    added = {"urey_bradley_force_constants": [9.0], "urey_bradley_lengths": [2.0], "improper_force_constants": [1.0]}
    forcefield = ForceField("harmonic", arrays={**forcefield.arrays, **added})
    far = System(system.molecule, arrays=system.arrays, urey_bradley_atoms=[(2, 5)], urey_bradley_types=[0])
    message = r"methanol: \.prm cannot hold urey_bradley 0 of 1, 'urey_bradley 0 k' of the atoms \[2, 5\]: .* by bonds"
    with pytest.raises(FormatError, match=message):
        atom_types([far], forcefield, ".prm")
    stars = {"improper_atoms": [(2, 3, 0, 1), (3, 2, 0, 1)], "improper_types": [0, 0]}
    with pytest.raises(FormatError, match=r"cannot hold improper [01] of 2, .* one order .* Write \.json, \.system"):
        atom_types([System(system.molecule, arrays={**system.arrays, **stars})], forcefield, ".xml")
