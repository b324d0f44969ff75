"""Molecular dynamics of one molecule with OpenMM, for the examples that run what they have fitted."""

import numpy as np
import openmm
from openmm import unit

from q2mm_accel import Molecule

TEMPERATURE, STEP = 300.0, 0.0005
"""[K] and [ps]; no bond is constrained, so that the step is short."""
GAS_CONSTANT = 1.987204e-3
"""[kcal/mol/K]"""


def simulate(system: openmm.System, molecule: Molecule, bonds: np.ndarray, picoseconds: float = 20.0) -> np.ndarray:
    """Molecular dynamics with a thermostat, then half as long without one, from the geometry of the molecule.

    Args:
        system: what moves.
        molecule: where it starts.
        bonds: shape (n, 2), pairs of atoms.
        picoseconds: how long with the thermostat.

    Returns:
        Positions [Å], shape (frames, n_atoms, 3), every 0.02 ps.
    """
    thermostat = openmm.LangevinMiddleIntegrator(TEMPERATURE, 5.0, STEP)  # K, 1/ps, ps
    thermostat.setRandomNumberSeed(1)
    context = openmm.Context(system, thermostat, openmm.Platform.getPlatform("Reference"))
    context.setPositions(molecule.coordinates / 10.0)  # nm
    context.setVelocitiesToTemperature(TEMPERATURE, 1)
    held, energies = frames(context, picoseconds)

    free = openmm.Context(system, openmm.VerletIntegrator(STEP), openmm.Platform.getPlatform("Reference"))
    free.setState(context.getState(positions=True, velocities=True))
    left_alone, conserved = frames(free, picoseconds / 2.0)
    positions, total = np.concatenate([held, left_alone]), conserved.sum(axis=1)

    lengths = np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=2)
    at_start = np.linalg.norm(molecule.coordinates[bonds[:, 0]] - molecule.coordinates[bonds[:, 1]], axis=1)
    resting = 3 * any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces())
    kelvin = 2.0 * energies[:, 0].mean() / (GAS_CONSTANT * (3 * molecule.n_atoms - resting))
    stretch = abs(lengths - at_start).max()
    drift = np.polyfit(np.arange(len(total)), total, 1)[0] * len(total)
    print(f"MD: {picoseconds:.0f} ps at {kelvin:.0f} K (asked: {TEMPERATURE:.0f}), bonds change by {stretch:.2f} Å at most;")
    print(f"{picoseconds / 2.0:.0f} ps more without thermostat: total energy drifts by {drift:.4f} kcal/mol")
    return positions


def frames(context: openmm.Context, picoseconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions [Å], kinetic and potential energy [kcal/mol], every 0.02 ps."""
    positions, energies = [], []
    for _ in range(round(picoseconds / 0.02)):
        context.getIntegrator().step(round(0.02 / STEP))
        state = context.getState(positions=True, energy=True)
        positions.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        energies.append([state.getKineticEnergy(), state.getPotentialEnergy()])
    return np.array(positions), np.array(unit.Quantity(energies).value_in_unit(unit.kilocalorie_per_mole))
