"""Constants, masses and radii: q2mm's to the last bit, and how far they are from CODATA 2018."""

import pytest
from q2mm import constants, elements
from q2mm.backends.mm import jax_engine

from q2mm_accel import units
from q2mm_accel.model.elements import COVALENT_RADII, MASSES

SAME_AS_Q2MM = {
    "HARTREE_TO_KJMOL": constants.HARTREE_TO_KJMOL,
    "HARTREE_TO_KCALMOL": constants.HARTREE_TO_KCALMOL,
    "KCAL_TO_KJ": constants.KCAL_TO_KJ,
    "BOHR_TO_ANGSTROM": constants.BOHR_TO_ANG,
    "HARTREE_TO_J": constants.HARTREE_TO_J,
    "AMU_TO_KG": constants.AMU_TO_KG,
    "SPEED_OF_LIGHT": constants.SPEED_OF_LIGHT_MS,
    "HESSIAN_AU_TO_KJMOLA2": constants.HESSIAN_AU_TO_KJMOLA2,
    "KCALMOLA2_TO_HESSIAN_AU": jax_engine._KCALMOLA2_TO_HESSIAN_AU,
    "MDYNA_TO_KCALMOLA2": jax_engine._BOND_K_CONV,
    "MDYNA_RAD2_TO_KCALMOLRAD2": jax_engine._ANGLE_K_CONV,
    "AU_TO_MDYNA": constants.AU_TO_MDYNA,
    "AU_TO_MDYN_ANGLE": constants.AU_TO_MDYN_ANGLE,
}

# CODATA 2018 (https://physics.nist.gov/cuu/Constants); molar quantities with N_A = 6.02214076e23 1/mol
HARTREE, BOHR, AVOGADRO = 4.3597447222071e-18, 0.529177210903e-10, 6.02214076e23
FROM_CODATA = {
    "HARTREE_TO_KJMOL": (HARTREE * AVOGADRO / 1e3, 1.4e-7),
    "HARTREE_TO_KCALMOL": (HARTREE * AVOGADRO / 4184.0, 8.4e-7),
    "KCAL_TO_KJ": (4.184, 0.0),
    "BOHR_TO_ANGSTROM": (BOHR * 1e10, 1e-15),
    "HARTREE_TO_J": (HARTREE, 1.7e-8),
    "AMU_TO_KG": (1.66053906660e-27, 0.0),
    "SPEED_OF_LIGHT": (299792458.0, 0.0),
    "HESSIAN_AU_TO_KJMOLA2": (HARTREE * AVOGADRO / 1e3 / (BOHR * 1e10) ** 2, 1.4e-7),
    "KCALMOLA2_TO_HESSIAN_AU": (4184.0 / AVOGADRO / HARTREE * (BOHR * 1e10) ** 2, 1.4e-7),
    "MDYNA_TO_KCALMOLA2": (0.5 * AVOGADRO * 1e-18 / 4184.0, 1.7e-8),
    "MDYNA_RAD2_TO_KCALMOLRAD2": (0.5 * AVOGADRO * 1e-18 / 4184.0, 3.7e-4),
    "AU_TO_MDYNA": (HARTREE / BOHR**2 / 100.0, 1.4e-5),
    "AU_TO_MDYN_ANGLE": (HARTREE * 1e18, 1.3e-5),
    "HARTREE_TO_EV": (HARTREE / 1.602176634e-19, 1e-12),
    "U_TO_ELECTRON_MASSES": (1.66053906660e-27 / 9.1093837015e-31, 1e-9),
    "GRADIENT_AU_TO_KCALMOLA": (HARTREE * AVOGADRO / 4184.0 / (BOHR * 1e10), 8.4e-7),
}
"""Name -> (value, relative distance at most)."""


OWN = {"HARTREE_TO_EV", "U_TO_ELECTRON_MASSES", "GRADIENT_AU_TO_KCALMOLA"}
"""Those that q2mm has no constant for."""


@pytest.mark.parametrize("name", SAME_AS_Q2MM)
def test_a_constant_is_bitwise_that_of_q2mm(name):
    assert getattr(units, name) == SAME_AS_Q2MM[name]


@pytest.mark.parametrize("name", FROM_CODATA)
def test_a_constant_is_as_far_from_codata_as_stated(name):
    value, distance = FROM_CODATA[name]
    assert abs(getattr(units, name) / value - 1.0) <= distance


def test_every_constant_of_the_units_module_is_checked():
    numbers = {name for name, value in vars(units).items() if isinstance(value, float) and not name.startswith("_")}
    assert numbers == set(FROM_CODATA) | {"DEGREE", "FREQUENCY_FACTOR"}
    assert set(SAME_AS_Q2MM) == set(FROM_CODATA) - OWN


def test_one_hartree_per_square_bohr_and_unit_of_mass_is_5140_wavenumbers():
    assert units.FREQUENCY_FACTOR == pytest.approx(5140.4872, abs=1e-4)


def test_masses_and_radii_are_bitwise_those_of_q2mm():
    assert {symbol: constants.MASSES[symbol] for symbol in MASSES} == MASSES
    assert {symbol: elements.COVALENT_RADII[symbol] for symbol in COVALENT_RADII} == COVALENT_RADII
