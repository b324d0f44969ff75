"""What all formats whose parameters belong to types of atoms ask of them."""

from q2mm_accel.errors import FormatError
from q2mm_accel.model import topology
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import Kind, kind_named
from q2mm_accel.model.system import System
from q2mm_accel.writers.atom_types import AtomTypes
from q2mm_accel.writers.holding import BY_ATOMS, refusal


def type_values(forcefield: ForceField, kind: str, number: int) -> list[float]:
    """Parameters and constants of a type in our units."""
    return [float(getattr(forcefield, field)[number]) for field in kind_named(kind).all_fields]


def _term_of(types: AtomTypes, kind: str, number: int) -> tuple[System, int]:
    """A system and the place in it of a term of a type."""
    system = next(system for system in types.molecules if number in system.terms(kind)[1])
    return system, system.terms(kind)[1].tolist().index(number)


def refused(suffix: str, types: AtomTypes, forcefield: ForceField, kind: str, number: int, why: str) -> FormatError:
    """The error for the terms of a type that a format cannot hold."""
    system, term = _term_of(types, kind, number)
    return refusal(suffix, system, forcefield, kind, term, why)


def single_types(types: AtomTypes, forcefield: ForceField, kind: str, suffix: str) -> dict[tuple[int, ...], int]:
    """Tuples of classes -> the type of their terms, of a kind that may have one for the same atoms.

    Raises:
        FormatError: the same atoms have several terms of the kind.
    """
    found = {}
    for row, (first, *more) in types.tuples(kind).items():
        if more:
            system, term = _term_of(types, kind, more[0])
            raise refusal(suffix, system, forcefield, kind, term, "has one such term for the same atoms", BY_ATOMS)
        found[row] = first
    return found


def central_places(types: AtomTypes, kind: str) -> dict[tuple[int, ...], int]:
    """Tuples of classes of stars -> which of the four is the central one."""
    places = {}
    for number, system in enumerate(types.molecules):
        near = topology.neighbours(system.molecule.n_atoms, system.bond_atoms)
        for atoms in system.terms(kind)[0].tolist():
            for row in (atoms, atoms[::-1]):
                place = next(place for place, atom in enumerate(row) if {*row} - {atom} <= {*near[atom]})
                places[tuple(types.of_atoms[number][atom] for atom in row)] = place
    return places


def check_centres(suffix: str, types: AtomTypes, forcefield: ForceField) -> None:
    """Check that every improper has its central atom third, with the three others as its only neighbours.

    Raises:
        FormatError: one has not.
    """
    places = central_places(types, "improper")
    for row, numbers in types.tuples("improper").items():
        molecule, atom = types.examples[row[2]]
        if places[row] != 2:
            raise refused(suffix, types, forcefield, "improper", numbers[0], "wants the central atom third")
        if (types.molecules[molecule].bond_atoms == atom).sum() != 3:
            raise refused(suffix, types, forcefield, "improper", numbers[0], "wants a central atom with three neighbours")


def declared_kind(name: str) -> Kind:
    """A kind of terms by name."""
    kind = kind_named(name)
    assert isinstance(kind, Kind)
    return kind
