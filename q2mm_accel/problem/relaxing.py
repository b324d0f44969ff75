"""The arrays of molecules that are relaxed: what references read of them, and where."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from q2mm_accel.model.reference_table import ReferenceTable
from q2mm_accel.model.system import System
from q2mm_accel.parameters.space import ParameterSpace
from q2mm_accel.problem import layout
from q2mm_accel.problem.arrays import Internals, Relaxing
from q2mm_accel.problem.batch import build_stack
from q2mm_accel.problem.columns import Followed
from q2mm_accel.problem.layout import Slot, Stack, place_systems

MEASURE_OF = {"bond_length": ("distance", 2), "bond_angle": ("angle", 3), "torsion_angle": ("dihedral", 4)}
"""The internal coordinate that a kind of reference reads, and of how many atoms it is; in the order of the outputs."""


class _Shape(NamedTuple):
    """What all batches of a stack have in common."""

    buckets: tuple[tuple[int, int], ...]
    spectra: tuple[bool, ...]
    internals: dict[str, int]
    """Padded number by kind of reference, of those that occur."""
    n_reads: int


def build_relaxing(
    table: ReferenceTable,
    systems: Sequence[System],
    upward: Sequence[int],
    space: ParameterSpace,
    stacks: Sequence[Stack],
    before: int,
    penalty: float | None,
) -> tuple[tuple[Relaxing, ...], np.ndarray]:
    """The molecules that references read where the force field has relaxed them.

    Args:
        table: references of kinds `RELAXED`.
        systems: those that are relaxed; the references' numbers are positions among them.
        upward: along how many modes each one's energy is to rise.
        space: the force field, and what the vector of the problem is.
        stacks: which of them share a bucket, and which buckets a batch.
        before: number of padded reads of what is not relaxed.
        penalty: by how much coordinates of molecules that do not converge are off, per force at the QM geometry; or None.

    Returns:
        The stacks, of NumPy arrays; and where each reference stands in the padded reads of all batches, (R,).
    """
    slots, source, results = place_systems(stacks), np.zeros(len(table), dtype=np.int64), []
    followed = Followed(space.columns, space.coefficients)
    for stack in stacks:
        rows_of = [np.flatnonzero(np.isin(table.system, [m for bucket in batch for m in bucket])) for batch in stack.batches]
        shape, built = _shape(table, stack, rows_of), []
        for batch, rows in zip(stack.batches, rows_of, strict=True):
            source[rows] = before + np.arange(len(rows))
            before += shape.n_reads
            up = tuple(
                np.array([*(upward[member] for member in bucket), *[0] * (count - len(bucket))], dtype=np.int32)
                for bucket, (count, _) in zip(batch, stack.shapes, strict=True)
            )
            built.append((up, *_reads(table.take(rows), slots, shape)))
        nothing = [np.zeros(0, dtype=np.int64)] * len(stack.batches)
        outputs = [()] * len(stack.shapes)
        batches = build_stack(stack, systems, space.forcefield, slots, outputs, nothing, True, followed, moving=True)
        up, internals, read = jax.tree.map(lambda *leaves: np.stack(leaves), *built)
        penalties = np.full(len(stack.batches), 0.0 if penalty is None else penalty)
        results.append(Relaxing(batches, up, internals, read, penalties, penalty is not None, shape.spectra))
    return tuple(results), source


def _shape(table: ReferenceTable, stack: Stack, rows_of: Sequence[np.ndarray]) -> _Shape:
    spectral = set(table.system[table.is_kind("relaxed_frequency")].tolist())
    counts = {kind: max(int(table.is_kind(kind)[rows].sum()) for rows in rows_of) for kind in MEASURE_OF}
    return _Shape(
        buckets=stack.shapes,
        spectra=tuple(
            any(not spectral.isdisjoint(bucket) for bucket in buckets) for buckets in zip(*stack.batches, strict=True)
        ),
        internals={kind: layout.quantised(count) for kind, count in counts.items() if count},
        n_reads=layout.quantised(max(map(len, rows_of))),
    )


def _reads(table: ReferenceTable, slots: Mapping[int, Slot], shape: _Shape) -> tuple[dict[str, Internals], np.ndarray]:
    """The internal coordinates by measure that the references of a batch read, and the positions that they read."""
    own, row, position = [slots[number] for number in table.system.tolist()], np.arange(len(table)), 0
    places = np.zeros(shape.n_reads, dtype=np.int64)
    of_slots = {name: np.array([getattr(slot, name) for slot in own], dtype=np.int64) for name in Slot.__annotations__}
    for bucket, ((n_molecules, n_atoms), needed) in enumerate(zip(shape.buckets, shape.spectra, strict=True)):
        if needed:
            chosen = row[table.is_kind("relaxed_frequency") & (of_slots["bucket"] == bucket)]
            places[chosen] = position + of_slots["row"][chosen] * 3 * n_atoms + table.indices[chosen, 0]
            position += n_molecules * 3 * n_atoms
    internals = {}
    for kind, count in shape.internals.items():
        measure, width = MEASURE_OF[kind]
        chosen = row[table.is_kind(kind)]
        atoms, missing = table.indices[chosen, :width].astype(np.int64), (0, count - len(chosen))
        by_axis = np.arange(3)[None, None, :] * of_slots["n_atoms"][chosen, None, None] + atoms[:, :, None]
        components = of_slots["component"][chosen, None] + by_axis.reshape(-1, 3 * width)
        internals[measure] = Internals(
            present=np.arange(count) < len(chosen),
            molecule=np.pad(of_slots["molecule"][chosen], missing).astype(np.int32),
            components=np.pad(components, (missing, (0, 0))).astype(np.int32),
        )
        places[chosen] = position + np.arange(len(chosen))
        position += count
    return internals, places
