"""Molecules that cannot be right are refused, by name and with a remedy: shapes, units, order, geometry."""

from dataclasses import replace

import numpy as np
import pytest
from refusals import WATER, assert_refused, refusals

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System
from q2mm_accel.datasets import SMALL, load_molecule
from q2mm_accel.errors import HessianError, MoleculeError, UnitError

BOHR = 0.529177210903
KCAL_PER_HARTREE = 627.509
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
    "an element in lower case": (
        lambda: water(symbols=["o", "H", "H"]),
        MoleculeError,
        ("water", "atom 0", "'o'", "use a symbol such as"),
    ),
    "atomic numbers for symbols": (
        lambda: water(symbols=[8, 1, 1]),
        MoleculeError,
        ("water", "atom 0", "'8'", "use a symbol such as"),
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
        lambda: Molecule("HH", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.3]], check=False),
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
    "a Hessian's lower triangle": (
        lambda: water(hessian=WATER.hessian[np.tril_indices(9)]),
        MoleculeError,
        ("water", "hessian", "of shape (9, 9)", "(45,)"),
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
    "a Hessian that is asymmetric by a thousandth": (
        lambda: water(hessian=with_element(WATER.hessian, (3, 4), WATER.hessian[3, 4] + 1e-3 * WATER.hessian.max())),
        HessianError,
        ("water", "not symmetric", "(3, 4)", "1.0e-03", "check=False"),
    ),
    "a Hessian in another order of atoms": (
        lambda: water(symbols="HOH", coordinates=WATER.coordinates[[1, 0, 2]]),
        HessianError,
        ("water", "not invariant", "atom order", "check=False"),
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


WRONG_HESSIANS = {
    "kcal/mol/A^2": (lambda m: m.hessian * KCAL_PER_HARTREE / BOHR**2, UnitError, ("kcal/mol/Å² (divide by 2240.88)",)),
    "kJ/mol/A^2": (lambda m: m.hessian * 4.184 * KCAL_PER_HARTREE / BOHR**2, UnitError, ("kJ/mol/Å² (divide by 9375.83)",)),
    "kJ/mol/nm^2": (lambda m: m.hessian * 418.4 * KCAL_PER_HARTREE / BOHR**2, UnitError, ("kJ/mol/nm² (divide by 937583)",)),
    "mass-weighted by u": (mass_weighted, HessianError, ("not invariant to a translation", "mass-weighted")),
    "mass-weighted by electron masses": (lambda m: mass_weighted(m) / 1822.89, UnitError, ("largest diagonal element",)),
    "transposed 3x3 blocks": (with_transposed_blocks, HessianError, ("not invariant to a rotation", "orientation")),
    "all x before all y": (axis_by_axis, HessianError, ("not invariant to a translation", "atom order")),
}


@pytest.mark.parametrize(
    ("name", "fault"),
    [(n, f) for n in SMALL for f in WRONG_HESSIANS if n not in LINEAR or f != "transposed 3x3 blocks"],
)
def test_a_hessian_in_the_wrong_unit_or_order_is_recognised(name, fault):
    molecule = load_molecule(name)
    change, error, words = WRONG_HESSIANS[fault]
    assert_refused(lambda: replace(molecule, hessian=change(molecule)), error, (name, *words, "check=False"))
    assert replace(molecule, hessian=change(molecule), check=False).hessian is not None


@pytest.mark.parametrize("name", SMALL)
def test_coordinates_in_bohr_are_recognised(name):
    molecule = load_molecule(name)
    changes = {"coordinates": molecule.coordinates / BOHR, "hessian": None}
    assert_refused(lambda: replace(molecule, **changes), UnitError, (name, "look like bohr", "0.529177", "check=False"))
    assert replace(molecule, **changes, check=False).n_atoms == molecule.n_atoms


def test_disconnected_fragments_are_allowed():
    molecule = Molecule("HHHH", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.74], [0.0, 0.0, 20.0], [0.0, 0.74, 20.0]])
    forcefield = ForceField(form="harmonic", bond_force_constants=[400.0], bond_lengths=[0.70])
    system = System(molecule, bond_atoms=[(0, 1), (2, 3)], bond_types=[0, 0])
    objective = FusedObjective([system], forcefield, [Reference("energy", 0.0)])
    assert objective.fun(objective.x0) == pytest.approx((2 * 400.0 * 0.04**2) ** 2)
