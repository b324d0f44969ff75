"""First derivatives of energies and Hessians by force-field parameters, from those of each term by its own parameters.

A parameter changes only the terms of its type, so that all columns together cost little more than filling them.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.hessian import (
    atom_parameters,
    coefficients_of_pairs,
    coefficients_of_terms,
    pairwise,
    term_parameters,
    term_updates,
)
from q2mm_accel.kernel.parameters import blocks
from q2mm_accel.kernel.potentials import Form, form_named
from q2mm_accel.model.forcefield import BLOCKS
from q2mm_accel.problem.arrays import Batch, Bucket, Terms
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU


class Changes(NamedTuple):
    """Derivatives of the coefficients of all terms by the term's own parameters."""

    terms: dict
    """By kind those of `hessian.term_coefficients`, four arrays (width, T)."""
    pairs: list
    """Of each bucket those of `hessian.pair_coefficients` by parameters of the first atom, three arrays (width, M, N, N), or
    None. Those by the second atom's are the transposed ones."""


def changes(batch: Batch, parameters) -> Changes:
    """The derivatives of all coefficients at the parameters (n_parameters,)."""
    form, by_kind = form_named(batch.form), blocks(batch, parameters)
    terms = {kind: _term_changes(form, kind, terms, by_kind[kind]) for kind, terms in batch.terms.items()}
    return Changes(terms, _pair_changes(form, batch.buckets, by_kind["vdw"]))


def _term_changes(form: Form, kind: str, terms: Terms, block):
    parameters = term_parameters(terms, block)

    def by_parameter(direction):
        return jax.jvp(partial(coefficients_of_terms, form, kind, terms), (parameters,), (direction,))[1]

    width = block.shape[1]
    unit = jnp.eye(width, dtype=parameters.dtype)[:, :, None]
    return jax.vmap(by_parameter)(jnp.broadcast_to(unit, (width, *parameters.shape)))


def _pair_changes(form: Form, buckets: tuple[Bucket, ...], block):
    """A loop, in contrast to `vmap`, keeps XLA from evaluating the potential again in each element of the Hessian."""
    atoms = atom_parameters(buckets, block)

    def by_parameter(column):
        direction = [None if each is None else jnp.zeros_like(each).at[column].set(1.0) for each in atoms]
        return jax.jvp(lambda first: coefficients_of_pairs(form, buckets, first, atoms), (atoms,), (direction,))[1]

    return jax.lax.map(by_parameter, jnp.arange(block.shape[1]))


def joined(batch: Batch, shapes, of_terms, of_pairs):
    """The derivatives by all parameters, in their order.

    Args:
        batch: the batch.
        shapes: of each bucket, that of what is differentiated.
        of_terms: a kind -> for each bucket the derivatives by the kind's parameters, (n_types * width, *shape).
        of_pairs: number of a bucket -> the same by van der Waals parameters.

    Returns:
        For each bucket (n_parameters, *shape), 0 where no term has a parameter's type.
    """
    results = [[] for _ in shapes]
    for kind, n_types in batch.n_types:
        found = of_terms(kind) if kind in batch.terms else [None] * len(shapes)
        for number, (result, slopes, bucket) in enumerate(zip(results, found, batch.buckets, strict=True)):
            if kind == "vdw" and bucket.pairs is not None:
                slopes = of_pairs(number)
            if slopes is None:
                slopes = jnp.zeros((n_types * len(BLOCKS[kind]), *shapes[number]), batch.dtype)
            result.append(slopes)
    return [jnp.concatenate(result) for result in results]


def by_bucket(flat, shapes):
    """Of each bucket (n, *shape) from (n, all entries of all buckets)."""
    results, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        results.append(flat[:, start:stop].reshape(-1, *shape))
        start = stop
    return results


def types_of_atoms(bucket: Bucket, n_types: int):
    """1 where an atom has the van der Waals type, (M, n_types, N)."""
    types = jnp.where(bucket.pairs.atom_present, bucket.pairs.types, -1)
    matches = jnp.arange(n_types, dtype=types.dtype)[None, :, None] == types[:, None]
    return matches.astype(bucket.pairs.distance.dtype)


def energy_slopes(batch: Batch, found: Changes):
    """Derivatives of the energies of each bucket's molecules, (n_parameters, M) [kcal/mol]."""
    shapes = [bucket.component_present.shape[:1] for bucket in batch.buckets]
    n_types, n_molecules = dict(batch.n_types), sum(math.prod(shape) for shape in shapes)

    def of_terms(kind):
        terms, values = batch.terms[kind], found.terms[kind][0]
        place = jnp.where(terms.present, terms.types * n_molecules + terms.molecule, 0)
        sums = jax.ops.segment_sum(values.T, place, n_types[kind] * n_molecules)
        return by_bucket(sums.reshape(n_types[kind], n_molecules, -1).transpose(0, 2, 1).reshape(-1, n_molecules), shapes)

    def of_pairs(number):
        types = types_of_atoms(batch.buckets[number], n_types["vdw"])
        sums = jnp.einsum("mti,wmij->twm", types, found.pairs[number][0])
        return sums.reshape(-1, *shapes[number])

    return joined(batch, shapes, of_terms, of_pairs)


def hessian_slopes(batch: Batch, found: Changes):
    """Derivatives of the Hessians of each bucket's molecules, (n_parameters, M, D, D) [hartree/bohr²]."""
    shapes = [(*bucket.component_present.shape, bucket.component_present.shape[1]) for bucket in batch.buckets]
    n_types, n_elements = dict(batch.n_types), sum(math.prod(shape) for shape in shapes)

    def of_terms(kind):
        terms, (_, _, along, curved) = batch.terms[kind], found.terms[kind]
        places, values = jax.vmap(partial(term_updates, terms), out_axes=(None, 0))(along, curved)
        width, row = len(values), jnp.where(terms.present, terms.types * len(values), 0)
        rows = row[None] + jnp.arange(width, dtype=row.dtype)[:, None]
        buffer = jnp.zeros((n_types[kind] * width, n_elements), values.dtype)
        return by_bucket(buffer.at[rows[:, :, None, None], places[None]].add(values), shapes)

    def of_pairs(number):
        bucket, (_, slope, curvature) = batch.buckets[number], found.pairs[number]
        types = types_of_atoms(bucket, n_types["vdw"])

        def of_one(of_type, slope, curvature):
            own = [of_type[:, :, None] * change for change in (slope, curvature)]
            return pairwise(bucket.pairs, *(each + jnp.swapaxes(each, 1, 2) for each in own))

        both = jax.vmap(jax.vmap(of_one, (None, 0, 0)), (1, None, None))
        return both(types, slope, curvature).reshape(-1, *shapes[number])

    return [slopes * KCALMOLA2_TO_HESSIAN_AU for slopes in joined(batch, shapes, of_terms, of_pairs)]
