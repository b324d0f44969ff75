"""GROMACS topologies (.top, and .itp to be included in one), every term by its atoms.

Units: kJ/mol, nm, degrees; springs are 1/2 k x², torsions k (1 + cos(n φ - φs)). Urey-Bradley terms stand with an angle
(function 5) where one spans them, else as a bond that excludes nothing (6); harmonic dihedrals are impropers of function 2,
couplings of two bonds angles of function 3. Radii combine arithmetically (combination rule 2) or geometrically (3).

Bonds exclude pairs up to three bonds apart (nrexcl 3). Those that count all the same are listed under [ pairs ] with values
of their own; `fudgeQQ` is the Coulomb factor of most of them, and others are pairs of function 2, with a factor for each.
GROMACS interpolates listed pairs in tables, to 1e-9 of a force and 1e-6 of a Hessian.
Charges are scaled so that the Coulomb constant of GROMACS counts our energy.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from q2mm_accel.interop.openmm_build import CHARGE_SCALE, IN_OPENMM, MINIMUM_TO_SIGMA, NM, term_values
from q2mm_accel.kernel import potentials
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import form_named
from q2mm_accel.model.system import System
from q2mm_accel.units import KCAL_TO_KJ
from q2mm_accel.writers.atom_types import distinct
from q2mm_accel.writers.holding import check_held, refusal
from q2mm_accel.writers.names import atom_names, atomic_number, residue_names, title_of
from q2mm_accel.writers.nonbonded import pair_factors, pair_table, separations, special_pairs
from q2mm_accel.writers.typed import declared_kind

_SUFFIX = ".top"
_MARGIN = 2.0
"""[nm] Around a molecule in its box."""


def gromacs_top(system: System, forcefield: ForceField) -> str:
    """The text of a GROMACS topology of one molecule.

    Raises:
        FormatError: a term that the format cannot hold.
    """
    check_held(_SUFFIX, [system], forcefield)
    made = _Molecules.of([system], forcefield)
    tail = ["[ system ]", title_of(system.molecule), "", "[ molecules ]", f"{residue_names(1)[0]} 1"]
    return "\n".join([*_defaults(made), "", *_sections(made), "", *tail]) + "\n"


def gromacs_itp(systems: Sequence[System], forcefield: ForceField) -> str:
    """The text of a file with all molecules, to be included after the [ defaults ] that its first lines name.

    Raises:
        FormatError: a term that the format cannot hold.
    """
    check_held(_SUFFIX, systems, forcefield)
    made = _Molecules.of(systems, forcefield)
    head = ["; To be included in a topology that begins with these lines:", *(f"; {line}" for line in _defaults(made))]
    return "\n".join([*head, "", *_sections(made)]) + "\n"


def gromacs_gro(system: System) -> str:
    """The coordinates of a molecule in a box that is large enough for it [nm], with ten decimals."""
    names, points = atom_names(system.molecule), system.molecule.coordinates * NM
    lines = [title_of(system.molecule), f"{len(names):5d}"]
    for number, (name, row) in enumerate(zip(names, points.tolist(), strict=True), 1):
        lines.append(f"{1:5d}{residue_names(1)[0]:<5}{name:>5}{number % 100000:5d}" + "".join(f"{x:15.10f}" for x in row))
    size = float((points.max(axis=0) - points.min(axis=0)).max()) + 2.0 * _MARGIN
    return "\n".join([*lines, " ".join(f"{size:.5f}" for _ in range(3))]) + "\n"


@dataclass(frozen=True)
class _Molecules:
    """What all sections are made of: different molecules, their force field, the rule that combines radii, and `fudgeQQ`."""

    systems: tuple[System, ...]
    forcefield: ForceField
    rule: int
    fudge: float

    @classmethod
    def of(cls, systems: Sequence[System], forcefield: ForceField) -> "_Molecules":
        """Of systems of which some may be conformers."""
        molecules, _ = distinct(systems)
        combine, rule = form_named(forcefield.form).combinations["vdw_radii"], 2
        if any("vdw" in system.pair_kinds for system in molecules):
            rules = {potentials.arithmetic_mean: 2, potentials.geometric_mean: 3}
            if combine not in rules:
                system = next(system for system in molecules if "vdw" in system.pair_kinds)
                raise refusal(_SUFFIX, system, forcefield, "vdw", 0, "combines radii arithmetically or geometrically")
            rule = rules[combine]
        listed = [each for system in molecules for each in _listed(system, forcefield)]
        factors = [coulomb for _, _, (_, coulomb), _ in listed]
        return cls(tuple(molecules), forcefield, rule, max(factors, key=factors.count, default=1.0))


def _listed(system: System, forcefield: ForceField) -> list[tuple[int, int, tuple[float, float], tuple[float, float]]]:
    """Pairs with values of their own: atoms, factors, radius [Å] and depth [kcal/mol]."""
    factors, special = pair_factors(system, forcefield), special_pairs(system, forcefield)
    apart, vdw = separations(system), pair_table(system, forcefield, "vdw")
    coulomb, found = pair_table(system, forcefield, "coulomb"), []
    for i in range(system.molecule.n_atoms):
        for j in range(i + 1, system.molecule.n_atoms):
            own = factors.get((i, j), (1.0, 1.0))
            energy = (i, j) in vdw or (i, j) in coulomb or (i, j) in special
            if not energy or own == (0.0, 0.0) or (apart[i, j] > 3 and own == (1.0, 1.0) and (i, j) not in special):
                continue
            radius, depth = special[i, j] if (i, j) in special else vdw[i, j][1].tolist() if (i, j) in vdw else (0.5, 0.0)
            found.append((i, j, own, (radius, depth)))
    return found


def _defaults(made: _Molecules) -> list[str]:
    return ["[ defaults ]", "; nbfunc comb-rule gen-pairs fudgeLJ fudgeQQ", f"1 {made.rule} no 1.0 {made.fudge!r}"]


def _sections(made: _Molecules) -> list[str]:
    """Types of atoms, and every molecule."""
    types = _types(made)
    lines = ["[ atomtypes ]", "; name at.num mass charge ptype sigma epsilon"]
    for (symbol, number), name in types.items():
        values = (0.5, 0.0)
        if number >= 0:
            values = made.forcefield.vdw_radii[number], made.forcefield.vdw_epsilons[number]
        lines.append(f"{name} {atomic_number(symbol)} 0.0 0.0 A {_lennard_jones(*values)}")
    for name, system in zip(residue_names(len(made.systems)), made.systems, strict=True):
        lines += ["", *_molecule(made, name, system, types)]
    return lines


def _types(made: _Molecules) -> dict[tuple[str, int], str]:
    """(element, van der Waals type) -> name of the type of atoms."""
    found: dict[tuple[str, int], str] = {}
    for system in made.systems:
        for symbol, number in zip(system.molecule.symbols, _vdw_types(system), strict=True):
            count = sum(symbol == other for other, _ in found)
            found.setdefault((symbol, number), f"{symbol}{count + 1}")
    return found


def _vdw_types(system: System) -> list[int]:
    """Of each atom, -1 where there is none."""
    return system.vdw_types.tolist() or [-1] * system.molecule.n_atoms


def _lennard_jones(radius: float, depth: float) -> str:
    """Sigma [nm] and epsilon [kJ/mol]."""
    return _numbers([MINIMUM_TO_SIGMA * radius * NM, depth * KCAL_TO_KJ])


def _numbers(values: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _molecule(made: _Molecules, name: str, system: System, types: Mapping[tuple[str, int], str]) -> list[str]:
    """The sections of one molecule."""
    lines = ["[ moleculetype ]", f"{name} 3", "", "[ atoms ]", "; nr type resnr residue atom cgnr charge mass"]
    own, molecule = system.coulomb_types, system.molecule
    charges = made.forcefield.coulomb_charges[own] * CHARGE_SCALE if len(own) else np.zeros(molecule.n_atoms)
    atoms = zip(molecule.symbols, _vdw_types(system), atom_names(molecule), charges, molecule.masses, strict=True)
    for number, (symbol, vdw, atom, charge, mass) in enumerate(atoms, 1):
        lines.append(f"{number} {types[symbol, vdw]} 1 {name} {atom} {number} {_numbers([charge, mass])}")
    sections = {
        "bonds": [*_terms(system, made.forcefield, "bond"), *_lone_outer(system, made.forcefield)],
        "pairs": _pairs(made, system, charges),
        "exclusions": _exclusions(system, made.forcefield),
        "angles": [*_angles(system, made.forcefield), *_terms(system, made.forcefield, "stretch_stretch")],
        "dihedrals": [line for kind in _DIHEDRALS for line in _terms(system, made.forcefield, kind)],
    }
    for section, content in sections.items():
        if content:
            lines += ["", f"[ {section} ]", *content]
    return lines


_DIHEDRALS = ("torsion", "improper", "harmonic_dihedral", "harmonic_improper")
_FUNCTIONS = {
    "bond": 1,
    "urey_bradley": 6,
    "angle": 1,
    "stretch_stretch": 3,
    "torsion": 9,
    "improper": 4,
    "harmonic_dihedral": 2,
    "harmonic_improper": 2,
}
"""GROMACS's functions."""


