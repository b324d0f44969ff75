"""From systems to the padded arrays of a batch, with everything that does not depend on the parameters."""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import Coordinate, Kind, form_named, pair_kinds, term_kinds
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.system import System
from q2mm_accel.problem import layout
from q2mm_accel.problem.arrays import MATRICES, Batch, Bucket, Columns, Fixed, Geometry, Pairs, Terms
from q2mm_accel.problem.columns import Followed, batch_columns, filled_up
from q2mm_accel.problem.internal import PIECES, dihedral_pieces
from q2mm_accel.problem.layout import Slot, Stack
from q2mm_accel.units import DEGREE

BENT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
"""Points of a dihedral with right angles."""
PARALLEL = 1e-3
"""Sine of an angle below which it counts as 0 degrees, or a torsion's inner angle as straight."""


def build_stack(
    stack: Stack,
    systems: Sequence[System],
    forcefield: ForceField,
    slots: Mapping[int, Slot],
    outputs: Sequence[tuple[str, ...]],
    reads: Sequence[Sequence[int]] | Sequence[np.ndarray],
    distinct: bool,
    followed: Followed,
    moving: bool = False,
) -> Batch:
    """The arrays of all batches of a stack, with a leading axis.

    Args:
        stack: which systems stand where.
        systems: all systems.
        forcefield: functional form, types and fixed parameters.
        slots: by system.
        outputs: of each bucket, what the references need.
        reads: of each batch the positions that references read.
        distinct: whether no element of a matrix is read twice.
        followed: the elements of the vector that parameters follow.
        moving: whether molecules leave their QM geometries, so that the coordinates are needed.

    Returns:
        The batches, of NumPy arrays.
    """
    members = [[member for bucket in batch for member in bucket] for batch in stack.batches]
    occurring = {kind for batch in members for member in batch for kind in systems[member].kinds}
    counts = {
        kind: max(sum(len(systems[member].terms(kind)[0]) for member in batch) for batch in members)
        for kind in term_kinds()
        if kind in occurring
    }
    of_buckets = [[systems[member] for batch in stack.batches for member in batch[i]] for i in range(len(stack.shapes))]
    contents = [(_kinds_of_pairs(found), any(each.background is not None for each in found)) for found in of_buckets]
    n_elements = sum(n_molecules * (3 * n_atoms) ** 2 for n_molecules, n_atoms in stack.shapes)
    n_reads = layout.quantised(max(map(len, reads)))
    starts = tuple(
        (kind, int(forcefield.positions(kind)[0, 0]), forcefield.n_types(kind))
        for kind in pair_kinds()
        if forcefield.n_types(kind)
    )
    batches = []
    for batch, chosen, read in zip(stack.batches, members, reads, strict=True):
        of_batch, places = [systems[member] for member in chosen], [slots[member] for member in chosen]
        terms = {
            kind: _build_terms(term_kinds()[kind], of_batch, forcefield, places, layout.quantised(count), n_elements)
            for kind, count in counts.items()
        }
        uses, columns = {}, [None] * len(stack.shapes)
        if any(set(MATRICES) & set(needed) for needed in outputs):
            kinds = [of_pairs for of_pairs, _ in contents]
            uses, columns = batch_columns(terms, of_batch, forcefield, places, stack.shapes, kinds, followed)
        buckets = tuple(
            _build_bucket([systems[member] for member in bucket], shape, needed, content, own, moving)
            for bucket, shape, needed, content, own in zip(batch, stack.shapes, outputs, contents, columns, strict=True)
        )
        places_read = _extended(np.array(read, dtype=np.int64), n_reads)
        batches.append(Batch(terms, uses, buckets, places_read, forcefield.form, forcefield.n_parameters, starts, distinct))
    return jax.tree.map(lambda *leaves: filled_up(leaves), *batches)


def _kinds_of_pairs(systems: Sequence[System]) -> dict[str, bool]:
    """The kinds of pairs that occur, and whether any of their factors is not 1."""
    found = {}
    for kind in pair_kinds():
        if any(kind in system.pair_kinds for system in systems):
            found[kind] = any(np.any(system.pairs(kind).factors != 1.0) for system in systems)
    return found


def coordinate_pieces(coordinate: Coordinate, kind: Kind, systems: Sequence[System]) -> tuple[np.ndarray, ...]:
    """One internal coordinate of all terms of a kind, system by system.

    Returns:
        Its value (T,), and its first (T, 3k) and second derivatives (T, 3k, 3k) by the term's k atoms, atom by atom; of an
        angle its supplement u and ∂²(u²)/2.
    """
    points = [system.molecule.coordinates[system.terms(kind.name)[0][:, list(coordinate.atoms)]] for system in systems]
    chosen = np.concatenate([np.zeros((0, len(coordinate.atoms), 3)), *points])
    if coordinate.measure == "dihedral":
        value, first, second = _safe_dihedral_pieces(chosen)
    else:
        value, first, second = PIECES[coordinate.measure](chosen)
    if coordinate.atoms == tuple(range(kind.n_atoms)):
        return value, first, second
    places = (3 * np.array(coordinate.atoms)[:, None] + np.arange(3)).ravel()
    wide, square = np.zeros((len(value), 3 * kind.n_atoms)), np.zeros((len(value), 3 * kind.n_atoms, 3 * kind.n_atoms))
    wide[:, places] = first
    square[:, places[:, None], places] = second
    return value, wide, square


