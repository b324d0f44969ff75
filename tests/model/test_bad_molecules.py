"""Molecules that cannot be right are refused, by name and with a remedy: shapes, units, order, geometry."""

from dataclasses import replace

import numpy as np
import pytest
from refusals import WATER, assert_refused, refusals

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System
from q2mm_accel.datasets import SMALL, load_molecule
from q2mm_accel.errors import HessianError, HessianWarning, MoleculeError, UnitError
from q2mm_accel.model.plausibility import CHECKS

BOHR = 0.529177210903
KCAL_PER_HARTREE = 627.509
ADVICE = 1e-5
"""Relative: factors in messages have six digits, and q2mm's 627.51 is 1.6e-6 above CODATA's. Expected 2e-6."""
LINEAR = ("hcn", "c2h2")
"""Along an axis their 3x3 blocks are diagonal, so that transposing them changes nothing."""


def water(**changes):
    return replace(WATER, **changes)


def without_hessian(**changes):
    return replace(WATER, hessian=None, **changes)


def with_element(array, place, value):
    changed = np.array(array)
    changed[place] = value
    return changed


ATOMS = {
    "coordinates of two of three atoms": (
        lambda: without_hessian(coordinates=WATER.coordinates[:2]),
        MoleculeError,
        ("water", "coordinates", "of shape (3, 3)", "(2, 3)"),
    ),
    "coordinates in one row": (
        lambda: without_hessian(coordinates=WATER.coordinates.ravel()),
        MoleculeError,
        ("water", "coordinates", "of shape (3, 3)", "(9,)"),
    ),
    "coordinates with a missing number": (
        lambda: without_hessian(coordinates=[[0, 0, 0], [0, 0, 1], [0, 1]]),
        MoleculeError,
        ("water", "coordinates", "numbers of shape (3, 3)"),
    ),
    "coordinates that are text": (
        lambda: without_hessian(coordinates="water.xyz"),
        MoleculeError,
        ("water", "coordinates", "numbers of shape (3, 3)", "water.xyz"),
    ),
    "complex coordinates": (
        lambda: without_hessian(coordinates=WATER.coordinates.astype(complex)),
        MoleculeError,
        ("water", "coordinates", "real numbers", "complex"),
    ),
    "a coordinate that is NaN": (
        lambda: water(coordinates=with_element(WATER.coordinates, (1, 2), np.nan)),
        MoleculeError,
        ("water", "coordinates must be finite", "(1, 2)", "nan"),
    ),
    "a coordinate that is None": (
        lambda: water(coordinates=with_element(WATER.coordinates.astype(object), (1, 2), None)),
        MoleculeError,
        ("water", "coordinates must be finite", "(1, 2)", "nan"),
    ),
    "an infinite coordinate": (
        lambda: water(coordinates=with_element(WATER.coordinates, (2, 0), np.inf)),
        MoleculeError,
        ("water", "coordinates must be finite", "(2, 0)", "inf"),
    ),
    "an unknown element": (
        lambda: water(symbols=["O", "H", "Xx"]),
        MoleculeError,
        ("water", "atom 2", "'Xx'", "use a symbol such as"),
    ),
    "what is calcium or a carbon atom": (
        lambda: water(symbols=["CA", "H", "H"]),
        MoleculeError,
        ("water", "atom 0", "'CA'", "use a symbol such as"),
    ),
    "an isotope without a known mass": (
        lambda: water(symbols=["O", "H", "H(Iso=5)"]),
        MoleculeError,
        ("water", "atom 2", "'H(Iso=5)'", "masses="),
    ),
    "a check that there is not": (
        lambda: water(waived=["unit", "colour"]),
        MoleculeError,
        ("water", "waived is ['unit', 'colour']", "'bohr'", "'invariance'"),
    ),
    "no symbols": (lambda: water(symbols=None), MoleculeError, ("water", "symbols must be a list such as", "None")),
    "no atoms": (lambda: Molecule([], np.zeros((0, 3))), MoleculeError, ("molecule", "needs at least one atom")),
    "coincident atoms": (
        lambda: without_hessian(coordinates=WATER.coordinates[[0, 1, 1]]),
        MoleculeError,
        ("water", "atoms 1 (H) and 2 (H)", "0.0000 Å", "Check the coordinates"),
    ),
    "a distance of 0.3 A": (
        lambda: without_hessian(coordinates=[[0.0, 0.0, 0.0], [0.0, 0.0, 0.3], [0.0, 0.9, 0.0]]),
        MoleculeError,
        ("water", "atoms 0 (O) and 1 (H)", "0.3000 Å", "Check the coordinates"),
    ),
    "a distance of 0.3 A without the check of units": (
        lambda: Molecule("HH", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.3]], waived=CHECKS),
        MoleculeError,
        ("H2", "atoms 0 (H) and 1 (H)", "0.3000 Å", "Check the coordinates"),
    ),
    "an energy that is NaN": (lambda: water(energy=np.nan), MoleculeError, ("water", "energy must be finite", "it is nan")),
    "two energies": (lambda: water(energy=[-76.0, -75.0]), MoleculeError, ("water", "energy", "shape ()", "(2,)")),
    "masses of two of three atoms": (
        lambda: water(masses=[16.0, 1.0]),
        MoleculeError,
        ("water", "masses", "of shape (3,)", "(2,)"),
    ),
    "a mass of zero": (
        lambda: water(masses=[16.0, 1.0, 0.0]),
        MoleculeError,
        ("water", "mass of atom 2", "0.0 u", "must be positive"),
    ),
    "frequencies without a Hessian": (
        lambda: without_hessian().frequencies(),
        MoleculeError,
        ("water", "no Hessian", "pass hessian="),
    ),
}

