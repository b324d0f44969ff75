"""A user's own AMBER topology with other parameters: everything that is not a parameter of our terms stays as it is."""

from collections.abc import Mapping, Sequence

import numpy as np

from q2mm_accel.errors import FormatError
from q2mm_accel.interop.openmm_build import CHARGE_SCALE, term_values
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.system import System
from q2mm_accel.units import DEGREE
from q2mm_accel.writers.amber_prmtop import CHARGE_UNIT, lennard_jones_pairs, written_section
from q2mm_accel.writers.holding import check_held
from q2mm_accel.writers.names import atomic_number
from q2mm_accel.writers.typed import declared_kind

_POINTERS = {"BOND": 15, "ANGLE": 16, "DIHEDRAL": 17}
"""Where the numbers of types stand among the pointers."""
_COLUMNS = {
    "BOND": ("FORCE_CONSTANT", "EQUIL_VALUE"),
    "ANGLE": ("FORCE_CONSTANT", "EQUIL_VALUE"),
    "DIHEDRAL": ("FORCE_CONSTANT", "PERIODICITY", "PHASE"),
}
_ATOMS = {"BOND": 2, "ANGLE": 3, "DIHEDRAL": 4}
_KINDS = {"BOND": ("bond",), "ANGLE": ("angle",), "DIHEDRAL": ("torsion", "improper")}
_SAME = 1e-6
"""Relative difference of values that are taken for the same, and difference of phases [radian]: files have nine digits."""


class Topology:
    """The sections of an AMBER topology.

    Raises:
        FormatError: the text is none, or a section is damaged.
    """

    def __init__(self, text: str, name: str) -> None:
        """Take the text apart; `name` of the file is for messages."""
        self.name, self.head, self.sections = name, "", {}
        for part in text.replace("\r\n", "\n").split("%FLAG ")[1:]:
            flag, _, content = part.partition("\n")
            self.sections[flag.strip()] = content
        self.head = text.replace("\r\n", "\n").partition("%FLAG ")[0]
        for flag in ("POINTERS", "BOND_FORCE_CONSTANT", "ANGLE_FORCE_CONSTANT", "DIHEDRAL_FORCE_CONSTANT"):
            if flag not in self.sections:
                raise FormatError(f"{name} is no AMBER topology: it has no section {flag}. Give a .prmtop as template.")

    def numbers(self, flag: str) -> list[float]:
        """The values of a section."""
        lines = [line for line in self.sections.get(flag, "").splitlines() if not line.startswith("%")]
        form = self.sections.get(flag, "").partition("(")[2].partition(")")[0]
        width = int("".join(each for each in form.upper().replace("I", "E").partition("E")[2].partition(".")[0]) or 8)
        words = [line[start : start + width] for line in lines for start in range(0, len(line.rstrip()), width)]
        try:
            return [float(word.replace("D", "E")) for word in words]
        except ValueError as error:
            raise FormatError(f"{self.name}: the section {flag} is damaged: {error}.") from error

    def put(self, flag: str, form: str, values: Sequence[float]) -> None:
        """Change a section."""
        self.sections[flag] = written_section(form, values)

    def text(self) -> str:
        """The whole file."""
        return self.head + "".join(f"%FLAG {flag:<73}\n{content}" for flag, content in self.sections.items())


def changed_prmtop(template: str, name: str, system: System, forcefield: ForceField) -> str:
    """The text of a topology with the parameters of a system's terms instead of its own.

    Args:
        template: the text of the user's topology.
        name: of its file, for messages.
        system: its molecule, with the same terms.
        forcefield: the parameters.

    Raises:
        FormatError: the template is of another molecule or has other terms, or the format cannot hold ours.
    """
    check_held(".prmtop", [system], forcefield, backgrounds=True)
    given = Topology(template, name)
    _check_molecule(given, system)
    pointers = [int(number) for number in given.numbers("POINTERS")]
    for table in _COLUMNS:
        pointers[_POINTERS[table]] = _change_terms(given, system, forcefield, table)
    given.put("POINTERS", "10I8", pointers)
    _check_others(given, system)
    _change_charges(given, system, forcefield)
    _check_lennard_jones(given, system, forcefield)
    return given.text()


def _check_molecule(given: Topology, system: System) -> None:
    molecule, count = system.molecule, int(given.numbers("POINTERS")[0])
    if count != molecule.n_atoms:
        raise FormatError(f"{molecule.name} has {molecule.n_atoms} atoms, and the topology {given.name} {count}.")
    own = [atomic_number(symbol) for symbol in molecule.symbols]
    for atom, (number, theirs) in enumerate(zip(own, given.numbers("ATOMIC_NUMBER"), strict=False)):
        if number != theirs:
            raise FormatError(
                f"{molecule.name}: atom {atom} is {molecule.symbols[atom]}, and in the topology {given.name} the element "
                f"{theirs:g}. Bring the atoms into the same order."
            )


