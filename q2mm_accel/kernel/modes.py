"""First derivatives of eigenvalues by force-field parameters, without a derivative of any eigenvector.

An eigenvalue of the mass-weighted Hessian has the derivative ∂λ = uᵀ ∂H u, where u = M^-1/2 v is its eigenvector v in
Cartesian components. A term adds e'' b bᵀ + e' G to H (`hessian`), so that ∂λ = ∂e'' (b·u)² + ∂e' uᵀG u, and a pair of
atoms i and j with the block K adds ∂λ = (u_i - u_j)ᵀ ∂K (u_i - u_j). Only ∂e', ∂e'' and ∂K depend on the parameter: the
squares are computed once for all parameters, then summed over the terms of each type.
"""

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.hessian import Coefficients, PairCoefficients, couples, pair_blocks, place_of_pairs
from q2mm_accel.kernel.slopes import Changes, joined, types_of_atoms
from q2mm_accel.problem.arrays import Batch, Bucket, Terms
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU

_MODES_AT_A_TIME = 64
"""Modes of a molecule whose squares are computed at a time, so that what they need stays in the processor's cache."""


def eigenvalue_slopes(batch: Batch, found: Changes, vectors):
    """Derivatives of all eigenvalues of mass-weighted Hessians.

    Args:
        batch: the batch.
        found: derivatives of the terms' coefficients.
        vectors: of each bucket the eigenvectors (M, D, K), all or some, or None.

    Returns:
        For each bucket (n_parameters, M, K) [hartree/(bohr² u)]; K is D and all 0 where `vectors` is None.
    """
    n_molecules = sum(len(bucket.component_present) for bucket in batch.buckets)
    sizes = [
        bucket.component_present.shape[1] if each is None else each.shape[2]
        for bucket, each in zip(batch.buckets, vectors, strict=True)
    ]
    n_blocks = -(-max(sizes) // _MODES_AT_A_TIME)
    functions = [_of_terms(batch.terms[kind], each, n_molecules) for kind, each in found.terms.items()]
    pair_functions = {
        (kind, number): _of_pairs(bucket, kind, found.pairs[kind][number], place_of_pairs(batch, kind)[1])
        for number, bucket in enumerate(batch.buckets)
        for kind in bucket.pairs
    }

    def of_block(modes):
        rows, shapes = _rows(modes), [(mode.shape[0], mode.shape[2]) for mode in modes]
        total = jnp.zeros((batch.n_parameters * n_molecules, rows.shape[1]), batch.dtype)
        for function in functions:
            total = function(rows, total)
        of_terms = _by_bucket(total.reshape(batch.n_parameters, n_molecules, -1), shapes)
        return joined(batch, of_terms, lambda kind, number: pair_functions[kind, number](modes[number]))

    modes = [
        _cartesian_modes(bucket, each, n_blocks).astype(batch.dtype)
        for bucket, each in zip(batch.buckets, vectors, strict=True)
    ]
    return [
        jnp.moveaxis(slopes, 0, 2).reshape(*slopes.shape[1:3], -1)[:, :, :size] * KCALMOLA2_TO_HESSIAN_AU
        for slopes, size in zip(jax.lax.map(of_block, modes), sizes, strict=True)
    ]


def _cartesian_modes(bucket: Bucket, vectors, n_blocks: int):
    """M^-1/2 v, (n_blocks, M, D, modes), 0 where padded."""
    present = bucket.component_present
    if vectors is None:
        vectors = jnp.zeros((*present.shape, present.shape[1]), bucket.inverse_root_masses.dtype)
    modes = jnp.where(present, bucket.inverse_root_masses, 0.0)[:, :, None] * vectors
    modes = jnp.pad(modes, ((0, 0), (0, 0), (0, -modes.shape[2] % n_blocks)))
    return jnp.moveaxis(modes.reshape(*present.shape, n_blocks, -1), 2, 0)


def _rows(modes):
    """The components of all molecules below each other, with as many columns as the largest bucket has modes."""
    width = max(mode.shape[2] for mode in modes)
    return jnp.concatenate(
        [jnp.pad(mode.reshape(-1, mode.shape[2]), ((0, 0), (0, width - mode.shape[2]))) for mode in modes]
    )


def _by_bucket(slopes, shapes):
    """The molecules and modes of each bucket, (n, M, modes), from those of all buckets (n, molecules, modes)."""
    results, start = [], 0
    for n_molecules, n_modes in shapes:
        results.append(slopes[:, start : start + n_molecules, :n_modes])
        start += n_molecules
    return results


def _of_terms(terms: Terms, found: Coefficients, n_molecules: int):
    """A function that adds the derivatives by one kind's parameters to (n_parameters * molecules, modes), from `_rows`.

    No coordinate changes when all its atoms move alike, so that its derivatives by all atoms but the last are enough.
    """
    present, count = terms.present[:, None], len(terms.first)
    first = [jnp.where(present, each, 0.0)[:, None, :-3] for each in terms.first]
    second = [jnp.where(present[:, :, None], each, 0.0)[:, :-3, :-3] for each in terms.second]
    pieces = jnp.concatenate([*first, *second], axis=1)
    components = jnp.where(present, terms.components, 0)
    places = jnp.where(present, terms.parameters * n_molecules + terms.molecule[:, None], 0)

    def add_to(rows, total):
        atoms = rows[components].reshape(len(places), -1, 3, rows.shape[1])
        local = (atoms[:, :-1] - atoms[:, -1:]).reshape(len(places), -1, rows.shape[1])
        products = pieces @ local
        stretches = [products[:, a] * products[:, b] * (1.0 if a == b else 2.0) for a, b in couples(count)]
        bent = products[:, count:].reshape(len(places), count, -1, rows.shape[1])
        bends = [(local * bent[:, a]).sum(axis=1) for a in range(count)]
        factors = jnp.concatenate([found.along, found.curved], axis=1)  # (P, couples + coordinates, T)
        squares = [*stretches, *bends]
        by_parameter = sum(factors[:, number].T[:, :, None] * square[:, None] for number, square in enumerate(squares))
        return total.at[places].add(by_parameter)

    return add_to


def _of_pairs(bucket: Bucket, kind: str, found: PairCoefficients, n_types: int):
    """A function of a bucket's modes that gives the derivatives by a kind's parameters, (n_types * width, M, modes).

    Σ_ij (u_i - u_j)ᵀ K_ij (u_i - u_j) over the atoms i of a type and all j, with K_ij = K_ji in all but the parameter:
    the squares of single atoms are weighted by sums of K over the type, the mixed products need the whole K.
    """
    width, n_molecules, n_atoms, _ = found.slope.shape
    blocks = jax.vmap(pair_blocks, (None, 0, 0), 1)(bucket.distances, found.slope, found.curvature)
    matrix = blocks.transpose(0, 1, 2, 4, 3, 5).reshape(n_molecules, width * 3 * n_atoms, 3 * n_atoms)
    upper = jnp.stack([blocks[:, :, axis, (axis + step) % 3] for step in (0, 1) for axis in range(3)], axis=2)
    types = types_of_atoms(bucket, kind, n_types)
    weights = jnp.einsum("mti,mwcij->mtwcj", types, upper) + types[:, :, None, None] * upper.sum(axis=4)[:, None]
    weights = weights.reshape(n_molecules, n_types * width, 6 * n_atoms)

    def slopes(modes):
        u = modes.reshape(n_molecules, 3, n_atoms, -1)
        turned = (matrix @ modes).reshape(n_molecules, width, 3, n_atoms, -1)
        mixed = jnp.einsum("mti,mwik->mtwk", types, (u[:, None] * turned).sum(axis=2))
        products = jnp.concatenate([u * u, 2.0 * u * jnp.roll(u, -1, axis=1)], axis=1)
        squares = weights @ products.reshape(n_molecules, 6 * n_atoms, -1)
        return jnp.swapaxes(squares - 2.0 * mixed.reshape(squares.shape), 0, 1)

    return slopes
