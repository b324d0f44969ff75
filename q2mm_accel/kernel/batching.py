"""From systems and references to padded arrays: which molecules share a bucket, and what goes where."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from q2mm_accel.kernel.arrays import Bucket, Pairs, Terms
from q2mm_accel.kernel.coordinates import angle_pieces, dihedral_pieces, distance_pieces
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.system import TERM_WIDTHS, System
from q2mm_accel.units import DEGREE

EIGH_SECONDS = 3.5e-10
"""Time of one `eigh` divided by the cube of its size (one 186 x 186 matrix: 2.2 ms on one core)."""
COMPILE_SECONDS = 0.5
"""Time that one more bucket adds to the compilation."""
EVALUATIONS = 1000
"""Evaluations that a fit is expected to make."""


def quantised(count: int) -> int:
    """The next larger of 0 to 16, 18, 20, ... 32, 36, ...: at most an eighth too many, so that few shapes are compiled."""
    if count <= 16:
        return count
    step = 2 ** (math.ceil(math.log2(count)) - 4)
    return step * math.ceil(count / step)


def plan_buckets(sizes: Sequence[int]) -> list[list[int]]:
    """Group molecules by size so that the time of compilation plus that of all `eigh` calls is least.

    Padding a molecule of n atoms to N costs (3N)³ - (3n)³ `eigh` units in each of `EVALUATIONS` evaluations; a further
    bucket costs `COMPILE_SECONDS` once. Buckets are ranges of the sorted sizes; dynamic programming over the ends of
    the ranges finds the best set.

    Args:
        sizes: number of atoms of each molecule.

    Returns:
        The molecules of each bucket, by number, in ascending order; buckets from small to large molecules.
    """
    distinct = sorted(set(sizes))
    counts = [sum(size == n for size in sizes) for n in distinct]
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(distinct) + 1):
        each = EVALUATIONS * EIGH_SECONDS * (3 * distinct[stop - 1]) ** 3
        options = [
            (best[start][0] + COMPILE_SECONDS + each * quantised(sum(counts[start:stop])), start) for start in range(stop)
        ]
        best.append(min(options))
    buckets, stop = [], len(distinct)
    while stop:
        start = best[stop][1]
        members = set(distinct[start:stop])
        buckets.append([number for number, size in enumerate(sizes) if size in members])
        stop = start
    return buckets[::-1]


def pieces_by_kind(systems: Sequence[System]) -> dict[str, tuple[np.ndarray, ...]]:
    """Coordinate, first and second derivatives of all terms of every kind; the terms follow each other system by system."""
    points = {}
    for kind, width in TERM_WIDTHS.items():
        found = [system.molecule.coordinates[system.terms(kind)[0]] for system in systems]
        points[kind] = np.concatenate([np.zeros((0, width, 3)), *found])
    return {
        "bond": distance_pieces(points["bond"]),
        "angle": angle_pieces(points["angle"]),
        "torsion": dihedral_pieces(points["torsion"]),
        "urey_bradley": distance_pieces(points["urey_bradley"]),
    }


@dataclass(frozen=True)
class Slot:
    """Place of a system among the buckets: its bucket's number, its row there, the number of atoms it is padded to."""

    bucket: int
    row: int
    n_atoms: int
    molecule: int
    """Number of the row among the rows of all buckets."""
    component: int
    """Number of its first component among the components of all buckets."""
    element: int
    """Start of its Hessian in the flat buffer."""


def place_systems(sizes: Sequence[int], plan: Sequence[Sequence[int]]) -> list[Slot]:
    """The slot of each system.

    Args:
        sizes: number of atoms of each system.
        plan: the systems of each bucket.

    Returns:
        By system.
    """
    slots, molecule, component, element = {}, 0, 0, 0
    for bucket, members in enumerate(plan):
        n_atoms, n_molecules = max(sizes[member] for member in members), quantised(len(members))
        size = 3 * n_atoms
        for row, member in enumerate(members):
            place = (molecule + row, component + row * size, element + row * size**2)
            slots[member] = Slot(bucket, row, n_atoms, *place)
        molecule, component, element = (
            molecule + n_molecules,
            component + n_molecules * size,
            element + n_molecules * size**2,
        )
    return [slots[number] for number in range(len(sizes))]


