"""Molecules as programs write them: symbols, isotopes, shapes of Hessians, and how stiff bonds are."""

from dataclasses import replace

import numpy as np
import pytest
from refusals import WATER

from q2mm_accel.datasets import SMALL, load_molecule
from q2mm_accel.model.elements import MASSES, bond_stiffness, element_of
from q2mm_accel.units import FREQUENCY_FACTOR

DEUTERIUM = 2.014101778
WRITTEN = {
    "h": ("H", MASSES["H"]),
    "FE": ("Fe", MASSES["Fe"]),
    "cl": ("Cl", MASSES["Cl"]),
    "CL2": ("Cl", MASSES["Cl"]),
    "H1": ("H", MASSES["H"]),
    "1": ("H", MASSES["H"]),
    "103": ("Lr", MASSES["Lr"]),
    "D": ("H", DEUTERIUM),
    "d2": ("H", DEUTERIUM),
    "T": ("H", 3.016049281),
    "2H": ("H", DEUTERIUM),
    "H(Iso=2)": ("H", DEUTERIUM),
    "H(Iso=2.0141)": ("H", 2.0141),
    "13C": ("C", 13.003354835),
    "12C": ("C", 12.0),
    "Co": ("Co", MASSES["Co"]),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_symbol_is_understood_when_written_as(text):
    assert element_of(text) == WRITTEN[text]


@pytest.mark.parametrize(
    "text", ["", "X", "Xx", "0", "104", "CA", "CO", "HG", "cA", "C-3", "14C", "H(Iso=9)", "²", "1H1A", "Bq"]
)
def test_a_symbol_is_unclear_when_written_as(text):
    assert element_of(text) is None


def test_isotopes_in_symbols_are_masses_unless_masses_are_given():
    heavy = replace(WATER, symbols=["O", "D", "H(Iso=2)"], masses=None)
    assert heavy.symbols == ("O", "H", "H") and heavy.masses.tolist() == [MASSES["O"], DEUTERIUM, DEUTERIUM]
    assert replace(WATER, symbols=[8, 1, 1], masses=[16.0, 1.0, 2.0]).masses.tolist() == [16.0, 1.0, 2.0]
    assert heavy.normal_modes.frequencies[-1] < 0.75 * WATER.normal_modes.frequencies[-1]


def blocks(molecule):
    return molecule.hessian.reshape(molecule.n_atoms, 3, molecule.n_atoms, 3)


SHAPES = {
    "its lower triangle": lambda m: m.hessian[np.tril_indices(3 * m.n_atoms)],
    "zeros above the diagonal": lambda m: np.tril(m.hessian),
    "(N, 3, N, 3)": blocks,
    "(N, N, 3, 3)": lambda m: blocks(m).swapaxes(1, 2),
    "nested lists": lambda m: m.hessian.tolist(),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["water", "methanol"])
def test_a_hessian_is_understood_when_given_as(name, shape):
    molecule = load_molecule(name)
    kept = replace(molecule, hessian=SHAPES[shape](molecule)).hessian
    np.testing.assert_array_equal(kept, molecule.hessian)
    assert not kept.flags.writeable


MEASURED = {
    "HH": (0.741, 4401.0),
    "HF": (0.917, 4138.0),
    "CO": (1.128, 2170.0),
    "NN": (1.098, 2359.0),
    "OO": (1.208, 1580.0),
    "FF": (1.412, 917.0),
    "H Cl": (1.275, 2991.0),
    "H I": (1.609, 2309.0),
    "Cl Cl": (1.988, 560.0),
    "Br Br": (2.281, 325.0),
    "I I": (2.666, 215.0),
    "Li Li": (2.673, 351.0),
    "Li H": (1.595, 1406.0),
    "Li F": (1.564, 911.0),
    "Na Cl": (2.361, 366.0),
    "C S": (1.535, 1285.0),
    "Si O": (1.510, 1242.0),
    "Cu H": (1.463, 1941.0),
    "Ag H": (1.618, 1760.0),
    "Au H": (1.524, 2305.0),
}
"""Diatomic molecules: length [Å] and harmonic frequency [cm⁻¹], of Huber and Herzberg, Constants of Diatomic Molecules."""


@pytest.mark.parametrize("symbols", MEASURED)
def test_the_stiffness_of_a_bond_follows_from_its_length_well_enough_to_tell_units_apart(symbols):
    first, second = symbols.split() if " " in symbols else symbols
    length, frequency = MEASURED[symbols]
    estimate = FREQUENCY_FACTOR * np.sqrt(
        bond_stiffness(first, second, length) * (1.0 / MASSES[first] + 1.0 / MASSES[second])
    )
    assert 0.75 < estimate / frequency < 1.4  # the units that lie nearest differ by 1.9 in frequencies


@pytest.mark.parametrize("name", SMALL)
def test_no_shipped_molecule_is_near_the_limits_of_the_highest_frequency(name):
    molecule = load_molecule(name)
    for factor in (0.3, 1.5):  # of the Hessian
        assert replace(molecule, hessian=factor * molecule.hessian).hessian is not None
