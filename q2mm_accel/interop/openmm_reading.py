"""An OpenMM System taken apart: which entries of its forces are terms of ours, and what is left of it.

`HarmonicBondForce`, `HarmonicAngleForce`, `PeriodicTorsionForce`, `RBTorsionForce`, CHARMM's impropers and a
`NonbondedForce` without cutoff have terms of ours. What has none stays a force of OpenMM's, and is computed by it: other
forces, and entries that no product of ours reproduces.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from q2mm_accel.errors import InteropError, TopologyError
from q2mm_accel.interop import openmm_entries as entries
from q2mm_accel.interop.openmm_entries import Entry
from q2mm_accel.interop.openmm_refusals import WITHOUT_ENERGY, check_atoms, check_system
from q2mm_accel.model import topology as geometry
from q2mm_accel.model.molecule import Molecule

_SAME = 1e-10
"""Relative difference of a pair's distance from the mean of its atoms' up to which it is this mean."""
_NO_CONSTANT = 1e-10
"""[kcal/mol] Sum of an `RBTorsionForce`'s coefficients that is rounding."""


class Pair(NamedTuple):
    """A pair of atoms whose energy is that of their own parameters times a factor."""

    atoms: tuple[int, int]
    factor: float
    place: tuple[int, int]


@dataclass
class Contents:
    """What a System consists of.

    Attributes:
        terms: kind -> entries that are terms of it.
        atoms: kind of pairs -> values of each atom, in the order of the kind's parameters.
        pairs: kind of pairs -> its pairs.
        rest: a System of all that has no term, or None.
        constant: energy without any coordinate [kcal/mol].
        left: names of the forces in the rest.
    """

    terms: dict[str, list[Entry]] = field(default_factory=dict)
    atoms: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    rest: Any = None
    constant: float = 0.0
    left: list[str] = field(default_factory=list)

    def add(self, kind: str, entry: Entry) -> None:
        """One more term."""
        self.terms.setdefault(kind, []).append(entry)


def contents_of(package: Any, system: Any, molecule: Molecule, topology: Any = None) -> Contents:
    """Take a System apart.

    Args:
        package: OpenMM.
        system: the System.
        molecule: whose atoms it has.
        topology: OpenMM's `Topology`, or None.

    Raises:
        InteropError: something that one molecule at rest cannot have, or two forces of nonbonded pairs.
        TopologyError: other atoms than the molecule's; a bond or angle that stands there twice.
    """
    check_system(system, molecule)
    elements, named = _of_topology(topology, molecule)
    found = Contents()
    forces: dict[str, list[tuple[int, Any]]] = {}
    for place, force in enumerate(system.getForces()):
        forces.setdefault(_class_of(force), []).append((place, force))
    springs = _all(forces.pop("HarmonicBondForce", ()), "getNumBonds", entries.bond)
    for entry in _all(forces.pop("HarmonicAngleForce", ()), "getNumAngles", entries.angle):
        found.add("angle", entry)
    _sort_springs(found, springs, molecule, named)
    check_atoms(system, molecule, elements, found.terms.get("bond", []))
    _check_once(found, molecule)
    bonded = {tuple(sorted(entry.atoms)) for entry in found.terms.get("bond", [])} | (named or set())
    _dihedrals(found, forces, bonded, molecule.name)
    kept = _pairs(package, found, forces.pop("NonbondedForce", []), molecule.name)
    for kind, others in forces.items():
        kept += [force for _, force in others if kind not in WITHOUT_ENERGY]
    _keep(package, found, system, kept)
    return found


def _dihedrals(found: Contents, forces: dict[str, list[tuple[int, Any]]], bonded: set[tuple[int, ...]], name: str) -> None:
    """The terms of all forces of dihedrals, which are taken out of the forces."""
    for place, force in forces.pop("PeriodicTorsionForce", ()):
        _torsions(found, force, place, bonded, name)
    for place, force in forces.pop("RBTorsionForce", ()):
        _polynomials(found, force, place, bonded)
    for entry in _all(forces.pop(entries.PLAIN_IMPROPER, ()), "getNumTorsions", entries.plain_improper):
        _add_unless_0(found, "harmonic_improper", entry)


