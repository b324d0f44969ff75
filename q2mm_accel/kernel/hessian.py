"""Energies, gradients and Hessians of all molecules from precomputed local pieces.

A force field is a sum of terms e(q) of internal coordinates q: E = Σ e, ∂E = Σ e' ∂q, ∂²E = Σ e'' ∂q ∂qᵀ + e' ∂²q. Only
e' and e'' depend on the parameters. All results are in kcal/mol and Å.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.potentials import Form, form_named
from q2mm_accel.problem.arrays import Batch, Bucket, Pairs, Terms
from q2mm_accel.problem.internal import NEARLY_LINEAR
from q2mm_accel.units import DEGREE

_GAUSS_NODES = (0.5 - 0.5 / math.sqrt(3.0), 0.5 + 0.5 / math.sqrt(3.0))


def derivatives(function, coordinate):
    """Value, first and second derivative of an elementwise function."""
    one = jnp.ones_like(coordinate)

    def with_slope(q):
        return jax.jvp(function, (q,), (one,))

    (value, first), (_, second) = jax.jvp(with_slope, (coordinate,), (one,))
    return value, first, second


def _distance_coefficients(potential, coordinate, parameters, constants):
    force_constant, equilibrium = parameters
    value, first, second = derivatives(
        partial(potential, force_constant=force_constant, equilibrium=equilibrium), coordinate - equilibrium
    )
    return value, first, second, first


def _angle_coefficients(potential, supplement, parameters, constants):
    """With u = π - θ and ratio = (∂e/∂u) / u: ∂²E = (e'' - ratio) ∂u ∂uᵀ + ratio ∂²(u²)/2, finite at a linear angle.

    Below `NEARLY_LINEAR` the part of e that is linear in u is left out of the derivatives: it has a kink at u = 0, whose
    sub-gradient is taken as 0. For an equilibrium of 180 degrees there is none. The ratio then is the mean of e'' between
    u and 0, by Gauss' rule with two nodes, good to terms in u⁴.
    """
    force_constant, equilibrium = parameters[0][None], parameters[1][None] * DEGREE
    potential = partial(potential, force_constant=force_constant, equilibrium=equilibrium)
    straight = (180.0 - parameters[1][None]) * DEGREE
    nodes = jnp.array([1.0, *_GAUSS_NODES], dtype=supplement.dtype)[:, None]
    values, firsts, seconds = derivatives(potential, straight - nodes * supplement[None])
    value, first, second, mean = values[0], firsts[0], seconds[0], 0.5 * (seconds[1] + seconds[2])
    linear = supplement < NEARLY_LINEAR
    ratio = jnp.where(linear, mean, -first / jnp.where(linear, 1.0, supplement))
    return value, ratio * supplement, second - ratio, ratio


def _torsion_coefficients(potential, angle, parameters, constants):
    periodicity, phase = constants
    value, first, second = derivatives(
        partial(potential, force_constant=parameters[0], periodicity=periodicity, phase=phase), angle
    )
    return value, first, second, first


_COEFFICIENTS = {
    "bond": _distance_coefficients,
    "angle": _angle_coefficients,
    "torsion": _torsion_coefficients,
    "urey_bradley": _distance_coefficients,
}


def term_coefficients(form: Form, kind: str, terms: Terms, block):
    """Energy, and the factors of ∂q in the gradient and of ∂q ∂qᵀ and ∂²q in the Hessian, (T,) each, 0 where padded."""
    return coefficients_of_terms(form, kind, terms, term_parameters(terms, block))


def term_parameters(terms: Terms, block):
    """The parameters of each term, (width, T)."""
    types = jnp.where(terms.present, terms.types, 0)
    return jnp.stack([block[:, column][types] for column in range(block.shape[1])])


def coefficients_of_terms(form: Form, kind: str, terms: Terms, parameters):
    """`term_coefficients` from the terms' own parameters (width, T)."""
    coordinate = jnp.where(terms.present, terms.coordinate, 1.0)
    constants = tuple(jnp.where(terms.present, constant, 1.0) for constant in terms.constants)
    coefficients = _COEFFICIENTS[kind](getattr(form, kind), coordinate, parameters, constants)
    return tuple(jnp.where(terms.present, coefficient, 0.0) for coefficient in coefficients)


