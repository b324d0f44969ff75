"""Energies, gradients and Hessians of all molecules from precomputed local pieces.

A force field is a sum of terms e(q; θ) of internal coordinates q. With b = ∂q/∂x and G = ∂²q/∂x², which never change at
a fixed geometry, E = Σ e, ∂E = Σ e_a b_a and ∂²E = Σ e_ab b_a b_bᵀ + e_a G_a over the coordinates a, b of each term:
only e and its derivatives depend on the parameters. All results are in kcal/mol and Å.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from q2mm_accel.model.kinds import KINDS, Coordinate, Form, Kind, form_named, pair_kinds, parameter_fields, term_kinds
from q2mm_accel.problem.arrays import Array, Batch, Bucket, Geometry, Pairs, Terms
from q2mm_accel.problem.internal import NEARLY_LINEAR
from q2mm_accel.units import DEGREE

_ANGLES = ("angle", "clipped_angle")
_GAUSS_NODES = (0.5 - 0.5 / math.sqrt(3.0), 0.5 + 0.5 / math.sqrt(3.0))


class Coefficients(NamedTuple):
    """By what the pieces of T terms with C coordinates are multiplied; 0 where padded."""

    value: Array
    """(T,) energies."""
    slopes: Array
    """(C, T) of b_a in the gradient."""
    along: Array
    """(C (C + 1) / 2, T) of b_a b_bᵀ in the Hessian, in the order of `couples`."""
    curved: Array
    """(C, T) of G_a in the Hessian; of angles, of ∂²(u²)/2."""


class PairCoefficients(NamedTuple):
    """Energy of all pairs of a bucket's atoms and its derivatives by their distance, (M, N, N); 0 where there is none."""

    value: Array
    slope: Array
    curvature: Array


def couples(count: int) -> list[tuple[int, int]]:
    """The pairs (a, b) of a number of coordinates with b <= a, diagonal ones included."""
    return [(a, b) for a in range(count) for b in range(a + 1)]


def derivatives(function: Callable, coordinates: tuple):
    """Value, first derivatives (C,) and second derivatives (in the order of `couples`) of an elementwise function."""
    count, ones = len(coordinates), jnp.ones_like(coordinates[0])

    def along(direction):
        return tuple(ones if place == direction else jnp.zeros_like(ones) for place in range(count))

    def with_slope(a):
        return lambda *q: jax.jvp(function, q, along(a))

    values, slopes, curvatures = [], [], {}
    for a, b in couples(count):
        (value, slope), (_, curvatures[a, b]) = jax.jvp(with_slope(a), coordinates, along(b))
        values.append(value)
        if a == b:
            slopes.append(slope)
    return values[0], slopes, curvatures


def _seen(coordinate: Coordinate, value, parameters):
    """What the energy sees of a coordinate: itself, or its deviation from its equilibrium."""
    equilibrium = None if coordinate.equilibrium is None else parameters[coordinate.equilibrium]
    if coordinate.measure == "distance":
        return value if equilibrium is None else value - equilibrium
    if coordinate.measure in _ANGLES:  # value is the supplement u = π - θ: θ - θ0 = (π - θ0) - u keeps its digits near u = 0
        return math.pi - value if equilibrium is None else (180.0 - equilibrium) * DEGREE - value
    if equilibrium is None:
        return value
    deviation = value - equilibrium * DEGREE
    return deviation - 2.0 * math.pi * jnp.round(jax.lax.stop_gradient(deviation) / (2.0 * math.pi))


