"""What of an OpenMM System has no meaning for one molecule at rest, or does not belong to it: refused by name."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from q2mm_accel.errors import InteropError, TopologyError
from q2mm_accel.interop.openmm_entries import Entry, plain
from q2mm_accel.interop.openmm_mechanics import Derivatives
from q2mm_accel.model.elements import MASSES
from q2mm_accel.model.molecule import Molecule

WITHOUT_ENERGY = ("CMMotionRemover", "AndersenThermostat")
"""Forces that steer a simulation and have no energy: they stay in the user's System, and count for nothing here."""
_BAROSTATS = "Barostat"
_NEAR, _SHARE = 0.1, 0.03
"""[u] and part of it: by how much masses of an element may differ. Chemists' average over isotopes, the table has the most
abundant one: 3 % of molybdenum's."""
_HEAVY_HYDROGEN = 1.2
"""[u] From which on a hydrogen's mass has been repartitioned; below it is a force field's own rounding."""
_LONG, _SHORT = 1.5, 0.6
"""A bond that is so many times its equilibrium length joins other atoms than the force field means."""

_STILL = 1e-6
"""Part of the largest component up to which sums over atoms are rounding: differences of forces leave 1e-10."""


def check_system(system: Any, molecule: Molecule) -> None:
    """Refuse what cannot be carried over of a System, whatever its terms are.

    Raises:
        InteropError: virtual sites, constraints, Drude particles, particles without mass, periodic forces, cutoffs,
            barostats, offsets of parameters.
        TopologyError: another number of atoms than the molecule's.
    """
    name, count = molecule.name, system.getNumParticles()
    for number in range(count):
        if system.isVirtualSite(number):
            raise InteropError(
                f"{name}: particle {number} of the OpenMM System is a virtual site "
                f"({type(system.getVirtualSite(number)).__name__}), which is no atom with a QM Hessian. Take a force field "
                "without extra points (three-point water), or leave the molecule out."
            )
    for force in system.getForces():
        if type(force).__name__ == "DrudeForce":
            raise InteropError(
                f"{name}: the OpenMM System has a DrudeForce: its particles follow the atoms, so there is no Hessian of "
                "atoms alone. Take a force field without Drude particles."
            )
    if count != molecule.n_atoms:
        raise TopologyError(
            f"{name}: the OpenMM System has {count} particles, but the molecule has {molecule.n_atoms} atoms. Make the "
            "System of this molecule alone, without water and ions, all hydrogens included."
        )
    if system.getNumConstraints():
        i, j, distance = system.getConstraintParameters(0)
        raise InteropError(
            f"{name}: the OpenMM System has {system.getNumConstraints()} constraints, the first of the atoms {i} and {j} at "
            f"{10.0 * plain(distance):.4g} Å: constrained bonds have no force constant to fit, and no vibration. Create the "
            "System with constraints=None and rigidWater=False; the result can be simulated with constraints all the same."
        )
    for force in system.getForces():
        _check_force(force, name)


def _check_force(force: Any, name: str) -> None:
    kind = type(force).__name__
    what = f"{name}: the {kind} {force.getName()!r}"
    if _BAROSTATS in kind:
        raise InteropError(f"{what} belongs to a periodic box, and there is one molecule. Remove it from the System.")
    if force.usesPeriodicBoundaryConditions():
        raise InteropError(
            f"{what} is periodic, but QM's molecule is alone. Create the System without a box: nonbondedMethod=NoCutoff, "
            "and setUsesPeriodicBoundaryConditions(False)."
        )
    if hasattr(force, "getNonbondedMethod") and force.getNonbondedMethod() != 0:  # NoCutoff is 0 in all of them
        raise InteropError(
            f"{what} has a cutoff (nonbonded method {force.getNonbondedMethod()}), where energies of one molecule have "
            "steps. Create the System with nonbondedMethod=NoCutoff."
        )
    for count in ("getNumParticleParameterOffsets", "getNumExceptionParameterOffsets"):
        if kind == "NonbondedForce" and getattr(force, count)():
            raise InteropError(
                f"{what} has {getattr(force, count)()} offsets of parameters by global ones, which an alchemical program "
                "moves. Write the values of the end state into the particles and exceptions, and leave the offsets out."
            )


