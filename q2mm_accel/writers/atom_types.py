"""Types of atoms for formats whose parameters belong to them, made from the types of the terms.

Atoms are of one class where nothing tells them apart: element, mass, van der Waals and charge type, and the types of the
terms that they stand in, with their place in each and the classes of the other atoms. That is colour refinement, over all
molecules at once, so that molecules share classes where they are alike. Then every tuple of classes must name the same
parameters wherever it occurs, none included: where it does not, an atom gets a class of its own, and refinement goes on.
With a class for every atom that is always so.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from q2mm_accel.model import topology
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import Kind, kind_named
from q2mm_accel.model.system import System
from q2mm_accel.writers.holding import BY_ATOMS, refusal

CHAINS = {"bond": 2, "angle": 3, "urey_bradley": 3, "torsion": 4, "harmonic_dihedral": 4}
"""Kinds whose terms programs find by bonds -> number of atoms in a row; Urey-Bradley terms by those of the angle."""
STARS = ("improper", "harmonic_improper")
"""Kinds whose terms they find by an atom and three of its neighbours."""


@dataclass(frozen=True)
class AtomTypes:
    """Classes of atoms.

    Attributes:
        molecules: the systems that differ in more than their geometry, of which the others are copies.
        copies: of each given system, which of `molecules` it is.
        of_atoms: of each of `molecules` the class of every atom.
        names: of the classes, such as "C1".
        examples: of each class, an atom: (molecule, atom).
    """

    molecules: tuple[System, ...]
    copies: tuple[int, ...]
    of_atoms: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    examples: tuple[tuple[int, int], ...]

    def name_of(self, molecule: int, atom: int) -> str:
        """Name of the class of an atom of a molecule."""
        return self.names[self.of_atoms[molecule][atom]]

    def names_of(self, molecule: int, atoms: Sequence[int]) -> tuple[str, ...]:
        """Names of the classes of some atoms of a molecule."""
        return tuple(self.name_of(molecule, atom) for atom in atoms)

    def tuples(self, kind: str) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Tuples of classes that have terms of a kind -> the types of these terms; of stars in the order of the term."""
        found = {}
        for number, system in enumerate(self.molecules):
            classes = self.of_atoms[number]
            for atoms, types in occurrences(system, kind):
                if types:
                    key = tuple(classes[atom] for atom in atoms)
                    found[key if kind in STARS else min(key, key[::-1])] = types
        return dict(sorted(found.items()))

    def places(self, kind: str) -> list[tuple[int, ...]]:
        """Tuples of classes where a kind of chains may have terms, whether they have or not."""
        found = set()
        for number, system in enumerate(self.molecules):
            for atoms, _ in occurrences(system, kind):
                row = tuple(self.of_atoms[number][atom] for atom in atoms)
                found.add(min(row, row[::-1]))
        return sorted(found)


def atom_types(systems: Sequence[System], forcefield: ForceField, suffix: str) -> AtomTypes:
    """Classes of the atoms of all systems, as few as name all parameters without a doubt.

    Args:
        systems: molecules, and conformers of them.
        forcefield: for messages.
        suffix: of the format, for messages.

    Raises:
        FormatError: a term is not where bonds lead, so that types of atoms cannot find it.
    """
    molecules, copies = distinct(systems)
    for system in molecules:
        _check_places(system, forcefield, suffix)
    offsets = np.cumsum([0, *(system.molecule.n_atoms for system in molecules)]).tolist()
    terms = [  # in one graph of all atoms
        (name, number, tuple(atom + offset for atom in atoms))
        for system, offset in zip(molecules, offsets, strict=False)
        for name in system.kinds
        for atoms, number in zip(*(each.tolist() for each in system.terms(name)), strict=True)
    ]
    colours = _numbered([_own(system, atom) for system in molecules for atom in range(system.molecule.n_atoms)])
    while True:
        colours = _refined(colours, terms)
        doubtful = _doubtful(molecules, offsets, colours, forcefield, suffix)
        if doubtful is None:
            break
        colours[doubtful] = max(colours) + 1
    of_atoms = tuple(tuple(colours[start:stop]) for start, stop in zip(offsets, offsets[1:], strict=False))
    examples = {}
    for number, classes in enumerate(of_atoms):
        for atom, each in enumerate(classes):
            examples.setdefault(each, (number, atom))
    ordered = tuple(examples[each] for each in sorted(examples))
    return AtomTypes(tuple(molecules), copies, of_atoms, _names(molecules, ordered), ordered)