def term_coefficients(kind: Kind, form: Form, terms: Terms, parameters) -> Coefficients:
    """The coefficients of a kind's terms.

    With u = π - θ of an angle and ratio = (∂e/∂u) / u: ∂²E = (e'' - ratio) ∂u ∂uᵀ + ratio ∂²(u²)/2, always finite.
    Below `NEARLY_LINEAR` the part of e that is linear in u is left out of the derivatives: it has a kink at u = 0, whose
    sub-gradient is taken as 0. For an equilibrium of 180 degrees there is none. The ratio then is the mean of e'' between
    u and 0, by Gauss' rule with two nodes, good to terms in u⁴. Mixed derivatives by u and another coordinate lose what
    they have at u = 0, which is twice their mean less their value at u, good to terms in u².

    Args:
        kind: the kind.
        form: the functional form.
        terms: T terms.
        parameters: (P, T), those of each term in the force field's units, of padded ones anything finite.
    """
    coordinates = form.coordinates_of(kind)
    declared = [*kind.parameters, *(parameter_fields()[read.field] for read in kind.reads)]
    given = [row[None] for row in parameters]
    scaled = [row * DEGREE if each.unit == "degrees" else row for row, each in zip(given, declared, strict=True)]
    constants = [jnp.where(terms.present, constant, 1.0)[None] for constant in terms.constants]
    values = [jnp.where(terms.present, value, 1.0) for value in terms.coordinates]
    angles = [place for place, each in enumerate(coordinates) if each.measure in _ANGLES]
    # clipped angles have no kink: where they could, they have no derivatives
    limits = {place: NEARLY_LINEAR if coordinates[place].measure == "angle" else 0.0 for place in angles}

    def energy(*points):
        seen = [_seen(each, point, given) for each, point in zip(coordinates, points, strict=True)]
        return form.energies[kind.name](*seen, *scaled, *constants)

    nodes = tuple(_nodes(value, place, angles) for place, value in enumerate(values))
    value, slopes, curvatures = derivatives(energy, nodes)
    ratios = {}
    for number, place in enumerate(angles):
        mean = 0.5 * (curvatures[place, place][1 + 2 * number] + curvatures[place, place][2 + 2 * number])
        linear = values[place] < limits[place]
        ratios[place] = jnp.where(linear, mean, slopes[place][0] / jnp.where(linear, 1.0, values[place]))
    first = [ratios[a] * values[a] if a in ratios else slopes[a][0] for a in range(len(coordinates))]
    along = []
    for a, b in couples(len(coordinates)):
        factor = curvatures[a, b][0]
        for number, place in enumerate(angles):
            if a == b == place:
                factor = factor - ratios[place]
            elif place in (a, b):
                mean = 0.5 * (curvatures[a, b][1 + 2 * number] + curvatures[a, b][2 + 2 * number])
                factor = jnp.where(values[place] < limits[place], 2.0 * (curvatures[a, b][0] - mean), factor)
        along.append(factor)
    curved = [ratios.get(a, slopes[a][0]) for a in range(len(coordinates))]
    found = Coefficients(value[0], jnp.stack(first), jnp.stack(along), jnp.stack(curved))
    return jax.tree.map(lambda each: jnp.where(terms.present, each, 0.0), found)


def _nodes(value, place: int, angles: list[int]):
    """A coordinate's values (1 + 2 angles, T) where the energy is needed: as it is, and at the Gauss nodes of each angle."""
    factors = [1.0] + [node if angle == place else 1.0 for angle in angles for node in _GAUSS_NODES]
    return jnp.array(factors, dtype=value.dtype)[:, None] * value[None]


def term_parameters(terms: Terms, vector):
    """The parameters of each term, (P, T), from all parameters of the force field; 1 where padded."""
    places = jnp.where(terms.present[:, None], terms.parameters, 0)
    # an energy that overflowed for padded terms would spoil gradients, though it is masked afterwards: 0 · inf
    return jnp.stack([jnp.where(terms.present, vector[places[:, column]], 1.0) for column in range(places.shape[1])])


def _all_terms(batch: Batch, vector) -> dict[str, Coefficients]:
    """The coefficients of all terms by kind, from all parameters of the force field (n_parameters,)."""
    form, kinds = form_named(batch.form), term_kinds()
    return {
        kind: term_coefficients(kinds[kind], form, terms, term_parameters(terms, vector))
        for kind, terms in batch.terms.items()
    }


def place_of_pairs(batch: Batch, kind: str) -> tuple[int, int]:
    """Where the parameters of a kind of pairs start in the force field's vector, and its number of types."""
    return next((start, count) for name, start, count in batch.pair_types if name == kind)


def atom_parameters(batch: Batch, kind: str, vector) -> list:
    """The parameters of a kind of pairs of each bucket's atoms, (width, M, N), 1 where padded; None without pairs."""
    start, n_types = place_of_pairs(batch, kind)
    width, results = len(KINDS[kind].parameters), []
    block = vector[start : start + n_types * width].reshape(n_types, width)
    for bucket in batch.buckets:
        if kind not in bucket.pairs:
            results.append(None)
            continue
        present = bucket.distances.atom_present
        types = jnp.where(present, bucket.pairs[kind].types, 0)
        results.append(jnp.stack([jnp.where(present, block[:, column][types], 1.0) for column in range(width)]))
    return results


