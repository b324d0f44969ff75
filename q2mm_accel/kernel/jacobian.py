"""Residuals and their exact Jacobian at about the price of a gradient, from one eigendecomposition of each Hessian."""

from functools import partial

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.arrays import Problem
from q2mm_accel.kernel.modes import eigenvalue_slopes
from q2mm_accel.kernel.parameters import expand
from q2mm_accel.kernel.residuals import assembled, finish, mechanics, spectra
from q2mm_accel.kernel.slopes import changes, energy_slopes, hessian_slopes


def residuals_and_jacobian(problem: Problem, vector):
    """The residuals at a vector (n,) and their derivatives by its elements.

    Args:
        problem: the problem.
        vector: shape (n,).

    Returns:
        `residuals.residuals`, and the Jacobian with a row for each of them and n columns.
    """
    parameters, pull = jax.vjp(partial(expand, problem), vector)
    total, matrices = mechanics(problem, parameters)
    values, vectors = spectra(problem, matrices)
    computed = assembled(problem, total, matrices, values)

    def finished(change, direction):
        return jax.jvp(partial(finish, problem), (computed, parameters), (change, direction))

    directions = jnp.eye(len(parameters), dtype=parameters.dtype)
    residuals, by_parameter = jax.vmap(finished, out_axes=(None, 1))(_slopes(problem, parameters, vectors), directions)
    return residuals, jax.vmap(pull)(by_parameter)[0]


def _slopes(problem: Problem, parameters, vectors):
    """Derivatives of `residuals.outputs` by all parameters, (n_parameters, outputs)."""
    needed = {output for bucket in problem.buckets for output in bucket.outputs}
    found = changes(problem, parameters)
    total = matrices = values = [None] * len(problem.buckets)
    if "energy" in needed:
        total = energy_slopes(problem, found)
    if needed & {"hessian", "eigenmatrix"}:
        matrices = hessian_slopes(problem, found)
    if "eigenvalues" in needed:
        values = eigenvalue_slopes(problem, found, vectors)
    return jax.vmap(partial(assembled, problem))(total, matrices, values)


def jacobian(problem: Problem, vector):
    """The Jacobian alone, with a row for each residual and n columns."""
    return residuals_and_jacobian(problem, vector)[1]
