"""Where in the buckets' outputs each reference's computed value stands."""

from collections.abc import Mapping, Sequence
from itertools import compress, pairwise

import numpy as np

from q2mm_accel.model.reference_table import ReferenceTable
from q2mm_accel.model.system import System
from q2mm_accel.model.vibrations import NormalModes
from q2mm_accel.problem import layout
from q2mm_accel.problem.arrays import MATRICES, OUTPUTS, References, output_size
from q2mm_accel.problem.layout import Slot, Stack
from q2mm_accel.units import DEGREE, FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

OUTPUT_OF = {
    "energy": "energy",
    "relative_energy": "energy",
    "frequency": "eigenvalues",
    "hessian_element": "hessian",
    "eig_diagonal": "eigenmatrix",
    "eig_offdiagonal": "eigenmatrix",
    "force": "gradient",
    "normal_mode": "mode_matrix",
    "mode_displacement": "mode_gradient",
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
    chosen = np.isin(output, [OUTPUTS.index(name) for name in MATRICES])
    row, column = references.indices[chosen, :2].T.astype(np.int64)
    column = np.where(column < 0, row, column)
    size = max(row.max(initial=0), column.max(initial=0)) + 1
    matrix = references.system[chosen].astype(np.int64) * len(OUTPUTS) + output[chosen]
    keys = (matrix * size + np.maximum(row, column)) * size + np.minimum(row, column)
    return len(np.unique(keys)) == len(keys)


def _origins(slots: Mapping[int, Slot], stacks: Sequence[Stack], outputs) -> np.ndarray:
    """Where the outputs of each system begin among the concatenated ones of its batch, (systems, outputs)."""
    starts: list[dict[tuple[int, str], int]] = []
    for stack, needed in zip(stacks, outputs, strict=True):
        position, of_stack = 0, {}
        for bucket, ((n_molecules, n_atoms), names) in enumerate(zip(stack.shapes, needed, strict=True)):
            for name in names:
                of_stack[bucket, name] = position
                position += n_molecules * output_size(name, 3 * n_atoms)
        starts.append(of_stack)
    origins = np.full((len(slots), len(OUTPUTS)), -1, dtype=np.int64)
    for system, slot in slots.items():
        for number, name in enumerate(OUTPUTS):
            if (slot.bucket, name) in starts[slot.stack]:
                size = output_size(name, 3 * slot.n_atoms)
                origins[system, number] = starts[slot.stack][slot.bucket, name] + slot.row * size
    return origins


def _sources(references: ReferenceTable, slots: Mapping[int, Slot], origins: np.ndarray) -> np.ndarray:
    """Where each reference's value stands in the concatenated outputs of its batch, (R,)."""
    n_atoms = np.array([slot.n_atoms for _, slot in sorted(slots.items())], dtype=np.int64)[references.system]
    row, column = references.indices[:, :2].T.astype(np.int64)
    column = np.where(column < 0, row, column)  # one integer names an element of the diagonal
    # components are ordered axis by axis: 3 i + a of a molecule stands at a N + i, N its padded number of atoms
    by_axis, other = (each % 3 * n_atoms + each // 3 for each in (row, column))
    size = 3 * n_atoms
    elements = {"gradient": by_axis, "hessian": by_axis * size + other, "mode_gradient": row, "eigenvalues": row}
    elements |= dict.fromkeys(("eigenmatrix", "mode_matrix"), row * size + column)
    output = output_codes(references)
    within = np.select([output == OUTPUTS.index(name) for name in elements], list(elements.values()), 0)
    return origins[references.system, output] + within


def build_references(
    references: ReferenceTable, weights: np.ndarray, source: np.ndarray, systems: Sequence[System]
) -> References:
    """The padded reference arrays.

    Args:
        references: those with weight, in the user's order.
        weights: shape (R,), theirs, or balanced ones.
        source: shape (R,), where each finds what it reads.
        systems: the molecules.

    Returns:
        The arrays, of NumPy.
    """
    n, n_groups = len(references), len(references.groups)
    factor, shift = _scales(references, systems)

    def column(values, dtype: type, padding):
        result = np.full(layout.quantised(n), padding, dtype=dtype)
        result[:n] = values
        return result

    return References(
        present=column(True, bool, False),
        value=column(references.value, np.float64, 0.0),
        weight=column(weights, np.float64, 0.0),
        source=column(source, np.int64, 0),
        is_frequency=column(references.is_kind("frequency") | references.is_kind("relaxed_frequency"), bool, False),
        factor=column(factor, np.float64, 1.0),
        shift=column(shift, np.float64, 0.0),
        is_periodic=column(references.is_kind("torsion_angle"), bool, False),
        group=column(np.where(references.group < 0, n_groups, references.group), np.int32, n_groups),
        n_groups=n_groups,
    )


def _scales(references: ReferenceTable, systems: Sequence[System]) -> tuple[np.ndarray, np.ndarray]:
    """By what outputs are multiplied, and what is added then, so that they are in the references' units, (R,) each."""
    factor, shift = np.ones(len(references)), np.zeros(len(references))
    factor[references.is_kind("force")] = -1.0
    factor[references.is_kind("torsion_angle")] = 1.0 / DEGREE
    # an angle is computed as its supplement
    factor[references.is_kind("bond_angle")], shift[references.is_kind("bond_angle")] = -1.0 / DEGREE, 180.0
    for kind, scales in (("normal_mode", scales_of_modes), ("mode_displacement", _scales_of_displacements)):
        of_kind = references.is_kind(kind)
        for number in np.unique(references.system[of_kind]):
            rows = np.flatnonzero(of_kind & (references.system == number))
            modes = systems[number].molecule.normal_modes
            factor[rows], shift[rows] = scales(modes, references.floor[rows], references.indices[rows, :2].T)
    return factor, shift


def scales_of_modes(modes: NormalModes, floor: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Elements of Vᵀ M^-½ H M^-½ V [hartree/(bohr² u)] become ν_i δ_ij + (element - λ_i δ_ij) / (f_i + f_j) [cm⁻¹]."""
    (row, column), size = index, np.abs(modes.frequencies)
    factor = FREQUENCY_FACTOR**2 / (np.maximum(size[row], floor) + np.maximum(size[column], floor))
    return factor, np.where(row == column, modes.frequencies[row] - factor * modes.eigenvalues[row], 0.0)


def _scales_of_displacements(modes: NormalModes, floor: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Elements of Vᵀ M^-½ g [kcal/mol/(Å u^1/2)] are divided by the stiffness of their modes."""
    stiffness = np.maximum(np.abs(modes.eigenvalues[index[0]]), (floor / FREQUENCY_FACTOR) ** 2)
    return KCALMOLA2_TO_HESSIAN_AU / stiffness, np.zeros(len(stiffness))
