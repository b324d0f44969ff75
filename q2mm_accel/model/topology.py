"""Which atoms of a molecule form bonds, angles, torsions, impropers and van der Waals pairs, judged by its geometry."""

from collections.abc import Callable
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import TopologyError, UnmatchedTermWarning, warn_user
from q2mm_accel.model.arguments import real_array
from q2mm_accel.model.elements import COVALENT_RADII
from q2mm_accel.model.molecule import Molecule

LINEAR_ANGLE = 175.0
"""[degrees] An angle beyond it is taken for straight."""

WIDE_ANGLE = 160.0
"""[degrees] Beyond it a torsion is left out: three atoms in line define no plane, and on the way there the dihedral's
derivatives grow as 1/sin(angle) and their squares enter the Hessian. At 175 degrees a constant of 0.1 kcal/mol adds 1,000
cm⁻¹, and a molecule that opens the angle as it relaxes explodes."""

PLANAR_ANGLE_SUM = 350.0
"""[degrees] A three-coordinate centre whose angles sum to more is planar: amides, arenes and carbonyls, not amines."""

_BRIDGE_ANGLE = 75.0
"""[degrees] Two atoms that see each other over a bridging atom at a wider angle than this may only touch: peroxides, alkenes
and dihydrogen on a metal are seen at 40 to 70 degrees, chelating carboxylates and siloxanes at 85 to 150."""
_BRIDGE_STRETCH = 1.1
"""... and do so where they are further apart than the bonds to that atom by this factor, all relative to covalent radii."""

_SHORT_BOND = 0.94
"""Of the sum of the covalent radii: double and aromatic bonds between carbons have 0.88 and 0.915, amides 0.925, single
bonds between conjugated atoms 0.957."""
_LARGEST_RING = 8
"""Atoms of a ring in which flat atoms make a bond stiff."""
_FLAT_DIHEDRAL = 30.0
"""[degrees] A stiff bond has all of its torsions within this of 0 or 180."""

_LISTED = 6
"""How many omitted terms a warning lists one by one."""


def bonds(molecule: Molecule, tolerance: float = 1.3, exclude: ArrayLike = ()) -> np.ndarray:
    """Atom pairs nearer than `tolerance` times the sum of their covalent radii, but no contacts over a bridging atom.

    A chelating carboxylate brings its carbon as near to the metal as a bond would, and a siloxane its two silicon atoms.
    Such a pair is left out where both are bonded to one other atom, at which their angle is wide (above 75 degrees, unlike
    in a three-membered ring), by bonds that are at least a tenth shorter, relative to the covalent radii.

    Args:
        molecule: the molecule.
        tolerance: 1.3 suits minima. The partial bonds of a transition state are longer: use 1.4 to 1.5 there, and look
            at the result, for such a value may also join atoms that only touch.
        exclude: shape (n, 2), atom pairs that are no bonds, however near.

    Returns:
        Shape (n_bonds, 2), atom indices, the smaller first, in ascending order.

    Raises:
        TopologyError: an element has no covalent radius, the tolerance is not positive, or a pair to exclude names an atom
            that does not exist.

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
    near = np.triu(_relative_distances(molecule) < tolerance, 1)
    unwanted = _pairs(exclude, molecule.n_atoms)
    near[unwanted.min(axis=1), unwanted.max(axis=1)] = False
    return _without_contacts(molecule, np.argwhere(near))


def checked_pairs(molecule: Molecule, given: ArrayLike, what: str) -> np.ndarray:
    """Pairs of atoms that a user gives, in the form of `bonds`; `what` names them in messages.

    Raises:
        TopologyError: no pairs of different atoms of this molecule, or one twice.
    """
    rows = real_array(given if np.size(given) else np.zeros((0, 2)), f"{molecule.name}: {what}", TopologyError, ndim=2)
    if rows.shape[1] != 2 or np.any(rows != np.round(rows)):
        raise TopologyError(f"{molecule.name}: {what} must be pairs of atoms, counted from 0, not {str(given):.60}.")
    rows = np.sort(_pairs(rows), axis=1)
    for row in rows[(rows < 0).any(axis=1) | (rows >= molecule.n_atoms).any(axis=1)][:1].tolist():
        raise TopologyError(f"{molecule.name}: {what} name the pair {row}; its atoms are 0 to {molecule.n_atoms - 1}.")
    unique, counts = np.unique(rows, axis=0, return_counts=True)
    for first, second in unique[(counts > 1) | (unique[:, 0] == unique[:, 1])].tolist():
        raise TopologyError(
            f"{molecule.name}: {what} name the pair {first}, {second}, which is one atom or stands there twice. Give each "
            "pair of different atoms once."
        )
    return unique


def _relative_distances(molecule: Molecule) -> np.ndarray:
    """Distances of all atoms relative to the sum of their covalent radii, shape (n_atoms, n_atoms)."""
    radii = np.array([COVALENT_RADII[symbol] for symbol in molecule.symbols])
    separation = np.linalg.norm(molecule.coordinates[:, None] - molecule.coordinates[None], axis=-1)
    return separation / (radii[:, None] + radii[None])


def _without_contacts(molecule: Molecule, rows: np.ndarray) -> np.ndarray:
    """Bonds but those whose atoms only touch over a bridging atom."""
    relative, near = _relative_distances(molecule), neighbours(molecule.n_atoms, rows)
    kept = []
    for first, second in rows.tolist():
        bridges = np.array(sorted({*near[first]} & {*near[second]}), dtype=np.int64)
        longest = np.maximum(relative[first, bridges], relative[second, bridges])
        triples = np.stack([np.full_like(bridges, first), bridges, np.full_like(bridges, second)], axis=1)
        wide = angle_values(molecule.coordinates, triples) > _BRIDGE_ANGLE
        if not np.any(wide & (relative[first, second] > _BRIDGE_STRETCH * longest)):
            kept.append((first, second))
    return np.array(kept, dtype=np.int64).reshape(-1, 2)


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
    """Proper torsions A-B-C-D, each once, but none through an angle A-B-C or B-C-D above 160 degrees.

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
    stars, around = _stars(molecule, bonds, lambda atom: (names[atom], atom))
    planar = around.sum(axis=0) > PLANAR_ANGLE_SUM
    return _without_linear(molecule, "improper", stars[planar][:, [0, 1, 3, 2]], around.max(axis=0)[planar])


