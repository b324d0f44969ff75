"""Where in the buckets' outputs each reference's computed value stands."""

from collections.abc import Mapping, Sequence
from itertools import compress, pairwise

import numpy as np

from q2mm_accel.model.reference_table import ReferenceTable
from q2mm_accel.problem import layout
from q2mm_accel.problem.arrays import OUTPUTS, References
from q2mm_accel.problem.layout import Slot, Stack

OUTPUT_OF = {
    "energy": "energy",
    "relative_energy": "energy",
    "frequency": "eigenvalues",
    "hessian_element": "hessian",
    "eig_diagonal": "eigenmatrix",
    "eig_offdiagonal": "eigenmatrix",
}
"""The output that a kind of reference reads."""


def output_codes(references: ReferenceTable) -> np.ndarray:
    """Position in `OUTPUTS` of what each reference reads, -1 where nothing is computed for its kind, (R,)."""
    return references.by_kind({kind: OUTPUTS.index(output) for kind, output in OUTPUT_OF.items()}, -1)


def outputs_of(
    references: ReferenceTable, slots: Mapping[int, Slot], stacks: Sequence[Stack]
) -> list[list[tuple[str, ...]]]:
    """Of each stack and bucket the outputs that references read, in the order of `OUTPUTS`."""
    needed = np.zeros((len(slots), len(OUTPUTS)), dtype=bool)
    needed[references.system, output_codes(references)] = True
    found = [np.zeros((len(stack.shapes), len(OUTPUTS)), dtype=bool) for stack in stacks]
    for system, slot in slots.items():
        found[slot.stack][slot.bucket] |= needed[system]
    return [[tuple(compress(OUTPUTS, bucket)) for bucket in stack] for stack in found]


def build_reads(
    references: ReferenceTable, slots: Mapping[int, Slot], stacks: Sequence[Stack], outputs
) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """What references read of each batch, and where each of them finds it.

    Args:
        references: those with weight, in the user's order.
        slots: by system.
        stacks: the batches.
        outputs: as `outputs_of` gives them.

    Returns:
        Of each stack and batch the positions in the concatenated outputs of its buckets; and, shape (R,), the position of
        each reference in the padded reads of all batches.
    """
    # batches are counted through all stacks
    first_batch = np.cumsum([0, *(len(stack.batches) for stack in stacks)])
    batch_of = np.array([first_batch[slot.stack] + slot.batch for _, slot in sorted(slots.items())])
    batch = batch_of[references.system]
    # a batch reads for its references in the user's order: each stands behind those of its batch that come before it
    by_batch = np.argsort(batch, kind="stable")
    counts = np.bincount(batch, minlength=first_batch[-1])
    ends = np.cumsum(counts)
    place = np.empty(len(references), dtype=np.int64)
    place[by_batch] = np.arange(len(references)) - (ends - counts)[batch[by_batch]]
    sources = _sources(references, slots, _origins(slots, stacks, outputs))
    of_batches = np.split(sources[by_batch], ends[:-1])
    reads = [of_batches[start:stop] for start, stop in pairwise(first_batch)]
    # all batches of a stack are padded to the same number of reads
    lengths = [layout.quantised(max(map(len, of_stack))) for of_stack in reads]
    before = np.cumsum([0, *np.repeat(lengths, np.diff(first_batch))])
    return reads, before[batch] + place


def reads_are_distinct(references: ReferenceTable) -> bool:
    """Whether no two references read the same element of a symmetric matrix, above or below its diagonal."""
    output = output_codes(references)
    chosen = np.isin(output, [OUTPUTS.index("hessian"), OUTPUTS.index("eigenmatrix")])
    row, column = references.indices[chosen, :2].T.astype(np.int64)
    column = np.where(column < 0, row, column)
    size = max(row.max(initial=0), column.max(initial=0)) + 1
    matrix = references.system[chosen].astype(np.int64) * len(OUTPUTS) + output[chosen]
    keys = (matrix * size + np.maximum(row, column)) * size + np.minimum(row, column)
    return len(np.unique(keys)) == len(keys)


def _size(output: str, n_atoms: int) -> int:
    """Number of elements of a molecule's output."""
    return {"energy": 1, "eigenvalues": 3 * n_atoms}.get(output, (3 * n_atoms) ** 2)


def _origins(slots: Mapping[int, Slot], stacks: Sequence[Stack], outputs) -> np.ndarray:
    """Where the outputs of each system begin among the concatenated ones of its batch, (systems, outputs)."""
    starts: list[dict[tuple[int, str], int]] = []
    for stack, needed in zip(stacks, outputs, strict=True):
        position, of_stack = 0, {}
        for bucket, ((n_molecules, n_atoms), names) in enumerate(zip(stack.shapes, needed, strict=True)):
            for name in names:
                of_stack[bucket, name] = position
                position += n_molecules * _size(name, n_atoms)
        starts.append(of_stack)
    origins = np.full((len(slots), len(OUTPUTS)), -1, dtype=np.int64)
    for system, slot in slots.items():
        for number, name in enumerate(OUTPUTS):
            if (slot.bucket, name) in starts[slot.stack]:
                origins[system, number] = starts[slot.stack][slot.bucket, name] + slot.row * _size(name, slot.n_atoms)
    return origins


def _sources(references: ReferenceTable, slots: Mapping[int, Slot], origins: np.ndarray) -> np.ndarray:
    """Where each reference's value stands in the concatenated outputs of its batch, (R,)."""
    n_atoms = np.array([slot.n_atoms for _, slot in sorted(slots.items())], dtype=np.int64)[references.system]
    row, column = references.indices[:, :2].T.astype(np.int64)
    column = np.where(column < 0, row, column)  # one integer names an element of the diagonal
    # Hessians are ordered axis by axis: component 3 i + a of a molecule stands at a N + i, N its padded number of atoms
    of_hessian = (row % 3 * n_atoms + row // 3) * 3 * n_atoms + column % 3 * n_atoms + column // 3
    elements = {"eigenvalues": row, "hessian": of_hessian, "eigenmatrix": row * 3 * n_atoms + column}
    output = output_codes(references)
    within = np.select([output == OUTPUTS.index(name) for name in elements], list(elements.values()), 0)
    return origins[references.system, output] + within


def build_references(references: ReferenceTable, weights: np.ndarray, source: np.ndarray) -> References:
    """The padded reference arrays.

    Args:
        references: those with weight, in the user's order.
        weights: shape (R,), theirs, or balanced ones.
        source: shape (R,), where each finds what it reads.

    Returns:
        The arrays, of NumPy.
    """
    n, n_groups = len(references), len(references.groups)

    def column(values, dtype: type, padding):
        result = np.full(layout.quantised(n), padding, dtype=dtype)
        result[:n] = values
        return result

    return References(
        present=column(True, bool, False),
        value=column(references.value, np.float64, 0.0),
        weight=column(weights, np.float64, 0.0),
        source=column(source, np.int64, 0),
        is_frequency=column(references.is_kind("frequency"), bool, False),
        group=column(np.where(references.group < 0, n_groups, references.group), np.int32, n_groups),
        n_groups=n_groups,
    )
