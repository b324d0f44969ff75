"""Engines of a few lines on q2mm's base class, and objectives on them. Worker processes import this: NumPy and q2mm only."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from q2mm.backends.base import MMEngine
from q2mm.models.forcefield import BondParam, ForceField, TorsionParam
from q2mm.models.molecule import Q2MMMolecule
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData, ReferenceValue

LENGTHS = (0.6, 1.0, 1.4)
"""[Å] of the diatomic molecules of `objective_on`."""


class Springs(MMEngine):
    """Diatomic molecules: energy k (r - r0)², plus each torsion's constant times r; a torsion angle of 60 k degrees."""

    name = "springs"

    def energy(self, structure, forcefield):
        length = np.linalg.norm(structure.geometry[1] - structure.geometry[0])
        springs = sum(bond.force_constant * (length - bond.equilibrium) ** 2 for bond in forcefield.bonds)
        return float(springs + sum(torsion.force_constant * length for torsion in forcefield.torsions))

    def hessian(self, structure, forcefield):
        between = structure.geometry[1] - structure.geometry[0]
        length, (bond,) = np.linalg.norm(between), forcefield.bonds
        along = np.outer(between, between) / length**2
        block = 2.0 * bond.force_constant * (along + (1.0 - bond.equilibrium / length) * (np.eye(3) - along))
        return np.block([[block, -block], [-block, block]])

    def minimize(self, structure, forcefield):
        turn = np.radians(60.0 * forcefield.bonds[0].force_constant)
        points = [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [np.cos(turn), np.sin(turn), 1.0]]
        return 0.0, list(structure.symbols), np.array(points)[: len(structure.symbols)]

    def frequencies(self, structure, forcefield):
        return np.sqrt(np.abs(np.linalg.eigvalsh(self.hessian(structure, forcefield)))).tolist()


class Printing(Springs):
    """Writes to standard output, in Python and in a program that it starts."""

    def energy(self, structure, forcefield):
        sys.stdout.write("noise of Python\n")
        sys.stdout.flush()
        subprocess.run(["echo", "noise of a program"], check=True)
        return super().energy(structure, forcefield)


class Failing(Springs):
    """Fails at molecules named "bad": it raises, ends its process, hangs, or is not a number; and says where it runs."""

    def __init__(self, how, folder=None):
        self.how, self.folder = how, folder

    def energy(self, structure, forcefield):
        if structure.name == "bad":
            if self.how == "raise":
                raise KeyError("no such term")
            if self.how == "die":
                os._exit(7)
            if self.how == "hang":
                program = subprocess.Popen(["sleep", "600"])
                Path(self.folder, "pids").write_text(f"{os.getpid()} {program.pid}", encoding="utf-8")
                program.wait()
            if self.how == "nan":
                return np.nan
        return super().energy(structure, forcefield)


class Unloadable(Springs):
    """Can be pickled, but not loaded again."""

    def __reduce__(self):
        """What cannot be called."""
        return int, ("no number",)


def diatomic(length, name):
    """HF with another bond length [Å]; q2mm's bonds, found by distance, are not used."""
    return Q2MMMolecule(["H", "F"], np.array([[0.0, 0.0, 0.0], [0.6, 0.8, 0.0]]) * length, name=name)


def objective_on(engine, names=("near", "middle", "far"), energies=(0.9, 0.2, 1.1)):
    """Energies of diatomic molecules, which no spring fits, with others of weight 0 between."""
    molecules = [diatomic(length, name) for length, name in zip(LENGTHS, names, strict=False)]
    references = ReferenceData()
    for number, energy in enumerate(energies[: len(names)]):
        references.values.append(ReferenceValue("energy", energy, 1.5 + number, f"E{number}", number))
        references.values.append(ReferenceValue("energy", 77.0, 0.0, "unused", number))
    forcefield = ForceField(bonds=[BondParam(("F", "H"), 0.9, 5.0)])
    return ObjectiveFunction(forcefield, engine, molecules, references)


def of_one_parameter():
    """A torsion's constant is all that there is to fit."""
    theirs = objective_on(Springs())
    theirs.forcefield = ForceField(torsions=[TorsionParam(("H", "C", "C", "H"), 1, 0.3)])
    return theirs
