"""Molecules of one, two and 200 atoms, and planar ones: direct solves and own minima.

Two atoms at their own minimum are in `test_relaxed_pairs.py`, a planar molecule in `test_relaxed_invariances.py`.
"""

import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import evaluate

from q2mm_accel import (
    ForceField,
    FusedObjective,
    Molecule,
    Reference,
    ReferenceData,
    System,
    perceive,
    relax_systems,
)
from q2mm_accel.benchmark.cases import alkane
from q2mm_accel.errors import ReferenceDataError
from q2mm_accel.units import FREQUENCY_FACTOR, GRADIENT_AU_TO_KCALMOLA, KCALMOLA2_TO_HESSIAN_AU

HELIUM = Molecule(["He"], np.zeros((1, 3)), np.zeros((3, 3)), name="helium", gradient=np.zeros((1, 3)))
FORCEFIELD = ForceField(form="harmonic", bond_force_constants=[500.0], bond_lengths=[0.93])


def test_one_atom_has_nothing_to_refer_to_but_its_force():
    collected = ReferenceData()
    collected.add_normal_modes(HELIUM)
    collected.add_geometry(HELIUM)
    assert len(collected) == 0
    with pytest.raises(ReferenceDataError, match="nothing to fit"):
        FusedObjective([System(HELIUM)], FORCEFIELD, collected)
    for reference, words in (
        (Reference("relaxed_frequency", 1.0, 1.0, 0, 0), r"helium\): index 0 .* 1 atoms have 0 vibrations"),
        (Reference("bond_length", 1.0, 1.0, 0, (0, 0)), r"helium\): index \(0, 0\) must be 2 different atoms of 0 to 0"),
        (Reference("normal_mode", 1.0, 1.0, 0, (0, 0)), r"helium\): index \(0, 0\) .* 1 atoms have 0 vibrations"),
        (Reference("force", 1.0, 1.0, 0, 3), r"helium\): index 3 is out of range"),
    ):
        with pytest.raises(ReferenceDataError, match=words):
            FusedObjective([System(HELIUM)], FORCEFIELD, [reference])


def test_one_and_two_atoms_are_solved_directly():
    """The diatomic's Hessian and length give its constant and equilibrium; the atom beside it has a force of 0."""
    stiffness, length = 565.0, 0.917
    along = np.outer([0.0, 0.0, -1.0, 0.0, 0.0, 1.0], [0.0, 0.0, -1.0, 0.0, 0.0, 1.0])
    hessian = 2.0 * stiffness * KCALMOLA2_TO_HESSIAN_AU * along
    pair = Molecule("HF", [[0.0, 0.0, 0.0], [0.0, 0.0, length]], hessian, name="hf")
    references = ReferenceData()
    references.add_forces(HELIUM, 0)
    references.add_normal_modes(pair, 1)
    systems = [System(HELIUM), System(pair, bond_atoms=[(0, 1)], bond_types=[0])]
    objective = FusedObjective(systems, FORCEFIELD, references)
    found = objective.solve_linear()
    assert found.success and "No least stiffness" not in found.message
    np.testing.assert_allclose(found.x, [stiffness, length], rtol=tolerances.RECOVERED)
    reduced = np.prod(pair.masses) / pair.masses.sum()
    (frequency,) = pair.normal_modes.frequencies
    expected = FREQUENCY_FACTOR * np.sqrt(2.0 * stiffness * KCALMOLA2_TO_HESSIAN_AU / reduced)
    assert frequency == pytest.approx(expected, rel=tolerances.CLOSED_FORM)