def pair_coefficients(batch: Batch, kind: str, first, second) -> list:
    """The coefficients of a kind of pairs from `atom_parameters` of the pairs' first and second atoms.

    All buckets are evaluated in one row, so that the energy is compiled once.

    Returns:
        For each bucket a `PairCoefficients`, or None.
    """
    form, fields = form_named(batch.form), KINDS[kind].fields
    chosen = [number for number, bucket in enumerate(batch.buckets) if kind in bucket.pairs]
    present, distance, factors, *combined = (
        _flat([batch.buckets[number].pairs[kind].present for number in chosen]),
        _flat([batch.buckets[number].distances.distance for number in chosen]),
        _flat_factors([batch.buckets[number].pairs[kind] for number in chosen], distance_type=batch.dtype),
        *(
            _flat(
                [
                    form.combinations[field](first[number][column][:, :, None], second[number][column][:, None, :])
                    for number in chosen
                ]
            )
            for column, field in enumerate(fields)
        ),
    )
    distance = jnp.where(present, distance, 1.0)
    value, (slope,), curvatures = derivatives(lambda r: form.energies[kind](r, *combined), (distance,))
    found = [value, slope, curvatures[0, 0]]
    if factors is not None:
        found = [each * factors for each in found]
    found = [jnp.where(present, each, 0.0) for each in found]
    results: list[Any] = [None] * len(batch.buckets)
    start = 0
    for number in chosen:
        shape = batch.buckets[number].pairs[kind].present.shape
        stop = start + math.prod(shape)
        results[number] = PairCoefficients(*(each[start:stop].reshape(shape) for each in found))
        start = stop
    return results


def _flat(arrays):
    return jnp.concatenate([array.reshape(-1) for array in arrays])


def _flat_factors(pairs: list[Pairs], distance_type):
    """Factors of all pairs in one row; None where all are 1."""
    if all(each.factors is None for each in pairs):
        return None
    ones = (jnp.ones(each.present.shape, distance_type) if each.factors is None else each.factors for each in pairs)
    return _flat([jnp.where(each.present, factors, 1.0) for each, factors in zip(pairs, ones, strict=True)])


def _all_pairs(batch: Batch, vector) -> list:
    """The coefficients of all pairs, summed over their kinds; of each bucket a `PairCoefficients`, or None."""
    total: list[Any] = [None] * len(batch.buckets)
    for kind in pair_kinds():
        if not any(kind in bucket.pairs for bucket in batch.buckets):
            continue
        atoms = atom_parameters(batch, kind, vector)
        for number, found in enumerate(pair_coefficients(batch, kind, atoms, atoms)):
            if found is not None:
                total[number] = found if total[number] is None else jax.tree.map(jnp.add, total[number], found)
    return total


def energies(batch: Batch, vector):
    """Energies of the molecules of each bucket, (M,) [kcal/mol], from all parameters of the force field."""
    counts = [bucket.component_present.shape[0] for bucket in batch.buckets]
    dtype = batch.buckets[0].inverse_root_masses.dtype
    total = jnp.zeros(sum(counts), dtype)
    for kind, found in _all_terms(batch, vector).items():
        molecule = jnp.where(batch.terms[kind].present, batch.terms[kind].molecule, 0)
        total = total.at[molecule].add(found.value.astype(dtype))
    results, start = [], 0
    for count, bucket, pairs in zip(counts, batch.buckets, _all_pairs(batch, vector), strict=True):
        result = total[start : start + count]
        if pairs is not None:
            result = result + 0.5 * pairs.value.sum(axis=(1, 2), dtype=dtype)
        results.append(result if bucket.fixed is None else result + bucket.fixed.energy)
        start += count
    return results


