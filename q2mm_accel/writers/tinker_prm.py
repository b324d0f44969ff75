"""Tinker parameters (.prm), and an .xyz with the types of atoms for each molecule.

All units are told by keywords, so that any form of ours is exact: `bondunit`, `angleunit` (of deviations in degrees), the
coefficients of the anharmonic terms, `torsionunit`, how radii combine, and `electric`, the Coulomb constant. The form mm3
has Tinker's usual units, mdyn/Å and mdyn Å/rad²; others have kcal/mol. At less than half of a pair's minimum distance
Tinker replaces MM3's exponential by a wall, we at 0.34 of it: a geometry with such a pair is refused.

Impropers have their central atom third, which has no other neighbours; Tinker knows their periodicities 1 to 3, and those of
torsions up to 6. Its lines have at most 240 characters, so that torsions have twelve digits.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from q2mm_accel.kernel import potentials
from q2mm_accel.model import topology
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import form_named
from q2mm_accel.model.system import System
from q2mm_accel.units import DEGREE, MDYNA_RAD2_TO_KCALMOLRAD2, MDYNA_TO_KCALMOLA2
from q2mm_accel.writers.atom_types import AtomTypes, atom_types
from q2mm_accel.writers.holding import BY_ATOMS, check_held, refusal
from q2mm_accel.writers.names import atomic_number, title_of
from q2mm_accel.writers.nonbonded import common_factor, pair_table
from q2mm_accel.writers.typed import check_centres, refused, single_types, type_values

_SUFFIX = ".prm"
_HIGHEST = {"torsion": 6, "improper": 3}
"""Highest periodicity of a kind."""
_WALL = 0.5
"""Of a pair's minimum distance: nearer than this Tinker's MM3 energy is another."""
_ANHARMONIC = {
    "bond": {"bond-cubic": -2.55, "bond-quartic": 7.0 / 12.0 * 2.55**2},
    "angle": {"angle-cubic": -0.014, "angle-quartic": 5.6e-5, "angle-pentic": -7.0e-7, "angle-sextic": 9.0e-10},
}


def tinker_prm(systems: Sequence[System], forcefield: ForceField) -> tuple[str, AtomTypes]:
    """The text of a parameter file, and the types of atoms that it is about.

    Raises:
        FormatError: a term that the format cannot hold.
    """
    check_held(_SUFFIX, systems, forcefield)
    _check_walls(systems, forcefield)
    types = atom_types(systems, forcefield, _SUFFIX)
    check_centres(_SUFFIX, types, forcefield)
    lines = [*_keywords(types, forcefield), ""]
    for number, (molecule, atom) in enumerate(types.examples):
        own = types.molecules[molecule].molecule
        symbol, valence = own.symbols[atom], _neighbours(types, number)
        lines.append(
            f'atom {number + 1} {number + 1} {symbol} "{types.names[number]}" {atomic_number(symbol)} '
            f"{float(own.masses[atom])!r} {valence}"
        )
    units = _units(forcefield)
    for kind, word in (("bond", "bond"), ("angle", "angle"), ("urey_bradley", "ureybrad")):
        for row, number in single_types(types, forcefield, kind, _SUFFIX).items():
            k, rest = type_values(forcefield, kind, number)
            lines.append(_line(word, row, [k / units.get(kind, 1.0), rest]))
    lines += chain(_cosines(types, forcefield, "torsion", "torsion"), _cosines(types, forcefield, "improper", "imptors"))
    return "\n".join([*lines, *_pairs(types, forcefield)]) + "\n", types


def tinker_xyz(types: AtomTypes, molecule: int) -> str:
    """The coordinates of a molecule [Å] with the type and the neighbours of each atom."""
    system = types.molecules[molecule]
    own, near = system.molecule, topology.neighbours(system.molecule.n_atoms, system.bond_atoms)
    lines = [f"{own.n_atoms} {title_of(own)}"]
    for atom, row in enumerate(own.coordinates.tolist()):
        words = [f"{x:.12f}" for x in row]
        number = types.of_atoms[molecule][atom] + 1
        lines.append(" ".join([str(atom + 1), own.symbols[atom], *words, str(number), *(str(k + 1) for k in near[atom])]))
    return "\n".join(lines) + "\n"


def _units(forcefield: ForceField) -> dict[str, float]:
    """Units of force constants [kcal/mol/Å², kcal/mol/rad²]: MM3's, or none."""
    if form_named(forcefield.form).energies["bond"] is potentials.mm3_bond:
        return {"bond": MDYNA_TO_KCALMOLA2, "angle": MDYNA_RAD2_TO_KCALMOLRAD2}
    return {"bond": 1.0, "angle": 1.0}


