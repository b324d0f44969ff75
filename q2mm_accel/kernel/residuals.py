"""From a parameter vector to predictions, residuals and the loss, over all buckets: the one definition of the loss."""

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.arrays import Priors, Problem
from q2mm_accel.kernel.hessian import energies, hessians
from q2mm_accel.kernel.parameters import blocks, expand
from q2mm_accel.kernel.robust import shaped
from q2mm_accel.kernel.spectrum import eigenpairs, frequency, mass_weighted
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU


def outputs(problem: Problem, parameters):
    """What the references read, flat, bucket by bucket, from all parameters of the force field.

    Of each bucket, as far as its `outputs` name them: energies [kcal/mol], eigenvalues [hartree/(bohr² u)], Hessians and
    eigenmatrices [hartree/bohr²].
    """
    total, matrices = mechanics(problem, parameters)
    return assembled(problem, total, matrices, spectra(problem, matrices)[0])


def mechanics(problem: Problem, parameters):
    """Of each bucket the energies (M,) [kcal/mol] and Hessians (M, D, D) [hartree/bohr²]; None where not needed."""
    needed = {output for bucket in problem.buckets for output in bucket.outputs}
    by_kind = blocks(problem, parameters)
    nothing = [None] * len(problem.buckets)
    total = energies(problem, by_kind) if "energy" in needed else nothing
    if needed == {"energy"}:
        return total, nothing
    return total, [matrix * KCALMOLA2_TO_HESSIAN_AU for matrix in hessians(problem, by_kind)]


def spectra(problem: Problem, matrices):
    """Of each bucket the eigenvalues (M, D) and eigenvectors (M, D, D) of mass-weighted Hessians; None if not needed.

    Two batched `eigh` at the same time can hang in jaxlib 0.10 on CPU; each waits for the last through a data
    dependency, the addition of 0 times an eigenvalue.
    """
    values, vectors, after = [], [], None
    for bucket, matrix in zip(problem.buckets, matrices, strict=True):
        if "eigenvalues" not in bucket.outputs:
            values.append(None)
            vectors.append(None)
            continue
        weighted = mass_weighted(bucket, matrix)
        found = eigenpairs(weighted if after is None else weighted + after)
        after = 0.0 * jax.lax.stop_gradient(jnp.nan_to_num(found[0][0, 0]))
        values.append(found[0])
        vectors.append(found[1])
    return values, vectors


def assembled(problem: Problem, total, matrices, values):
    """`outputs` from what `mechanics` and `spectra` give for each bucket; linear in all of it."""
    results = []
    for number, bucket in enumerate(problem.buckets):
        if "energy" in bucket.outputs:
            results.append(total[number])
        if "eigenvalues" in bucket.outputs:
            results.append(values[number])
        if "hessian" in bucket.outputs:
            results.append(matrices[number])
        if "eigenmatrix" in bucket.outputs:
            results.append(jnp.swapaxes(bucket.eigenvectors, 1, 2) @ matrices[number] @ bucket.eigenvectors)
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
    """Residuals from `outputs` and all parameters of the force field; 0 where padded.

    The first R are weight (reference - computed), shaped by the loss; those of the priors follow, (P,).
    """
    references = problem.references
    difference = jnp.where(references.present, references.value, 0.0) - compared(problem, computed)
    deviations = shaped(problem.loss, jnp.where(references.present, references.weight, 0.0) * difference, problem.f_scale)
    if not len(problem.priors.present):
        return deviations
    return jnp.concatenate([deviations, _from_centers(problem.priors, parameters)])


def _from_centers(priors: Priors, parameters):
    values = parameters[jnp.where(priors.present, priors.parameter, 0)]
    weight = jnp.where(priors.present, priors.weight, 1.0)
    return jnp.where(priors.present, weight * (jnp.where(priors.present, priors.center, 0.0) - values), 0.0)


def predictions(problem: Problem, vector):
    """What the force field gives for every reference at a vector (n,): (R,), in the references' units; 0 where padded."""
    return compared(problem, outputs(problem, expand(problem, vector)))


def residuals(problem: Problem, vector):
    """The residuals at a vector (n,), whose squares sum to the loss: (R + P,), as `finish` gives them."""
    parameters = expand(problem, vector)
    return finish(problem, outputs(problem, parameters), parameters)


def loss(problem: Problem, vector):
    """Σ residual², q2mm's definition: no factor 1/2, no division by the number of references."""
    return (residuals(problem, vector) ** 2).sum()
