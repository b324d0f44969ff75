"""Pairs of atoms as programs see them: by the number of bonds between, with one factor for those three bonds apart."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from q2mm_accel.errors import FormatError
from q2mm_accel.interop.openmm_build import pair_values
from q2mm_accel.model import topology
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import PairKind, kind_named
from q2mm_accel.model.system import System
from q2mm_accel.writers.holding import term_label


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
    rows = zip(np.sort(atoms, axis=1).tolist(), factors.tolist(), values, strict=True)
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
        f"{system.molecule.name}: the {kind} pair {list(pair)} ({label}), {distance} apart, counts with the factor "
        f"{factor:g}; {suffix} would count it with {expected:g}, as all such pairs. Write .json, .system.xml, .prmtop or .top."
    )