def _pairs(package: Any, found: Contents, forces: list[tuple[int, Any]], name: str) -> list[Any]:
    """The pairs of the one `NonbondedForce`, if there is one, and what is left of it."""
    if len(forces) > 1:
        raise InteropError(
            f"{name}: the OpenMM System has {len(forces)} NonbondedForces; whose charges count, nobody can say. Put all "
            "pairs into one."
        )
    return _nonbonded(package, found, forces[0][1], forces[0][0]) if forces else []


def _class_of(force: Any) -> str:
    """The name of its class; of a `CustomTorsionForce` that is CHARMM's impropers their energy."""
    name = type(force).__name__
    if name == "CustomTorsionForce" and force.getEnergyFunction().replace(" ", "") == entries.PLAIN_IMPROPER:
        names = {force.getPerTorsionParameterName(each) for each in range(force.getNumPerTorsionParameters())}
        if names == {"k", "theta0"} and not force.getNumGlobalParameters():
            # without a rule for half a turn the deviation is ours only where it cannot reach that
            if all(entries.plain_improper(force, each, 0).values[1] == 0.0 for each in range(force.getNumTorsions())):
                return entries.PLAIN_IMPROPER
    return name


def _of_topology(topology: Any, molecule: Molecule) -> tuple[tuple[str | None, ...] | None, set[tuple[int, ...]] | None]:
    """Elements of a topology, and its bonds; None where there is none."""
    if topology is None:
        return None, None
    if not hasattr(topology, "atoms") or not hasattr(topology, "bonds"):
        raise InteropError(f"{molecule.name}: topology is {topology!r:.60}; give OpenMM's Topology, such as pdb.topology.")
    atoms = list(topology.atoms())
    if len(atoms) != molecule.n_atoms:
        raise TopologyError(
            f"{molecule.name}: the topology has {len(atoms)} atoms, but the molecule has {molecule.n_atoms}. Give the "
            "topology that the System was made of."
        )
    elements = tuple(None if atom.element is None else atom.element.symbol for atom in atoms)
    bonds = {tuple(sorted((bond[0].index, bond[1].index))) for bond in topology.bonds()}
    return elements, bonds or None


def _all(forces: Iterable[tuple[int, Any]], count: str, read: Any) -> list[Entry]:
    return [read(force, number, place) for place, force in forces for number in range(getattr(force, count)())]


def _sort_springs(found: Contents, springs: list[Entry], molecule: Molecule, named: set[tuple[int, ...]] | None) -> None:
    """Tell bonds from Urey-Bradley terms, which may stand in the same force.

    Springs between the outer atoms of an angle are such, unless the atoms are bonded, as in three-membered rings, by the
    topology, or else by their distance. A second spring of a bond like that is one again.
    """
    pairs = {tuple(sorted(entry.atoms)) for entry in springs}
    outer = {
        (min(i, k), max(i, k))
        for i, j, k in (entry.atoms for entry in found.terms.get("angle", []))
        if tuple(sorted((i, j))) in pairs and tuple(sorted((j, k))) in pairs
    }
    known = named
    if known is None and outer & pairs:
        known = {(i, j) for i, j in geometry.bonds(molecule).tolist()}
    bonds: set[tuple[int, ...]] = set()
    for entry in springs:
        pair = tuple(sorted(entry.atoms))
        if pair in outer and (pair not in (known or ()) or pair in bonds):
            _add_unless_0(found, "urey_bradley", entry)
        else:
            bonds.add(pair)
            found.add("bond", entry)


def _check_once(found: Contents, molecule: Molecule) -> None:
    for kind in ("bond", "angle", "urey_bradley"):
        seen: dict[tuple[int, ...], tuple[int, int]] = {}
        for entry in found.terms.get(kind, []):
            atoms = min(entry.atoms, entry.atoms[::-1])
            if atoms in seen:
                raise TopologyError(
                    f"{molecule.name}: the {kind} of the atoms {list(atoms)} stands in the OpenMM System twice, as entry "
                    f"{seen[atoms][1]} of force {seen[atoms][0]} and entry {entry.place[1]} of force {entry.place[0]}: no "
                    "fit can tell them apart. Make one entry of both, with the sum of their force constants."
                )
            seen[atoms] = entry.place


