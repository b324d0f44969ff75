"""From systems and references to padded arrays: which molecules share a bucket, and what goes where."""

import math
from collections.abc import Sequence

import numpy as np

from q2mm_accel.kernel.arrays import Bucket, Pairs, Terms
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
            (best[start][0] + COMPILE_SECONDS + each * quantised(sum(counts[start:stop])), start)
            for start in range(stop)
        ]
        best.append(min(options))
    buckets, stop = [], len(distinct)
    while stop:
        start = best[stop][1]
        members = set(distinct[start:stop])
        buckets.append([number for number, size in enumerate(sizes) if size in members])
        stop = start
    return buckets[::-1]


def term_points(systems: Sequence[System]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of the atoms of all distances (bonds, then Urey-Bradley), angles and torsions, each padded.

    Args:
        systems: the systems; the terms of each kind follow each other system by system.

    Returns:
        Arrays (n, 2, 3), (n, 3, 3) and (n, 4, 3) [Å], filled up with a harmless geometry to quantised lengths.
    """
    results = []
    for kinds in (("bond", "urey_bradley"), ("angle",), ("torsion",)):
        width = TERM_WIDTHS[kinds[0]]
        found = [system.molecule.coordinates[system.terms(kind)[0]] for kind in kinds for system in systems]
        points = np.concatenate([np.zeros((0, width, 3)), *found])
        generic = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])[:width]
        filling = np.broadcast_to(generic, (max(quantised(len(points)), 1) - len(points), width, 3))
        results.append(np.concatenate([points, filling]))
    return tuple(results)


def split_pieces(systems: Sequence[System], pieces) -> dict[str, list[tuple[np.ndarray, ...]]]:
    """The local pieces of every system, by kind: inverse of `term_points` after `local_pieces`."""
    results = {}
    for kinds, group in zip((("bond", "urey_bradley"), ("angle",), ("torsion",)), pieces, strict=True):
        start = 0
        for kind in kinds:
            results[kind] = []
            for system in systems:
                stop = start + len(system.terms(kind)[0])
                results[kind].append(tuple(np.asarray(piece[start:stop]) for piece in group))
                start = stop
    return results


def padded(rows: Sequence[np.ndarray], shape: tuple[int, ...], fill=0) -> np.ndarray:
    """Arrays of equal rank stacked along a new axis of length shape[0], each filled up to shape[1:]."""
    result = np.full(shape, fill, dtype=np.asarray(rows[0]).dtype)
    for number, row in enumerate(rows):
        result[(number, *(slice(length) for length in row.shape))] = row
    return result


def build_bucket(systems, forcefield: ForceField, pieces, outputs: tuple[str, ...], n_atoms: int, fill=0) -> Bucket:
    """The padded arrays of the systems of one bucket.

    Args:
        systems: the bucket's systems.
        forcefield: gives the torsions' periodicities and phases.
        pieces: by kind, the local pieces of each of these systems.
        outputs: what the references need, in the order of `OUTPUTS`.
        n_atoms: number of atoms all are padded to.
        fill: what padded entries of floating-point arrays hold; it never matters, as tests show with NaN.

    Returns:
        The bucket, of NumPy arrays.
    """
    n_molecules = quantised(len(systems))
    terms = {}
    for kind in TERM_WIDTHS:
        if any(len(system.terms(kind)[0]) for system in systems):
            terms[kind] = _build_terms(kind, systems, forcefield, pieces[kind], n_molecules, n_atoms, fill)
    masses = [np.tile(1.0 / np.sqrt(system.molecule.masses), (3, 1)) for system in systems]
    atoms = [np.ones((3, system.molecule.n_atoms), dtype=bool) for system in systems]
    shape = (n_molecules, 3, n_atoms)
    return Bucket(
        terms=terms,
        pairs=_build_pairs(systems, n_molecules, n_atoms, fill),
        inverse_root_masses=padded(masses, shape, fill).reshape(n_molecules, -1),
        component_present=padded(atoms, shape, False).reshape(n_molecules, -1),
        eigenvectors=_build_eigenvectors(systems, n_molecules, n_atoms) if "eigenmatrix" in outputs else None,
        outputs=outputs,
    )


def _build_terms(kind, systems, forcefield, pieces, n_molecules, n_atoms, fill) -> Terms:
    n_terms = quantised(max(len(system.terms(kind)[0]) for system in systems))
    width = 3 * TERM_WIDTHS[kind]
    types = [system.terms(kind)[1].astype(np.int32) for system in systems]
    components = [
        (np.arange(3)[None, None, :] * n_atoms + system.terms(kind)[0][:, :, None]).reshape(-1, width).astype(np.int32)
        for system in systems
    ]
    constants = ()
    if kind == "torsion":
        fixed = (forcefield.torsion_periodicities, forcefield.torsion_phases * DEGREE)
        constants = tuple(padded([values[t] for t in types], (n_molecules, n_terms), fill) for values in fixed)
    coordinate, first, second = zip(*pieces, strict=True)
    return Terms(
        present=padded([np.ones(len(t), dtype=bool) for t in types], (n_molecules, n_terms), False),
        types=padded(types, (n_molecules, n_terms)),
        coordinate=padded(coordinate, (n_molecules, n_terms), fill),
        first=padded(first, (n_molecules, n_terms, width), fill),
        second=padded(second, (n_molecules, n_terms, width, width), fill),
        components=padded(components, (n_molecules, n_terms, width)),
        constants=constants,
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
