"""Rigid motions of a molecule about its current geometry."""

import jax.numpy as jnp

_NO_ROTATION = 1e-5
"""Part of the largest rotation's norm below which a rotation moves nothing: that about the axis of a linear molecule."""


def rigid_motions(place, present, weight=None):
    """An orthonormal basis of a molecule's translations and rotations.

    Args:
        place: (D,) where the atoms are [Å], components axis by axis.
        present: (D,) whether the component belongs to an atom.
        weight: (D,) by which motions are multiplied: roots of masses [u^1/2] for mass-weighted ones; 1 by default.

    Returns:
        (6, D), rows of which are 0 where there are fewer: one for a linear molecule, three for an atom.
    """
    atoms = present.reshape(3, -1)[0]
    roots = jnp.where(atoms, 1.0 if weight is None else weight.reshape(3, -1)[0], 0.0).astype(place.dtype)
    total = jnp.maximum((roots**2).sum(), jnp.finfo(place.dtype).tiny)
    by_axis = jnp.where(atoms[None], place.reshape(3, -1), 0.0)
    center = (by_axis * roots[None] ** 2).sum(axis=1, keepdims=True) / total
    translations = (jnp.eye(3, dtype=place.dtype)[:, :, None] * (roots / jnp.sqrt(total))[None, None]).reshape(3, -1)
    x, y, z = (by_axis - center) * roots[None]
    zero = jnp.zeros_like(x)
    rotations = jnp.stack([jnp.stack(each) for each in ((zero, -z, y), (z, zero, -x), (-y, x, zero))])
    return jnp.concatenate([translations, _orthonormal(rotations.reshape(3, -1))])


def _orthonormal(vectors):
    """Three vectors (3, D) orthonormalized by Gram and Schmidt, the largest that is left first; 0 where none is left."""
    smallest = _NO_ROTATION**2 * (vectors**2).sum(axis=1).max()
    found = []
    for _ in range(3):
        squares = (vectors**2).sum(axis=1)
        left = squares.max() > jnp.maximum(smallest, jnp.finfo(vectors.dtype).tiny)
        chosen = vectors[jnp.argmax(squares)]
        unit = jnp.where(left, chosen / jnp.sqrt(jnp.where(left, squares.max(), 1.0)), 0.0)
        found.append(unit)
        for _ in range(2):  # twice is enough: what rounding left of the direction goes with the second
            vectors = vectors - (vectors @ unit)[:, None] * unit[None]
    return jnp.stack(found)
