"""Eigenvalues of mass-weighted Hessians and frequencies, with derivatives that stay finite."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from q2mm_accel.kernel.refine import refined
from q2mm_accel.problem.arrays import Bucket
from q2mm_accel.runtime import jax_setting
from q2mm_accel.units import FREQUENCY_FACTOR

SMALLEST_FREQUENCY = 1.0
"""[cm⁻¹] Below it the derivative of a frequency by its eigenvalue is held at its value there: 1/(2 √λ) has no bound."""


KEPT = "eigenpairs"
"""Name of what a gradient that saves memory does not compute again."""


def eigenvalues(matrices):
    """Ascending eigenvalues (M, D) of symmetric matrices (M, D, D), of which the lower triangle is read.

    The first derivative, dλ_k = v_kᵀ dA v_k, has no denominator, so degenerate eigenvalues do no harm. In the second
    derivative pairs of (nearly) equal eigenvalues are left out: that of a set which a parameter splits does not exist.
    """
    return eigenpairs(matrices)[0]


@jax.custom_jvp
def eigenpairs(matrices):
    """`eigenvalues`, and the eigenvectors that belong to them in the columns of (M, D, D).

    By the implementation that JAX chooses: LAPACK's divide and conquer on CPU; on CUDA, cuSOLVER's for whole batches.
    """
    vectors, values = jax.lax.linalg.eigh(matrices, symmetrize_input=False)
    if values.dtype == jnp.float32 and jax_setting("jax_enable_x64"):
        return refined(matrices, values, vectors)
    return values, vectors


@eigenpairs.defjvp
def _eigenpairs_jvp(primals, tangents):
    # named, so that batches in turn keep them and do not diagonalize again for the gradient (`over_batches`)
    values, vectors = checkpoint_name(eigenpairs(primals[0]), KEPT)
    product = partial(jnp.matmul, precision="highest")  # the rule may be used outside of `over_batches`
    turned = product(tangents[0], vectors)
    # dλ_k = v_kᵀ dA v_k, and dv_k = Σ_l v_l (v_lᵀ dA v_k) / (λ_k - λ_l), without pairs whose difference is rounding
    gap = values[..., None, :] - values[..., :, None]
    apart = jnp.abs(gap) > _degenerate(values.dtype) * jnp.abs(values).max(axis=-1)[..., None, None]
    mixing = jnp.where(apart, product(jnp.swapaxes(vectors, -1, -2), turned) / jnp.where(apart, gap, 1.0), 0.0)
    return (values, vectors), ((vectors * turned).sum(axis=-2), product(vectors, mixing))


def _degenerate(dtype) -> float:
    """Distance of two eigenvalues, relative to the largest, below which they count as equal: 4e-10 in float64."""
    return float(jnp.finfo(dtype).eps) ** 0.6


@jax.custom_jvp
def frequency(eigenvalue):
    """sign(λ) √|λ|, times a constant, in cm⁻¹ for λ in hartree/(bohr² u); imaginary ones are negative, as in q2mm."""
    return FREQUENCY_FACTOR * jnp.sign(eigenvalue) * jnp.sqrt(jnp.abs(eigenvalue))


@frequency.defjvp
def _frequency_jvp(primals, tangents):
    # JAX's own rule has sign(0) / √0 here, which is NaN
    floor = (SMALLEST_FREQUENCY / FREQUENCY_FACTOR) ** 2
    slope = 0.5 * FREQUENCY_FACTOR / jnp.sqrt(jnp.maximum(jnp.abs(primals[0]), floor))
    return frequency(primals[0]), slope * tangents[0]


def mass_weighted(bucket: Bucket, hessians):
    """Mass-weighted Hessians (M, D, D), with the padded diagonal filled so that padded eigenvalues sort last.

    The fill lies between one and two times the largest row sum of |A|, an upper bound of every eigenvalue (Gershgorin),
    in distinct steps, so that padding makes no degenerate eigenvalues. No real mode changes its place.
    """
    present = bucket.component_present
    scale = jnp.where(present, bucket.inverse_root_masses, 0.0)
    matrices = hessians * scale[:, :, None] * scale[:, None, :]
    size = matrices.shape[-1]
    # at least 1e-3, so that a matrix of zeros gets a fill as well
    bound = jax.lax.stop_gradient(jnp.maximum(jnp.abs(matrices).sum(axis=-1).max(axis=-1), 1e-3))
    fill = bound[:, None] * (1.0 + jnp.arange(1.0, size + 1.0, dtype=matrices.dtype) / size)[None]
    return matrices + jnp.where(present, 0.0, fill)[:, :, None] * jnp.eye(size, dtype=matrices.dtype)[None]