def _rows(system: System, forcefield: ForceField, name: str) -> list[tuple[list[int], list[float]]]:
    """Atoms of all terms of a kind, from 1, and their values as GROMACS has them."""
    kind = declared_kind(name)
    if name not in system.kinds:
        return []
    found = []
    for atoms, row in zip(system.terms(name)[0].tolist(), term_values(system, forcefield, kind).tolist(), strict=True):
        k = row[0] * IN_OPENMM[kind.parameters[0].unit]
        if name in ("torsion", "improper"):
            values = [row[2], k, round(row[1])]
        elif name == "stretch_stretch":
            values = [row[1] * NM, row[2] * NM, k]
        else:
            length = kind.parameters[1].unit == "Å"
            values = [row[1] * NM if length else _turned(name, row[1]), 2.0 * k]
        found.append(([atom + 1 for atom in atoms], values))
    return found


def _turned(name: str, degrees: float) -> float:
    """An angle as it is; a dihedral above -180 degrees and not above 180."""
    return degrees if name == "angle" else 180.0 - (180.0 - degrees) % 360.0


def _line(atoms: Sequence[int], function: int, values: Sequence[float]) -> str:
    return " ".join([*map(str, atoms), str(function), *(repr(value) for value in values)])


def _terms(system: System, forcefield: ForceField, name: str) -> list[str]:
    return [_line(atoms, _FUNCTIONS[name], values) for atoms, values in _rows(system, forcefield, name)]


