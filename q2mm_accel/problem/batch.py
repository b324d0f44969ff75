"""From systems to the padded arrays of a batch, with everything that does not depend on the parameters."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from q2mm_accel.model.forcefield import BLOCKS, ForceField
from q2mm_accel.model.system import TERM_WIDTHS, System
from q2mm_accel.problem import layout
from q2mm_accel.problem.arrays import Batch, Bucket, Pairs, Terms
from q2mm_accel.problem.internal import angle_pieces, dihedral_pieces, distance_pieces
from q2mm_accel.problem.layout import Slot, Stack
from q2mm_accel.units import DEGREE


def build_stack(
    stack: Stack,
    systems: Sequence[System],
    forcefield: ForceField,
    slots: Mapping[int, Slot],
    outputs: Sequence[tuple[str, ...]],
    reads: Sequence[Sequence[int]],
) -> Batch:
    """The arrays of all batches of a stack, with a leading axis.

    Args:
        stack: which systems stand where.
        systems: all systems.
        forcefield: functional form, types and fixed parameters.
        slots: by system.
        outputs: of each bucket, what the references need.
        reads: of each batch the positions that references read.

    Returns:
        The batches, of NumPy arrays.
    """
    members = [[member for bucket in batch for member in bucket] for batch in stack.batches]
    counts = {
        kind: max(sum(len(systems[member].terms(kind)[0]) for member in batch) for batch in members) for kind in TERM_WIDTHS
    }
    interacting = [
        any(len(systems[member].vdw_pairs) for batch in stack.batches for member in batch[bucket])
        for bucket in range(len(stack.shapes))
    ]
    n_elements = sum(n_molecules * (3 * n_atoms) ** 2 for n_molecules, n_atoms in stack.shapes)
    n_reads = layout.quantised(max(map(len, reads)))
    batches = []
    for batch, own, read in zip(stack.batches, members, reads, strict=True):
        of_batch, places = [systems[member] for member in own], [slots[member] for member in own]
        pieces = pieces_by_kind(of_batch)
        terms = {
            kind: build_terms(kind, of_batch, forcefield, pieces[kind], places, layout.quantised(count), n_elements)
            for kind, count in counts.items()
            if count
        }
        buckets = tuple(
            build_bucket([systems[member] for member in bucket], *details)
            for bucket, *details in zip(batch, stack.shapes, outputs, interacting, strict=True)
        )
        places_read = _extended(np.array(read, dtype=np.int64), n_reads)
        n_types = tuple((kind, forcefield.n_types(kind)) for kind in BLOCKS)
        batches.append(Batch(terms, buckets, places_read, forcefield.form, n_types))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


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


def build_terms(
    kind: str, systems, forcefield: ForceField, pieces, slots: Sequence[Slot], n_terms: int, n_elements: int
) -> Terms:
    """All terms of one kind of a batch.

    Args:
        kind: bond, angle, torsion or urey_bradley.
        systems: the batch's systems.
        forcefield: gives the torsions' periodicities and phases.
        pieces: coordinate, first and second derivatives of all terms of the kind.
        slots: by system.
        n_terms: to which number they are padded.
        n_elements: number of elements of the batch's Hessians.

    Returns:
        The terms, of NumPy arrays.
    """
    width, index = TERM_WIDTHS[kind], np.int32 if n_elements < 2**31 else np.int64
    columns, counts = [np.zeros((0, 3 * width), dtype=np.int64)], [len(system.terms(kind)[0]) for system in systems]
    for system, slot in zip(systems, slots, strict=True):
        atoms = system.terms(kind)[0]
        columns.append((np.arange(3)[None, None, :] * slot.n_atoms + atoms[:, :, None]).reshape(-1, 3 * width))
    columns = np.concatenate(columns)
    types = np.concatenate([np.zeros(0, dtype=np.int32), *(system.terms(kind)[1] for system in systems)]).astype(np.int32)
    of_term = {
        name: np.repeat(np.array([getattr(slot, name) for slot in slots], dtype=np.int64), counts)
        for name in ("molecule", "component", "element", "n_atoms")
    }
    rows = of_term["element"][:, None] + 3 * of_term["n_atoms"][:, None] * columns
    fixed = (forcefield.torsion_periodicities, forcefield.torsion_phases * DEGREE) if kind == "torsion" else ()
    coordinate, first, second = (_extended(piece, n_terms) for piece in pieces)
    return Terms(
        present=_extended(np.ones(len(types), dtype=bool), n_terms, False),
        types=_extended(types, n_terms),
        molecule=_extended(of_term["molecule"].astype(np.int32), n_terms),
        coordinate=coordinate,
        first=first,
        second=second,
        components=_extended((of_term["component"][:, None] + columns).astype(np.int32), n_terms),
        rows=_extended(rows.astype(index), n_terms),
        columns=_extended(columns.astype(index), n_terms),
        constants=tuple(_extended(values[types], n_terms) for values in fixed),
    )


def _extended(values: np.ndarray, length: int, fill=0) -> np.ndarray:
    """`values` with its first axis filled up to `length`."""
    result = np.full((length, *values.shape[1:]), fill, dtype=values.dtype)
    result[: len(values)] = values
    return result


def _padded(rows: Sequence[np.ndarray], shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
    """Arrays of equal rank stacked along a new axis of length shape[0], each filled up to shape[1:]."""
    result = np.zeros(shape, dtype=dtype)
    for number, row in enumerate(rows):
        result[(number, *(slice(length) for length in row.shape))] = row
    return result


def build_bucket(systems: Sequence[System], shape: tuple[int, int], outputs: tuple[str, ...], interacting: bool) -> Bucket:
    """The padded arrays of the systems of one bucket.

    Args:
        systems: the bucket's systems.
        shape: number of molecules and of atoms that they are padded to.
        outputs: what the references need, in the order of `OUTPUTS`.
        interacting: whether there are van der Waals pairs.

    Returns:
        The bucket, of NumPy arrays.
    """
    n_molecules, n_atoms = shape
    masses = [np.tile(1.0 / np.sqrt(system.molecule.masses), (3, 1)) for system in systems]
    atoms = [np.ones((3, system.molecule.n_atoms), dtype=bool) for system in systems]
    by_axis = (n_molecules, 3, n_atoms)
    return Bucket(
        pairs=_build_pairs(systems, n_molecules, n_atoms) if interacting else None,
        inverse_root_masses=_padded(masses, by_axis).reshape(n_molecules, -1),
        component_present=_padded(atoms, by_axis, bool).reshape(n_molecules, -1),
        eigenvectors=_build_eigenvectors(systems, n_molecules, n_atoms) if "eigenmatrix" in outputs else None,
        outputs=outputs,
    )


def _build_pairs(systems, n_molecules, n_atoms) -> Pairs:
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
        types.append(system.vdw_types if len(system.vdw_types) else np.zeros(n))
        atoms.append(np.ones(n, dtype=bool))
    square = (n_molecules, n_atoms, n_atoms)
    return Pairs(
        present=_padded(present, square, bool),
        distance=_padded(distance, square),
        direction=_padded(direction, (n_molecules, 3, n_atoms, n_atoms)),
        types=_padded(types, (n_molecules, n_atoms), np.int32),
        atom_present=_padded(atoms, (n_molecules, n_atoms), bool),
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
