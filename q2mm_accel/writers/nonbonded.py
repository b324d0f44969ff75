"""Pairs of atoms as programs see them: by the number of bonds between, with one factor for those three bonds apart."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from q2mm_accel.errors import FormatError
from q2mm_accel.interop.openmm_build import combined_values, pair_values
from q2mm_accel.model import topology
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import PairKind, kind_named
from q2mm_accel.model.system import System
from q2mm_accel.writers.holding import BY_ATOMS, able, term_label

ROUNDED = 1e-7
"""Relative difference of factors that are taken for the same: those of topologies have nine digits."""
_SAME_RADIUS = 2e-8
"""Relative difference of a given pair's radius and the combined one, below which it is that."""
_USUAL = (1.0, 0.0, 0.5, 1.0 / 1.2)


def ordinary(system: System, forcefield: ForceField) -> System:
    """A system whose given pairs ("special_vdw") are scaled ones like others, as far as they have the combined radius.

    Programs that hold 1-4 pairs with values of their own, rounded, make such pairs of what files say by factors.
    """
    if "special_vdw" not in system.kinds or not len(system.vdw_types):
        return system
    atoms, types = system.terms("special_vdw")
    kind, own = kind_named("vdw"), system.vdw_types
    assert isinstance(kind, PairKind)
    combined = combined_values(system.molecule.name, forcefield, kind, own[atoms[:, 0]], own[atoms[:, 1]])
    radii, depths = forcefield.special_vdw_radii[types], forcefield.special_vdw_epsilons[types]
    alike = (np.abs(radii - combined[:, 0]) < _SAME_RADIUS * combined[:, 0]) & (combined[:, 1] > 0.0)
    factors = np.concatenate([system.pairs("vdw").factors, depths[alike] / combined[alike, 1]])
    left = {"special_vdw_atoms": atoms[~alike], "special_vdw_types": types[~alike]}
    pairs = {"vdw_pairs": np.concatenate([system.vdw_pairs, atoms[alike]]), "vdw_factors": factors}
    return System(system.molecule, background=system.background, arrays={**system.arrays, **left, **pairs})


def _snapped(factors: np.ndarray) -> list[float]:
    """Factors without the rounding of files: those that differ by less are the same, and usual ones exact."""
    known = [*_USUAL]
    for factor in factors.tolist():
        if not any(abs(factor - other) <= ROUNDED for other in known):
            known.append(factor)
    return [next(other for other in known if abs(factor - other) <= ROUNDED) for factor in factors.tolist()]


def separations(system: System) -> np.ndarray:
    """Number of bonds between all atoms, shape (n_atoms, n_atoms): 0 to 3, and 4 for whatever is further apart."""
    size = system.molecule.n_atoms
    near = topology.neighbours(size, system.bond_atoms)
    found = np.full((size, size), 4)
    for start in range(size):
        edge = {start}
        for steps in range(4):
            for atom in edge:
                found[start, atom] = min(found[start, atom], steps)
            edge = {other for atom in edge for other in near[atom]}
    return found


def pair_table(system: System, forcefield: ForceField, kind: str) -> Mapping[tuple[int, int], tuple[float, np.ndarray]]:
    """Pairs of a kind that have an energy: (i, j), i < j -> factor and combined parameters in our units."""
    declared = kind_named(kind)
    assert isinstance(declared, PairKind)
    if kind not in system.pair_kinds:
        return {}
    atoms, _, factors = system.pairs(kind)
    values = pair_values(system, forcefield, declared)
    rows = zip(np.sort(atoms, axis=1).tolist(), _snapped(factors), values, strict=True)
    # the last parameter is the strength: a well depth, or the product of two charges
    return {(i, j): (factor, row) for (i, j), factor, row in rows if factor * row[-1] != 0.0}


