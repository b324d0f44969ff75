"""From a QM output file to molecular dynamics: read, perceive, one direct solve, validate, write OpenMM's XML, run it.

Needs OpenMM: python -m pip install 'q2mm_accel[openmm]'.
Run: python examples/qm_file_to_md.py [FILE], any file with a Hessian that `Molecule.read` knows; by default an .fchk file of
acrylamide that is written first.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from q2mm_accel import (
    FusedObjective,
    Molecule,
    Prior,
    ReferenceData,
    estimate_force_constants,
    perceive,
    validate,
    write_forcefield,
)
from q2mm_accel.datasets import load_molecule
from q2mm_accel.units import BOHR_TO_ANGSTROM

TEMPERATURE, STEP = 300.0, 0.0005
"""[K] and [ps]; no bond is constrained, so that the step is short."""
GAS_CONSTANT = 1.987204e-3
"""[kcal/mol/K]"""


def main(path: Path | None) -> None:
    """The whole way, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        molecule = Molecule.read(path or written_fchk("acrylamide", Path(folder)))
        print(f"{molecule.name}: {molecule.n_atoms} atoms, frequencies up to {molecule.frequencies().max():.0f} cm⁻¹")
        systems, forcefield = fitted(molecule)
        xml = Path(folder) / "molecule.xml"
        write_forcefield(xml, forcefield, systems)
        topology = topology_of(molecule, systems[0].bond_atoms)
        system = app.ForceField(str(xml)).createSystem(topology)
    simulate(system, molecule, systems[0].bond_atoms)


def written_fchk(name: str, folder: Path) -> Path:
    """A shipped molecule as Gaussian would write it, for want of a file of the user's."""
    molecule = load_molecule(name)
    rows, columns = np.tril_indices(3 * molecule.n_atoms)
    numbers = [app.Element.getBySymbol(symbol).atomic_number for symbol in molecule.symbols]
    lines = [name, f"{'Freq':<10}RB3LYP    6-31+G(d)"]
    for label, value in (("Number of atoms", molecule.n_atoms), ("Charge", 0), ("Multiplicity", 1)):
        lines.append(f"{label:<43}I{value:>17}")
    lines.append(f"{'Total Energy':<43}R     {molecule.energy:22.15E}")
    for label, kind, values, width, form in (
        ("Atomic numbers", "I", numbers, 6, "12d"),
        ("Current cartesian coordinates", "R", molecule.coordinates.ravel() / BOHR_TO_ANGSTROM, 5, "16.8E"),
        ("Cartesian Force Constants", "R", molecule.hessian[rows, columns], 5, "16.8E"),
    ):
        lines.append(f"{label:<43}{kind}   N={len(values):>12}")
        lines += ["".join(f"{value:{form}}" for value in values[i : i + width]) for i in range(0, len(values), width)]
    path = folder / f"{name}.fchk"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def fitted(molecule: Molecule):
    """Terms, and a force field with QM's geometry and vibrations."""
    systems, forcefield = perceive([molecule])
    forcefield = estimate_force_constants(systems, forcefield)
    references = ReferenceData()
    references.add_normal_modes(molecule)
    # torsions of planar groups could cancel each other with huge constants
    priors = [Prior(f"{kind}_force_constants", 10.0) for kind in ("torsion", "improper") if forcefield.n_types(kind)]
    objective = FusedObjective(systems, forcefield, references, priors=priors)
    fit = objective.solve_linear()
    print(f"{len(fit.x)} parameters, loss {objective.fun(objective.x0):.1f} -> {fit.fun:.1f}: {fit.message}")
    forcefield = objective.forcefield(fit.x)
    print(validate(systems, forcefield))
    return systems, forcefield


def topology_of(molecule: Molecule, bonds: np.ndarray) -> app.Topology:
    """One residue of the molecule; OpenMM finds its template by elements and bonds."""
    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    atoms = [topology.addAtom(f"{s}{n}", app.Element.getBySymbol(s), residue) for n, s in enumerate(molecule.symbols)]
    for first, second in bonds:
        topology.addBond(atoms[first], atoms[second])
    return topology


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


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
