"""Files whose parameters belong to types of atoms, read by the rules of their programs and evaluated by OpenMM.

Tinker's are the frame: terms by bonds and classes of atoms, units and functional forms by keywords. Amber's (as tleap
reads them) and MM3*'s (as q2mm reads them) are brought into it. Source of the rules: Tinker's prmkey.f, ebond.f, eangle.f,
etors.f, kimptor.f, eimptor.f, elj.f, ebuck.f, echarge.f; the manual of AmberTools on parameter files; q2mm's parsers/mm3.py.
"""

from itertools import combinations, permutations

import numpy as np
import openmm

from q2mm_accel.interop.openmm_build import COULOMB
from q2mm_accel.units import MDYNA_RAD2_TO_KCALMOLRAD2, MDYNA_TO_KCALMOLA2

KJ = 4.184
RADIANS = np.pi / 180.0
SIZES = {"bond": 2, "angle": 3, "ureybrad": 3, "torsion": 4, "imptors": 4, "vdw": 1, "charge": 1}
"""Words of Tinker -> how many classes follow."""


class TypedFiles:
    """Parameters and a molecule.

    Args:
        entries: word -> classes -> values, as in Tinker's files; "mass" by class.
        words: keyword -> value.
        types: of the atoms.
        near: the bonded neighbours of each.
        charges: of the atoms, where they do not belong to classes.
    """

    def __init__(self, entries, words, types, near, charges=None):
        """Keep them."""
        self.entries, self.words, self.types, self.near = entries, words, types, near
        table = entries.get("charge", {})
        self.charges = [table.get((each,), [0.0])[0] for each in types] if charges is None else charges

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
            charges = [self.charges[atom] for atom in pair]
            distance = 2.0 * np.sqrt(radii.prod()) if self.words.get("radiusrule") == "GEOMETRIC" else radii.sum()
            product = self.number("electric") * scales[1] * charges[0] * charges[1]
            force.addBond(*pair, [distance / 10.0, scales[0] * np.sqrt(depths.prod()) * KJ, product * KJ / 10.0])
        return force


def tinker_files(parameters, molecule):
    """A .prm and an .xyz; its coordinates come with it."""
    entries, words = {}, {}
    for line in parameters.splitlines():
        word, *rest = line.split() or [""]
        assert len(line) <= 240  # what Tinker reads of it
        if word in SIZES:
            classes = tuple(map(int, rest[: SIZES[word]]))
            entries.setdefault(word, {})[classes] = [float(value) for value in rest[SIZES[word] :]]
        elif word == "atom":
            entries.setdefault("mass", {})[int(rest[0])] = float(rest[5])
        elif word:
            words[word] = rest[0]
    rows = [line.split() for line in molecule.splitlines()[1:]]
    near = [[int(other) - 1 for other in row[6:]] for row in rows]
    return TypedFiles(entries, words, [int(row[5]) for row in rows], near)


def amber_files(parameters, molecule):
    """A .frcmod and a .mol2."""
    entries, scales, section = {}, set(), ""
    words = {"MASS": "mass", "BOND": "bond", "ANGLE": "angle", "DIHE": "torsion", "IMPROPER": "imptors", "NONBON": "vdw"}
    for line in parameters.splitlines()[1:]:
        section = words.get(line.strip(), section)
        row = line.split()
        if len(row) < 2:
            continue
        classes, values = tuple(row[0].split("-")), row[1:]
        if section == "torsion":
            scales.add(tuple(values[4:]))
            values = [str(float(values[1]) / float(values[0])), values[2], str(abs(float(values[3])))]
            entries.setdefault(section, {}).setdefault(classes, []).extend(map(float, values))
            continue
        if section == "imptors":
            assert [classes[0], classes[1], classes[3]] == sorted([classes[0], classes[1], classes[3]])
        table = entries.setdefault(section, {})
        table[classes[0] if section == "mass" else classes] = (
            float(values[0]) if section == "mass" else [*map(float, values)]
        )
    types, near, charges = mol2_atoms(molecule)
    factors = [1.0 / float(each.partition("=")[2]) for each in scales.pop()] if scales else [1.0, 1.0]
    assert not scales
    keywords = {"bondunit": 1.0, "angleunit": RADIANS**2, "torsionunit": 1.0, "imptorunit": 1.0}
    keywords |= {"electric": COULOMB * 10.0 / KJ, "vdwtype": "LENNARD-JONES"}
    return TypedFiles(
        entries, keywords | dict(zip(("chg-14-scale", "vdw-14-scale"), factors, strict=True)), types, near, charges
    )


def mm3_files(parameters, molecule, masses):
    """A .fld and a .mol2."""
    marks = {" 1": ("bond", 2), " 2": ("angle", 3), " 4": ("torsion", 4)}
    entries, below = {"mass": {}}, False
    for line in parameters.splitlines():
        below = below or line.startswith("-6")
        if below and line.startswith("  "):
            name, *values = line.split()
            entries.setdefault("vdw", {})[(name,)] = [float(value) for value in values]
        elif line[:2] in marks:
            word, count = marks[line[:2]]
            classes = tuple(line[4 * place : 4 * place + 2].strip() for place in range(1, count + 1))
            values = [float(line[start : start + 10]) for start in range(23, len(line), 11)]
            if word == "torsion":
                values = [x for v, sign, n in zip(values, (0, 180, 0), (1, 2, 3), strict=True) for x in (v / 2, sign, n)]
            entries.setdefault(word, {})[classes] = values if word == "torsion" else values[::-1]
    types, near, _ = mol2_atoms(molecule)
    entries["mass"] = dict(zip(types, masses, strict=True))
    keywords = {"bondunit": MDYNA_TO_KCALMOLA2, "angleunit": MDYNA_RAD2_TO_KCALMOLRAD2 * RADIANS**2, "torsionunit": 1.0}
    keywords |= {"bond-cubic": -2.55, "bond-quartic": 7 / 12 * 2.55**2, "vdwtype": "BUCKINGHAM"}
    keywords |= {"angle-cubic": -0.014, "angle-quartic": 5.6e-5, "angle-pentic": -7e-7, "angle-sextic": 9e-10}
    keywords |= {"a-expterm": "184000", "b-expterm": "12", "c-expterm": "2.25"}
    return TypedFiles(entries, keywords, types, near)


def mol2_atoms(text):
    """Types, neighbours and charges of the atoms of a .mol2."""
    sections = {part.partition("\n")[0]: part.splitlines()[1:] for part in text.split("@<TRIPOS>")[1:]}
    rows = [line.split() for line in sections["ATOM"]]
    near = [[] for _ in rows]
    for line in sections["BOND"]:
        first, second = (int(word) - 1 for word in line.split()[1:3])
        near[first].append(second)
        near[second].append(first)
    return [row[5] for row in rows], near, [float(row[8]) for row in rows]
