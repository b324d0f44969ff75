"""A user's OpenMM System as terms and a force field of ours, and fitted parameters back into it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from q2mm_accel.errors import InteropError
from q2mm_accel.interop.openmm_build import build_openmm, openmm_package
from q2mm_accel.interop.openmm_mechanics import OpenMMMechanics
from q2mm_accel.interop.openmm_reading import Contents, contents_of
from q2mm_accel.interop.openmm_refusals import check_lengths, check_still
from q2mm_accel.interop.openmm_types import ADJUSTABLE, Labels, typed
from q2mm_accel.interop.openmm_writing import written
from q2mm_accel.interop.smarts import labels_by_smarts
from q2mm_accel.model.arguments import as_tuple, instance
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, PairKind
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.origin import Origin
from q2mm_accel.model.system import Background, System
from q2mm_accel.parameters.selection import fields_of

if TYPE_CHECKING:
    import openmm
    import openmm.app


class OpenMMModel(NamedTuple):
    """What `from_openmm` makes of OpenMM Systems."""

    systems: list[System]
    """One for each molecule, in their order."""
    forcefield: ForceField
    """Of the form "amber". What is not to be fitted is pinned at its values."""
    active: tuple[str, ...]
    """Fields of the force field that are to be fitted, for `FusedObjective(active=...)`."""


def from_openmm(
    system: "openmm.System | Sequence[openmm.System]",
    molecules: Molecule | Sequence[Molecule] | Sequence[Sequence[Molecule]],
    topology: "openmm.app.Topology | Sequence[openmm.app.Topology | None] | None" = None,
    fit: Sequence[str] = ("bonds", "angles"),
    types: str | Sequence | Mapping[str, str] = "parameters",
) -> OpenMMModel:
    """The terms and parameters of a force field that OpenMM has read, ready to be fitted to QM data of the same molecules.

    `HarmonicBondForce`, `HarmonicAngleForce`, `PeriodicTorsionForce`, `RBTorsionForce` and `NonbondedForce` with its
    exceptions become terms of ours, exactly: bonds, Urey-Bradley terms (springs between the outer atoms of angles), angles,
    proper and improper cosines, CHARMM's harmonic impropers, Lennard-Jones and Coulomb pairs. Charges are larger than
    OpenMM's by 5.6e-6 of them, as its Coulomb constant is. All other forces (CMAP, implicit solvent, any custom force) are
    computed by OpenMM once, at the molecule's geometry, and enter as background. Terms of force constant 0, but bonds and
    angles, are left out. Masses are the molecule's: those of the System, such as repartitioned ones of hydrogens, are for
    simulations.

    Args:
        system: an `openmm.System` without cutoffs, constraints and virtual sites; or several, of different molecules.
        molecules: the molecule with its QM data, atoms in the order of the System; or several conformers of it. Of several
            Systems a list with the molecule, or list of conformers, of each.
        topology: OpenMM's `Topology` of the System, or one for each: elements are compared with it instead of masses, and
            bonds are told from Urey-Bradley terms by it instead of by distances.
        fit: what may change, of "bonds", "angles", "torsions", "impropers", "urey_bradley", "vdw" and "charges".
        types: which terms of what is fitted share parameters. "parameters": those of the same elements and equal
            parameters, so that a force field with atom types keeps its types. "term": none. Or labels of atoms, such as atom
            types, one for each (of several Systems a list of such lists): terms with equal labels. Or SMARTS -> label: each
            labels the atom that it matches first, or its atom numbered 1, and later ones win over earlier ones; needs RDKit.

    Returns:
        Systems, the force field, and which of its fields are to be fitted. Bounds of equilibria reach 0.1 Å and 15 degrees
        beyond what the force field and the molecules have.

    Raises:
        MissingPackageError: OpenMM (or RDKit) is not installed.
        InteropError: no System or Molecule; nothing to be fitted; a System with a cutoff, box, constraints, virtual sites
            or another thing that one molecule at rest cannot have; labels that join terms of different parameters.
        TopologyError: the atoms are not those of the molecule, in its order; a bond or angle that stands there twice.
    """
    package = openmm_package()
    given = _systems_of(package, system)
    several = not isinstance(system, package.System)
    own = _molecules_of(molecules, len(given), several)
    topologies = _for_each(topology, len(given), several)
    names, fitted = _fitted(fit)
    read = [contents_of(package, each, found[0], top) for each, found, top in zip(given, own, topologies, strict=True)]
    for contents, (first, *others) in zip(read, own, strict=True):
        for molecule in (first, *others):
            _check_conformer(first, molecule)
            check_lengths(molecule, contents.terms.get("bond", []))
    if "coulomb" in fitted:
        _check_charges_alone(read, own)
    labels = _labels_of(types, read, own, several)
    forcefield, numbers = typed(read, own, labels, fitted)
    active = _active(forcefield, fitted)
    if not active:
        there = [name for name, kinds in ADJUSTABLE.items() if any(map(forcefield.n_types, kinds))]
        raise InteropError(
            f"{own[0][0].name}: the OpenMM System has nothing of what is to be fitted ({', '.join(names)}). It has "
            f"{', '.join(there) or 'no terms'}."
        )
    texts = [_serialized(package, each) for each in given]
    systems = [
        _system(molecule, contents, types_of, text)
        for contents, found, types_of, text in zip(read, own, numbers, texts, strict=True)
        for molecule in found
    ]
    return OpenMMModel(systems, forcefield, active)


@overload
def to_openmm(systems: System, forcefield: ForceField) -> "openmm.System": ...
@overload
def to_openmm(systems: Iterable[System], forcefield: ForceField) -> "list[openmm.System]": ...


def to_openmm(systems: System | Iterable[System], forcefield: ForceField) -> "openmm.System | list[openmm.System]":
    """Parameters in OpenMM Systems: the user's own with its parameters changed, or, without origin, new ones.

    Args:
        systems: a system, or several.
        forcefield: their parameters.

    Returns:
        A System for a system, a list for several. Of a system that `from_openmm` made it is a copy of the user's, in which
        entries whose parameters did not change have every bit of before; of others that of `build_openmm`.

    Raises:
        MissingPackageError: OpenMM is not installed.
        InteropError: the force field is not one of the System's terms, or has a form that its forces do not have; or as
            `build_openmm`.
        TopologyError: a term has no type.
    """
    chosen = as_tuple(systems, System, "systems", InteropError)
    instance(forcefield, ForceField, "forcefield", InteropError)
    made = [
        build_openmm(system, forcefield) if system.origin is None else written(openmm_package(), system, forcefield)
        for system in chosen
    ]
    return made[0] if isinstance(systems, System) else made


def _systems_of(package: Any, system: Any) -> list[Any]:
    if isinstance(system, package.System):
        return [system]
    listed = list(system) if isinstance(system, Sequence) and not isinstance(system, str) else []
    if not listed or not all(isinstance(each, package.System) for each in listed):
        raise InteropError(
            f"system is {system!r:.60}; give an openmm.System, such as that of ForceField.createSystem, or a list of them."
        )
    return listed


def _molecules_of(molecules: Any, count: int, several: bool) -> list[tuple[Molecule, ...]]:
    """Of each System its molecules."""
    if not several:
        found = [as_tuple(molecules, Molecule, "molecules", InteropError)]
    else:
        listed = list(molecules) if isinstance(molecules, Sequence) else []
        if len(listed) != count:
            raise InteropError(
                f"molecules is {molecules!r:.60} for {count} Systems; give a list with the molecule, or list of conformers, "
                "of each."
            )
        found = [as_tuple(each, Molecule, f"molecules[{number}]", InteropError) for number, each in enumerate(listed)]
    for number, each in enumerate(found):
        if not each:
            raise InteropError(f"molecules are empty for System {number}; give the molecule that it is of.")
    return found


def _for_each(given: Any, count: int, several: bool) -> list[Any]:
    """One for each System; None for all."""
    if given is None:
        return [None] * count
    if not several:
        return [given]
    if not isinstance(given, Sequence) or len(given) != count:
        raise InteropError(f"topology is {given!r:.60} for {count} Systems; give a list with one entry for each.")
    return list(given)


def _fitted(fit: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of what may change, and the kinds that these are."""
    names = as_tuple(fit, str, "fit", InteropError)
    for name in names:
        if name not in ADJUSTABLE:
            raise InteropError(f"fit names {name!r}; name some of {', '.join(map(repr, ADJUSTABLE))}.")
    return names, frozenset(kind for name in names for kind in ADJUSTABLE[name])