def strengths(system: System, forcefield: ForceField, kind: str) -> np.ndarray:
    """Of all pairs of atoms at their full strength, shape (n_atoms, n_atoms): well depths, or products of charges."""
    size, types = system.molecule.n_atoms, getattr(system, f"{kind}_types")
    if not len(types):
        return np.zeros((size, size))
    if kind == "coulomb":
        charges = forcefield.coulomb_charges[types]
        return charges[:, None] * charges[None]
    depths = np.sqrt(forcefield.vdw_epsilons[types])
    return depths[:, None] * depths[None]


def common_factor(systems: Sequence[System], forcefield: ForceField, kind: str, suffix: str) -> float:
    """The factor of all pairs three bonds apart: 1 where there are none.

    Raises:
        FormatError: pairs one or two bonds apart have an energy, others have not or only a part, or factors differ.
    """
    common: float | None = None
    for system in systems:
        apart, present = separations(system), pair_table(system, forcefield, kind)
        whole = strengths(system, forcefield, kind)
        for i, j in combinations(range(system.molecule.n_atoms), 2):
            if whole[i, j] == 0.0:
                continue
            factor = present[i, j][0] if (i, j) in present else 0.0
            expected = 0.0 if apart[i, j] < 3 else 1.0 if apart[i, j] > 3 else factor if common is None else common
            if apart[i, j] == 3 and common is None:
                common = factor
            if factor != expected:
                raise _refused(system, forcefield, kind, suffix, (i, j), factor, expected, int(apart[i, j]))
    return 1.0 if common is None else common


def _refused(system, forcefield, kind, suffix, pair, factor, expected, apart) -> FormatError:
    rows = np.sort(system.pairs(kind).atoms, axis=1).tolist()
    label = term_label(system, forcefield, kind, rows.index([*pair]))[0] if [*pair] in rows else f"no {kind} pair"
    distance = f"{apart} bonds" if apart < 4 else "more than three bonds"
    return FormatError(
        f"{system.molecule.name}: the {kind} pair {list(pair)} ({label}), {distance} apart, counts with the "
        f"factor {factor:g}; {suffix} would count it with {expected:g}, as all such pairs. Write "
        f"{able(suffix, system, forcefield, BY_ATOMS)}."
    )


def pair_factors(system: System, forcefield: ForceField) -> dict[tuple[int, int], tuple[float, float]]:
    """Pairs that do not count in full: (i, j), i < j -> factors of their van der Waals and Coulomb energies.

    Given pairs ("special_vdw") count in full, with values of their own. Where one of the two has no energy, its factor is
    the other's; where neither has, pairs one or two bonds apart are switched off as everywhere, and others do not appear.
    """
    size, special = system.molecule.n_atoms, special_pairs(system, forcefield)
    apart, found = separations(system), {}
    tables = [(pair_table(system, forcefield, kind), strengths(system, forcefield, kind)) for kind in ("vdw", "coulomb")]
    for pair in combinations(range(size), 2):
        factors = [table[pair][0] if pair in table else 0.0 for table, _ in tables]
        energies = [bool(strength[pair]) for _, strength in tables]
        if pair in special:
            factors[0], energies[0] = 1.0, True
        if not any(energies):
            factors = [0.0, 0.0] if apart[pair] < 3 else [1.0, 1.0]
        elif not all(energies):
            factors = [factors[energies.index(True)]] * 2
        if factors != [1.0, 1.0]:
            found[pair] = (factors[0], factors[1])
    return found


def special_pairs(system: System, forcefield: ForceField) -> dict[tuple[int, int], tuple[float, float]]:
    """Given pairs: (i, j), i < j -> radius [Å] and depth [kcal/mol]."""
    atoms, types = system.terms("special_vdw")
    values = zip(forcefield.special_vdw_radii[types].tolist(), forcefield.special_vdw_epsilons[types].tolist(), strict=True)
    rows = np.sort(atoms, axis=1).tolist()
    return {(i, j): row for (i, j), row in zip(rows, values, strict=True)}