def _change_terms(given: Topology, system: System, forcefield: ForceField, table: str) -> int:
    """Give the terms of a table of types our parameters; returns the number of types."""
    wanted, columns = _own_values(system, forcefield, table), [given.numbers(f"{table}_{each}") for each in _COLUMNS[table]]
    scales = [given.numbers(f"{each}_SCALE_FACTOR") for each in ("SCEE", "SCNB")] if table == "DIHEDRAL" else []
    scales = [each for each in scales if each]
    width, types = _ATOMS[table] + 1, {}
    for where in ("INC", "WITHOUT"):
        flag = f"{table}S_{where}_HYDROGEN"
        numbers = [int(number) for number in given.numbers(flag)]
        for start in range(0, len(numbers), width):
            *pointers, old = numbers[start : start + width]
            own = [column[old - 1] for column in columns]
            row = [*_taken(given, table, wanted, [abs(each) // 3 for each in pointers], own), *(s[old - 1] for s in scales)]
            numbers[start + width - 1] = types.setdefault(tuple(row), len(types) + 1)
        given.put(flag, "10I8", numbers)
    for atoms, rows in wanted.items():
        if rows:
            kind = _KINDS[table][0]
            raise FormatError(
                f"{system.molecule.name}: the topology {given.name} has no {kind} of the atoms {list(atoms)} such as the "
                f"system has, with {rows[0][1:]}. Write a new .prmtop, without template."
            )
    names = [f"{table}_{each}" for each in _COLUMNS[table]] + ["SCEE_SCALE_FACTOR", "SCNB_SCALE_FACTOR"][: len(scales)]
    for flag, values in zip(names, zip(*types, strict=True) if types else [()] * len(names), strict=True):
        given.put(flag, "3E24.16", values)
    return len(types)


def _own_values(system: System, forcefield: ForceField, table: str) -> dict[tuple[int, ...], list[list[float]]]:
    """Atoms of our terms -> their values in the order of the columns."""
    found: dict[tuple[int, ...], list[list[float]]] = {}
    for name in _KINDS[table]:
        kind = declared_kind(name)
        if name not in system.kinds:
            continue
        for atoms, row in zip(system.terms(name)[0].tolist(), term_values(system, forcefield, kind).tolist(), strict=True):
            row[-1] *= 1.0 if table == "BOND" else DEGREE
            found.setdefault(kind.same_term(atoms), []).append(row)
    return found


def _taken(
    given: Topology, table: str, wanted: Mapping[tuple[int, ...], list], atoms: list[int], own: list[float]
) -> list[float]:
    """Our values for a term of the template, taken off the list; its own where it is a torsion without a barrier."""
    rows = wanted.get(min(tuple(atoms), tuple(atoms[::-1])), [])
    for row in rows:
        turn = abs((row[-1] - own[-1] + np.pi) % (2.0 * np.pi) - np.pi)
        if table != "DIHEDRAL" or (row[1] == own[1] and turn < _SAME):
            rows.remove(row)
            return row
    if table == "DIHEDRAL" and own[0] == 0.0:
        return own
    raise FormatError(
        f"the topology {given.name} has a {_KINDS[table][0]} of the atoms {atoms} with {own[1:]}, and the system has none. "
        "Write a new .prmtop, without template, or give the system that term."
    )


def _check_others(given: Topology, system: System) -> None:
    """Check that no kind of term is left that would need sections of its own."""
    for kind in ("urey_bradley", "harmonic_dihedral", "harmonic_improper", "special_vdw"):
        if kind in system.kinds:
            raise FormatError(
                f"{system.molecule.name}: its {kind} terms are not written into a template such as {given.name}. Write a "
                "new .prmtop, without template."
            )


def _change_charges(given: Topology, system: System, forcefield: ForceField) -> None:
    types = system.coulomb_types
    if "coulomb" not in system.pair_kinds:
        return
    ours, theirs = forcefield.coulomb_charges[types] * CHARGE_SCALE * CHARGE_UNIT, np.array(given.numbers("CHARGE"))
    if np.any(np.abs(ours - theirs) > _SAME * np.maximum(np.abs(theirs), 1.0)):
        given.put("CHARGE", "3E24.16", ours.tolist())


def _check_lennard_jones(given: Topology, system: System, forcefield: ForceField) -> None:
    """Check that van der Waals parameters are those of the template: other types could need them."""
    if "vdw" not in system.pair_kinds:
        return
    types, index = (np.array(given.numbers(each), dtype=int) for each in ("ATOM_TYPE_INDEX", "NONBONDED_PARM_INDEX"))
    n_types = int(given.numbers("POINTERS")[1])
    tables = [np.array(given.numbers(f"LENNARD_JONES_{letter}COEF")) for letter in "AB"]
    for (i, j), ours in lennard_jones_pairs(system, forcefield).items():
        place = index[n_types * (types[i] - 1) + types[j] - 1] - 1
        for own, table in zip(ours, tables, strict=True):
            if abs(own - table[place]) > _SAME * max(abs(own), abs(table[place])):
                raise FormatError(
                    f"{system.molecule.name}: the van der Waals parameters of the atoms {i} and {j} are not those of "
                    f"{given.name}, and a template keeps its own. Write a new .prmtop, without template."
                )
