"""Units: the factor of every term, one spectrum in four systems of units, and the spectra that PySCF printed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import evaluate

from q2mm_accel import ForceField, Molecule, System, frequencies, units
from q2mm_accel.datasets import MOLECULES, load_molecule, published_frequencies
from q2mm_accel.model.plausibility import CHECKS
from q2mm_accel.model.seminario import estimate_force_constants

PUBLISHED = 1e-3
"""[cm⁻¹] PySCF takes the constants of CODATA 2014, which make its frequencies 2e-8 larger. Expected 8e-5."""
RIGID = 15.0
"""[cm⁻¹] Translations and rotations, from the noise of the integration grid. Expected 9.4."""

FORMS = ("harmonic", "mm3")


def stretched(length, kind):
    """Two carbon atoms, joined by a bond or a Urey-Bradley term."""
    molecule = Molecule("CC", [[0.0, 0.0, 0.0], [0.0, length, 0.0]], waived=CHECKS)
    return System(molecule, **{f"{kind}_atoms": [(0, 1)], f"{kind}_types": [0]})


def bent(degrees):
    """Two bonds that form this angle."""
    angle = math.radians(degrees)
    coordinates = [[1.1, 0.0, 0.0], [0.0, 0.0, 0.0], [1.2 * math.cos(angle), 1.2 * math.sin(angle), 0.0]]
    return System(Molecule("HCH", coordinates, waived=CHECKS), angle_atoms=[(0, 1, 2)], angle_types=[0])


def twisted(degrees):
    """Four atoms of this dihedral."""
    angle = math.radians(degrees)
    last = [math.cos(angle), math.sin(angle), 1.5]
    molecule = Molecule("HCCH", [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.5], last], waived=CHECKS)
    return System(molecule, torsion_atoms=[(0, 1, 2, 3)], torsion_types=[0])


def apart(distance):
    """Two atoms of one van der Waals type."""
    molecule = Molecule("CC", [[0.0, 0.0, 0.0], [0.0, 0.0, distance]], waived=CHECKS)
    return System(molecule, vdw_pairs=[(0, 1)], vdw_types=[0, 0])


BOND = {"bond_force_constants": [300.0], "bond_lengths": [1.5]}
ANGLE = {"angle_force_constants": [60.0], "angle_values": [110.0]}
TORSION = {"torsion_force_constants": [1.7], "torsion_periodicities": [3]}
UREY_BRADLEY = {"urey_bradley_force_constants": [20.0], "urey_bradley_lengths": [2.2]}
VDW = {"vdw_radii": [1.7], "vdw_epsilons": [0.1]}

MM3_BOND = 1.0 - 2.55 * 0.1 + 7.0 / 12.0 * 2.55**2 * 0.1**2
MM3_ANGLE = 1.0 - 0.014 * 6.0 + 5.6e-5 * 6.0**2 - 7e-7 * 6.0**3 + 9e-10 * 6.0**4
ENERGIES = {
    "a bond, 0.1 A too long": (stretched(1.6, "bond"), BOND, 3.0, 3.0 * MM3_BOND),
    "a Urey-Bradley term, 0.1 A too long": (stretched(2.3, "urey_bradley"), UREY_BRADLEY, 0.2, 0.2),
    "an angle, 6 degrees too wide": (bent(116.0), ANGLE, *(60.0 * (math.pi / 30.0) ** 2 * f for f in (1.0, MM3_ANGLE))),
    "a torsion on its barrier": (twisted(120.0), TORSION, 3.4, 3.4),
    "a torsion half way up": (twisted(90.0), TORSION, 1.7, 1.7),
    "a pair at its minimum": (apart(3.4), VDW, -0.1, -0.1 * (2.25 - 184000.0 * math.exp(-12.0))),
    "a pair at twice that distance": (
        apart(6.8),
        VDW,
        0.1 * (2.0**-12 - 2.0 * 2.0**-6),
        0.1 * (184000.0 * math.exp(-24.0) - 2.25 * 2.0**-6),
    ),
}
"""System, its parameters, and the energy [kcal/mol] by hand in the forms harmonic and mm3: k x², never k x²/2."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("term", ENERGIES, ids=str)
def test_the_energy_in_kcal_per_mol_is_that_by_hand_of(term, form):
    system, parameters, *expected = ENERGIES[term]
    energy = evaluate(system, ForceField(form=form, **parameters)).energy
    assert energy == pytest.approx(expected[FORMS.index(form)], rel=tolerances.CLOSED_FORM)


