"""Transition states as minima: which curvature changes, and how q2mm's methods C, D and E estimate from it."""

from dataclasses import replace

import numpy as np
import pytest
from bare import perceive_bare
from test_seminario_q2mm import assert_equal_to_q2mm, curvature_turned, estimate_with_q2mm
from tolerances import EIGEN, FREQUENCY

from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import HessianError, MoleculeError, SaddleWarning, UnitError
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.seminario import estimate_force_constants

SADDLE = load_molecule("sn2_ts")


def test_an_inverted_transition_state_has_the_same_frequencies_but_no_imaginary_one():
    turned = SADDLE.as_minimum()
    before, after = SADDLE.normal_modes.frequencies, turned.normal_modes.frequencies
    assert before[0] < -300.0 and turned.turned == "inverted" and turned.name == SADDLE.name
    np.testing.assert_allclose(after, np.sort(np.abs(before)), atol=FREQUENCY)
    # rigid motions have the forces that they had
    rigid = np.tile(np.eye(3), (SADDLE.n_atoms, 1))
    change = (np.asarray(turned.hessian) - SADDLE.hessian) @ rigid
    assert np.abs(change).max() < EIGEN * np.abs(SADDLE.hessian).max()


def test_method_c_is_that_of_q2mm_in_the_unit_of_the_hessian():
    turned = SADDLE.as_minimum("C")
    np.testing.assert_allclose(turned.hessian, curvature_turned(SADDLE.hessian), atol=EIGEN)
    systems, forcefield = perceive_bare([turned], bond_tolerance=1.5)
    expected = estimate_force_constants(*perceive_bare([SADDLE], bond_tolerance=1.5), transition_state=True)
    np.testing.assert_allclose(estimate_force_constants(systems, forcefield).parameters, expected.parameters, rtol=EIGEN)


def test_method_d_keeps_the_hessian_and_lets_force_constants_be_negative():
    turned = SADDLE.as_minimum("D")
    assert turned.hessian is not None and np.array_equal(turned.hessian, SADDLE.known_hessian(""))
    systems, forcefield = perceive_bare([turned], bond_tolerance=1.5)
    narrow = forcefield.with_bounds(bond_force_constants=(-100.0, 900.0), angle_force_constants=(0.0, 720.0))
    estimated = estimate_force_constants(systems, narrow)
    assert_equal_to_q2mm(estimated, estimate_with_q2mm([SADDLE], forcefield, [SADDLE.hessian], 1.5))
    assert estimated.bounds.lb[0] == -100.0  # bounds that were asked for stay


def test_method_e_takes_those_of_method_c_where_an_estimate_is_not_above_zero():
    estimates = {}
    hessian = np.array(SADDLE.hessian)
    hessian -= 0.16 * curvature_along(SADDLE, 0, 1)
    softer = replace(SADDLE, hessian=hessian)
    for method in "CDE":
        systems, forcefield = perceive_bare([softer.as_minimum(method)], bond_tolerance=1.5, torsions=False)
        estimates[method] = estimate_force_constants(systems, forcefield)
    natural, turned, hybrid = (estimates[method].parameters for method in "DCE")
    stiffness = np.array([label.endswith(" k") for label in forcefield.labels])
    assert np.any(natural[stiffness] <= 0.0) and np.any(natural[stiffness] > 0.0)
    np.testing.assert_allclose(hybrid, np.where(stiffness & (natural <= 0.0), turned, natural), rtol=EIGEN)


def curvature_along(molecule: Molecule, i: int, j: int) -> np.ndarray:
    """The Hessian of half the square of the distance's change, shape (3N, 3N)."""
    row = np.zeros_like(molecule.coordinates)
    row[i] = molecule.coordinates[i] - molecule.coordinates[j]
    row[j] = -row[i]
    row /= np.linalg.norm(row[i])
    return np.outer(row.ravel(), row.ravel())


def test_several_imaginary_modes_are_all_turned_with_a_warning():
    ethane = load_molecule("ethane")
    hydrogens = [atom for atom, symbol in enumerate(ethane.symbols) if symbol == "H"]
    stretches = [curvature_along(ethane, 0, hydrogen) for hydrogen in hydrogens[:2]]
    softer = replace(ethane, hessian=ethane.hessian - 0.5 * sum(stretches))
    n_imaginary = int(np.sum(softer.normal_modes.frequencies < 0.0))
    assert n_imaginary == 2
    with pytest.warns(SaddleWarning, match=r"ethane: it has 2 imaginary frequencies \(-"):
        assert np.all(softer.as_minimum().normal_modes.frequencies > 0.0)


@pytest.mark.parametrize("method", ["inverted", "C", "D", "E"])
def test_a_minimum_is_refused(method):
    with pytest.raises(HessianError, match="water.*minimum"):
        load_molecule("water").as_minimum(method)


def test_what_cannot_be_turned_is_named():
    with pytest.raises(MoleculeError, match="sn2_ts: it has no Hessian, so no curvature"):
        replace(SADDLE, hessian=None).as_minimum()
    with pytest.raises(MoleculeError, match="sn2_ts: the method is 'F'; it is one of 'inverted', 'C', 'D', 'E'"):
        SADDLE.as_minimum("F")
    with pytest.raises(MoleculeError, match=r"has been turned \('C'\). Start from the QM Hessian"):
        SADDLE.as_minimum("C").as_minimum()
    with pytest.raises(MoleculeError, match="turned is 'upside down'"):
        replace(SADDLE, turned="upside down")


def test_method_c_along_the_motion_of_a_hydrogen_is_not_taken_for_another_unit():
    molecule = load_molecule("ch3f")
    modes = molecule.normal_modes
    stretch = modes.vectors[:, 6] * np.sqrt(np.repeat(molecule.masses, 3))
    saddle = replace(molecule, hessian=molecule.hessian - 3.0 * modes.eigenvalues[6] * np.outer(stretch, stretch))
    turned = saddle.as_minimum("C")
    assert turned.normal_modes.frequencies[-1] > 4500.0
    with pytest.raises(UnitError):
        replace(turned, waived=())