def _keywords(types: AtomTypes, forcefield: ForceField) -> list[str]:
    """What says how parameters are meant."""
    form, units = form_named(forcefield.form), _units(forcefield)
    words = {"forcefield": "Q2MM-ACCEL", "bondunit": units["bond"], "angleunit": units["angle"] * DEGREE**2}
    anharmonic = {"bond": potentials.mm3_bond, "angle": potentials.mm3_angle}
    for kind, coefficients in _ANHARMONIC.items():
        present = form.energies[kind] is anharmonic[kind]
        words |= {word: value if present else 0.0 for word, value in coefficients.items()}
    words |= {"ureyunit": 1.0, "torsionunit": 1.0, "imptorunit": 1.0, "electric": potentials.COULOMB}
    held = {kind for system in types.molecules for kind in system.pair_kinds}
    held |= {"coulomb" for system in types.molecules if len(system.coulomb_types)}
    if "vdw" in held:
        exponential = form.energies["vdw"] is potentials.mm3_vdw
        geometric = form.combinations["vdw_radii"] is potentials.geometric_mean
        words |= {"vdwtype": "BUCKINGHAM" if exponential else "LENNARD-JONES"}
        words |= {"a-expterm": 184000.0, "b-expterm": 12.0, "c-expterm": 2.25} if exponential else {}
        words |= {"radiusrule": "GEOMETRIC" if geometric else "ARITHMETIC", "radiustype": "R-MIN", "radiussize": "RADIUS"}
        words |= {"epsilonrule": "GEOMETRIC"}
    scales = {"vdw": "vdw-14-scale", "coulomb": "chg-14-scale"}
    words |= {scales[kind]: _scale(types, forcefield, kind) for kind in ("vdw", "coulomb") if kind in held}
    absent = {"vdw": "vdwterm", "coulomb": "chargeterm"}
    words |= {word: "none" for kind, word in absent.items() if kind not in held}
    return [f"{word} {value if isinstance(value, str) else repr(value)}" for word, value in words.items()]


def _scale(types: AtomTypes, forcefield: ForceField, kind: str) -> float:
    """The factor of pairs three bonds apart; Tinker takes one above 1 for a divisor."""
    scale = common_factor(types.molecules, forcefield, kind, _SUFFIX)
    if not 0.0 <= scale <= 1.0:
        system = next(system for system in types.molecules if kind in system.pair_kinds)
        raise refusal(_SUFFIX, system, forcefield, kind, 0, f"has no factor {scale:g} of 1-4 pairs", BY_ATOMS)
    return scale


def _check_walls(systems: Sequence[System], forcefield: ForceField) -> None:
    if form_named(forcefield.form).energies["vdw"] is not potentials.mm3_vdw:
        return
    for system in systems:
        for pair, (_, (radius, _)) in pair_table(system, forcefield, "vdw").items():
            first, second = system.molecule.coordinates[[*pair]]
            distance = float(((first - second) ** 2).sum() ** 0.5)
            if distance < _WALL * radius:
                term = sorted(map(sorted, system.vdw_pairs.tolist())).index([*pair])
                why = f"has another wall, which its {distance:.2f} Å are within"
                raise refusal(_SUFFIX, system, forcefield, "vdw", term, why)


def _line(word: str, row: Iterable[int], values: Iterable[float]) -> str:
    return " ".join([word, *(str(each + 1) for each in row), *(repr(float(value)) for value in values)])


def _cosines(types: AtomTypes, forcefield: ForceField, kind: str, word: str) -> list[str]:
    """Amplitude, phase [degrees] and periodicity of each of the terms of the same atoms."""
    lines = []
    for row, numbers in types.tuples(kind).items():
        values, seen = [], set()
        for number in numbers:
            k, periodicity, phase = type_values(forcefield, kind, number)
            if periodicity in seen or periodicity > _HIGHEST[kind]:
                what = "twice" if periodicity in seen else f"above {_HIGHEST[kind]}"
                raise refused(_SUFFIX, types, forcefield, kind, number, f"has no periodicity {periodicity:g} {what}")
            seen.add(periodicity)
            values.append(f"{k:.12g} {phase:.12g} {round(periodicity)}")
        lines.append(" ".join([word, *(str(each + 1) for each in row), *values]))
    return lines


def _neighbours(types: AtomTypes, number: int) -> int:
    """Of the atoms of a class."""
    molecule, atom = types.examples[number]
    return int((types.molecules[molecule].bond_atoms == atom).sum())


def _pairs(types: AtomTypes, forcefield: ForceField) -> list[str]:
    lines = []
    for number, (molecule, atom) in enumerate(types.examples):
        system = types.molecules[molecule]
        if len(system.vdw_types):
            own = system.vdw_types[atom]
            values = [float(forcefield.vdw_radii[own]), float(forcefield.vdw_epsilons[own])]
            lines.append(_line("vdw", [number], values))
    for number, (molecule, atom) in enumerate(types.examples):
        system = types.molecules[molecule]
        if len(system.coulomb_types):
            charge = float(forcefield.coulomb_charges[system.coulomb_types[atom]])
            lines.append(_line("charge", [number], [charge]))
    return lines
