"""From a QM output file to molecular dynamics: read, perceive, one direct solve, validate, write OpenMM's XML, run it.

Needs OpenMM: python -m pip install 'q2mm_accel[openmm]'.
Run: python examples/03_qm_file_to_md.py [FILE], any file with a Hessian that `Molecule.read` knows; by default an .fchk file
of acrylamide that is written first.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from dynamics import simulate
from openmm import app

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


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
