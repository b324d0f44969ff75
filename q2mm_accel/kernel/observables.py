"""What a batch of molecules computes for the references: from parameters to energies, Hessians and eigenvalues."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.hessian import energies, gradients, hessians
from q2mm_accel.kernel.spectrum import eigenpairs, mass_weighted
from q2mm_accel.problem.arrays import MATRICES, Array, Batch, Bucket
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU


def compute_batch(batch: Batch, parameters):
    """What references read, (P,), from all parameters of the force field.

    Energies [kcal/mol], gradients [kcal/mol/Å] and along modes [kcal/mol/(Å u^1/2)], eigenvalues and matrices of modes
    [hartree/(bohr² u)], Hessians and eigenmatrices [hartree/bohr²].

    Args:
        batch: the molecules.
        parameters: (n_parameters,).

    Returns:
        The values.
    """
    found = mechanics(batch, parameters)
    values, _ = spectra(batch, found.hessians)
    return gather(batch, found, values)


class Mechanics(NamedTuple):
    """Of each bucket what follows from the potential; None where no bucket needs it."""

    energies: list
    """(M,) [kcal/mol]."""
    gradients: list
    """(M, D) [kcal/mol/Å]."""
    hessians: list
    """(M, D, D) [hartree/bohr²]."""


def mechanics(batch: Batch, parameters) -> Mechanics:
    """What the references of a batch need, from all parameters of the force field (n_parameters,)."""
    needed = {output for bucket in batch.buckets for output in bucket.outputs}
    vector = parameters.astype(batch.dtype)
    nothing = [None] * len(batch.buckets)
    matrices = nothing
    if needed & {"eigenvalues", *MATRICES}:
        matrices = [matrix * KCALMOLA2_TO_HESSIAN_AU for matrix in hessians(batch, vector)]
    return Mechanics(
        energies(batch, vector) if "energy" in needed else nothing,
        gradients(batch, vector) if needed & {"gradient", "mode_gradient"} else nothing,
        matrices,
    )


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


def gather(batch: Batch, found: Mechanics, values):
    """What references read, (P,), from what `mechanics` and `spectra` give for each bucket; linear in all of it."""
    results = []
    for number, bucket in enumerate(batch.buckets):
        for output in bucket.outputs:
            result = _output(bucket, output, *(each[number] for each in (*found, values)))
            results.append(result.astype(bucket.inverse_root_masses.dtype).reshape(-1))
    return jnp.concatenate(results)[batch.read]


def _output(bucket: Bucket, output: str, energy, gradient, matrix, values) -> Array:
    """One of `OUTPUTS`."""
    plain = {"energy": energy, "gradient": gradient, "eigenvalues": values, "hessian": matrix}
    if output in plain:
        return plain[output]
    basis = jnp.asarray(bucket.basis(output))
    if output == "mode_gradient":
        return (gradient.astype(basis.dtype)[:, None] @ basis)[:, 0]
    return jnp.swapaxes(basis, 1, 2) @ matrix.astype(basis.dtype) @ basis