def _add_unless_0(found: Contents, kind: str, entry: Entry) -> None:
    """One more term, unless its force constant is 0: a place holder, which may even have no dihedral."""
    if entry.values[0] != 0.0:
        found.add(kind, entry)


def _cosine(atoms: tuple[int, ...], bonded: set[tuple[int, ...]]) -> str:
    """Whether a cosine of four atoms is one of a chain of bonds, or improper."""
    links = (tuple(sorted(atoms[each : each + 2])) for each in range(3))
    return "torsion" if all(link in bonded for link in links) else "improper"


def _torsions(found: Contents, force: Any, place: int, bonded: set[tuple[int, ...]], name: str) -> None:
    for number in range(force.getNumTorsions()):
        entry = entries.torsion(force, number, place)
        if entry.constants[0] < 1.0:
            raise InteropError(
                f"{name}: entry {number} of the PeriodicTorsionForce has the periodicity {entry.constants[0]:.0f}, which "
                "OpenMM refuses too. Remove it: a cosine of periodicity 0 is a constant."
            )
        _add_unless_0(found, _cosine(entry.atoms, bonded), entry)


def _polynomials(found: Contents, force: Any, place: int, bonded: set[tuple[int, ...]]) -> None:
    for number in range(force.getNumTorsions()):
        terms, constant = entries.polynomial(force, number, place)
        for entry in terms:
            _add_unless_0(found, _cosine(entry.atoms, bonded), entry)
        if abs(constant) > _NO_CONSTANT:
            found.constant += constant


def _nonbonded(package: Any, found: Contents, force: Any, place: int) -> list[Any]:
    """The pairs of a `NonbondedForce`, and a force of the exceptions whose charges are no multiple of their atoms'."""
    particles = [entries.particle(force, number) for number in range(force.getNumParticles())]
    vdw, coulomb = any(each.depth for each in particles), any(each.charge for each in particles)
    if vdw:
        found.atoms["vdw"] = [(each.radius, each.depth) for each in particles]
    if coulomb:
        found.atoms["coulomb"] = [(each.charge,) for each in particles]
    special = {}
    for number in range(force.getNumExceptions()):
        each = entries.exception(force, number)
        special[min(each.atoms), max(each.atoms)] = number, each
    lost = []
    for pair in combinations(range(len(particles)), 2):
        if pair not in special:
            for kind in found.atoms:
                found.pairs.setdefault(kind, []).append(Pair(pair, 1.0, (place, -1)))
            continue
        number, each = special[pair]
        first, second = (particles[atom] for atom in pair)
        charges, depths = first.charge * second.charge, np.sqrt(first.depth * second.depth)
        if each.charges != 0.0 and charges != 0.0:
            found.pairs.setdefault("coulomb", []).append(Pair(pair, each.charges / charges, (place, number)))
        elif each.charges != 0.0:
            lost.append(number)
        mean = 0.5 * (first.radius + second.radius)
        if each.depth != 0.0 and depths > 0.0 and abs(each.radius - mean) <= _SAME * mean:
            found.pairs.setdefault("vdw", []).append(Pair(pair, each.depth / float(depths), (place, number)))
        elif each.depth != 0.0:
            found.add("special_vdw", Entry(pair, (each.radius, each.depth), (), (place, number)))
    return [_only(package, force, lost)] if lost else []


def _only(package: Any, force: Any, numbers: list[int]) -> Any:
    """A `NonbondedForce` of the charges of some exceptions alone."""
    alone = package.NonbondedForce()
    for _ in range(force.getNumParticles()):
        alone.addParticle(0.0, 0.1, 0.0)
    for number in numbers:
        i, j, charges, *_ = force.getExceptionParameters(number)
        alone.addException(i, j, charges, 0.1, 0.0)
    return alone


def _keep(package: Any, found: Contents, system: Any, forces: list[Any]) -> None:
    """Put what has no term into a System of its own."""
    if not forces:
        return
    found.rest = package.System()
    for number in range(system.getNumParticles()):
        found.rest.addParticle(system.getParticleMass(number))
    for force in forces:
        found.left.append(force.getName())
        found.rest.addForce(copy.deepcopy(force))
