"""1-4 pairs get the factors of their form where van der Waals terms are perceived."""

from itertools import combinations

import numpy as np
import pytest
from scipy.sparse.csgraph import shortest_path

from q2mm_accel import Molecule
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import FormError
from q2mm_accel.model.perceive import perceive


def pentane_chain():
    """Five carbon atoms in a zigzag, and a ring of four beside them: pairs of one fragment and of two."""
    chain = [[1.25 * i, 0.45 * (-1) ** i, 0.0] for i in range(5)]
    ring = [[x, y, 4.0] for x, y in ((0.0, 0.0), (1.5, 0.0), (1.5, 1.5), (0.0, 1.5))]
    return Molecule("C" * 9, chain + ring, name="chain and ring")


@pytest.mark.parametrize("molecule", [pentane_chain(), load_molecule("ethane")], ids=lambda molecule: molecule.name)
def test_pairs_three_bonds_apart_count_half_in_amber(molecule):
    (system,), _ = perceive([molecule], form="amber", vdw=True)
    bonded = np.zeros((molecule.n_atoms,) * 2)
    bonded[system.bond_atoms[:, 0], system.bond_atoms[:, 1]] = 1.0
    apart = shortest_path(bonded, directed=False, unweighted=True)
    expected = {
        pair: 0.5 if apart[pair] == 3 else 1.0 for pair in combinations(range(molecule.n_atoms), 2) if apart[pair] > 2
    }
    assert dict(zip(map(tuple, system.vdw_pairs.tolist()), system.pairs("vdw").factors, strict=True)) == expected
    assert 0.5 in expected.values()


@pytest.mark.parametrize("form", ["harmonic", "mm3"])
def test_they_count_in_full_in_other_forms(form):
    (system,), _ = perceive([load_molecule("ethane")], form=form, vdw=True)
    assert "vdw_factors" not in system.arrays and len(system.vdw_pairs) == 9
    assert np.all(system.pairs("vdw").factors == 1.0)


def test_without_van_der_waals_terms_there_are_no_factors():
    (system,), _ = perceive([load_molecule("ethane")], form="amber")
    assert "vdw_factors" not in system.arrays


def test_a_form_that_does_not_exist_is_refused():
    with pytest.raises(FormError, match="'charmm'; known are amber, "):
        perceive([load_molecule("ethane")], form="charmm")
