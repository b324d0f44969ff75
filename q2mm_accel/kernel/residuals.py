"""From a parameter vector to predictions, residuals and the loss, over all buckets: the one definition of the loss."""

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.arrays import Problem
from q2mm_accel.kernel.hessian import energies, hessians
from q2mm_accel.kernel.parameters import blocks, expand
from q2mm_accel.kernel.spectrum import eigenvalues, frequency, mass_weighted
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU


def outputs(problem: Problem, parameters):
    """What the references read, flat, bucket by bucket, from all parameters of the force field.

    Of each bucket, as far as its `outputs` name them: energies [kcal/mol], eigenvalues [hartree/(bohr² u)], Hessians and
    eigenmatrices [hartree/bohr²].

    Two batched `eigh` at the same time can hang in jaxlib 0.10 on CPU; each waits for the last through a data
    dependency, the addition of 0 times an eigenvalue.
    """
    needed = {output for bucket in problem.buckets for output in bucket.outputs}
    by_kind = blocks(problem, parameters)
    total = energies(problem, by_kind) if "energy" in needed else []
    matrices = hessians(problem, by_kind) if needed - {"energy"} else []
    results, after = [], jnp.zeros((), parameters.dtype)
    for number, bucket in enumerate(problem.buckets):
        if "energy" in bucket.outputs:
            results.append(total[number])
        if set(bucket.outputs) - {"energy"}:
            matrix = matrices[number] * KCALMOLA2_TO_HESSIAN_AU
        if "eigenvalues" in bucket.outputs:
            values = eigenvalues(mass_weighted(bucket, matrix) + after)
            after = 0.0 * jax.lax.stop_gradient(jnp.nan_to_num(values[0, 0]))
            results.append(values)
        if "hessian" in bucket.outputs:
            results.append(matrix)
        if "eigenmatrix" in bucket.outputs:
            results.append(jnp.swapaxes(bucket.eigenvectors, 1, 2) @ matrix @ bucket.eigenvectors)
    return jnp.concatenate([result.reshape(-1) for result in results])


def compared(problem: Problem, computed):
    """What the force field gives for every reference, (R,), in the references' units, from `outputs`; 0 where padded."""
    references = problem.references
    computed = computed[jnp.where(references.present, references.source, 0)]
    is_frequency = references.present & references.is_frequency
    computed = jnp.where(is_frequency, frequency(jnp.where(is_frequency, computed, 1.0)), computed)
    if references.n_groups:
        computed = computed - _offsets(references, computed)
    return jnp.where(references.present, computed, 0.0)


def _offsets(references, computed):
    """The constant of each relative energy's group that minimises the group's weighted squares; 0 for all others."""
    n_groups = references.n_groups
    relative = references.present & (references.group < n_groups)
    group = jnp.where(relative, references.group, n_groups)
    weight = jnp.where(relative, references.weight, 0.0) ** 2
    excess = weight * jnp.where(relative, computed - references.value, 0.0)
    sums = jax.ops.segment_sum(excess, group, n_groups + 1) / jnp.maximum(
        jax.ops.segment_sum(weight, group, n_groups + 1), jnp.finfo(weight.dtype).tiny
    )
    return jnp.where(relative, sums[group], 0.0)


def finish(problem: Problem, computed, parameters):
    """Weight (reference - computed), (R,), from `outputs` and all parameters of the force field; 0 where padded."""
    references = problem.references
    difference = jnp.where(references.present, references.value, 0.0) - compared(problem, computed)
    return jnp.where(references.present, references.weight, 0.0) * difference


def predictions(problem: Problem, vector):
    """What the force field gives for every reference at a vector (n,): (R,), in the references' units; 0 where padded."""
    return compared(problem, outputs(problem, expand(problem, vector)))


def residuals(problem: Problem, vector):
    """Weight (reference - computed) at a vector (n,): (R,); 0 where padded."""
    parameters = expand(problem, vector)
    return finish(problem, outputs(problem, parameters), parameters)


def loss(problem: Problem, vector):
    """Σ residual², q2mm's definition: no factor 1/2, no division by the number of references."""
    return (residuals(problem, vector) ** 2).sum()
