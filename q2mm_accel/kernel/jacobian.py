"""Residuals and their exact Jacobian at about the price of a gradient, from one eigendecomposition of each Hessian."""

from functools import partial

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.batches import over_batches
from q2mm_accel.kernel.loss import expand, weigh
from q2mm_accel.kernel.modes import eigenvalue_slopes
from q2mm_accel.kernel.observables import gather, mechanics, spectra
from q2mm_accel.kernel.slopes import changes, energy_slopes, hessian_slopes
from q2mm_accel.problem.arrays import Batch, Problem


def residuals_and_jacobian(problem: Problem, vector):
    """The residuals at a vector (n,) and their derivatives by its elements.

    Args:
        problem: the problem.
        vector: shape (n,).

    Returns:
        `residuals.residuals`, and the Jacobian with a row for each of them and n columns.
    """
    parameters, pull = jax.vjp(partial(expand, problem), vector)
    observed = over_batches(problem, _with_slopes, parameters)
    computed, slopes = observed[0], observed[1:]

    def finished(change, direction):
        return jax.jvp(partial(weigh, problem), (computed, parameters), (change, direction))

    directions = jnp.eye(len(parameters), dtype=parameters.dtype)
    residuals, by_parameter = jax.vmap(finished, out_axes=(None, 1))(slopes, directions)
    return residuals, jax.vmap(pull)(by_parameter)[0]


def _with_slopes(batch: Batch, after, parameters):
    """First row as `observables.compute_batch` gives it, then its derivatives by all parameters, (1 + n_parameters, P)."""
    total, matrices = mechanics(batch, parameters)
    values, vectors, after = spectra(batch, matrices, after)
    computed = gather(batch, total, matrices, values)
    return jnp.concatenate([computed[None], _slopes(batch, parameters.astype(batch.dtype), vectors)]), after


def _slopes(batch: Batch, parameters, vectors):
    needed = {output for bucket in batch.buckets for output in bucket.outputs}
    found = changes(batch, parameters)
    total = matrices = values = [None] * len(batch.buckets)
    if "energy" in needed:
        total = energy_slopes(batch, found)
    if needed & {"hessian", "eigenmatrix"}:
        matrices = hessian_slopes(batch, found)
    if "eigenvalues" in needed:
        values = eigenvalue_slopes(batch, found, vectors)
    return jax.vmap(partial(gather, batch))(total, matrices, values)


def jacobian(problem: Problem, vector):
    """The Jacobian alone, with a row for each residual and n columns."""
    return residuals_and_jacobian(problem, vector)[1]
