"""Stiffness of molecules along given directions, as it changes with the vector: what cuts of a direct solve are made of."""

from dataclasses import replace

import jax.numpy as jnp

from q2mm_accel.kernel.batches import over_batches
from q2mm_accel.kernel.loss import expand
from q2mm_accel.kernel.modes import eigenvalue_slopes
from q2mm_accel.kernel.slopes import by_elements, changes
from q2mm_accel.problem.arrays import Array, Batch, Expansion, Problem


def stiffness_slopes(problem: Problem, vector, directions: tuple[tuple[Array, ...], ...]):
    """Derivatives of dᵀ M^-½ H M^-½ d by the vector, H the Hessians of the molecules.

    Args:
        problem: the problem.
        vector: shape (n,).
        directions: of each stack and bucket the columns d of its molecules, (batches, M, D, K), 0 where padded.

    Returns:
        (n, all directions) [hartree/(bohr² u)], in the order of stacks, batches, buckets, molecules and columns.
    """
    stacks = tuple(
        # there is no other place for what belongs to the molecules of each batch
        replace(
            stack, buckets=tuple(replace(bucket, modes=own) for bucket, own in zip(stack.buckets, of_stack, strict=True))
        )
        for stack, of_stack in zip(problem.stacks, directions, strict=True)
    )

    def of_batch(batch: Batch, parameters, expansion: Expansion):
        found = changes(batch, parameters.astype(batch.dtype))
        slopes = eigenvalue_slopes(batch, found, [bucket.modes for bucket in batch.buckets])
        return jnp.concatenate(
            [by_elements(expansion, each, len(vector)).reshape(len(vector), -1) for each in slopes], axis=1
        )

    return over_batches(replace(problem, stacks=stacks), of_batch, expand(problem, vector), problem.expansion)
