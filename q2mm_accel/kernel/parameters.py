"""From the vector an optimizer sees to the force field's parameters."""

import jax.numpy as jnp

from q2mm_accel.model.forcefield import BLOCKS
from q2mm_accel.problem.arrays import Batch, Problem


def expand(problem: Problem, vector):
    """All parameters of the force field, (n_parameters,), from the vector (n,)."""
    expansion = problem.expansion
    present = expansion.coefficients != 0.0
    vector = vector.astype(expansion.offset.dtype)
    elements = vector[jnp.where(present, expansion.columns, 0)]
    return expansion.offset + jnp.where(present, expansion.coefficients * elements, 0.0).sum(axis=1)


def blocks(batch: Batch, parameters):
    """The parameters (n_parameters,) by kind, shape (n_types, width) each."""
    found, start = {}, 0
    for kind, count in batch.n_types:
        stop = start + count * len(BLOCKS[kind])
        found[kind] = parameters[start:stop].reshape(count, len(BLOCKS[kind]))
        start = stop
    return found
