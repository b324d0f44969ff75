"""Which atoms of a molecule form bonds, angles, torsions, impropers and van der Waals pairs, judged by its geometry."""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import TopologyError, UnmatchedTermWarning, warn_user
from q2mm_accel.model.elements import COVALENT_RADII
from q2mm_accel.model.molecule import Molecule

LINEAR_ANGLE = 175.0
"""[degrees] Beyond it a torsion is left out: three atoms in line define no plane, and on the way there the dihedral's
derivatives grow as 1/sin(angle) and their squares enter the Hessian."""

PLANAR_ANGLE_SUM = 350.0
"""[degrees] A three-coordinate centre whose angles sum to more is planar: amides, arenes and carbonyls, not amines."""

_LISTED = 6
"""How many omitted terms a warning lists one by one."""


def bonds(molecule: Molecule, tolerance: float = 1.3) -> np.ndarray:
    """Atom pairs nearer than `tolerance` times the sum of their covalent radii.

    Args:
        molecule: the molecule.
        tolerance: 1.3 suits minima. The partial bonds of a transition state are longer: use 1.4 to 1.5 there, and look
            at the result, for such a value may also join atoms that only touch.

    Returns:
        Shape (n_bonds, 2), atom indices, the smaller first, in ascending order.

    Raises:
        TopologyError: an element has no covalent radius, or the tolerance is not positive.

    Source: radii of Cordero et al., Dalton Trans. 2008, 2832; the criterion and the value 1.3 are q2mm's.
    """
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0.0 < tolerance < np.inf:
        raise TopologyError(f"{molecule.name}: the bond tolerance is {tolerance!s:.60}; give a number such as 1.3.")
    for atom, symbol in enumerate(molecule.symbols):
        if symbol not in COVALENT_RADII:
            raise TopologyError(
                f"{molecule.name}: atom {atom} ({symbol}) has no covalent radius, so its bonds cannot be perceived; "
                "create the System with explicit bond_atoms."
            )
    radii = np.array([COVALENT_RADII[symbol] for symbol in molecule.symbols])
    separation = np.linalg.norm(molecule.coordinates[:, None] - molecule.coordinates[None], axis=-1)
    return np.argwhere(np.triu(separation < tolerance * (radii[:, None] + radii[None]), 1))


def angles(bonds: ArrayLike) -> np.ndarray:
    """Every pair of bonds that share an atom.

    Args:
        bonds: shape (n_bonds, 2), atom indices.

    Returns:
        Shape (n_angles, 3), atom indices, the shared atom second and the smaller of the outer atoms first.
    """
    rows = _pairs(bonds)
    near = neighbours(int(rows.max()) + 1 if len(rows) else 0, rows)
    triples = [
        (first, centre, second)
        for centre, around in enumerate(near)
        for number, first in enumerate(around)
        for second in around[number + 1 :]
    ]
    return np.array(triples, dtype=np.int64).reshape(-1, 3)


def torsions(molecule: Molecule, bonds: ArrayLike) -> np.ndarray:
    """Proper torsions A-B-C-D, each once, but none through an angle A-B-C or B-C-D above 175 degrees.

    Args:
        molecule: gives the geometry.
        bonds: shape (n_bonds, 2), atom indices.

    Returns:
        Shape (n_torsions, 4), atom indices.

    Raises:
        TopologyError: a bond names an atom that does not exist.

    Warns:
        UnmatchedTermWarning: torsions were left out because three of their atoms are in line.
    """
    near = neighbours(molecule.n_atoms, bonds)
    chains = [
        (first, second, third, fourth)
        for second, third in _pairs(bonds).tolist()
        for first in near[second]
        for fourth in near[third]
        if len({first, second, third, fourth}) == 4
    ]
    rows = np.array(chains, dtype=np.int64).reshape(-1, 4)
    widest = np.maximum(angle_values(molecule.coordinates, rows[:, :3]), angle_values(molecule.coordinates, rows[:, 1:]))
    return _without_linear(molecule, "torsion", rows, widest)