def build_terms(kind: str, systems, forcefield: ForceField, pieces, slots: Sequence[Slot], fill=0) -> Terms:
    """All terms of one kind.

    Args:
        kind: bond, angle, torsion or urey_bradley.
        systems: the systems.
        forcefield: gives the torsions' periodicities and phases.
        pieces: coordinate, first and second derivatives of all terms of the kind.
        slots: by system.
        fill: what padded entries of floating-point arrays hold; it never matters, as tests show with NaN.

    Returns:
        The terms, of NumPy arrays.
    """
    n_terms, width = quantised(len(pieces[0])), TERM_WIDTHS[kind]
    columns, counts = [], [len(system.terms(kind)[0]) for system in systems]
    for system, slot in zip(systems, slots, strict=True):
        atoms = system.terms(kind)[0]
        columns.append((np.arange(3)[None, None, :] * slot.n_atoms + atoms[:, :, None]).reshape(-1, 3 * width))
    columns, types = np.concatenate(columns), np.concatenate([system.terms(kind)[1] for system in systems])
    of_term = {
        name: np.repeat([getattr(slot, name) for slot in slots], counts)
        for name in ("molecule", "component", "element", "n_atoms")
    }
    rows = of_term["element"][:, None] + 3 * of_term["n_atoms"][:, None] * columns
    fixed = (forcefield.torsion_periodicities, forcefield.torsion_phases * DEGREE) if kind == "torsion" else ()
    coordinate, first, second = (_extended(piece, n_terms, fill) for piece in pieces)
    return Terms(
        present=_extended(np.ones(len(types), dtype=bool), n_terms, False),
        types=_extended(types.astype(np.int32), n_terms),
        molecule=_extended(of_term["molecule"].astype(np.int32), n_terms),
        coordinate=coordinate,
        first=first,
        second=second,
        components=_extended((of_term["component"][:, None] + columns).astype(np.int32), n_terms),
        rows=_extended(rows, n_terms),
        columns=_extended(columns, n_terms),
        constants=tuple(_extended(values[types], n_terms, fill) for values in fixed),
    )


def _extended(values: np.ndarray, length: int, fill=0) -> np.ndarray:
    """`values` with its first axis filled up to `length`."""
    result = np.full((length, *values.shape[1:]), fill, dtype=values.dtype)
    result[: len(values)] = values
    return result


def padded(rows: Sequence[np.ndarray], shape: tuple[int, ...], fill=0) -> np.ndarray:
    """Arrays of equal rank stacked along a new axis of length shape[0], each filled up to shape[1:]."""
    result = np.full(shape, fill, dtype=np.asarray(rows[0]).dtype)
    for number, row in enumerate(rows):
        result[(number, *(slice(length) for length in row.shape))] = row
    return result


def build_bucket(systems: Sequence[System], outputs: tuple[str, ...], n_atoms: int, fill=0) -> Bucket:
    """The padded arrays of the systems of one bucket.

    Args:
        systems: the bucket's systems.
        outputs: what the references need, in the order of `OUTPUTS`.
        n_atoms: number of atoms all are padded to.
        fill: what padded entries of floating-point arrays hold; it never matters.

    Returns:
        The bucket, of NumPy arrays.
    """
    n_molecules = quantised(len(systems))
    masses = [np.tile(1.0 / np.sqrt(system.molecule.masses), (3, 1)) for system in systems]
    atoms = [np.ones((3, system.molecule.n_atoms), dtype=bool) for system in systems]
    shape = (n_molecules, 3, n_atoms)
    return Bucket(
        pairs=_build_pairs(systems, n_molecules, n_atoms, fill),
        inverse_root_masses=padded(masses, shape, fill).reshape(n_molecules, -1),
        component_present=padded(atoms, shape, False).reshape(n_molecules, -1),
        eigenvectors=_build_eigenvectors(systems, n_molecules, n_atoms) if "eigenmatrix" in outputs else None,
        outputs=outputs,
    )


def _build_pairs(systems, n_molecules, n_atoms, fill) -> Pairs | None:
    if not any(len(system.vdw_pairs) for system in systems):
        return None
    present, distance, direction, types, atoms = [], [], [], [], []
    for system in systems:
        n = system.molecule.n_atoms
        mask = np.zeros((n, n), dtype=bool)
        mask[system.vdw_pairs[:, 0], system.vdw_pairs[:, 1]] = True
        difference = (system.molecule.coordinates[:, None] - system.molecule.coordinates[None]).transpose(2, 0, 1)
        length = np.sqrt((difference**2).sum(axis=0))
        present.append(mask | mask.T)
        distance.append(length)
        direction.append(difference / np.where(length > 0.0, length, 1.0))
        types.append((system.vdw_types if len(system.vdw_types) else np.zeros(n)).astype(np.int32))
        atoms.append(np.ones(n, dtype=bool))
    square = (n_molecules, n_atoms, n_atoms)
    return Pairs(
        present=padded(present, square, False),
        distance=padded(distance, square, fill),
        direction=padded(direction, (n_molecules, 3, n_atoms, n_atoms), fill),
        types=padded(types, (n_molecules, n_atoms)),
        atom_present=padded(atoms, (n_molecules, n_atoms), False),
    )


def _build_eigenvectors(systems, n_molecules, n_atoms) -> np.ndarray:
    """Eigenvectors of the QM Hessians, components axis by axis; column k of a molecule is its mode k."""
    result = np.zeros((n_molecules, 3, n_atoms, 3 * n_atoms))
    for number, system in enumerate(systems):
        if system.molecule.hessian is None:
            continue
        n = system.molecule.n_atoms
        _, vectors = np.linalg.eigh(system.molecule.hessian)
        result[number, :, :n, : 3 * n] = vectors.reshape(n, 3, 3 * n).transpose(1, 0, 2)
    return result.reshape(n_molecules, 3 * n_atoms, 3 * n_atoms)
