"""Rigid motions of a molecule about its current geometry."""

import jax.numpy as jnp

_NO_ROTATION = 1e-5
"""Part of the largest rotation's norm below which a rotation moves nothing: that about the axis of a linear molecule."""


def rigid_motions(place, present):
    """An orthonormal basis of a molecule's translations and rotations, not mass-weighted.

    Args:
        place: (D,) where the atoms are [Å], components axis by axis.
        present: (D,) whether the component belongs to an atom.

    Returns:
        (6, D), rows of which are 0 where there are fewer: one for a linear molecule, three for an atom.
    """
    mask = present.reshape(3, -1)
    atoms = mask[0]
    count = jnp.maximum(atoms.sum(dtype=place.dtype), 1.0)
    by_axis = jnp.where(mask, place.reshape(3, -1), 0.0)
    centered = jnp.where(mask, by_axis - by_axis.sum(axis=1, keepdims=True) / count, 0.0)
    moved = jnp.where(atoms, 1.0, 0.0).astype(place.dtype) / jnp.sqrt(count)
    translations = (jnp.eye(3, dtype=place.dtype)[:, :, None] * moved[None, None]).reshape(3, -1)
    x, y, z = centered
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
