"""Bonds and angles of a force field that OpenMM ships, refitted to QM, and molecular dynamics with both.

Alanine dipeptide (ACE-ALA-NME) under amber14-all.xml: all the rest of the force field stays as it is, and atoms keep their
types. What comes back is the OpenMM System that went in, with other numbers.

Needs OpenMM: python -m pip install 'q2mm_accel[openmm]'. Run: python examples/04_refit_openmm.py
"""

import time

import numpy as np
import openmm
from dynamics import simulate
from openmm import app

from q2mm_accel import FusedObjective, Molecule, ReferenceData, from_openmm, to_openmm, validate
from q2mm_accel.datasets import load_molecule

RESIDUES = {"ACE": "H1 CH3 H2 H3 C O", "ALA": "N H CA HA CB HB1 HB2 HB3 C O", "NME": "N H C H1 H2 H3"}
CENTRE = [8, 6, 10, 14]
"""CA, and its neighbours N, CB and C."""


def main() -> None:
    """Read, fit, compare, write back, run."""
    molecule = load_molecule("alanine_dipeptide")
    topology = topology_of(molecule)
    shipped = app.ForceField("amber14-all.xml")
    system = shipped.createSystem(topology)
    types = [atom.type for template in shipped.getMatchingTemplates(topology) for atom in template.atoms]
    systems, forcefield, active = from_openmm(system, molecule, topology, fit=("bonds", "angles"), types=types)

    references = ReferenceData()
    references.add_normal_modes(molecule)
    objective = FusedObjective(systems, forcefield, references, active=active)
    started = time.perf_counter()
    fit = objective.solve_linear()
    seconds = time.perf_counter() - started
    print(f"{len(fit.x)} of {forcefield.n_parameters} parameters, loss {objective.fun(objective.x0):.0f} -> {fit.fun:.0f}")
    print(f"{fit.message} {seconds:.1f} s with compilation")
    refitted = objective.forcefield(fit.x)

    for name, parameters in (("amber14-all.xml", forcefield), ("refitted", refitted)):
        print(f"\n{name}:\n{validate(systems, parameters)}")
        moving: openmm.System = to_openmm(systems[0], parameters)
        positions = simulate(moving, molecule, systems[0].bond_atoms)
        print(f"L-alanine all the time: {np.all(handedness(positions) * handedness(molecule.coordinates[None]) > 0.0)}")


def topology_of(molecule: Molecule) -> app.Topology:
    """The peptide as OpenMM knows it: residues, names of atoms, bonds."""
    topology = app.Topology()
    chain, symbols = topology.addChain(), iter(molecule.symbols)
    for residue, names in RESIDUES.items():
        group = topology.addResidue(residue, chain)
        for name in names.split():
            topology.addAtom(name, app.Element.getBySymbol(next(symbols)), group)
    topology.createStandardBonds()
    return topology


def handedness(positions: np.ndarray) -> np.ndarray:
    """Volumes that the bonds of CA span [Å³], shape (frames,); a change of sign is an inversion."""
    centre, *others = (positions[:, atom] for atom in CENTRE)
    return np.linalg.det(np.stack([other - centre for other in others], axis=1))


if __name__ == "__main__":
    main()