HESSIANS = {
    "a Hessian without its last row and column": (
        lambda: water(hessian=WATER.hessian[:8, :8]),
        MoleculeError,
        ("water", "hessian", "of shape (9, 9)", "(8, 8)"),
    ),
    "a Hessian in one row": (
        lambda: water(hessian=WATER.hessian.ravel()),
        MoleculeError,
        ("water", "hessian", "of shape (9, 9)", "(81,)", "lower triangle, row by row, (45,)"),
    ),
    "a Hessian of some of the atoms": (
        lambda: water(hessian=WATER.hessian[:6, :6]),
        MoleculeError,
        ("water", "hessian", "(6, 6)", "of 2 of its 3 atoms", "partial Hessian"),
    ),
    "a Hessian of three atoms in blocks that are not symmetric": (
        lambda: water(hessian=np.arange(81.0).reshape(3, 3, 3, 3)),
        MoleculeError,
        ("water", "(3, 3, 3, 3)", "two ways", "none make a symmetric matrix", "(9, 9)"),
    ),
    "a Hessian with frozen atoms": (
        lambda: water(hessian=WATER.hessian * np.outer([0] * 3 + [1] * 6, [0] * 3 + [1] * 6)),
        HessianError,
        ("water", "belong to 1 of its 3 atoms are zero (O0)", "frozen", 'waived=("frozen", "invariance")'),
    ),
    "a Hessian with a NaN": (
        lambda: water(hessian=with_element(WATER.hessian, (3, 4), np.nan)),
        MoleculeError,
        ("water", "hessian must be finite", "(3, 4)", "nan"),
    ),
    "a Hessian of zeros": (
        lambda: water(hessian=np.zeros((9, 9))),
        HessianError,
        ("water", "every element of the Hessian is zero", "was it read completely"),
    ),
    "a Hessian that is asymmetric by a fiftieth": (
        lambda: water(hessian=with_element(WATER.hessian, (3, 4), WATER.hessian[3, 4] + 0.02 * WATER.hessian.max())),
        HessianError,
        ("water", "not symmetric", "(3, 4)", "2.0e-02", 'waived="symmetry"'),
    ),
    "a Hessian in another order of atoms": (
        lambda: water(symbols="HOH", coordinates=WATER.coordinates[[1, 0, 2]]),
        HessianError,
        ("water", "not invariant", "atom order", 'waived="invariance"'),
    ),
}


@refusals(ATOMS, HESSIANS)
def test_a_molecule_is_refused_for(call, error, words):
    assert_refused(call, error, words)


def mass_weighted(molecule):
    scale = 1.0 / np.sqrt(np.repeat(molecule.masses, 3))
    return molecule.hessian * np.outer(scale, scale)


