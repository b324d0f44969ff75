"""Answers that follow from the formulas with pencil and paper, without any other program."""

import numpy as np
import pytest
import tolerances
from helpers import evaluate

from q2mm_accel import ForceField, Molecule, System
from q2mm_accel.model.plausibility import CHECKS
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

FORMS = ("harmonic", "mm3")


def diatomic(distance, symbols=("H", "F")):
    """Two atoms on a line that is parallel to no axis."""
    direction = np.array([1.0, -2.0, 2.0]) / 3.0
    return Molecule(symbols, np.outer([0.0, distance], direction), waived=CHECKS)


@pytest.mark.parametrize("form", FORMS)
def test_a_diatomic_vibrates_with_the_root_of_2k_over_its_reduced_mass(form):
    forcefield = ForceField(form=form, bond_force_constants=[690.0], bond_lengths=[0.92])
    system = System(diatomic(0.92), bond_atoms=[(0, 1)], bond_types=[0])
    first, second = system.molecule.masses
    reduced_mass = first * second / (first + second)
    expected = FREQUENCY_FACTOR * np.sqrt(2.0 * 690.0 * KCALMOLA2_TO_HESSIAN_AU / reduced_mass)
    frequencies = evaluate(system, forcefield).frequencies
    assert frequencies[-1] == pytest.approx(expected, rel=tolerances.CLOSED_FORM)
    assert np.all(np.abs(frequencies[:-1]) < 1.0)


@pytest.mark.parametrize("form", FORMS)
def test_a_linear_angle_is_as_stiff_as_2k_over_the_arms_squared(form):
    k, a, c = 55.0, 1.1, 1.3
    coordinates = [[-a, 0.0, 0.0], [0.0, 0.0, 0.0], [c, 0.0, 0.0]]
    system = System(Molecule("HCN", coordinates), angle_atoms=[(0, 1, 2)], angle_types=[0])
    forcefield = ForceField(form=form, angle_force_constants=[k], angle_values=[180.0])
    evaluation = evaluate(system, forcefield)
    bending = np.array([1.0 / a, -1.0 / a - 1.0 / c, 1.0 / c])
    block = 2.0 * k * np.outer(bending, bending)
    expected = np.zeros((3, 3, 3, 3))
    expected[:, 1, :, 1] = expected[:, 2, :, 2] = block
    limit = tolerances.CLOSED_FORM * block.max()
    assert abs(evaluation.energy) <= tolerances.CLOSED_FORM * k
    assert np.abs(evaluation.gradient).max() <= tolerances.CLOSED_FORM * k
    np.testing.assert_allclose(evaluation.hessian, expected.reshape(9, 9), rtol=0.0, atol=limit)
    assert evaluation.hessian[1, 1] == pytest.approx(2.0 * k / a**2, rel=tolerances.CLOSED_FORM)


@pytest.mark.parametrize("form", FORMS)
def test_the_barrier_of_a_torsion_is_2k(form):
    forcefield = ForceField(form=form, torsion_force_constants=[1.7], torsion_periodicities=[1])

    def energy(dihedral):
        last = [np.cos(dihedral), np.sin(dihedral), 1.5]
        molecule = Molecule("HCCH", [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.5], last], waived=CHECKS)
        return evaluate(System(molecule, torsion_atoms=[(0, 1, 2, 3)], torsion_types=[0]), forcefield).energy

    assert energy(0.0) - energy(np.pi) == pytest.approx(2.0 * 1.7, rel=tolerances.CLOSED_FORM)
    assert energy(np.pi / 2.0) == pytest.approx(1.7, rel=tolerances.CLOSED_FORM)


def test_a_phase_turns_the_minimum_in_the_sense_of_iupac():
    forcefield = ForceField(form="harmonic", torsion_force_constants=[2.0], torsion_phases=[-90.0])
    # looking from atom 1 to atom 2, along z, the last bond lies 90 degrees clockwise of the first: φ = +90
    molecule = Molecule("HCCH", [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.5], [0.0, 1.0, 1.5]], waived=CHECKS)
    evaluation = evaluate(System(molecule, torsion_atoms=[(0, 1, 2, 3)], torsion_types=[0]), forcefield)
    assert abs(evaluation.energy) <= tolerances.CLOSED_FORM


@pytest.mark.parametrize(
    ("form", "minimum", "depth"),
    [
        ("harmonic", 2.0 * np.sqrt(1.5 * 1.9), 1.0),
        ("mm3", 1.5 + 1.9, 2.25 - 184000.0 * np.exp(-12.0)),
    ],
)
def test_van_der_waals_terms_have_their_depth_at_the_sum_of_the_radii(form, minimum, depth):
    forcefield = ForceField(form=form, vdw_radii=[1.5, 1.9], vdw_epsilons=[0.02, 0.08])
    evaluation = evaluate(System(diatomic(minimum), vdw_pairs=[(0, 1)], vdw_types=[0, 1]), forcefield)
    assert evaluation.energy == pytest.approx(-depth * 0.04, rel=tolerances.CLOSED_FORM)
    if form == "harmonic":
        stiffness = np.linalg.eigvalsh(evaluation.hessian)[-1] / 2.0
        assert np.abs(evaluation.gradient).max() <= tolerances.CLOSED_FORM
        assert stiffness == pytest.approx(72.0 * 0.04 / minimum**2, rel=tolerances.CLOSED_FORM)