def _stars(molecule: Molecule, bonds: ArrayLike, key: Callable | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Atoms with three neighbours, after these, shape (n, 4), and the three angles at each, shape (3, n) [degrees]."""
    near = neighbours(molecule.n_atoms, bonds)
    centres = [(*sorted(around, key=key), centre) for centre, around in enumerate(near) if len(around) == 3]
    stars = np.array(centres, dtype=np.int64).reshape(-1, 4)
    around = [angle_values(molecule.coordinates, stars[:, [i, 3, j]]) for i, j in ((0, 1), (0, 2), (1, 2))]
    return stars, np.stack(around)


def crowded_atoms(molecule: Molecule, bonds: ArrayLike) -> np.ndarray:
    """Atoms whose angles depend on each other: planar with three neighbours, or with more. A mask of shape (n_atoms,).

    Raises:
        TopologyError: a bond names an atom that does not exist.
    """
    crowded = np.array([len(around) > 3 for around in neighbours(molecule.n_atoms, bonds)], dtype=bool)
    stars, around = _stars(molecule, bonds)
    crowded[stars[around.sum(axis=0) > PLANAR_ANGLE_SUM, 3]] = True
    return crowded


def stiff_bonds(molecule: Molecule, bonds: ArrayLike) -> set[tuple[int, int]]:
    """Bonds about which nothing rotates: double and aromatic bonds, and others in rings of flat atoms.

    Both atoms are flat, that is planar with three neighbours, or bent with two. The bond is shorter than 0.94 times the sum
    of the covalent radii, or part of a ring of at most eight flat atoms. And all torsions about it are within 30 degrees of
    0 or 180: the single bonds of cyclooctatetraene rotate.

    Args:
        molecule: gives the geometry.
        bonds: shape (n_bonds, 2), atom indices.

    Returns:
        Pairs of atoms, the smaller first.

    Raises:
        TopologyError: a bond names an atom that does not exist.
    """
    rows, near = _pairs(bonds, molecule.n_atoms), neighbours(molecule.n_atoms, bonds)
    flat, relative = _flat_atoms(molecule, bonds), _relative_distances(molecule)
    stiff = set()
    for first, second in np.sort(rows[flat[rows].all(axis=1)], axis=1).tolist():
        short = relative[first, second] < _SHORT_BOND
        chains = [(i, first, second, k) for i in near[first] for k in near[second] if len({i, first, second, k}) == 4]
        values = dihedral_values(molecule.coordinates, np.array(chains, dtype=np.int64).reshape(-1, 4))
        level = np.all(np.abs(np.sin(np.radians(values))) < np.sin(np.radians(_FLAT_DIHEDRAL)))
        if level and (short or _in_flat_ring(first, second, near, flat)):
            stiff.add((first, second))
    return stiff


def _flat_atoms(molecule: Molecule, bonds: ArrayLike) -> np.ndarray:
    """Planar atoms with three neighbours and bent ones with two, a mask of shape (n_atoms,)."""
    flat = np.zeros(molecule.n_atoms, dtype=bool)
    stars, around = _stars(molecule, bonds)
    flat[stars[around.sum(axis=0) > PLANAR_ANGLE_SUM, 3]] = True
    near = neighbours(molecule.n_atoms, bonds)
    triples = [(around[0], centre, around[1]) for centre, around in enumerate(near) if len(around) == 2]
    rows = np.array(triples, dtype=np.int64).reshape(-1, 3)
    flat[rows[angle_values(molecule.coordinates, rows) < WIDE_ANGLE, 1]] = True
    return flat


def _in_flat_ring(first: int, second: int, near: list[list[int]], flat: np.ndarray) -> bool:
    """Whether flat atoms join the two in another way, over at most six further ones."""
    reached, edge = {first}, {first}
    for step in range(_LARGEST_RING - 1):
        edge = {
            other
            for atom in edge
            for other in near[atom]
            if other not in reached and flat[other] and (step > 0 or other != second)
        }
        if second in edge:
            return True
        reached |= edge
    return False


def fragments(n_atoms: int, bonds: ArrayLike) -> list[list[int]]:
    """Atoms that bonds connect, one list for each fragment, in ascending order.

    Raises:
        TopologyError: a bond names an atom that does not exist.
    """
    near, seen, found = neighbours(n_atoms, bonds), set(), []
    for start in range(n_atoms):
        if start in seen:
            continue
        edge = fragment = {start}
        while edge:
            edge = {other for atom in edge for other in near[atom]} - fragment
            fragment = fragment | edge
        seen |= fragment
        found.append(sorted(fragment))
    return found


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


def dihedral_values(coordinates: np.ndarray, chains: np.ndarray) -> np.ndarray:
    """Dihedrals of four atoms each, shape (n_chains,) [degrees], from -180 to 180, IUPAC's sign."""
    first, axis, last = (coordinates[chains[:, i + 1]] - coordinates[chains[:, i]] for i in range(3))
    left, right = np.cross(first, axis), np.cross(axis, last)
    sine = np.linalg.norm(axis, axis=1) * np.sum(first * right, axis=1)
    return np.degrees(np.arctan2(sine, np.sum(left * right, axis=1)))


def _pairs(bonds: ArrayLike, n_atoms: int | None = None) -> np.ndarray:
    rows = np.asarray(bonds, dtype=np.int64).reshape(-1, 2)
    if n_atoms is not None and rows.size and not (0 <= rows.min() and rows.max() < n_atoms):
        raise TopologyError(f"the bonds name the atoms {rows.min()} to {rows.max()}, but there are {n_atoms} (from 0).")
    return rows


def _without_linear(molecule: Molecule, kind: str, rows: np.ndarray, widest: np.ndarray) -> np.ndarray:
    linear = widest > WIDE_ANGLE
    if linear.any():
        omitted = ", ".join("-".join(map(str, row)) for row in rows[linear][:_LISTED].tolist())
        more = int(linear.sum()) - _LISTED
        warn_user(
            f"{molecule.name}: {int(linear.sum())} {kind}(s) left out for an angle above {WIDE_ANGLE:g} degrees, "
            f"near which the dihedral loses its meaning: atoms {omitted}{f' and {more} more' if more > 0 else ''}. "
            "If such an angle should bend back, give the System its own torsion_atoms.",
            UnmatchedTermWarning,
        )
    return rows[~linear]