def with_transposed_blocks(molecule):
    n = molecule.n_atoms
    return molecule.hessian.reshape(n, 3, n, 3).transpose(0, 3, 2, 1).reshape(3 * n, 3 * n)


def axis_by_axis(molecule):
    n = molecule.n_atoms
    return molecule.hessian.reshape(n, 3, n, 3).transpose(1, 0, 3, 2).reshape(3 * n, 3 * n)


UNITS = {
    "hartree/Å²": 1.0 / BOHR**2,
    "mdyn/Å": 15.569141,
    "eV/Å²": 27.211386 / BOHR**2,
    "kcal/mol/bohr²": KCAL_PER_HARTREE,
    "kcal/mol/Å²": KCAL_PER_HARTREE / BOHR**2,
    "kJ/mol/Å²": 4.184 * KCAL_PER_HARTREE / BOHR**2,
    "kJ/mol/nm²": 418.4 * KCAL_PER_HARTREE / BOHR**2,
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", SMALL)
def test_a_hessian_in_another_unit_is_recognized_and_the_advice_is_right(name, unit):
    molecule = load_molecule(name)
    changed = molecule.hessian * UNITS[unit]
    words = (name, "the highest frequency", f"Likely unit: {unit} (divide by", 'waived="unit"')
    assert_refused(lambda: replace(molecule, hessian=changed), UnitError, words)
    with pytest.raises(UnitError) as caught:
        replace(molecule, hessian=changed)
    factor = float(str(caught.value).split("divide by ")[1].split(")")[0])
    np.testing.assert_allclose(replace(molecule, hessian=changed / factor).hessian, molecule.hessian, rtol=ADVICE)
    assert replace(molecule, hessian=changed, waived="unit").hessian is not None


WRONG_HESSIANS = {
    "mass-weighted by u": (mass_weighted, ("not invariant to a translation", "It is mass-weighted (multiply")),
    "mass-weighted by electron masses": (lambda m: mass_weighted(m) / 1822.89, ("It is mass-weighted", "electron masses")),
    "transposed 3x3 blocks": (with_transposed_blocks, ("not invariant to a rotation", "orientation", "stationary")),
    "all x before all y": (axis_by_axis, ("not invariant to a translation", "atom order")),
}


@pytest.mark.parametrize(
    ("name", "fault"),
    [(n, f) for n in SMALL for f in WRONG_HESSIANS if n not in LINEAR or f != "transposed 3x3 blocks"],
)
def test_a_hessian_of_another_kind_or_order_is_recognized(name, fault):
    molecule = load_molecule(name)
    change, words = WRONG_HESSIANS[fault]
    changed = change(molecule)
    assert_refused(lambda: replace(molecule, hessian=changed), HessianError, (name, *words, 'waived="invariance"'))
    assert replace(molecule, hessian=changed, waived=("unit", "invariance")).hessian is not None


def test_where_all_atoms_weigh_the_same_a_mass_weighted_hessian_is_recognized_by_its_frequency():
    row = np.array([0.0, 0.0, -1.0, 0.0, 0.0, 1.0])
    nitrogen = 1.5 * np.outer(row, row)  # N2 has 2,359 cm⁻¹, which makes 1.47 hartree/bohr²
    coordinates = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.098]]
    assert 2300.0 < Molecule("NN", coordinates, nitrogen).normal_modes.frequencies[-1] < 2400.0
    with pytest.raises(UnitError, match="Likely unit: mass-weighted in u"):
        Molecule("NN", coordinates, nitrogen / 14.003)


def springs(points):
    """Gradient [hartree/bohr] and Hessian [hartree/bohr²] of springs between three atoms, as long as in water."""
    inner, gradient, hessian = points / BOHR, np.zeros((3, 3)), np.zeros((3, 3, 3, 3))
    for i, j, stiffness, rest in ((0, 1, 0.5, 0.96), (0, 2, 0.5, 0.96), (1, 2, 0.1, 1.52)):
        step = inner[i] - inner[j]
        length = np.linalg.norm(step)
        along = np.outer(step, step) / length**2
        block = stiffness * along + stiffness * (1.0 - rest / BOHR / length) * (np.eye(3) - along)
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            hessian[a, :, b] += sign * block
        gradient[[i, j]] += stiffness * (length - rest / BOHR) * np.array([1.0, -1.0])[:, None] * step / length
    return gradient, hessian.reshape(9, 9)


