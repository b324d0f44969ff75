"""Tinker files read by their own rules, and evaluated by OpenMM: terms by bonds and classes of atoms, units by keywords.

Source of the rules: Tinker's prmkey.f, ebond.f, eangle.f, etors.f, kimptor.f, eimptor.f, elj.f, ebuck.f, echarge.f.
"""

from itertools import combinations, permutations

import numpy as np
import openmm

KJ = 4.184


class TinkerFiles:
    """Parameters and a molecule."""

    def __init__(self, parameters, molecule):
        """Read the two texts."""
        self.entries, self.words = {}, {}
        for line in parameters.splitlines():
            word, *rest = line.split() or [""]
            assert len(line) <= 240
            count = {"bond": 2, "angle": 3, "ureybrad": 3, "torsion": 4, "imptors": 4, "vdw": 1, "charge": 1}.get(word)
            if count:
                self.entries.setdefault(word, {})[tuple(map(int, rest[:count]))] = [float(value) for value in rest[count:]]
            elif word == "atom":
                self.entries.setdefault("mass", {})[int(rest[0])] = float(rest[5])
            elif word:
                self.words[word] = rest[0]
        rows = [line.split() for line in molecule.splitlines()[1:]]
        self.coordinates = np.array([[float(x) for x in row[2:5]] for row in rows])
        self.types = [int(row[5]) for row in rows]
        self.near = [[int(other) - 1 for other in row[6:]] for row in rows]

    def number(self, word, default=0.0):
        """The value of a keyword."""
        return float(self.words.get(word, default))

    def found(self, word, atoms):
        """The values for some atoms, in either direction."""
        classes, table = tuple(self.types[atom] for atom in atoms), self.entries.get(word, {})
        return table.get(classes, table.get(classes[::-1]))

    def chains(self, length):
        """Atoms in a row along bonds, each row once."""
        rows = [(atom,) for atom in range(len(self.types))]
        for _ in range(length - 1):
            rows = [(*row, other) for row in rows for other in self.near[row[-1]] if other not in row]
        return [row for row in rows if row[0] < row[-1]]

    def system(self):
        """An OpenMM System with all that Tinker would compute."""
        made = openmm.System()
        for each in self.types:
            made.addParticle(self.entries["mass"][each])
        for force in (*self._stretches(), self._bends(), self._turns(), self._pairs()):
            made.addForce(force)
        return made

    def _stretches(self):
        force = openmm.CustomBondForce(
            f"k*d^2*(1 + {self.number('bond-cubic')}*d + {self.number('bond-quartic')}*d^2); d=10*(r-r0)"
        )
        outer = openmm.CustomBondForce("k*(10*(r-r0))^2")
        for each, word, length in ((force, "bond", 2), (outer, "ureybrad", 3)):
            for name in ("k", "r0"):
                each.addPerBondParameter(name)
            unit = self.number({"bond": "bondunit", "ureybrad": "ureyunit"}[word]) * KJ
            for atoms in self.chains(length):
                if values := self.found(word, atoms):
                    each.addBond(atoms[0], atoms[-1], [values[0] * unit, values[1] / 10.0])
        return force, outer

    def _bends(self):
        words = ("angle-cubic", "angle-quartic", "angle-pentic", "angle-sextic")
        series = " + ".join(f"{self.number(word)}*d^{power}" for power, word in enumerate(words, 1))
        force = openmm.CustomAngleForce(f"k*d^2*(1 + {series}); d = {180.0 / np.pi!r}*theta - theta0")
        for name in ("k", "theta0"):
            force.addPerAngleParameter(name)
        for atoms in self.chains(3):
            if values := self.found("angle", atoms):
                force.addAngle(*atoms, [values[0] * self.number("angleunit") * KJ, values[1]])
        return force

    def _turns(self):
        force = openmm.PeriodicTorsionForce()
        rows = [(atoms, self.found("torsion", atoms), "torsionunit") for atoms in self.chains(4)]
        for centre, around in enumerate(self.near):
            if len(around) == 3:
                orders = ((a, b, centre, d) for a, b, d in permutations(around))
                table = self.entries.get("imptors", {})
                rows += [(row, table.get(tuple(self.types[atom] for atom in row)), "imptorunit") for row in orders]
        for atoms, values, unit in rows:
            for k, phase, periodicity in zip(*(iter(values or ()),) * 3, strict=True):
                force.addTorsion(*atoms, round(periodicity), np.radians(phase), k * self.number(unit) * KJ)
        return force

    def _pairs(self):
        letters = [self.words.get(f"{letter}-expterm", "0") for letter in "abc"]
        exponential = "{}*exp(-{}*r/R) - {}*(R/r)^6".format(*letters)
        shape = {"BUCKINGHAM": exponential, "LENNARD-JONES": "(R/r)^12 - 2*(R/r)^6"}.get(self.words.get("vdwtype"), "0*R")
        force = openmm.CustomBondForce(f"epsilon*({shape}) + q/r")
        for name in ("R", "epsilon", "q"):
            force.addPerBondParameter(name)
        apart = {
            pair: steps for steps in (4, 3, 2) for row in self.chains(steps) for pair in [tuple(sorted(row[:: steps - 1]))]
        }
        for pair in combinations(range(len(self.types)), 2):
            scales = [
                self.number(f"{word}-14-scale", 1.0) if apart.get(pair) == 4 else float(pair not in apart)
                for word in ("vdw", "chg")
            ]
            radii, depths = np.array([self.entries.get("vdw", {}).get((self.types[atom],), [0.5, 0.0]) for atom in pair]).T
            charges = [self.entries.get("charge", {}).get((self.types[atom],), [0.0])[0] for atom in pair]
            distance = 2.0 * np.sqrt(radii.prod()) if self.words.get("radiusrule") == "GEOMETRIC" else radii.sum()
            product = self.number("electric") * scales[1] * charges[0] * charges[1]
            force.addBond(*pair, [distance / 10.0, scales[0] * np.sqrt(depths.prod()) * KJ, product * KJ / 10.0])
        return force