def _active(forcefield: ForceField, fitted: frozenset[str]) -> tuple[str, ...]:
    """Fields of fitted kinds that have something to move."""
    moving = np.array(fields_of(forcefield))[~forcefield.pinned]
    return tuple(field for kind in KINDS if kind in fitted for field in KINDS[kind].fields if field in moving)


def _check_conformer(first: Molecule, other: Molecule) -> None:
    if first.symbols != other.symbols:
        raise InteropError(
            f"{other.name} is no conformer of {first.name}: its elements are {' '.join(other.symbols)[:60]}, not "
            f"{' '.join(first.symbols)[:60]}. Give the molecules of one System in its atom order; other ones need their own."
        )


def _check_charges_alone(read: Sequence[Contents], own: Sequence[tuple[Molecule, ...]]) -> None:
    """Refuse to fit charges that a force without terms has too."""
    for contents, molecules in zip(read, own, strict=True):
        for force in () if contents.rest is None else contents.rest.getForces():
            count = getattr(force, "getNumPerParticleParameters", lambda: 0)()
            names = {force.getPerParticleParameterName(number).lower() for number in range(count)}
            if type(force).__name__ == "GBSAOBCForce" or names & {"charge", "q"}:
                raise InteropError(
                    f"{molecules[0].name}: charges are to be fitted, but the {type(force).__name__} {force.getName()!r} has "
                    "charges of its own, which would stay. Leave 'charges' out of fit, or the implicit solvent out of the "
                    "System."
                )