def _safe_dihedral_pieces(points: np.ndarray) -> tuple[np.ndarray, ...]:
    """`dihedral_pieces`, all 0 where an inner angle is straight: forms that allow it damp the term to nothing there."""
    straight = inner_sines(points) < PARALLEL
    value, first, second = dihedral_pieces(np.where(straight[:, None, None], BENT[None], points))
    value[straight], first[straight], second[straight] = 0.0, 0.0, 0.0
    return value, first, second


def inner_sines(points: np.ndarray) -> np.ndarray:
    """The smaller sine of the two angles of four points each, shape (n, 4, 3) -> (n,)."""
    bonds = np.diff(points, axis=1)
    lengths = np.linalg.norm(bonds, axis=2)
    normals = np.linalg.norm(np.cross(bonds[:, :-1], bonds[:, 1:]), axis=2)
    return (normals / (lengths[:, :-1] * lengths[:, 1:])).min(axis=1)


def _build_terms(
    kind: Kind, systems: Sequence[System], forcefield: ForceField, slots: Sequence[Slot], n_terms: int, n_elements: int
) -> Terms:
    """All terms of one kind of a batch, padded to `n_terms`; the batch's Hessians have `n_elements` in all."""
    width, index = kind.n_atoms, np.int32 if n_elements < 2**31 else np.int64
    counts = [len(system.terms(kind.name)[0]) for system in systems]
    columns = [np.zeros((0, 3 * width), dtype=np.int64)]
    for system, slot in zip(systems, slots, strict=True):
        atoms = system.terms(kind.name)[0]
        columns.append((np.arange(3)[None, None, :] * slot.n_atoms + atoms[:, :, None]).reshape(-1, 3 * width))
    columns = np.concatenate(columns)
    of_term = {
        name: np.repeat(np.array([getattr(slot, name) for slot in slots], dtype=np.int64), counts)
        for name in ("molecule", "component", "element", "n_atoms")
    }
    rows = of_term["element"][:, None] + 3 * of_term["n_atoms"][:, None] * columns
    coordinates = form_named(forcefield.form).coordinates_of(kind)
    pieces = [coordinate_pieces(coordinate, kind, systems) for coordinate in coordinates]
    values, first, second = (tuple(_extended(each, n_terms) for each in part) for part in zip(*pieces, strict=True))
    return Terms(
        present=_extended(np.ones(len(columns), dtype=bool), n_terms),
        parameters=_extended(parameter_positions(kind, systems, forcefield), n_terms),
        molecule=_extended(of_term["molecule"].astype(np.int32), n_terms),
        coordinates=values,
        first=first,
        second=second,
        components=_extended((of_term["component"][:, None] + columns).astype(np.int32), n_terms),
        rows=_extended(rows.astype(index), n_terms),
        columns=_extended(columns.astype(index), n_terms),
        constants=tuple(
            _extended(
                getattr(forcefield, each.field)[_types(kind, systems)] * (DEGREE if each.unit == "degrees" else 1.0), n_terms
            )
            for each in kind.constants
        ),
    )


def _types(kind: Kind, systems: Sequence[System]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *(system.terms(kind.name)[1] for system in systems)])


def parameter_positions(kind: Kind, systems: Sequence[System], forcefield: ForceField) -> np.ndarray:
    """Where the parameters of each term of a kind, and those it reads, stand in the force field's vector, (T, P)."""
    columns = [forcefield.positions(kind.name)[_types(kind, systems)]]
    for read in kind.reads:
        linked = np.concatenate([np.zeros(0, dtype=np.int64), *(each.linked_types(kind.name, read) for each in systems)])
        place = term_kinds()[read.kind].fields.index(read.field)
        columns.append(forcefield.positions(read.kind)[linked, place][:, None])
    return np.concatenate(columns, axis=1).astype(np.int32)


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


