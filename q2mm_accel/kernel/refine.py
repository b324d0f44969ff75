"""Eigenpairs of float32 matrices that are as good as the matrices.

`eigh` in float32 has errors of 1e-6 of the largest eigenvalue: a bond's vibration disturbs soft modes by tenths of a cm⁻¹,
and modes that lie close together mix. One sweep of rotations, whose products alone are taken in float64, removes both; it
costs six matrix products, little where float64 is slow and an `eigh` much slower.

Sources: T. Ogita, K. Aishima, Japan J. Indust. Appl. Math. 35, 1007 (2018), algorithm 1. Its small angles have no bound
where eigenvalues almost coincide; here they are Jacobi's (G. H. Golub, C. F. Van Loan, Matrix Computations, section 8.5),
exact for a pair however close, and never above 45 degrees.
"""

import jax.numpy as jnp

_CLOSE = 1e-6
"""Eigenvectors whose eigenvalues are closer, relative to the largest, are not turned: any basis of their space serves."""


def refined(matrices, values, vectors):
    """Better eigenvalues (M, D) and eigenvectors (M, D, D) of symmetric matrices (M, D, D), all float32.

    Args:
        matrices: of which the lower triangle is read.
        values: approximate eigenvalues, ascending.
        vectors: approximate eigenvectors, in columns.

    Returns:
        Eigenvalues, ascending, and eigenvectors of the same types.
    """
    # the same matrices that `eigh` saw, which reads only the lower triangle
    lower = jnp.tril(matrices).astype(jnp.float64)
    symmetric = lower + jnp.swapaxes(jnp.tril(lower, -1), -1, -2)
    basis = vectors.astype(jnp.float64)
    # With R = I - VᵀV, V (I + R/2) is orthonormal to first order (Löwdin), and in that basis A is, to the same order,
    # VᵀAV + (R VᵀAV + VᵀAV R) / 2: nearly diagonal, so that λ may stand for VᵀAV beside R.
    defect = _defect(basis)
    projected = jnp.swapaxes(basis, -1, -2) @ (symmetric @ basis)
    quotients = _diagonal(projected) / (1.0 - _diagonal(defect))
    coupling = projected + 0.5 * (quotients[..., None, :] + quotients[..., :, None]) * defect
    tangents, apart = _rotations(quotients, coupling)
    # second-order perturbation with bounded angles: for a pair alone it is exact, also where the eigenvalues coincide
    better = quotients + (coupling * tangents).sum(axis=-2)
    tangents = jnp.where(apart, tangents, 0.0)
    turned = basis + basis @ (tangents + 0.5 * defect)
    # cosines of the rotations; all pairs turn at once, which is orthogonal to first order only, hence Löwdin once more
    turned = turned / jnp.sqrt(1.0 + (tangents**2).sum(axis=-2))[..., None, :]
    turned = turned + 0.5 * (turned @ _defect(turned))
    # corrections may make neighbours change places, and references count modes by their order
    order = jnp.argsort(better, axis=-1)
    better = jnp.take_along_axis(better, order, axis=-1)
    turned = jnp.take_along_axis(turned, order[..., None, :], axis=-1)
    return better.astype(values.dtype), turned.astype(vectors.dtype)


def _rotations(quotients, coupling):
    """Tangents t of Jacobi's angles, (M, D, D), and which pairs of eigenvalues lie apart.

    Of the two roots of c t² + gap t - c = 0, with c the coupling of the pair, the smaller one, in the form without
    cancellation. t_ij = -t_ji; pairs with equal eigenvalues turn by 45 degrees.
    """
    ones = jnp.ones(coupling.shape[-2:], dtype=coupling.dtype)
    later = (jnp.triu(ones, 1) - jnp.tril(ones, -1))[None]
    coupling = coupling * jnp.abs(later)
    gap = quotients[..., None, :] - quotients[..., :, None]
    root = jnp.sqrt(gap**2 + 4.0 * coupling**2)
    sum_of_both = gap + jnp.where(gap == 0.0, later, jnp.sign(gap)) * root
    tangents = 2.0 * coupling / jnp.where(root > 0.0, sum_of_both, 1.0)
    return tangents, root > _CLOSE * jnp.abs(quotients).max(axis=-1)[..., None, None]


def _defect(basis):
    """I - VᵀV, (M, D, D)."""
    return jnp.eye(basis.shape[-1], dtype=basis.dtype)[None] - jnp.swapaxes(basis, -1, -2) @ basis


def _diagonal(matrices):
    return jnp.diagonal(matrices, axis1=-2, axis2=-1)