def gradients(batch: Batch, vector):
    """Gradients of the energies of each bucket's molecules, (M, D) [kcal/mol/Å], components axis by axis."""
    shapes = [bucket.component_present.shape for bucket in batch.buckets]
    total = jnp.zeros(sum(math.prod(shape) for shape in shapes), batch.dtype)
    for kind, found in _all_terms(batch, vector).items():
        terms = batch.terms[kind]
        present = terms.present[:, None]
        updates = sum(
            slope[:, None] * jnp.where(present, first, 0.0) for slope, first in zip(found.slopes, terms.first, strict=True)
        )
        total = total.at[jnp.where(present, terms.components, 0)].add(updates)
    results, start = [], 0
    for shape, bucket, pairs in zip(shapes, batch.buckets, _all_pairs(batch, vector), strict=True):
        result = total[start : start + math.prod(shape)].reshape(shape)
        if pairs is not None:
            result = result + (pairs.slope[:, None] * directions(bucket)).sum(axis=3).reshape(shape)
        results.append(result if bucket.fixed is None else result + bucket.fixed.gradient)
        start += math.prod(shape)
    return results


def whole_mechanics(batch: Batch, vector):
    """Energies, gradients and Hessians of each bucket's molecules, whatever references need."""
    return energies(batch, vector), gradients(batch, vector), hessians(batch, vector)


def directions(bucket: Bucket):
    """Unit vectors between the atoms of a bucket's molecules, (M, 3, N, N), 0 where padded."""
    present = bucket.distances.atom_present
    both = present[:, :, None] & present[:, None, :]
    return jnp.where(both[:, None], bucket.distances.direction, 0.0)


def term_updates(terms: Terms, along, curved):
    """Places in the flat buffer and second derivatives of all terms, (T, 3k, 3k) each, from two of their `Coefficients`."""
    present = terms.present[:, None]
    first = [jnp.where(present, each, 0.0) for each in terms.first]
    values = sum(
        factor[:, None, None] * jnp.where(present[:, :, None], second, 0.0)
        for factor, second in zip(curved, terms.second, strict=True)
    )
    for factor, (a, b) in zip(along, couples(len(first)), strict=True):
        outer = first[a][:, :, None] * first[b][:, None, :]
        values = values + factor[:, None, None] * (outer if a == b else outer + jnp.swapaxes(outer, 1, 2))
    rows, columns = jnp.where(present, terms.rows, 0), jnp.where(present, terms.columns, 0)
    return rows[:, :, None] + columns[:, None, :], values


def pair_blocks(geometry: Geometry, slope, curvature):
    """Second derivatives of each pair's energy by the distance vector of its atoms, (M, 3, 3, N, N)."""
    present = geometry.atom_present[:, :, None] & geometry.atom_present[:, None, :] & ~_same(geometry)
    distance = jnp.where(present, geometry.distance, 1.0)
    direction = jnp.where(present[:, None], geometry.direction, 0.0)
    across = slope / distance
    along = (curvature - across)[:, None] * direction
    axes = jnp.eye(3, dtype=across.dtype)
    return along[:, :, None] * direction[:, None, :] + axes[None, :, :, None, None] * across[:, None, None]


def _same(geometry: Geometry):
    return jnp.eye(geometry.distance.shape[-1], dtype=bool)[None]


def pairwise(geometry: Geometry, slope, curvature):
    """Second derivatives of all pair energies, (M, 3, N, 3, N)."""
    blocks = pair_blocks(geometry, slope, curvature)
    atoms = jnp.eye(blocks.shape[-1], dtype=blocks.dtype)
    diagonal = atoms[None, None, None] * blocks.sum(axis=4)[..., None]
    return (diagonal - blocks).transpose(0, 1, 3, 2, 4)


def hessians(batch: Batch, vector):
    """Hessians of each bucket's molecules, (M, D, D) [kcal/mol/Å²], components axis by axis; 0 where padded."""
    shapes = [(*bucket.component_present.shape, bucket.component_present.shape[1]) for bucket in batch.buckets]
    found = _all_terms(batch, vector)
    buffer = jnp.zeros(sum(math.prod(shape) for shape in shapes), batch.dtype)
    for kind, each in found.items():
        # one kind after the other: XLA takes four times as long for all of them in one row
        places, values = term_updates(batch.terms[kind], each.along, each.curved)
        buffer = buffer.at[places].add(values)
    results, start = [], 0
    for shape, bucket, pairs in zip(shapes, batch.buckets, _all_pairs(batch, vector), strict=True):
        result = buffer[start : start + math.prod(shape)].reshape(shape)
        if pairs is not None:
            result = result + pairwise(bucket.distances, pairs.slope, pairs.curvature).reshape(shape)
        results.append(result if bucket.fixed is None else result + bucket.fixed.hessian)
        start += math.prod(shape)
    return results
