"""What a batch of molecules computes for the references: from parameters to energies, Hessians and eigenvalues."""

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.hessian import energies, hessians
from q2mm_accel.kernel.spectrum import eigenpairs, mass_weighted
from q2mm_accel.problem.arrays import Batch
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU


def compute_batch(batch: Batch, parameters):
    """What references read, (P,), from all parameters of the force field.

    Energies [kcal/mol], eigenvalues [hartree/(bohr² u)], Hessians and eigenmatrices [hartree/bohr²].

    Args:
        batch: the molecules.
        parameters: (n_parameters,).

    Returns:
        The values.
    """
    total, matrices = mechanics(batch, parameters)
    values, _ = spectra(batch, matrices)
    return gather(batch, total, matrices, values)


def mechanics(batch: Batch, parameters):
    """Of each bucket the energies (M,) [kcal/mol] and Hessians (M, D, D) [hartree/bohr²]; None where not needed."""
    needed = {output for bucket in batch.buckets for output in bucket.outputs}
    vector = parameters.astype(batch.dtype)
    nothing = [None] * len(batch.buckets)
    total = energies(batch, vector) if "energy" in needed else nothing
    if needed <= {"energy"}:
        return total, nothing
    return total, [matrix * KCALMOLA2_TO_HESSIAN_AU for matrix in hessians(batch, vector)]


def spectra(batch: Batch, matrices):
    """Of each bucket the eigenvalues (M, D) and eigenvectors (M, D, D) of mass-weighted Hessians; None if not needed.

    Two batched `eigh` at the same time can hang in jaxlib 0.10 on CPU; each waits for the last through a data
    dependency, the addition of 0 times an eigenvalue.

    Args:
        batch: the molecules.
        matrices: Hessians of each bucket.

    Returns:
        Eigenvalues and eigenvectors.
    """
    values, vectors, after = [], [], None
    for bucket, matrix in zip(batch.buckets, matrices, strict=True):
        if "eigenvalues" not in bucket.outputs:
            values.append(None)
            vectors.append(None)
            continue
        weighted = mass_weighted(bucket, matrix.astype(bucket.inverse_root_masses.dtype))
        found = eigenpairs(weighted if after is None else weighted + after)
        after = 0.0 * jax.lax.stop_gradient(jnp.nan_to_num(found[0][0, 0]))
        values.append(found[0])
        vectors.append(found[1])
    return values, vectors


def gather(batch: Batch, total, matrices, values):
    """What references read, (P,), from what `mechanics` and `spectra` give for each bucket; linear in all of it."""
    results = []
    for number, bucket in enumerate(batch.buckets):
        dtype = bucket.inverse_root_masses.dtype
        if "energy" in bucket.outputs:
            results.append(total[number].astype(dtype))
        if "eigenvalues" in bucket.outputs:
            results.append(values[number].astype(dtype))
        if "hessian" in bucket.outputs:
            results.append(matrices[number].astype(dtype))
        for output in bucket.outputs:
            if (basis := bucket.basis(output)) is not None:
                results.append(jnp.swapaxes(basis, 1, 2) @ matrices[number].astype(dtype) @ basis)
    return jnp.concatenate([result.reshape(-1) for result in results])[batch.read]
