"""First derivatives of coefficients and energies by force-field parameters, from those of each term by its own parameters.

A parameter changes only the terms that name it, so that all columns together cost little more than filling them.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.hessian import (
    Coefficients,
    atom_parameters,
    directions,
    pair_coefficients,
    place_of_pairs,
    term_coefficients,
    term_parameters,
)
from q2mm_accel.model.kinds import KINDS, Form, Kind, form_named, term_kinds
from q2mm_accel.problem.arrays import Batch, Bucket, Expansion, Terms


class Changes(NamedTuple):
    """Derivatives of the coefficients of all terms by the parameters that each term names."""

    terms: dict[str, Coefficients]
    """By kind, with a leading axis P, the term's parameters."""
    pairs: dict[str, list]
    """By kind, of each bucket the `PairCoefficients` by parameters of the first atom, with a leading axis, or None. Those by
    the second atom's are the transposed ones."""


def changes(batch: Batch, vector) -> Changes:
    """The derivatives of all coefficients at all parameters of the force field (n_parameters,)."""
    form, kinds = form_named(batch.form), term_kinds()
    terms = {kind: _term_changes(kinds[kind], form, each, vector) for kind, each in batch.terms.items()}
    occurring = dict.fromkeys(kind for bucket in batch.buckets for kind in bucket.pairs)
    return Changes(terms, {kind: _pair_changes(batch, kind, vector) for kind in occurring})


def _term_changes(kind: Kind, form: Form, terms: Terms, vector) -> Coefficients:
    parameters = term_parameters(terms, vector)

    def by_parameter(direction):
        return jax.jvp(partial(term_coefficients, kind, form, terms), (parameters,), (direction,))[1]

    count = len(parameters)
    unit = jnp.eye(count, dtype=parameters.dtype)[:, :, None]
    return jax.vmap(by_parameter)(jnp.broadcast_to(unit, (count, *parameters.shape)))


def _pair_changes(batch: Batch, kind: str, vector) -> list:
    """A loop, in contrast to `vmap`, keeps XLA from evaluating the potential again in each element of the Hessian."""
    atoms = atom_parameters(batch, kind, vector)

    def by_parameter(column):
        direction = [None if each is None else jnp.zeros_like(each).at[column].set(1.0) for each in atoms]
        return jax.jvp(lambda first: pair_coefficients(batch, kind, first, atoms), (atoms,), (direction,))[1]

    return jax.lax.map(by_parameter, jnp.arange(len(KINDS[kind].parameters)))


def joined(batch: Batch, of_terms, of_pairs):
    """The derivatives by all parameters, in their order.

    Args:
        batch: the batch.
        of_terms: of each bucket the derivatives by way of all terms, (n_parameters, *shape).
        of_pairs: kind and number of a bucket -> the derivatives by the kind's parameters, (n_types * width, *shape).

    Returns:
        For each bucket (n_parameters, *shape), 0 where no term has a parameter's type.
    """
    results = []
    for number, (result, bucket) in enumerate(zip(of_terms, batch.buckets, strict=True)):
        for kind, start, n_types in batch.pair_types:
            if kind in bucket.pairs:
                stop = start + n_types * len(KINDS[kind].parameters)
                result = result.at[start:stop].add(of_pairs(kind, number))
        results.append(result)
    return results


def by_bucket(flat, shapes):
    """Of each bucket (n, *shape) from (n, all entries of all buckets)."""
    results, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        results.append(flat[:, start:stop].reshape(-1, *shape))
        start = stop
    return results


def types_of_atoms(bucket: Bucket, kind: str, n_types: int):
    """1 where an atom has the type of a kind of pairs, (M, n_types, N)."""
    types = jnp.where(bucket.distances.atom_present, bucket.pairs[kind].types, -1)
    matches = jnp.arange(n_types, dtype=types.dtype)[None, :, None] == types[:, None]
    return matches.astype(bucket.distances.distance.dtype)


def energy_slopes(batch: Batch, found: Changes):
    """Derivatives of the energies of each bucket's molecules, (n_parameters, M) [kcal/mol]."""
    shapes = [bucket.component_present.shape[:1] for bucket in batch.buckets]
    n_molecules = sum(math.prod(shape) for shape in shapes)
    total = jnp.zeros((batch.n_parameters, n_molecules), batch.dtype)
    for kind, each in found.terms.items():
        terms = batch.terms[kind]
        molecule = jnp.where(terms.present, terms.molecule, 0)
        for column, values in enumerate(each.value):
            total = total.at[jnp.where(terms.present, terms.parameters[:, column], 0), molecule].add(values)

    def of_pairs(kind, number):
        types = types_of_atoms(batch.buckets[number], kind, place_of_pairs(batch, kind)[1])
        sums = jnp.einsum("mti,wmij->twm", types, found.pairs[kind][number].value)
        return sums.reshape(-1, *shapes[number])

    return joined(batch, by_bucket(total, shapes), of_pairs)


def gradient_slopes(batch: Batch, found: Changes):
    """Derivatives of the gradients of each bucket's molecules, (n_parameters, M, D) [kcal/mol/Å]."""
    shapes = [bucket.component_present.shape for bucket in batch.buckets]
    total = jnp.zeros((batch.n_parameters, sum(math.prod(shape) for shape in shapes)), batch.dtype)
    for kind, each in found.terms.items():
        terms, present = batch.terms[kind], batch.terms[kind].present[:, None]
        components = jnp.where(present, terms.components, 0)
        first = jnp.stack([jnp.where(present, one, 0.0) for one in terms.first])
        for column, slopes in enumerate(each.slopes):
            parameter = jnp.where(present, terms.parameters[:, column, None], 0)
            total = total.at[parameter, components].add((slopes[:, :, None] * first).sum(axis=0))

    def of_pairs(kind, number):
        bucket, slope = batch.buckets[number], found.pairs[kind][number].slope
        types = types_of_atoms(bucket, kind, place_of_pairs(batch, kind)[1])
        unit = directions(bucket)
        # the parameter is the first atom's, which is the one whose force it is, or the other
        own = jnp.einsum("mti,wmij,maij->twmai", types, slope, unit)
        result = own + jnp.einsum("mtj,wmji,maij->twmai", types, slope, unit)
        return result.reshape(-1, *shapes[number])

    return joined(batch, by_bucket(total, shapes), of_pairs)


def by_elements(expansion: Expansion, slopes, n_elements: int):
    """Derivatives by the elements of the vector, (n, ...), from those by all parameters, (n_parameters, ...)."""
    result = jnp.zeros((n_elements, *slopes.shape[1:]), slopes.dtype)
    for columns, factors in zip(expansion.columns.T, expansion.coefficients.T, strict=True):
        factors = factors.astype(slopes.dtype).reshape(-1, *[1] * (slopes.ndim - 1))
        result = result.at[columns].add(jnp.where(factors != 0.0, factors * slopes, 0.0))
    return result