def _outer(system: System, forcefield: ForceField) -> tuple[dict[int, list[float]], list[tuple[list[int], list[float]]]]:
    """Urey-Bradley terms by the angle that each goes with, and those that go with none."""
    free = {}
    for number, (i, _, k) in enumerate(system.angle_atoms.tolist()):
        free.setdefault((min(i, k), max(i, k)), []).append(number)
    with_angle, alone = {}, []
    for atoms, values in _rows(system, forcefield, "urey_bradley"):
        places = free.get((min(atoms) - 1, max(atoms) - 1))
        if places:
            with_angle[places.pop()] = values
        else:
            alone.append((atoms, values))
    return with_angle, alone


def _angles(system: System, forcefield: ForceField) -> list[str]:
    with_angle, _ = _outer(system, forcefield)
    lines = []
    for number, (atoms, values) in enumerate(_rows(system, forcefield, "angle")):
        outer = with_angle.get(number)
        lines.append(_line(atoms, 5, [*values, *outer]) if outer else _line(atoms, _FUNCTIONS["angle"], values))
    return lines


def _lone_outer(system: System, forcefield: ForceField) -> list[str]:
    return [_line(atoms, _FUNCTIONS["urey_bradley"], values) for atoms, values in _outer(system, forcefield)[1]]


def _pairs(made: _Molecules, system: System, charges: np.ndarray) -> list[str]:
    """Pairs of function 1, or of function 2 where their Coulomb factor is not `fudgeQQ`."""
    lines = []
    for i, j, (vdw, coulomb), (radius, depth) in _listed(system, made.forcefield):
        values = _lennard_jones(radius, vdw * depth)
        usual = coulomb == made.fudge or charges[i] * charges[j] == 0.0
        own = "1" if usual else f"2 {_numbers([coulomb, charges[i], charges[j]])}"
        lines.append(f"{i + 1} {j + 1} {own} {values}")
    return lines


def _exclusions(system: System, forcefield: ForceField) -> list[str]:
    """Pairs more than three bonds apart that do not count as others do."""
    apart = separations(system)
    unusual = {*pair_factors(system, forcefield), *special_pairs(system, forcefield)}
    return [f"{i + 1} {j + 1}" for i, j in sorted(unusual) if apart[i, j] > 3]