def impropers(molecule: Molecule, bonds: ArrayLike) -> np.ndarray:
    """One improper torsion i-j-CENTRE-l for every planar atom with three neighbours.

    The central atom comes third, as in AMBER. The other three are ordered by their `environments`, so the numbering of
    the atoms matters only among neighbours that are alike.

    Args:
        molecule: gives the geometry.
        bonds: shape (n_bonds, 2), atom indices.

    Returns:
        Shape (n_impropers, 4), atom indices.

    Raises:
        TopologyError: a bond names an atom that does not exist.

    Warns:
        UnmatchedTermWarning: a T-shaped centre was left out, for two of its neighbours are in line with it.
    """
    names = environments(molecule, bonds)
    centres = [
        (*sorted(around, key=lambda atom: (names[atom], atom)), centre)
        for centre, around in enumerate(neighbours(molecule.n_atoms, bonds))
        if len(around) == 3
    ]
    stars = np.array(centres, dtype=np.int64).reshape(-1, 4)
    around = np.stack([angle_values(molecule.coordinates, stars[:, [i, 3, j]]) for i, j in ((0, 1), (0, 2), (1, 2))])
    planar = around.sum(axis=0) > PLANAR_ANGLE_SUM
    return _without_linear(molecule, "improper", stars[planar][:, [0, 1, 3, 2]], around.max(axis=0)[planar])


def vdw_pairs(n_atoms: int, bonds: ArrayLike) -> np.ndarray:
    """All atom pairs but those one or two bonds apart; 1-4 pairs count in full, as in q2mm.

    Args:
        n_atoms: number of atoms.
        bonds: shape (n_bonds, 2), atom indices.

    Returns:
        Shape (n_pairs, 2), atom indices, the smaller first.

    Raises:
        TopologyError: a bond names an atom that does not exist.
    """
    rows = _pairs(bonds, n_atoms)
    bonded = np.zeros((n_atoms, n_atoms), dtype=np.int64)
    bonded[rows[:, 0], rows[:, 1]] = bonded[rows[:, 1], rows[:, 0]] = 1
    return np.argwhere(np.triu((bonded + bonded @ bonded) == 0, 1))


def neighbours(n_atoms: int, bonds: ArrayLike) -> list[list[int]]:
    """The bonded neighbours of every atom, in ascending order.

    Raises:
        TopologyError: a bond names an atom that does not exist.
    """
    near: list[list[int]] = [[] for _ in range(n_atoms)]
    for first, second in _pairs(bonds, n_atoms).tolist():
        near[first].append(second)
        near[second].append(first)
    return [sorted(around) for around in near]


def environments(molecule: Molecule, bonds: ArrayLike) -> list[str]:
    """Each atom's element with the sorted elements of its neighbours, such as "C(CHHH)" for a methyl carbon.

    Raises:
        TopologyError: a bond names an atom that does not exist.
    """
    symbols = molecule.symbols
    return [
        f"{symbol}({''.join(sorted(symbols[atom] for atom in around))})"
        for symbol, around in zip(symbols, neighbours(molecule.n_atoms, bonds), strict=True)
    ]


def distances(coordinates: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Distances of atom pairs, shape (n_pairs,), in the unit of `coordinates`."""
    return np.linalg.norm(coordinates[pairs[:, 0]] - coordinates[pairs[:, 1]], axis=1)


def angle_values(coordinates: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """Angles at the second of three atoms, shape (n_triples,) [degrees]; exact near 0 and 180 too."""
    first = coordinates[triples[:, 0]] - coordinates[triples[:, 1]]
    second = coordinates[triples[:, 2]] - coordinates[triples[:, 1]]
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(first, second), axis=1), np.sum(first * second, axis=1)))


def _pairs(bonds: ArrayLike, n_atoms: int | None = None) -> np.ndarray:
    rows = np.asarray(bonds, dtype=np.int64).reshape(-1, 2)
    if n_atoms is not None and rows.size and not (0 <= rows.min() and rows.max() < n_atoms):
        raise TopologyError(f"the bonds name the atoms {rows.min()} to {rows.max()}, but there are {n_atoms} (from 0).")
    return rows


def _without_linear(molecule: Molecule, kind: str, rows: np.ndarray, widest: np.ndarray) -> np.ndarray:
    linear = widest > LINEAR_ANGLE
    if linear.any():
        omitted = ", ".join("-".join(map(str, row)) for row in rows[linear][:_LISTED].tolist())
        more = int(linear.sum()) - _LISTED
        warn_user(
            f"{molecule.name}: {int(linear.sum())} {kind}(s) left out for an angle above {LINEAR_ANGLE} degrees, "
            f"where the dihedral is undefined: atoms {omitted}{f' and {more} more' if more > 0 else ''}. "
            "If such an angle should bend back, give the System its own torsion_atoms.",
            UnmatchedTermWarning,
        )
    return rows[~linear]
