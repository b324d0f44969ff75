"""Names of atoms and residues in files of other programs."""

import re
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter

from q2mm_accel.errors import FormatError
from q2mm_accel.model.elements import MASSES
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.writers.atom_types import AtomTypes

_LONGEST = 4
"""Characters of an atom's name in Amber and PDB files."""


def atom_names(molecule: Molecule) -> tuple[str, ...]:
    """The element of each atom with a number that counts its atoms, such as "C1".

    Raises:
        FormatError: more atoms of an element than four characters can count.
    """
    counts: dict[str, int] = {}
    names = []
    for atom, symbol in enumerate(molecule.symbols):
        counts[symbol] = counts.get(symbol, 0) + 1
        names.append(f"{symbol}{counts[symbol]}")
        if len(names[-1]) > _LONGEST:
            raise FormatError(
                f"{molecule.name}: atom {atom} would be named {names[-1]!r}, and files of other programs have room for "
                f"{_LONGEST} characters. Write .json or .system.xml."
            )
    return tuple(names)


def title_of(molecule: Molecule) -> str:
    """The name of a molecule as files can have it in a line: without characters that begin something there."""
    return re.sub(r"[^\w ().,+-]", "_", " ".join(molecule.name.split()))


def residue_names(count: int) -> tuple[str, ...]:
    """A name for each molecule that no program takes for one that it knows, as it would "WAT"."""
    return ("MOL",) if count == 1 else tuple(f"M{number:02d}" for number in range(1, count + 1))


def atomic_number(symbol: str) -> int:
    """The atomic number of an element."""
    return _ATOMIC_NUMBERS[symbol]


_ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(MASSES, 1)}


def short_names(types: AtomTypes, suffix: str, ordered: Iterable[tuple[int, int]] = ()) -> tuple[str, ...]:
    """Two characters for each class of atoms: the first letter of the element, and one that counts.

    Args:
        types: the classes.
        suffix: of the format, for messages.
        ordered: pairs of classes of which the first must come first in the order of characters.

    Raises:
        FormatError: more classes than there are names, or no names that are ordered so.
    """
    elements = [types.molecules[number].molecule.symbols[atom] for number, atom in types.examples]
    before: dict[int, set[int]] = {number: set() for number in range(len(elements))}
    for first, second in ordered:
        if elements[first][0] > elements[second][0]:
            raise _unordered(types, suffix, (first, second))
        before[second].add(first)
    try:
        order = [*TopologicalSorter(before).static_order()]
    except CycleError as error:
        raise _unordered(types, suffix, error.args[1][:2]) from error
    counts: dict[str, int] = {}
    found: dict[int, str] = {}
    for number in order:
        letter = elements[number][0]
        place = counts[letter] = counts.get(letter, -1) + 1
        if place >= len(_COUNTING):
            raise FormatError(
                f"{suffix} has names of two characters for types of atoms, which do not suffice for the {len(elements)} of "
                "these molecules. Write .prmtop, .prm or .xml."
            )
        found[number] = f"{letter}{_COUNTING[place]}"
    return tuple(found[number] for number in range(len(elements)))


def _unordered(types: AtomTypes, suffix: str, classes: Sequence[int]) -> FormatError:
    first, second = (types.names[number] for number in classes)
    return FormatError(
        f"{suffix} sorts the outer atoms of impropers by the names of their types, and these have {first} before {second} "
        "against that order. Write .prmtop, .xml or .prm."
    )


_COUNTING = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