def test_away_from_a_stationary_point_a_hessian_is_refused_unless_its_gradient_is_given():
    points = np.array([[0.0, 0.0, 0.0], [1.06, 0.0, 0.0], [-0.25, 0.95, 0.0]])
    gradient, hessian = springs(points)
    words = ("OH2", "not invariant to a rotation about", "no stationary point", "gradient= of this geometry")
    assert_refused(lambda: Molecule("OHH", points, hessian), HessianError, words)
    assert Molecule("OHH", points, hessian, gradient=gradient).hessian is not None
    words = ("not invariant to a rotation", "the gradient not that of this geometry")
    assert_refused(lambda: Molecule("OHH", points, hessian, gradient=-gradient), HessianError, words)


def valence_hessian_of_carbon_dioxide():
    """From force constants of the literature [hartree/bohr²], exact for a linear molecule along x."""
    length = 1.17 / BOHR
    rows = np.zeros((5, 9))
    rows[0, [0, 3]], rows[1, [3, 6]], rows[2, [0, 6]] = (-1.0, 1.0), (-1.0, 1.0), (-1.0, 1.0)
    for row, axis in ((3, 1), (4, 2)):
        rows[row, [axis, 3 + axis, 6 + axis]] = np.array([1.0, -2.0, 1.0]) / length
    constants = np.array([1.03, 1.03, 0.0225, 0.036 * length**2, 0.036 * length**2])
    return rows.T @ (constants[:, None] * rows)


def test_carbon_dioxide_in_electronvolts_is_not_taken_for_another_unit():
    coordinates = [[-1.17, 0.0, 0.0], [0.0, 0.0, 0.0], [1.17, 0.0, 0.0]]
    hessian = valence_hessian_of_carbon_dioxide()
    assert Molecule("OCO", coordinates, hessian).hessian is not None
    with pytest.raises(UnitError, match="Likely unit: eV/Å² .divide by 97.17"):
        Molecule("OCO", coordinates, hessian * UNITS["eV/Å²"])


@pytest.mark.parametrize("symbols", ["Ar", "He"])
def test_atoms_without_a_bond_may_have_any_small_hessian(symbols):
    row = np.array([0.0, 0.0, -1.0, 0.0, 0.0, 1.0])
    pair = ([symbols] * 2, [[0.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    assert Molecule(*pair, 1e-4 * np.outer(row, row)).hessian is not None
    with pytest.raises(UnitError, match="no bond.*diagonal element"):
        Molecule(*pair, 10.0 * np.outer(row, row))


def test_a_hessian_of_finite_differences_is_symmetrized_with_a_warning_that_says_by_how_much():
    changed = with_element(WATER.hessian, (3, 4), WATER.hessian[3, 4] + 1e-3 * WATER.hessian.max())
    with pytest.warns(HessianWarning, match=r"water: .*less symmetric.*\(3, 4\).*1\.0e-03"):
        kept = water(hessian=changed).hessian
    np.testing.assert_array_equal(kept, 0.5 * (changed + changed.T))
    np.testing.assert_array_equal(water(hessian=changed, waived="symmetry").hessian, changed)


@pytest.mark.parametrize("name", SMALL)
def test_coordinates_in_bohr_are_recognised(name):
    molecule = load_molecule(name)
    changes = {"coordinates": molecule.coordinates / BOHR, "hessian": None}
    assert_refused(lambda: replace(molecule, **changes), UnitError, (name, "look like bohr", "0.529177", 'waived="bohr"'))
    assert replace(molecule, **changes, waived=["bohr"]).n_atoms == molecule.n_atoms


def test_disconnected_fragments_are_allowed():
    molecule = Molecule("HHHH", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.74], [0.0, 0.0, 20.0], [0.0, 0.74, 20.0]])
    forcefield = ForceField(form="harmonic", bond_force_constants=[400.0], bond_lengths=[0.70])
    system = System(molecule, bond_atoms=[(0, 1), (2, 3)], bond_types=[0, 0])
    objective = FusedObjective([system], forcefield, [Reference("energy", 0.0)])
    assert objective.fun(objective.x0) == pytest.approx((2 * 400.0 * 0.04**2) ** 2)
