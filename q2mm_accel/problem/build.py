"""Systems, parameter space and references -> the `Problem` of arrays that compiled functions take."""

from collections.abc import Iterable, Sequence

import numpy as np

from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.system import System
from q2mm_accel.parameters.priors import NO_ROWS, PriorRows
from q2mm_accel.parameters.space import ParameterSpace
from q2mm_accel.problem import layout
from q2mm_accel.problem.arrays import Expansion, Priors, Problem
from q2mm_accel.problem.batch import build_stack
from q2mm_accel.problem.columns import Followed
from q2mm_accel.problem.layout import Stack, place_systems, plan_stacks
from q2mm_accel.problem.reads import build_reads, build_references, outputs_of, reads_are_distinct


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
        moving: whether molecules leave their QM geometries.

    Returns:
        The problem, of NumPy arrays.
    """
    if stacks is None:
        stacks = plan_stacks([system.molecule.n_atoms for system in systems])
    table = ReferenceData(references).table
    slots = place_systems(stacks)
    outputs = outputs_of(table, slots, stacks)
    reads, source = build_reads(table, slots, stacks, outputs)
    distinct, followed = reads_are_distinct(table), Followed(space.columns, space.coefficients)
    return Problem(
        stacks=tuple(
            build_stack(stack, systems, space.forcefield, slots, needed, read, distinct, followed, moving)
            for stack, needed, read in zip(stacks, outputs, reads, strict=True)
        ),
        references=build_references(table, table.weight if weights is None else weights, source, systems),
        expansion=Expansion(space.offset, space.columns, space.coefficients),
        priors=_padded(priors),
        f_scale=np.array(f_scale, dtype=np.float64),
        loss=loss,
        mesh=None,
    )


def _padded(rows: PriorRows) -> Priors:
    count, padding = len(rows.weight), layout.quantised(len(rows.weight)) - len(rows.weight)
    return Priors(
        present=np.arange(count + padding) < count,
        parameter=np.pad(rows.parameter, (0, padding)),
        center=np.pad(rows.center, (0, padding)),
        weight=np.pad(rows.weight, (0, padding)),
    )
