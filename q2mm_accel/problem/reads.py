"""Where in the buckets' outputs each reference's computed value stands."""

from collections.abc import Mapping, Sequence

import numpy as np

from q2mm_accel.model.references import Reference
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


def outputs_of(references: Sequence[Reference], slots: Mapping[int, Slot], stacks: Sequence[Stack]):
    """Of each stack and bucket the outputs that references read, in the order of `OUTPUTS`."""
    needed = [[set() for _ in stack.shapes] for stack in stacks]
    for reference in references:
        slot = slots[reference.system]
        needed[slot.stack][slot.bucket].add(OUTPUT_OF[reference.kind])
    return [[tuple(output for output in OUTPUTS if output in found) for found in stack] for stack in needed]


def build_reads(references: Sequence[Reference], slots: Mapping[int, Slot], stacks: Sequence[Stack], outputs):
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
    reads = [[[] for _ in stack.batches] for stack in stacks]
    starts = [_starts(stack.shapes, own) for stack, own in zip(stacks, outputs, strict=True)]
    places = []
    for reference in references:
        slot = slots[reference.system]
        read = reads[slot.stack][slot.batch]
        places.append((slot.stack, slot.batch, len(read)))
        read.append(_source(reference, slot, starts[slot.stack]))
    lengths = [layout.quantised(max(map(len, stack))) for stack in reads]
    before = np.cumsum([0, *(len(stack) * length for stack, length in zip(reads, lengths, strict=True))])
    return reads, np.array([before[stack] + batch * lengths[stack] + place for stack, batch, place in places])


def _starts(shapes, outputs) -> dict[tuple[int, str], int]:
    """Where each output of each bucket begins among the concatenated ones."""
    starts, position = {}, 0
    for bucket, ((n_molecules, n_atoms), own) in enumerate(zip(shapes, outputs, strict=True)):
        size = 3 * n_atoms
        for output in own:
            starts[bucket, output] = position
            position += n_molecules * {"energy": 1, "eigenvalues": size}.get(output, size**2)
    return starts


def build_references(references: Sequence[Reference], weights: np.ndarray, source: np.ndarray) -> References:
    """The padded reference arrays.

    Args:
        references: those with weight, in the user's order.
        weights: shape (R,), theirs, or balanced ones.
        source: shape (R,), where each finds what it reads.

    Returns:
        The arrays, of NumPy.
    """
    groups = {name: i for i, name in enumerate(dict.fromkeys(r.index for r in references if r.kind == "relative_energy"))}
    n = len(references)

    def column(values, dtype, padding):
        result = np.full(layout.quantised(n), padding, dtype=dtype)
        result[:n] = list(values)
        return result

    return References(
        present=column((True for _ in references), bool, False),
        value=column((reference.value for reference in references), np.float64, 0.0),
        weight=column(weights, np.float64, 0.0),
        source=column(source, np.int64, 0),
        is_frequency=column((r.kind == "frequency" for r in references), bool, False),
        group=column(
            (groups[r.index] if r.kind == "relative_energy" else len(groups) for r in references), np.int32, len(groups)
        ),
        n_groups=len(groups),
    )


def _source(reference: Reference, slot: Slot, starts: dict) -> int:
    output = OUTPUT_OF[reference.kind]
    start, size = starts[slot.bucket, output], 3 * slot.n_atoms
    if output == "energy":
        return start + slot.row
    if output == "eigenvalues":
        return start + slot.row * size + int(reference.index)
    row, column = (int(i) for i in (np.repeat(reference.index, 2) if np.ndim(reference.index) == 0 else reference.index))
    if output == "hessian":
        row, column = (index % 3 * slot.n_atoms + index // 3 for index in (row, column))
    return start + slot.row * size**2 + row * size + column
