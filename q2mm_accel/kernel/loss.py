"""From a parameter vector to predictions, residuals and the loss, over all molecules: the one definition of the loss."""

from functools import partial

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.batches import over_batches, waiting
from q2mm_accel.kernel.observables import compute_batch
from q2mm_accel.kernel.relaxed import outcomes, relaxed_batch
from q2mm_accel.kernel.robust import shaped
from q2mm_accel.kernel.spectrum import frequency
from q2mm_accel.problem.arrays import Problem


def expand(problem: Problem, vector):
    """All parameters of the force field, (n_parameters,), from the vector (n,)."""
    expansion = problem.expansion
    present = expansion.coefficients != 0.0
    vector = vector.astype(expansion.offset.dtype)
    elements = vector[jnp.where(present, expansion.columns, 0)]
    return expansion.offset + jnp.where(present, expansion.coefficients * elements, 0.0).sum(axis=1)


def compute(problem: Problem, parameters):
    """What references read of all batches, flat, from all parameters of the force field, as `compute_batch` gives it."""
    found = []
    if problem.stacks:
        found.append(over_batches(problem, compute_batch, parameters))
    if problem.relaxing:
        found.append(over_batches(problem, relaxed_batch, waiting(parameters, found), stacks=problem.relaxing))
    return jnp.concatenate(found)


def compare(problem: Problem, computed):
    """What the force field gives for every reference, (R,), in the references' units, from `compute`; 0 where padded."""
    references = problem.references
    computed = computed[jnp.where(references.present, references.source, 0)]
    is_frequency = references.present & references.is_frequency
    # what is no eigenvalue must not reach the root, whose derivative would be multiplied with 0 only afterwards
    factor, shift = (jnp.where(references.present, each, 1.0) for each in (references.factor, references.shift))
    others = factor * computed + shift
    computed = jnp.where(is_frequency, frequency(jnp.where(is_frequency, computed, 1.0)), others)
    turns = jnp.round(jax.lax.stop_gradient(references.value - computed) / 360.0)
    computed = computed + 360.0 * jnp.where(references.present & references.is_periodic, turns, 0.0)
    if references.n_groups:
        computed = computed - _offsets(references, computed)
    return jnp.where(references.present, computed, 0.0)


def _offsets(references, computed):
    """The constant c of each relative energy's group; 0 for all other references.

    It minimises Σ w² (reference - computed + c)² over the group: c = Σ w² (computed - reference) / Σ w².
    """
    n_groups = references.n_groups
    relative = references.present & (references.group < n_groups)
    group = jnp.where(relative, references.group, n_groups)
    weight = jnp.where(relative, references.weight, 0.0) ** 2
    excess = weight * jnp.where(relative, computed - references.value, 0.0)
    # the last segment takes all other references; its sum of weights is 0, hence the smallest divisor
    sums = jax.ops.segment_sum(excess, group, n_groups + 1) / jnp.maximum(
        jax.ops.segment_sum(weight, group, n_groups + 1), jnp.finfo(weight.dtype).tiny
    )
    return jnp.where(relative, sums[group], 0.0)


def weigh(problem: Problem, computed, parameters):
    """Residuals from `compute` and all parameters of the force field: `deviations`, then those of the priors."""
    return jnp.concatenate([deviations(problem, computed), from_centers(problem, parameters)])


def deviations(problem: Problem, computed):
    """Weight (reference - computed) of all references, shaped by the loss, from `compute`: (R,), 0 where padded."""
    references = problem.references
    difference = jnp.where(references.present, references.value, 0.0) - compare(problem, computed)
    return shaped(problem.loss, jnp.where(references.present, references.weight, 0.0) * difference, problem.f_scale)


def from_centers(problem: Problem, parameters):
    """Weight (center - parameter) of all priors, (Q,), 0 where padded."""
    priors = problem.priors
    values = parameters[jnp.where(priors.present, priors.parameter, 0)]
    weight = jnp.where(priors.present, priors.weight, 1.0)
    return jnp.where(priors.present, weight * (jnp.where(priors.present, priors.center, 0.0) - values), 0.0)


def predictions(problem: Problem, vector):
    """What the force field gives for every reference at a vector (n,): (R,), in the references' units; 0 where padded."""
    return compare(problem, compute(problem, expand(problem, vector)))


def ends_of_relaxations(problem: Problem, vector):
    """How each relaxed molecule ends at a vector (n,), for messages: (2, molecules of all batches), `relaxed.outcomes`."""
    return over_batches(problem, outcomes, expand(problem, vector), stacks=problem.relaxing)


def residuals(problem: Problem, vector):
    """The residuals at a vector (n,), whose squares sum to the loss: (R + P,), as `weigh` gives them."""
    parameters = expand(problem, vector)
    return weigh(problem, compute(problem, parameters), parameters)


def loss(problem: Problem, vector):
    """Σ residual², q2mm's definition: no factor 1/2, no division by the number of references."""
    return (residuals(problem, vector) ** 2).sum()


def prediction_changes(problem: Problem, vector, direction):
    """Derivatives of `predictions` along a direction (n,): (R,)."""
    return jax.jvp(partial(predictions, problem), (vector,), (direction,))[1]


def hessian_product(problem, vector, direction):
    """The Hessian of the loss at a vector (n,) times a direction (n,): (n,); NaN where the loss is not finite.

    The gradient of a directional derivative, not the derivative of a gradient: where batches take turns, the latter loses
    `eigenpairs`' rule in the recomputed part, and JAX's own divides by the difference of equal eigenvalues.
    """

    def along(vector):
        return jax.jvp(partial(loss, problem), (vector,), (direction,))[::-1]

    product, value = jax.grad(along, has_aux=True)(vector)
    # where a molecule has not relaxed, a derivative of NaN that was put in place would be 0
    return jnp.where(jnp.isfinite(value), product, jnp.nan)