def _labels_of(types: Any, read: Sequence[Contents], own: Sequence[tuple[Molecule, ...]], several: bool) -> Labels:
    """How terms are typed."""
    if isinstance(types, str):
        if types not in ("parameters", "term"):
            raise InteropError(f"types is {types!r}; it is 'parameters', 'term', labels of atoms, or SMARTS -> label.")
        return Labels(types)
    if isinstance(types, Mapping):
        bonds = [[entry.atoms for entry in contents.terms.get("bond", [])] for contents in read]
        return Labels(
            "labels", tuple(labels_by_smarts(each[0], found, types) for each, found in zip(own, bonds, strict=True))
        )
    tables = list(types) if several and isinstance(types, Sequence) else [types]
    if len(tables) != len(read):
        raise InteropError(f"types are {len(tables)} lists of labels for {len(read)} Systems; give one for each.")
    names = []
    for table, molecules in zip(tables, own, strict=True):
        molecule = molecules[0]
        if not isinstance(table, Sequence) or isinstance(table, str) or len(table) != molecule.n_atoms:
            raise InteropError(
                f"{molecule.name}: types are {table!r:.60}; give {molecule.n_atoms} labels, one for each atom."
            )
        names.append(as_tuple(table, str, f"{molecule.name}: types", InteropError))
    return Labels("labels", tuple(names))


def _serialized(package: Any, system: Any) -> str:
    try:
        return package.XmlSerializer.serialize(system)
    except package.OpenMMException as error:
        raise InteropError(
            f"the OpenMM System cannot be written as XML: {error}. Parameters are written back into a copy that is made of "
            "it: remove the force that has no XML."
        ) from error


def _system(molecule: Molecule, contents: Contents, types: dict[str, np.ndarray], text: str) -> System:
    """The terms of one molecule."""
    arrays: dict[str, Any] = {}
    places: dict[str, Any] = {}
    for kind, numbers in types.items():
        arrays[f"{kind}_types"] = numbers
        if isinstance(KINDS[kind], PairKind):
            pairs = contents.pairs[kind]
            arrays[f"{kind}_pairs"] = [pair.atoms for pair in pairs]
            arrays[f"{kind}_factors"] = [pair.factor for pair in pairs]
            places[kind] = [pair.place for pair in pairs]
        else:
            arrays[f"{kind}_atoms"] = [entry.atoms for entry in contents.terms[kind]]
            places[kind] = [entry.place for entry in contents.terms[kind]]
    background = _background(molecule, contents)
    return System(molecule, arrays=arrays, background=background, origin=Origin(text, places))


def _background(molecule: Molecule, contents: Contents) -> Background | None:
    """What OpenMM computes of all that has no term."""
    size = 3 * molecule.n_atoms
    constant = Background(contents.constant, np.zeros((molecule.n_atoms, 3)), np.zeros((size, size)))
    if contents.rest is None:
        return constant if contents.constant else None
    found = OpenMMMechanics(contents.rest, molecule.name)(molecule.coordinates)
    check_still(found, molecule.coordinates, molecule.name, f"the forces {', '.join(contents.left)}")
    return Background(*found) + constant
