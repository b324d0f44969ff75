"""Perception of terms: counts known from chemistry, brute-force enumeration, and q2mm's own topology."""

import itertools

import numpy as np
import pytest
from q2mm.models.molecule import Q2MMMolecule
from scipy.sparse.csgraph import shortest_path
from tolerances import CLOSED_FORM

from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import TopologyError, UnmatchedTermWarning
from q2mm_accel.model import topology
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.plausibility import CHECKS

BENT_MOLECULES = ("ch3f", "water", "methanol", "ethane", "formaldehyde", "h2o2")


@pytest.mark.parametrize("name", BENT_MOLECULES)
def test_bonds_and_angles_are_those_of_q2mm(name):
    molecule = load_molecule(name)
    theirs = Q2MMMolecule(list(molecule.symbols), molecule.coordinates)
    bonds = topology.bonds(molecule)
    angles = topology.angles(bonds)
    assert bonds.tolist() == [[bond.atom_i, bond.atom_j] for bond in theirs.bonds]
    assert angles.tolist() == [[angle.atom_i, angle.atom_j, angle.atom_k] for angle in theirs.angles]
    values = topology.angle_values(molecule.coordinates, angles)
    np.testing.assert_allclose(values, [angle.value for angle in theirs.angles], rtol=CLOSED_FORM)


@pytest.mark.parametrize("name", BENT_MOLECULES)
def test_torsions_and_pairs_are_those_of_brute_force(name):
    molecule = load_molecule(name)
    bonds = topology.bonds(molecule)
    bonded = np.zeros((molecule.n_atoms,) * 2, dtype=int)
    bonded[bonds[:, 0], bonds[:, 1]] = bonded[bonds[:, 1], bonds[:, 0]] = 1
    chains = {
        chain
        for chain in itertools.permutations(range(molecule.n_atoms), 4)
        if chain < chain[::-1] and all(bonded[pair] for pair in itertools.pairwise(chain))
    }
    found = [tuple(row) for row in topology.torsions(molecule, bonds).tolist()]
    assert sorted(min(row, row[::-1]) for row in found) == sorted(chains)
    separation = shortest_path(bonded, unweighted=True)
    expected = [list(pair) for pair in itertools.combinations(range(molecule.n_atoms), 2) if separation[pair] > 2]
    assert topology.vdw_pairs(molecule.n_atoms, bonds).tolist() == expected


@pytest.mark.parametrize("tolerance", [1.3, 1.5])
def test_a_bond_ends_where_the_covalent_radii_times_the_tolerance_say(tolerance):
    limit = tolerance * (0.76 + 0.57)  # carbon and fluorine, Cordero et al. 2008
    for length, expected in ((limit * (1.0 - CLOSED_FORM), 1), (limit * (1.0 + CLOSED_FORM), 0)):
        pair = Molecule("CF", [[0, 0, 0], [0, 0, length]], waived=CHECKS)
        assert len(topology.bonds(pair, tolerance)) == expected


def test_angle_values_are_exact_at_both_ends_of_the_range():
    triples = np.array([[0, 1, 2]])
    for degrees in (0.0, 1e-9, 90.0, 180.0 - 1e-9, 180.0):
        turn = np.radians(degrees)
        coordinates = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [np.cos(turn), np.sin(turn), 0.0]])
        np.testing.assert_allclose(topology.angle_values(coordinates, triples), degrees, rtol=CLOSED_FORM, atol=CLOSED_FORM)


def test_a_pyramidal_nitrogen_has_no_improper():
    ammonia = Molecule("NHHH", [[0, 0, 0.116], [0, 0.94, -0.27], [0.814, -0.47, -0.27], [-0.814, -0.47, -0.27]])
    assert topology.impropers(ammonia, topology.bonds(ammonia)).shape == (0, 4)


def test_a_t_shaped_centre_gets_no_improper_but_a_warning():
    shape = Molecule(["Cl", "F", "F", "F"], [[0, 0, 0], [1.7, 0, 0], [-1.7, 0, 0], [0, 1.6, 0]], name="chlorine fluoride")
    with pytest.warns(UnmatchedTermWarning, match="chlorine fluoride: 1 improper"):
        assert topology.impropers(shape, topology.bonds(shape)).shape == (0, 4)


def test_two_hundred_atoms_have_the_pairs_of_a_chain():
    chain = np.stack([np.arange(199), np.arange(1, 200)], axis=1)
    assert len(topology.vdw_pairs(200, chain)) == 200 * 199 // 2 - 199 - 198


@pytest.mark.parametrize("function", [topology.torsions, topology.impropers, topology.environments])
def test_a_bond_to_an_atom_that_does_not_exist_is_refused(function):
    with pytest.raises(TopologyError, match="atoms 0 to 7"):
        function(load_molecule("water"), [[0, 7]])
