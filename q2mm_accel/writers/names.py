"""Names of atoms and residues in files of other programs."""

from collections.abc import Sequence

from q2mm_accel.errors import FormatError
from q2mm_accel.model.elements import MASSES
from q2mm_accel.model.molecule import Molecule

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


def residue_names(count: int) -> tuple[str, ...]:
    """A name for each molecule that no program takes for one that it knows, as it would "WAT"."""
    return ("MOL",) if count == 1 else tuple(f"M{number:02d}" for number in range(1, count + 1))


def atomic_number(symbol: str) -> int:
    """The atomic number of an element."""
    return _ATOMIC_NUMBERS[symbol]


_ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(MASSES, 1)}


def short_names(names: Sequence[str], elements: Sequence[str], suffix: str) -> tuple[str, ...]:
    """Two characters for each class of atoms, for formats that have no more: a letter of the element, and one that counts.

    Raises:
        FormatError: more classes than there are names.
    """
    counts: dict[str, int] = {}
    found = []
    for name, symbol in zip(names, elements, strict=True):
        letter = symbol[0]
        number = counts[letter] = counts.get(letter, -1) + 1
        if number >= len(_COUNTING):
            raise FormatError(f"{suffix} has no more names of two characters for the class {name} of atoms. Write .prmtop.")
        found.append(f"{letter}{_COUNTING[number]}")
    return tuple(found)


_COUNTING = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
