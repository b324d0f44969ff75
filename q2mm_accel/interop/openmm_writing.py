"""Parameters written into a copy of the OpenMM System that they were read from."""

from collections.abc import Callable
from typing import Any

import numpy as np

from q2mm_accel.errors import InteropError
from q2mm_accel.interop import openmm_entries as entries
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, Kind
from q2mm_accel.model.system import System
from q2mm_accel.problem.checks import check_terms

_COUNTS = {
    "HarmonicBondForce": "getNumBonds",
    "HarmonicAngleForce": "getNumAngles",
    "PeriodicTorsionForce": "getNumTorsions",
    "RBTorsionForce": "getNumTorsions",
    "CustomTorsionForce": "getNumTorsions",
    "NonbondedForce": "getNumExceptions",
}
_ENTRIES: dict[str, tuple[Callable, Callable]] = {
    "HarmonicBondForce": (entries.bond, entries.write_bond),
    "HarmonicAngleForce": (entries.angle, entries.write_angle),
    "PeriodicTorsionForce": (entries.torsion, entries.write_torsion),
    "CustomTorsionForce": (entries.plain_improper, entries.write_plain_improper),
}
"""Class of a force -> how one of its entries is read and written, where an entry is a term."""


def written(package: Any, system: System, forcefield: ForceField) -> Any:
    """A copy of the System that a system came from, with the parameters of a force field.

    Args:
        package: OpenMM.
        system: with an origin.
        forcefield: its parameters.

    Raises:
        InteropError: the origin is no System of OpenMM's, or not that of these terms; or another form than "amber".
        TopologyError: a term has no type.
    """
    name, origin = system.molecule.name, system.origin
    assert origin is not None
    if forcefield.form != "amber":
        raise InteropError(
            f"{name}: the force field has the form {forcefield.form!r}, but the forces of the OpenMM System have that of "
            "'amber'. Leave the origin out (origin=None) to have a System built anew."
        )
    check_terms([system], forcefield)
    try:
        copy = package.XmlSerializer.deserialize(origin.xml)
    except (package.OpenMMException, ValueError) as error:
        raise InteropError(f"{name}: its origin is no serialized OpenMM System: {error}. Call from_openmm again.") from error
    forces = copy.getForces()
    for kind, places in origin.entries.items():
        _check_places(system, kind, places, forces)
    polynomials: dict[tuple[int, int], np.ndarray] = {}
    for kind, declared in system.kinds.items():
        if kind != "special_vdw":
            _write_terms(system, forcefield, declared, forces, polynomials)
    for (place, number), changes in polynomials.items():
        if np.any(changes):
            entries.write_polynomial(forces[place], number, changes)
    _write_nonbonded(system, forcefield, forces)
    return copy


def _check_places(system: System, kind: str, places: np.ndarray, forces: list[Any]) -> None:
    """Check that entries exist, and are of the atoms of their terms."""
    atoms = system.terms(kind)[0] if isinstance(KINDS[kind], Kind) else system.pairs(kind).atoms
    for own, (place, number) in zip(atoms.tolist(), places.tolist(), strict=True):
        force = forces[place] if 0 <= place < len(forces) else None
        count = getattr(force, _COUNTS.get(type(force).__name__, ""), lambda: 0)()
        if number >= count or (number < 0 and (force is None or isinstance(KINDS[kind], Kind))):
            raise InteropError(
                f"{system.molecule.name}: the {kind} of the atoms {own} is to be entry {number} of force {place}, which its "
                "OpenMM System does not have. Call from_openmm again."
            )
        if number >= 0 and sorted(_atoms_of(force, number)) != sorted(own):
            raise InteropError(
                f"{system.molecule.name}: the {kind} of the atoms {own} is to be entry {number} of force {place}, but that "
                f"is of the atoms {_atoms_of(force, number)}. A system with other terms is not that of its origin: give it "
                "origin=None."
            )


def _atoms_of(force: Any, number: int) -> list[int]:
    for method in ("getExceptionParameters", "getBondParameters", "getAngleParameters", "getTorsionParameters"):
        if hasattr(force, method):
            width = {"getAngleParameters": 3, "getTorsionParameters": 4}.get(method, 2)
            return list(getattr(force, method)(number)[:width])
    raise AssertionError(force)