def distinct(systems: Sequence[System]) -> tuple[list[System], tuple[int, ...]]:
    """Systems that differ in more than their geometry, and which of them each is."""
    found: dict[Hashable, int] = {}
    molecules, copies = [], []
    for system in systems:
        arrays = tuple((name, array.shape, array.tobytes()) for name, array in sorted(system.arrays.items()))
        key = (system.molecule.symbols, system.molecule.masses.tobytes(), arrays)
        if key not in found:
            found[key] = len(molecules)
            molecules.append(system)
        copies.append(found[key])
    return molecules, tuple(copies)


def _own(system: System, atom: int) -> tuple:
    """What an atom is by itself."""
    pairs = [system.pairs(kind).types for kind in ("vdw", "coulomb")]
    types = tuple(int(each[atom]) if len(each) else -1 for each in pairs)
    return system.molecule.symbols[atom], float(system.molecule.masses[atom]), *types


def _numbered(keys: Sequence[Hashable]) -> list[int]:
    """Equal keys as equal numbers, in the order in which they come."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _refined(colours: list[int], terms: Sequence[tuple[str, int, tuple[int, ...]]]) -> list[int]:
    """Colours that the terms of an atom, with its place and the colours of the others, do not tell further apart."""
    while True:
        around: list[list] = [[] for _ in colours]
        for name, number, atoms in terms:
            kind = kind_named(name)
            assert isinstance(kind, Kind)
            turn = kind.equivalent or tuple(reversed(range(kind.n_atoms)))
            seen = [colours[atom] for atom in atoms]
            turned = [seen[place] for place in turn]
            for place, atom in enumerate(atoms):
                around[atom].append((name, number, min((place, seen), (turn.index(place), turned))))
        found = _numbered([(colour, repr(sorted(each))) for colour, each in zip(colours, around, strict=True)])
        if len(set(found)) == len(set(colours)):
            return found
        colours = found


def occurrences(system: System, kind: str) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Atoms where a program that goes by bonds looks for terms of a kind, and the types of those that are there."""
    near, here = topology.neighbours(system.molecule.n_atoms, system.bond_atoms), _terms_here(system, kind)
    for place in _places(near, here, kind):
        numbers = here.get(_key(kind, place), ())
        yield place, tuple(sorted(int(system.terms(kind)[1][number]) for number in numbers))


def _terms_here(system: System, kind: str) -> dict[tuple[int, ...], list[int]]:
    """Atoms in one order -> the numbers of their terms."""
    near = topology.neighbours(system.molecule.n_atoms, system.bond_atoms)
    here: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(system.terms(kind)[0].tolist()):
        here.setdefault(_oriented(kind, row, near), []).append(number)
    return here


def _places(near: Sequence[Sequence[int]], here: Iterable[tuple[int, ...]], kind: str) -> Iterator[tuple[int, ...]]:
    return _stars(near, here) if kind in STARS else _chains(near, CHAINS[kind])


def _key(kind: str, place: tuple[int, ...]) -> tuple[int, ...]:
    """The atoms of the term that belongs to a place: the outer ones of an angle for a Urey-Bradley term."""
    return (place[0], place[2]) if kind == "urey_bradley" else place


def _check_places(system: System, forcefield: ForceField, suffix: str) -> None:
    """Check that every term is where a program looks for it, once.

    Raises:
        FormatError: it is not.
    """
    near = topology.neighbours(system.molecule.n_atoms, system.bond_atoms)
    for kind in (*CHAINS, *STARS):
        here = _terms_here(system, kind)
        met = Counter(_key(kind, place) for place in _places(near, here, kind))
        for key, (number, *_) in here.items():
            if met[key] != 1:
                why = "finds it over two angles" if met[key] else "finds terms by bonds, and none lead from one to the next"
                raise refusal(suffix, system, forcefield, kind, number, why, BY_ATOMS)


