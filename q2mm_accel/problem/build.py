"""Systems, parameter space and references -> the `Problem` of arrays that compiled functions take."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from q2mm_accel.model.reference_table import ReferenceTable
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.system import System
from q2mm_accel.parameters.priors import NO_ROWS, PriorRows
from q2mm_accel.parameters.space import ParameterSpace
from q2mm_accel.problem import layout
from q2mm_accel.problem.arrays import Batch, Expansion, Priors, Problem, Relaxing
from q2mm_accel.problem.batch import build_stack
from q2mm_accel.problem.columns import Followed
from q2mm_accel.problem.layout import Stack, place_systems, plan_stacks
from q2mm_accel.problem.reads import build_reads, build_references, outputs_of, reads_are_distinct
from q2mm_accel.problem.relaxing import build_relaxing


class Relaxed(NamedTuple):
    """How molecules are relaxed."""

    systems: Sequence[System]
    """All of them, with terms that are frozen too: they change with the geometry."""
    upward: Sequence[int]
    """Of each along how many modes its energy is to rise."""
    n_devices: int = 1
    batch_size: int | None = None
    """How many a device relaxes at a time."""
    penalty: float | None = None
    """Of those that do not converge; None where that is an error."""


def build_problem(
    systems: Sequence[System],
    space: ParameterSpace,
    references: Iterable[Reference],
    stacks: Sequence[Stack] | None = None,
    *,
    weights: np.ndarray | None = None,
    priors: PriorRows = NO_ROWS,
    loss: str = "linear",
    f_scale: float = 1.0,
    moving: bool = False,
    relaxed: Relaxed | None = None,
) -> Problem:
    """The arrays of a fitting problem that has been checked.

    Args:
        systems: the molecules with their terms.
        space: the force field, and what the vector of the problem is.
        references: those with weight.
        stacks: which molecules share a bucket, and which buckets a batch; all in one batch by default.
        weights: shape (R,); the references' own by default.
        priors: further residuals.
        loss: name of the loss of references, one of `checks.LOSSES`.
        f_scale: where it begins to count them less.
        moving: whether all molecules have coordinates, to leave their QM geometries.
        relaxed: how molecules are relaxed that references of kinds `RELAXED` read.

    Returns:
        The problem, of NumPy arrays.
    """
    if stacks is None:
        stacks = plan_stacks([system.molecule.n_atoms for system in systems])
    table = ReferenceData(references).table
    at_rest, source = np.flatnonzero(~table.is_relaxed()), np.zeros(len(table), dtype=np.int64)
    built, source[at_rest] = _at_rest(table.take(at_rest), systems, space, stacks, moving) if len(at_rest) else ((), ())
    before = sum(int(np.prod(stack.read.shape)) for stack in built)
    moves, relaxing = np.flatnonzero(table.is_relaxed()), ()
    if len(moves):
        assert relaxed is not None, "references to relaxed molecules need to know how these are relaxed"
        relaxing, source[moves] = _relaxing(table.take(moves), space, relaxed, before)
    return Problem(
        stacks=built,
        relaxing=relaxing,
        references=build_references(table, table.weight if weights is None else weights, source, systems),
        expansion=Expansion(space.offset, space.columns, space.coefficients),
        priors=_padded(priors),
        f_scale=np.array(f_scale, dtype=np.float64),
        loss=loss,
        mesh=None,
    )


def _at_rest(
    table: ReferenceTable, systems: Sequence[System], space: ParameterSpace, stacks: Sequence[Stack], moving: bool
) -> tuple[tuple[Batch, ...], np.ndarray]:
    """The batches of what is read at the QM geometries, and where each reference stands in their reads."""
    slots = place_systems(stacks)
    outputs = outputs_of(table, slots, stacks)
    reads, source = build_reads(table, slots, stacks, outputs)
    distinct, followed = reads_are_distinct(table), Followed(space.columns, space.coefficients)
    built = tuple(
        build_stack(stack, systems, space.forcefield, slots, needed, read, distinct, followed, moving)
        for stack, needed, read in zip(stacks, outputs, reads, strict=True)
    )
    return built, source


def _relaxing(
    table: ReferenceTable, space: ParameterSpace, relaxed: Relaxed, before: int
) -> tuple[tuple[Relaxing, ...], np.ndarray]:
    """The same of what is read of relaxed molecules: only those of which something is."""
    numbers, own = np.unique(table.system, return_inverse=True)
    rows = table.rows.copy()
    rows["system"] = own
    systems = [relaxed.systems[number] for number in numbers]
    upward = [relaxed.upward[number] for number in numbers]
    stacks = plan_stacks([system.molecule.n_atoms for system in systems], relaxed.n_devices, relaxed.batch_size)
    return build_relaxing(ReferenceTable(rows), systems, upward, space, stacks, before, relaxed.penalty)


def _padded(rows: PriorRows) -> Priors:
    count, padding = len(rows.weight), layout.quantised(len(rows.weight)) - len(rows.weight)
    return Priors(
        present=np.arange(count + padding) < count,
        parameter=np.pad(rows.parameter, (0, padding)),
        center=np.pad(rows.center, (0, padding)),
        weight=np.pad(rows.weight, (0, padding)),
    )