@pytest.mark.exhaustive
def test_200_atoms_relax_and_are_solved_directly():
    """A chain of 66 carbons, distorted: its own minimum by bonds and angles, and a known force field from its forces."""
    molecule = alkane(66, 0.02, 1)
    assert molecule.n_atoms == 200
    (system,), forcefield = perceive_bare([molecule], torsions=False)
    (point,) = relax_systems([system], forcefield)
    assert point.converged
    first = tuple(system.bond_atoms[0].tolist())
    length = np.linalg.norm(np.subtract(*point.coordinates[list(first)]))
    objective = FusedObjective([system], forcefield, [Reference("bond_length", 1.5, 1.0, 0, first)])
    (residual,) = objective.residuals(objective.x0)
    assert 1.5 - residual == pytest.approx(length, abs=tolerances.RELAXED_DISTANCE)
    factors = 1.0 + 0.03 * np.random.default_rng(0).standard_normal(forcefield.n_parameters)
    truth = forcefield.with_parameters(forcefield.parameters * factors)
    gradient = evaluate(system, truth).gradient / GRADIENT_AU_TO_KCALMOLA
    frame = Molecule(molecule.symbols, molecule.coordinates, gradient=gradient, name=molecule.name)
    systems, _ = perceive_bare([frame], torsions=False)
    references = ReferenceData()
    references.add_forces(frame)
    solved = FusedObjective(systems, forcefield, references)
    found = solved.solve_linear()
    np.testing.assert_allclose(solved.forcefield(found.x).parameters, truth.parameters, rtol=tolerances.RECOVERED)


@pytest.mark.exhaustive
def test_frequencies_that_cross_swap_places_and_their_sum_is_smooth():
    """CO2: the pair of bends passes the symmetric stretch as the angle stiffens; each mode's place is by size."""
    molecule = Molecule("OCO", [[0.0, 0.0, -1.16], [0.0, 0.0, 0.0], [0.0, 0.0, 1.16]], name="co2")
    system = System(molecule, bond_atoms=[(0, 1), (1, 2)], bond_types=[0, 0], angle_atoms=[(0, 1, 2)], angle_types=[0])
    forcefield = ForceField(
        form="harmonic",
        bond_force_constants=[1100.0],
        bond_lengths=[1.16],
        angle_force_constants=[200.0],
        angle_values=[180.0],
    )
    references = [Reference("relaxed_frequency", 1300.0, 1.0, 0, mode) for mode in range(4)]
    objective = FusedObjective([system], forcefield, references, active="angle * k")
    oxygen, carbon = molecule.masses[:2]
    to_frequency = FREQUENCY_FACTOR * np.sqrt(KCALMOLA2_TO_HESSIAN_AU)
    stretches = [np.sqrt(2200.0 / oxygen), np.sqrt(2200.0 * (1.0 / oxygen + 2.0 / carbon))]
    bend = np.sqrt(2.0 * (2.0 / oxygen + 4.0 / carbon)) / 1.16
    crossing = (stretches[0] / bend) ** 2
    sums = []
    for k in np.linspace(0.98, 1.02, 101) * crossing:
        values, slopes = objective.predictions([k]), -objective.residuals_jac([k])[:, 0]
        expected = to_frequency * np.sort([bend * np.sqrt(k), bend * np.sqrt(k), *stretches])
        np.testing.assert_allclose(values, expected, rtol=tolerances.RELAXED_JAC)
        assert np.isfinite(slopes).all()
        assert slopes.sum() == pytest.approx(to_frequency * bend / np.sqrt(k), rel=tolerances.RELAXED_JAC)
        sums.append(values.sum())
    bends = np.diff(sums, 2)
    # of 2 sqrt(k), without the kink of a single mode, which is as large as the first difference
    step = 0.04 / 100.0 * crossing
    allowed = to_frequency * bend * step**2 / (2.0 * crossing**1.5) * 1.1
    assert np.abs(bends).max() <= allowed < 1e-2 * np.abs(np.diff(sums)).max()


@pytest.mark.exhaustive
def test_planar_molecules_stay_planar_and_are_held():
    """Formaldehyde, by bonds, angles and the improper that perceive gives to a planar centre."""
    molecule = Molecule(
        "COHH", [[0.0, 0.0, -0.53], [0.0, 0.0, 0.68], [0.0, 0.94, -1.11], [0.0, -0.94, -1.11]], name="formaldehyde"
    )
    systems, forcefield = perceive([molecule])
    assert forcefield.n_types("improper") > 0
    stiff = np.where([label.startswith("improper") for label in forcefield.labels], 5.0, forcefield.parameters)
    stiff[forcefield.positions("bond")[:, 1]] += 0.02
    (point,) = relax_systems(systems, forcefield.with_parameters(stiff))
    assert point.converged and point.n_negative == 0 and point.steps > 0
    assert np.abs(point.coordinates[:, 0]).max() <= tolerances.RELAXED_DISTANCE