def test_conversions_there_and_back_return_the_number():
    there_and_back = {
        "hartree/bohr² and kcal/mol/Å²": units.KCALMOLA2_TO_HESSIAN_AU * (units.HESSIAN_AU_TO_KJMOLA2 / units.KCAL_TO_KJ),
        "hartree/bohr² and kJ/mol/Å²": units.HESSIAN_AU_TO_KJMOLA2 * units.BOHR_TO_ANGSTROM**2 / units.HARTREE_TO_KJMOL,
        "degrees and radians": units.DEGREE * (180.0 / math.pi),
    }
    for conversion, number in there_and_back.items():
        assert number == pytest.approx(1.0, rel=tolerances.ROUNDING), conversion


# q2mm's constants, written down again; a mole is what relates its hartree in kJ/mol to its hartree in J
KJ_PER_KCAL, ANGSTROM_PER_BOHR, HARTREE_IN_KJ_PER_MOL, HARTREE_IN_J = 4.184, 0.529177210903, 2625.5, 4.359744650e-18
KG_PER_U, METRES_PER_SECOND = 1.66053906660e-27, 299792458.0
PER_MOLE = HARTREE_IN_KJ_PER_MOL * 1e3 / HARTREE_IN_J

SYSTEMS_OF_UNITS = {
    "hartree, bohr": (KJ_PER_KCAL / HARTREE_IN_KJ_PER_MOL * ANGSTROM_PER_BOHR**2, HARTREE_IN_J, ANGSTROM_PER_BOHR * 1e-10),
    "kcal/mol, A": (1.0, KJ_PER_KCAL * 1e3 / PER_MOLE, 1e-10),
    "kJ/mol, nm": (KJ_PER_KCAL * 100.0, 1e3 / PER_MOLE, 1e-9),
    "J, m": (KJ_PER_KCAL * 1e3 / PER_MOLE * 1e20, 1.0, 1.0),
}
"""Factor from kcal/mol/Å², the unit of energy in J, the unit of length in m."""


def wavenumbers(hessian, masses, joule, metre):
    """Harmonic frequencies [cm⁻¹] of a Hessian in any unit of energy and length; masses in u."""
    scale = 1.0 / np.sqrt(np.repeat(masses, 3))
    eigenvalues = np.linalg.eigvalsh(hessian * np.outer(scale, scale)) * (joule / metre**2 / KG_PER_U)
    angular = np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues))
    return angular / (2.0 * np.pi * METRES_PER_SECOND * 100.0)


@pytest.fixture(scope="module")
def methanol():
    """Methanol, and the spectrum and Hessian [kcal/mol/Å²] of a force field for it."""
    systems, start = perceive_bare([load_molecule("methanol")], form="mm3")
    torsions = np.full(start.n_types("torsion"), 0.4)
    fitted = replace(estimate_force_constants(systems, start), torsion_force_constants=torsions)
    return systems[0].molecule, evaluate(systems[0], fitted)


@pytest.mark.parametrize("unit", SYSTEMS_OF_UNITS)
def test_the_spectrum_of_a_force_field_is_the_same_in_every_system_of_units(methanol, unit):
    molecule, evaluation = methanol
    factor, joule, metre = SYSTEMS_OF_UNITS[unit]
    frequencies = wavenumbers(evaluation.hessian * factor, molecule.masses, joule, metre)
    vibrations = np.abs(evaluation.frequencies) >= tolerances.FREQUENCY_FLOOR
    assert vibrations.sum() >= 12
    np.testing.assert_allclose(frequencies[vibrations], evaluation.frequencies[vibrations], rtol=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("unit", SYSTEMS_OF_UNITS)
def test_the_spectrum_of_a_quantum_mechanical_hessian_is_the_same_in_every_system_of_units(methanol, unit):
    molecule, _ = methanol
    in_kcal = molecule.hessian * HARTREE_IN_KJ_PER_MOL / KJ_PER_KCAL / ANGSTROM_PER_BOHR**2
    factor, joule, metre = SYSTEMS_OF_UNITS[unit]
    frequencies, expected = wavenumbers(in_kcal * factor, molecule.masses, joule, metre), molecule.frequencies()
    np.testing.assert_allclose(frequencies[6:], expected[6:], rtol=tolerances.CLOSED_FORM)


def test_no_systems_have_no_spectra():
    assert frequencies([], ForceField(form="harmonic")) == []


@pytest.mark.parametrize("name", MOLECULES)
def test_the_published_frequencies_are_reproduced(name):
    molecule, published = load_molecule(name), published_frequencies(name)
    by_size = np.sort(np.abs(molecule.frequencies()))
    rigid = len(by_size) - len(published)
    assert rigid == (5 if name in ("hcn", "c2h2") else 6)
    assert by_size[rigid - 1] < RIGID
    # without rigid motions, which mix with the softest modes
    deviation = np.abs(molecule.normal_modes.frequencies - published).max()
    print(f"{name}: {deviation:.1e} cm⁻¹, allowed {PUBLISHED:.0e}")
    assert deviation <= PUBLISHED
    assert np.count_nonzero(published < 0.0) == (name == "sn2_ts")