def _oriented(kind: str, row: Sequence[int], near: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """A term's atoms in one of their orders: a star's with the central atom third or last, others' as in `_chains`."""
    if kind not in STARS:
        return min(tuple(row), tuple(row[::-1]))
    return tuple(row[::-1] if _centre(row, near) in row[:2] else row)


def _centre(row: Sequence[int], near: Sequence[Sequence[int]]) -> int:
    """The atom of a star whose neighbours the three others are; -1 if there is none."""
    return next((atom for atom in row if {*row} - {atom} <= {*near[atom]}), -1)


def _chains(near: Sequence[Sequence[int]], length: int) -> Iterator[tuple[int, ...]]:
    """Different atoms in a row, each bonded to the next, each row once: the one of its two orders that comes first."""
    rows: list[tuple[int, ...]] = [(atom,) for atom in range(len(near))]
    for _ in range(length - 1):
        rows = [(*row, atom) for row in rows for atom in near[row[-1]] if atom not in row]
    yield from (row for row in rows if row[0] < row[-1])


def _stars(near: Sequence[Sequence[int]], here: Iterable[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Three neighbours of an atom with it: in the orders of the terms that are there, else once, the atom third."""
    orders: dict[tuple[int, frozenset[int]], list[tuple[int, ...]]] = {}
    for row in here:
        orders.setdefault((_centre(row, near), frozenset(row)), []).append(row)
    for centre, around in enumerate(near):
        for a, b, c in combinations(around, 3):
            yield from orders.get((centre, frozenset((a, b, c, centre))), [(a, b, centre, c)])


def _doubtful(
    molecules: Sequence[System], offsets: Sequence[int], colours: Sequence[int], forcefield: ForceField, suffix: str
) -> int | None:
    """An atom to give a class of its own, if a tuple of classes names different parameters in different places.

    Raises:
        FormatError: the same atoms are a star in two orders.
    """
    shared = {colour for colour, count in Counter(colours).items() if count > 1}
    for kind in (*CHAINS, *STARS):
        if not any(kind in system.kinds for system in molecules):
            continue
        seen: dict[tuple, tuple] = {}
        for system, offset in zip(molecules, offsets, strict=False):
            for atoms, types in occurrences(system, kind):
                row = tuple(colours[offset + atom] for atom in atoms)
                key, value = _named(kind, system, atoms, row, types)
                ambiguous = kind in STARS and types and len({*row}) < len(row)
                if seen.setdefault(key, value) == value and not ambiguous:
                    continue
                if not any(colour in shared for colour in row):
                    number = _terms_here(system, kind)[atoms][0]
                    why = "has one order of the same atoms, and these have two"
                    raise refusal(suffix, system, forcefield, kind, number, why, BY_ATOMS)
                return next(offset + atom for atom, colour in zip(atoms, row, strict=True) if colour in shared)
    return None


def _named(kind: str, system: System, atoms: Sequence[int], row: tuple[int, ...], types: tuple[int, ...]) -> tuple:
    """What a program looks for, and what it must find: of stars the order of the atoms too."""
    if kind not in STARS:
        return min(row, row[::-1]), types
    centre = atoms.index(_centre(atoms, topology.neighbours(system.molecule.n_atoms, system.bond_atoms)))
    around = tuple(sorted(colour for place, colour in enumerate(row) if place != centre))
    return (row[centre], around), (types, row if types else ())


def _names(molecules: Sequence[System], examples: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """The element with a number that counts its classes."""
    counts: dict[str, int] = {}
    names = []
    for number, atom in examples:
        symbol = molecules[number].molecule.symbols[atom]
        counts[symbol] = counts.get(symbol, 0) + 1
        names.append(f"{symbol}{counts[symbol]}")
    return tuple(names)