def pair_coefficients(form: Form, buckets: tuple[Bucket, ...], block):
    """Energy and its first two derivatives by distance of all atom pairs, 0 where there is none.

    Returns:
        For each bucket three arrays (M, N, N), or None where no two atoms interact.
    """
    atoms = atom_parameters(buckets, block)
    return coefficients_of_pairs(form, buckets, atoms, atoms)


def atom_parameters(buckets: tuple[Bucket, ...], block):
    """Van der Waals radius and ε of each bucket's atoms, (2, M, N), 1 where padded; None where no two atoms interact."""
    results = []
    for pairs in (bucket.pairs for bucket in buckets):
        if pairs is None:
            results.append(None)
            continue
        types = jnp.where(pairs.atom_present, pairs.types, 0)
        results.append(jnp.stack([jnp.where(pairs.atom_present, block[:, column][types], 1.0) for column in range(2)]))
    return results


def coefficients_of_pairs(form: Form, buckets: tuple[Bucket, ...], first, second):
    """`pair_coefficients` from the `atom_parameters` of the pairs' first and second atoms."""
    shapes = [None if bucket.pairs is None else bucket.pairs.present.shape for bucket in buckets]
    columns = [
        _combined(form, bucket.pairs, *atoms)
        for bucket, *atoms in zip(buckets, first, second, strict=True)
        if bucket.pairs is not None
    ]
    if not columns:
        return shapes
    present, distance, radius, epsilon = (
        jnp.concatenate([c.reshape(-1) for c in column]) for column in zip(*columns, strict=True)
    )
    distance = jnp.where(present, distance, radius)
    coefficients = derivatives(partial(form.vdw, radius=radius, epsilon=epsilon), distance)
    coefficients = [jnp.where(present, coefficient, 0.0) for coefficient in coefficients]
    results, start = [], 0
    for shape in shapes:
        stop = start + (0 if shape is None else math.prod(shape))
        results.append(shape and tuple(coefficient[start:stop].reshape(shape) for coefficient in coefficients))
        start = stop
    return results


def _root(values):
    """√x with the derivative 0 at x = 0, where a force field switches a type off; NaN below."""
    zero = values == 0.0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, values)))


def _combined(form: Form, pairs: Pairs, first, second):
    """Whether a pair interacts, its distance, combined radius and ε, (M, N, N) each."""
    radius = form.combine_radii(first[0, :, :, None], second[0, :, None, :])
    epsilon = _root(first[1])[:, :, None] * _root(second[1])[:, None, :]
    return pairs.present, pairs.distance, radius, epsilon


def energies(batch: Batch, blocks):
    """Energies of the molecules of each bucket, (M,) [kcal/mol]."""
    form = form_named(batch.form)
    counts = [bucket.component_present.shape[0] for bucket in batch.buckets]
    dtype = batch.buckets[0].inverse_root_masses.dtype
    total = jnp.zeros(sum(counts), dtype)
    for kind, terms in batch.terms.items():
        molecule = jnp.where(terms.present, terms.molecule, 0)
        total = total.at[molecule].add(term_coefficients(form, kind, terms, blocks[kind])[0].astype(dtype))
    results, start = [], 0
    for count, pairs in zip(counts, pair_coefficients(form, batch.buckets, blocks["vdw"]), strict=True):
        bonded = total[start : start + count]
        results.append(bonded if pairs is None else bonded + 0.5 * pairs[0].sum(axis=(1, 2), dtype=dtype))
        start += count
    return results