def check_atoms(system: Any, molecule: Molecule, elements: tuple[str | None, ...] | None, bonds: list[Entry]) -> None:
    """Refuse a System whose atoms are not the molecule's, in their order.

    Args:
        system: the System.
        molecule: the molecule.
        elements: of a topology, None where it names none; or no topology.
        bonds: entries of bonds.

    Raises:
        TopologyError: another element.
        InteropError: a particle has no mass.
    """
    masses = np.array([plain(system.getParticleMass(number)) for number in range(molecule.n_atoms)])
    for number in np.flatnonzero(masses <= 0.0)[:1]:
        raise InteropError(
            f"{molecule.name}: particle {number} of the OpenMM System has no mass: OpenMM holds it in place, and forces on "
            "it would be lost. Give it its mass: setParticleMass."
        )
    if elements is not None:
        for number, (element, symbol) in enumerate(zip(elements, molecule.symbols, strict=True)):
            if element != symbol:
                raise TopologyError(
                    f"{molecule.name}: atom {number} is {element or 'no element'} in the topology, but {symbol} in the "
                    "molecule. Put the molecule's atoms into the order of the topology."
                )
    else:
        _check_masses(masses, molecule, [entry.atoms for entry in bonds])


def check_lengths(molecule: Molecule, bonds: list[Entry]) -> None:
    """Refuse a geometry whose bonds are not those of the System.

    Raises:
        TopologyError: a bond between atoms that are far apart.
    """
    for number, entry in enumerate(bonds):
        i, j = entry.atoms
        spring, length = entry.values
        distance = float(np.linalg.norm(molecule.coordinates[i] - molecule.coordinates[j]))
        if spring != 0.0 and not _SHORT * length <= distance <= _LONG * length:
            raise TopologyError(
                f"{molecule.name}: bond {number} joins the atoms {molecule.symbols[i]}{i} and {molecule.symbols[j]}{j}, "
                f"which are {distance:.3g} Å apart in the molecule, and are {length:.3g} Å in the force field. Put the "
                "molecule's atoms into the order of the OpenMM System, or check the coordinates."
            )


def _check_masses(masses: np.ndarray, molecule: Molecule, bonds: list[tuple[int, ...]]) -> None:
    """Tell elements by their masses; those that were repartitioned to hydrogens count together with their neighbours'."""
    expected = np.array([MASSES[symbol] for symbol in molecule.symbols])
    groups = {frozenset((number,)) for number in range(molecule.n_atoms)}
    heavy = {n for n, symbol in enumerate(molecule.symbols) if symbol == "H" and masses[n] > _HEAVY_HYDROGEN}
    for i, j in bonds:
        if (i in heavy) != (j in heavy):
            centre, hydrogen = (j, i) if i in heavy else (i, j)
            own = next(group for group in groups if centre in group)
            groups -= {own, frozenset((hydrogen,))}
            groups.add(own | {hydrogen})
    for number, what in _off(masses, expected, groups):
        guess = min(MASSES, key=lambda symbol: abs(MASSES[symbol] - masses[number]))
        more = " and masses moved to hydrogens do not explain it" if len(what) > 1 else f", which is that of {guess}"
        raise TopologyError(
            f"{molecule.name}: atom {number} is {molecule.symbols[number]} in the molecule, but has the mass "
            f"{masses[number]:.4g} u in the OpenMM System{more}. Put the molecule's atoms into the order of the System; "
            "where masses are others on purpose, pass topology=, whose elements then count instead."
        )


def _off(masses: np.ndarray, expected: np.ndarray, groups: set[frozenset[int]]) -> Iterator[tuple[int, frozenset[int]]]:
    for group in sorted(groups, key=min):
        own = sorted(group)
        total = expected[own].sum()
        if abs(masses[own].sum() - total) > _NEAR * len(own) + _SHARE * total:
            yield own[0], group


def check_still(found: Derivatives, coordinates: np.ndarray, name: str, forces: str) -> None:
    """Refuse forces that hold a molecule in space, rather than its atoms by each other.

    Args:
        found: of the forces that have no terms.
        coordinates: (n_atoms, 3) [Å].
        name: of the molecule.
        forces: what they are.

    Raises:
        InteropError: they pull or turn the molecule as a whole, or would if it moved.
    """
    centred, gradient = coordinates - coordinates.mean(axis=0), found.gradient
    pull, turn = np.abs(gradient.sum(axis=0)).max(), np.abs(np.cross(centred, gradient).sum(axis=0)).max()
    back = np.abs(found.hessian.reshape(len(coordinates), 3, -1).sum(axis=0)).max()
    size = max(np.abs(gradient).max(initial=0.0), 1.0)
    reach = max(np.abs(centred).max(), 1.0)
    stiffness = max(np.abs(found.hessian).max(initial=0.0), 1.0)
    if pull > _STILL * size or turn > _STILL * size * reach or back > _STILL * stiffness:
        raise InteropError(
            f"{name}: {forces} act on the molecule as a whole: they pull it by {pull:.2g} kcal/mol/Å, turn it by {turn:.2g} "
            f"kcal/mol, and hold it in its place by {back:.2g} kcal/mol/Å². No QM Hessian has such a restraint in space: "
            "remove the force from the System."
        )
