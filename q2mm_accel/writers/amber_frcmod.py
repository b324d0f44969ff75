"""AMBER parameter modifications (.frcmod), and a .mol2 with types of atoms and charges for each molecule.

tleap makes a topology of both: `loadAmberParams x.frcmod`, `m = loadMol2 x.mol2`. It wants parameters for every bond, angle
and torsion, so that those without a term are written with 0; and it sorts the outer atoms of impropers by the names of their
types, so that these are named in that order. Units: kcal/mol, Å and degrees, springs k x², torsions k (1 + cos(n φ - γ)).
"""

from collections.abc import Sequence

from q2mm_accel.interop.openmm_build import CHARGE_SCALE, lorentz_berthelot
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import form_named
from q2mm_accel.model.system import System
from q2mm_accel.writers.atom_types import AtomTypes, atom_types
from q2mm_accel.writers.holding import BY_ATOMS, check_held, refusal
from q2mm_accel.writers.mol2 import mol2_text
from q2mm_accel.writers.names import short_names
from q2mm_accel.writers.nonbonded import common_factor
from q2mm_accel.writers.typed import check_centres, single_types, type_values

_SUFFIX = ".frcmod"
_OPEN_ANGLE = 109.5
"""[degrees] The equilibrium of an angle without a term: any would do."""


def amber_frcmod(systems: Sequence[System], forcefield: ForceField) -> tuple[str, list[str]]:
    """The text of the parameters, and of a .mol2 file for each different molecule.

    Raises:
        FormatError: a term that the format cannot hold.
    """
    check_held(_SUFFIX, systems, forcefield)
    types, form = atom_types(systems, forcefield, _SUFFIX), form_named(forcefield.form)
    first = next((system for system in types.molecules if "vdw" in system.pair_kinds), None)
    if first is not None and not lorentz_berthelot(form):
        why = f"combines radii arithmetically, the form {forcefield.form!r} does not"
        raise refusal(_SUFFIX, first, forcefield, "vdw", 0, why, BY_ATOMS)
    check_centres(_SUFFIX, types, forcefield)
    outer = [(row[a], row[b]) for row in types.tuples("improper") for a, b in ((0, 1), (1, 3))]
    names = short_names(types, _SUFFIX, outer)
    lines = ["Written by q2mm_accel", *_atoms(types, forcefield, names), *_springs(types, forcefield, names)]
    lines += [*_torsions(types, forcefield, names), *_impropers(types, forcefield, names), ""]
    texts = [
        mol2_text(system, forcefield, [names[each] for each in types.of_atoms[number]], CHARGE_SCALE)
        for number, system in enumerate(types.molecules)
    ]
    return "\n".join(lines) + "\n", texts


def _atoms(types: AtomTypes, forcefield: ForceField, names: Sequence[str]) -> list[str]:
    """Masses; van der Waals parameters stand at the end of a file, but sections may come in any order."""
    masses, pairs = ["MASS"], ["", "NONBON"]
    for name, (number, atom) in zip(names, types.examples, strict=True):
        system = types.molecules[number]
        masses.append(f"{name} {float(system.molecule.masses[atom])!r}")
        radius, depth = 0.0, 0.0
        if len(system.vdw_types):
            own = system.vdw_types[atom]
            radius, depth = float(forcefield.vdw_radii[own]), float(forcefield.vdw_epsilons[own])
        pairs.append(f"  {name} {radius!r} {depth!r}")
    return [*masses, *pairs]


def _springs(types: AtomTypes, forcefield: ForceField, names: Sequence[str]) -> list[str]:
    lines = ["", "BOND"]
    for row, number in single_types(types, forcefield, "bond", _SUFFIX).items():
        k, length = type_values(forcefield, "bond", number)
        lines.append(f"{_joined(row, names)} {k!r} {length!r}")
    lines += ["", "ANGLE"]
    angles = single_types(types, forcefield, "angle", _SUFFIX)
    for row in types.places("angle"):
        k, angle = type_values(forcefield, "angle", angles[row]) if row in angles else (0.0, _OPEN_ANGLE)
        lines.append(f"{_joined(row, names)} {k!r} {angle!r}")
    return lines


def _torsions(types: AtomTypes, forcefield: ForceField, names: Sequence[str]) -> list[str]:
    """Every proper torsion, with the divisors of its 1-4 pair; all terms but the last have a negative periodicity."""
    lines, found = ["", "DIHE"], types.tuples("torsion")
    scales = [_divisor(types, forcefield, kind) for kind in ("coulomb", "vdw")]
    tail = f"SCEE={scales[0]!r} SCNB={scales[1]!r}"
    for row in types.places("torsion"):
        values = [type_values(forcefield, "torsion", number) for number in found.get(row, ())] or [[0.0, 1.0, 0.0]]
        for place, (k, periodicity, phase) in enumerate(values, 1):
            sign = "" if place == len(values) else "-"
            lines.append(f"{_joined(row, names)} 1 {k!r} {phase!r} {sign}{periodicity:.1f} {tail}")
    return lines


def _divisor(types: AtomTypes, forcefield: ForceField, kind: str) -> float:
    """What Amber divides 1-4 energies by."""
    factor = common_factor(types.molecules, forcefield, kind, _SUFFIX)
    if factor <= 0.0:
        system = next(system for system in types.molecules if kind in system.pair_kinds)
        raise refusal(_SUFFIX, system, forcefield, kind, 0, f"has no factor {factor:g} of 1-4 pairs", BY_ATOMS)
    return 1.0 / factor


def _impropers(types: AtomTypes, forcefield: ForceField, names: Sequence[str]) -> list[str]:
    lines = ["", "IMPROPER"]
    for row, number in single_types(types, forcefield, "improper", _SUFFIX).items():
        k, periodicity, phase = type_values(forcefield, "improper", number)
        lines.append(f"{_joined(row, names)} {k!r} {phase!r} {periodicity:.1f}")
    return lines


def _joined(row: Sequence[int], names: Sequence[str]) -> str:
    return "-".join(names[each] for each in row)