def _write_terms(
    system: System, forcefield: ForceField, kind: Kind, forces: list[Any], polynomials: dict[tuple[int, int], np.ndarray]
) -> None:
    """Change the entries of a kind's terms; changes of polynomials are gathered."""
    assert system.origin is not None
    types, places = system.terms(kind.name)[1], system.origin.entries[kind.name]
    values = np.stack([getattr(forcefield, field)[types] for field in kind.fields], axis=1)
    constants = np.stack([getattr(forcefield, each.field)[types] for each in kind.constants] or [types], axis=1)
    for (place, number), new, fixed in zip(places.tolist(), values, constants, strict=True):
        force = forces[place]
        if type(force).__name__ == "RBTorsionForce":
            (old,) = (
                entry.values[0] for entry in entries.polynomial(force, number, place)[0] if entry.constants[0] == fixed[0]
            )
            polynomials.setdefault((place, number), np.zeros(5))[round(fixed[0]) - 1] += new[0] - old
            continue
        read, write = _ENTRIES[type(force).__name__]
        if read(force, number, place).values != tuple(new.tolist()):
            write(force, number, new)


def _write_nonbonded(system: System, forcefield: ForceField, forces: list[Any]) -> None:
    """Change particles and exceptions."""
    force = next((each for each in forces if type(each).__name__ == "NonbondedForce"), None)
    if force is None:
        return
    size = system.molecule.n_atoms
    old = [entries.particle(force, number) for number in range(size)]
    new = [
        entries.Particle(
            *_of_atom(system, forcefield, "coulomb", number, was[:1]), *_of_atom(system, forcefield, "vdw", number, was[1:])
        )
        for number, was in enumerate(old)
    ]
    changed = {number: each for number, each in _exceptions(system, forcefield, force, old, new).items()}
    for number, (was, now) in enumerate(zip(old, new, strict=True)):
        if was != now:
            entries.write_particle(force, number, was, now)
    for number, now in changed.items():
        was = entries.exception(force, number)
        if was != now:
            entries.write_exception(force, number, was, now)


def _of_atom(system: System, forcefield: ForceField, kind: str, atom: int, default: tuple) -> tuple:
    if kind not in system.pair_kinds:
        return default
    number = system.pairs(kind).types[atom]
    return tuple(float(getattr(forcefield, field)[number]) for field in KINDS[kind].fields)


def _exceptions(
    system: System, forcefield: ForceField, force: Any, old: list[Any], new: list[Any]
) -> dict[int, entries.Exception14]:
    """Exceptions as they shall be: those of pairs follow their atoms, those with values of their own these."""
    assert system.origin is not None
    found: dict[int, entries.Exception14] = {}
    for kind in system.pair_kinds:
        atoms, _, factors = system.pairs(kind)
        for (i, j), factor, (_, number) in zip(
            atoms.tolist(), factors.tolist(), system.origin.entries[kind].tolist(), strict=True
        ):
            if number < 0 or (old[i], old[j]) == (new[i], new[j]):
                continue
            was = found.get(number) or entries.exception(force, number)
            if kind == "coulomb" and (old[i].charge, old[j].charge) != (new[i].charge, new[j].charge):
                found[number] = was._replace(charges=factor * new[i].charge * new[j].charge)
            elif kind == "vdw" and (old[i][1:], old[j][1:]) != (new[i][1:], new[j][1:]):
                depth = factor * float(np.sqrt(new[i].depth) * np.sqrt(new[j].depth))
                found[number] = was._replace(radius=0.5 * (new[i].radius + new[j].radius), depth=depth)
    if "special_vdw" in system.kinds:
        _, types = system.terms("special_vdw")
        for number, kind_of in zip(system.origin.entries["special_vdw"][:, 1].tolist(), types.tolist(), strict=True):
            was = found.get(number) or entries.exception(force, number)
            radius, depth = (float(getattr(forcefield, field)[kind_of]) for field in KINDS["special_vdw"].fields)
            found[number] = was._replace(radius=radius, depth=depth)
    return found
