"""Energies, gradients and Hessians of a bucket's molecules from precomputed local pieces.

A force field is a sum of terms e(q) of internal coordinates q: E = Σ e, ∂E = Σ e' ∂q, ∂²E = Σ e'' ∂q ∂qᵀ + e' ∂²q. Only
e' and e'' depend on the parameters. All results are in kcal/mol and Å.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.arrays import Bucket, Pairs, Problem, Terms
from q2mm_accel.kernel.coordinates import NEARLY_LINEAR
from q2mm_accel.kernel.potentials import Form, form_named

WIDTHS = {"bond": 2, "angle": 2, "torsion": 1, "vdw": 2, "urey_bradley": 2}
"""Adjustable parameters per type, by kind, in the order of the parameter vector."""

_DEGREE = math.pi / 180.0


def parameter_blocks(problem: Problem, vector):
    """The force field's parameters by kind, shape (n_types, width) each, from the vector (n,)."""
    parameters = vector * problem.parameter_scale
    blocks, start = {}, 0
    for kind, count in problem.n_types:
        stop = start + count * WIDTHS[kind]
        blocks[kind] = parameters[start:stop].reshape(count, WIDTHS[kind])
        start = stop
    return blocks


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

    Below `NEARLY_LINEAR` the part of e that is odd in u is left out of the derivatives: it has a kink at u = 0, whose
    sub-gradient is taken as 0. For an equilibrium of 180 degrees there is none.
    """
    force_constant, equilibrium = parameters[0], parameters[1] * _DEGREE
    potential = partial(potential, force_constant=force_constant, equilibrium=equilibrium)
    straight = math.pi - equilibrium
    value, first, second = derivatives(potential, straight - supplement)
    _, _, middle = derivatives(potential, straight - 0.5 * supplement)
    linear = supplement < NEARLY_LINEAR
    ratio = jnp.where(linear, middle, -first / jnp.where(linear, 1.0, supplement))
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
    """Energy, and the factors of ∂q in the gradient and of ∂q ∂qᵀ and ∂²q in the Hessian, (M, T) each, 0 where padded."""
    coordinate = jnp.where(terms.present, terms.coordinate, 1.0)
    constants = tuple(jnp.where(terms.present, constant, 1.0) for constant in terms.constants)
    types = jnp.where(terms.present, terms.types, 0)
    parameters = tuple(block[:, column][types] for column in range(block.shape[1]))
    coefficients = _COEFFICIENTS[kind](getattr(form, kind), coordinate, parameters, constants)
    return tuple(jnp.where(terms.present, coefficient, 0.0) for coefficient in coefficients)


def pair_coefficients(form: Form, pairs: Pairs, block):
    """Energy and its first two derivatives by distance for every pair of atoms, (M, N, N) each, 0 where there is none."""
    types = jnp.where(pairs.atom_present, pairs.types, 0)
    radius = jnp.where(pairs.atom_present, block[:, 0][types], 1.0)
    root_epsilon = jnp.where(pairs.atom_present, jnp.sqrt(block[:, 1])[types], 1.0)
    radii = form.combine_radii(radius[:, :, None], radius[:, None, :])
    epsilons = root_epsilon[:, :, None] * root_epsilon[:, None, :]
    distance = jnp.where(pairs.present, pairs.distance, radii)
    coefficients = derivatives(partial(form.vdw, radius=radii, epsilon=epsilons), distance)
    return tuple(jnp.where(pairs.present, coefficient, 0.0) for coefficient in coefficients)


def energy(problem: Problem, bucket: Bucket, blocks):
    """Energies of the molecules, (M,) [kcal/mol]."""
    form, total = form_named(problem.form), 0.0
    for kind, terms in bucket.terms.items():
        total = total + term_coefficients(form, kind, terms, blocks[kind])[0].sum(axis=1)
    if bucket.pairs is not None:
        total = total + 0.5 * pair_coefficients(form, bucket.pairs, blocks["vdw"])[0].sum(axis=(1, 2))
    return total + jnp.zeros(bucket.inverse_root_masses.shape[0])


def gradient(problem: Problem, bucket: Bucket, blocks):
    """Gradients of the energies, (M, D) [kcal/mol/Å], components axis by axis."""
    form, total = form_named(problem.form), jnp.zeros_like(bucket.inverse_root_masses)
    molecules = jnp.arange(total.shape[0])
    for kind, terms in bucket.terms.items():
        slope = term_coefficients(form, kind, terms, blocks[kind])[1]
        first = jnp.where(terms.present[..., None], terms.first, 0.0)
        components = jnp.where(terms.present[..., None], terms.components, 0)
        total = total.at[molecules[:, None, None], components].add(slope[..., None] * first)
    if bucket.pairs is not None:
        slope = pair_coefficients(form, bucket.pairs, blocks["vdw"])[1]
        direction = jnp.where(bucket.pairs.present[:, None], bucket.pairs.direction, 0.0)
        total = total + (slope[:, None] * direction).sum(axis=3).reshape(total.shape)
    return total


def _bonded(terms: Terms, along, curved):
    """Second derivatives of single terms, (M, T, 3k, 3k)."""
    present = terms.present[..., None]
    first = jnp.where(present, terms.first, 0.0)
    second = jnp.where(present[..., None], terms.second, 0.0)
    return along[..., None, None] * (first[..., :, None] * first[..., None, :]) + curved[..., None, None] * second


def _pairwise(pairs: Pairs, slope, curvature):
    """Second derivatives of all pair energies, (M, 3, N, 3, N)."""
    n_atoms = pairs.types.shape[1]
    distance = jnp.where(pairs.present, pairs.distance, 1.0)
    direction = jnp.where(pairs.present[:, None], pairs.direction, 0.0)
    across = slope / distance
    along = (curvature - across)[:, None] * direction
    blocks = along[:, :, None] * direction[:, None, :] + jnp.eye(3)[None, :, :, None, None] * across[:, None, None]
    diagonal = jnp.eye(n_atoms)[None, None, None] * blocks.sum(axis=4)[..., None]
    return (diagonal - blocks).transpose(0, 1, 3, 2, 4)


def hessian(problem: Problem, bucket: Bucket, blocks):
    """Hessians of the energies, (M, D, D) [kcal/mol/Å²], components axis by axis; 0 where padded."""
    form = form_named(problem.form)
    n_molecules, size = bucket.inverse_root_masses.shape
    total = jnp.zeros((n_molecules, size, size))
    if bucket.pairs is not None:
        _, slope, curvature = pair_coefficients(form, bucket.pairs, blocks["vdw"])
        total = _pairwise(bucket.pairs, slope, curvature).reshape(total.shape)
    molecules = jnp.arange(n_molecules)[:, None, None, None]
    for kind, terms in bucket.terms.items():
        _, _, along, curved = term_coefficients(form, kind, terms, blocks[kind])
        components = jnp.where(terms.present[..., None], terms.components, 0)
        place = (molecules, components[..., :, None], components[..., None, :])
        total = total.at[place].add(_bonded(terms, along, curved))
    return total