def gradients(batch: Batch, blocks):
    """Gradients of the energies of each bucket's molecules, (M, D) [kcal/mol/Å], components axis by axis."""
    form = form_named(batch.form)
    shapes = [bucket.component_present.shape for bucket in batch.buckets]
    total = jnp.zeros(sum(math.prod(shape) for shape in shapes), blocks["bond"].dtype)
    for kind, terms in batch.terms.items():
        present = terms.present[:, None]
        slope = term_coefficients(form, kind, terms, blocks[kind])[1]
        updates = slope[:, None] * jnp.where(present, terms.first, 0.0)
        total = total.at[jnp.where(present, terms.components, 0)].add(updates)
    results, start = [], 0
    coefficients = pair_coefficients(form, batch.buckets, blocks["vdw"])
    for shape, bucket, pairs in zip(shapes, batch.buckets, coefficients, strict=True):
        result = total[start : start + math.prod(shape)].reshape(shape)
        if pairs is not None:
            direction = jnp.where(bucket.pairs.present[:, None], bucket.pairs.direction, 0.0)
            result = result + (pairs[1][:, None] * direction).sum(axis=3).reshape(shape)
        results.append(result)
        start += math.prod(shape)
    return results


def term_updates(terms: Terms, along, curved):
    """Places in the flat buffer and second derivatives of all terms, (T, 3k, 3k) each, from two `term_coefficients`."""
    present = terms.present[:, None]
    first = jnp.where(present, terms.first, 0.0)
    second = jnp.where(present[:, :, None], terms.second, 0.0)
    values = along[:, None, None] * (first[:, :, None] * first[:, None, :]) + curved[:, None, None] * second
    rows, columns = jnp.where(present, terms.rows, 0), jnp.where(present, terms.columns, 0)
    return rows[:, :, None] + columns[:, None, :], values


def pair_blocks(pairs: Pairs, slope, curvature):
    """Second derivatives of each pair's energy by the distance vector of its atoms, (M, 3, 3, N, N)."""
    distance = jnp.where(pairs.present, pairs.distance, 1.0)
    direction = jnp.where(pairs.present[:, None], pairs.direction, 0.0)
    across = slope / distance
    along = (curvature - across)[:, None] * direction
    axes = jnp.eye(3, dtype=across.dtype)
    return along[:, :, None] * direction[:, None, :] + axes[None, :, :, None, None] * across[:, None, None]


def pairwise(pairs: Pairs, slope, curvature):
    """Second derivatives of all pair energies, (M, 3, N, 3, N)."""
    blocks = pair_blocks(pairs, slope, curvature)
    atoms = jnp.eye(blocks.shape[-1], dtype=blocks.dtype)
    diagonal = atoms[None, None, None] * blocks.sum(axis=4)[..., None]
    return (diagonal - blocks).transpose(0, 1, 3, 2, 4)


def hessians(batch: Batch, blocks):
    """Hessians of each bucket's molecules, (M, D, D) [kcal/mol/Å²], components axis by axis; 0 where padded."""
    form = form_named(batch.form)
    shapes = [(*bucket.component_present.shape, bucket.component_present.shape[1]) for bucket in batch.buckets]
    updates = [
        term_updates(terms, *term_coefficients(form, kind, terms, blocks[kind])[2:]) for kind, terms in batch.terms.items()
    ]
    buffer = jnp.zeros(sum(math.prod(shape) for shape in shapes), blocks["bond"].dtype)
    if updates:
        places, values = (jnp.concatenate([part.reshape(-1) for part in parts]) for parts in zip(*updates, strict=True))
        buffer = buffer.at[places].add(values)
    results, start = [], 0
    coefficients = pair_coefficients(form, batch.buckets, blocks["vdw"])
    for shape, bucket, pairs in zip(shapes, batch.buckets, coefficients, strict=True):
        result = buffer[start : start + math.prod(shape)].reshape(shape)
        if pairs is not None:
            result = result + pairwise(bucket.pairs, pairs[1], pairs[2]).reshape(shape)
        results.append(result)
        start += math.prod(shape)
    return results