def _build_bucket(
    systems: Sequence[System],
    shape: tuple[int, int],
    outputs: tuple[str, ...],
    contents: tuple[Mapping[str, bool], bool],
    columns: Columns | None,
    moving: bool,
) -> Bucket:
    """The padded arrays of the systems of one bucket.

    Args:
        systems: the bucket's systems.
        shape: number of molecules and of atoms that they are padded to.
        outputs: what the references need, in the order of `OUTPUTS`.
        contents: the kinds of pairs and whether they have factors; whether there is a background.
        columns: elements of the vector that change the molecules.
        moving: whether the coordinates are needed.

    Returns:
        The bucket, of NumPy arrays.
    """
    n_molecules, n_atoms = shape
    kinds, with_background = contents
    masses = [np.tile(1.0 / np.sqrt(system.molecule.masses), (3, 1)) for system in systems]
    atoms = [np.ones((3, system.molecule.n_atoms), dtype=bool) for system in systems]
    places = [system.molecule.coordinates.T for system in systems]
    by_axis = (n_molecules, 3, n_atoms)
    return Bucket(
        geometry=_build_geometry(systems, n_molecules, n_atoms) if kinds else None,
        pairs={kind: _build_pairs(kind, systems, shape, factors) for kind, factors in kinds.items()},
        inverse_root_masses=_padded(masses, by_axis).reshape(n_molecules, -1),
        component_present=_padded(atoms, by_axis, bool).reshape(n_molecules, -1),
        eigenvectors=_bases(_eigenvectors, systems, shape) if "eigenmatrix" in outputs else None,
        modes=_bases(_cartesian_modes, systems, shape) if {"mode_matrix", "mode_gradient"} & set(outputs) else None,
        fixed=_build_fixed(systems, n_molecules, n_atoms) if with_background else None,
        columns=columns,
        coordinates=_padded(places, by_axis).reshape(n_molecules, -1) if moving else None,
        outputs=outputs,
    )


def _build_geometry(systems: Sequence[System], n_molecules: int, n_atoms: int) -> Geometry:
    distance, direction, atoms = [], [], []
    for system in systems:
        coordinates = system.molecule.coordinates
        difference = (coordinates[:, None] - coordinates[None]).transpose(2, 0, 1)
        length = np.sqrt((difference**2).sum(axis=0))
        distance.append(length)
        direction.append(difference / np.where(length > 0.0, length, 1.0))
        atoms.append(np.ones(len(coordinates), dtype=bool))
    return Geometry(
        distance=_padded(distance, (n_molecules, n_atoms, n_atoms)),
        direction=_padded(direction, (n_molecules, 3, n_atoms, n_atoms)),
        atom_present=_padded(atoms, (n_molecules, n_atoms), bool),
    )


def _build_pairs(kind: str, systems: Sequence[System], shape: tuple[int, int], with_factors: bool) -> Pairs:
    present, types, factors = [], [], []
    for system in systems:
        n, pairs = system.molecule.n_atoms, system.pairs(kind)
        mask, factor = np.zeros((n, n), dtype=bool), np.ones((n, n))
        for first, second in (pairs.atoms.T, pairs.atoms.T[::-1]):
            mask[first, second] = True
            factor[first, second] = pairs.factors
        present.append(mask)
        types.append(pairs.types if len(pairs.types) else np.zeros(n))
        factors.append(factor)
    square = (shape[0], shape[1], shape[1])
    return Pairs(
        present=_padded(present, square, bool),
        types=_padded(types, shape, np.int32),
        factors=_padded(factors, square) if with_factors else None,
    )


def _build_fixed(systems: Sequence[System], n_molecules: int, n_atoms: int) -> Fixed:
    """Backgrounds with their components axis by axis."""
    energy, gradient = np.zeros(n_molecules), np.zeros((n_molecules, 3, n_atoms))
    hessian = np.zeros((n_molecules, 3, n_atoms, 3, n_atoms))
    for number, system in enumerate(systems):
        if system.background is None:
            continue
        n = system.molecule.n_atoms
        energy[number] = system.background.energy
        gradient[number, :, :n] = system.background.gradient.T
        hessian[number, :, :n, :, :n] = system.background.hessian.reshape(n, 3, n, 3).transpose(1, 0, 3, 2)
    size = 3 * n_atoms
    return Fixed(energy, gradient.reshape(n_molecules, size), hessian.reshape(n_molecules, size, size))


def _bases(columns_of: Callable, systems: Sequence[System], shape: tuple[int, int]) -> np.ndarray:
    """Columns for each molecule that has a QM Hessian, components axis by axis."""
    n_molecules, n_atoms = shape
    result = np.zeros((n_molecules, 3, n_atoms, 3 * n_atoms))
    for number, system in enumerate(systems):
        if system.molecule.hessian is not None:
            columns, n = columns_of(system.molecule), system.molecule.n_atoms
            result[number, :, :n, : columns.shape[1]] = columns.reshape(n, 3, -1).transpose(1, 0, 2)
    return result.reshape(n_molecules, 3 * n_atoms, 3 * n_atoms)


def _eigenvectors(molecule: Molecule) -> np.ndarray:
    """Eigenvectors of the QM Hessian; column k is its mode k."""
    return np.linalg.eigh(molecule.known_hessian("eigenvectors"))[1]


def _cartesian_modes(molecule: Molecule) -> np.ndarray:
    """M^-½ times the normal modes."""
    return molecule.normal_modes.vectors / np.sqrt(np.repeat(molecule.masses, 3))[:, None]
