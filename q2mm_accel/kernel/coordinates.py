"""The local pieces of all terms and pairs at a moving geometry, in place of those that were computed once.

The formulas are those of `problem/internal.py`, traced. Everything else of a batch stays as it is: which atoms a term has,
where it adds into gradient and Hessian, whose parameters it takes. So energies, gradients and Hessians of molecules that
move are those of `hessian`, of a batch that `moved` gives.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from q2mm_accel.model.kinds import Coordinate, form_named, term_kinds
from q2mm_accel.problem.arrays import Array, Batch, Geometry, Terms
from q2mm_accel.problem.batch import BENT as HARMLESS
from q2mm_accel.problem.batch import PARALLEL
from q2mm_accel.problem.internal import PIECES, dihedral_pieces


class _Wanted(NamedTuple):
    """One internal coordinate of all T terms of a kind."""

    coordinate: Coordinate
    n_atoms: int
    """Of a term."""
    points: Array
    """(T, atoms of the coordinate, 3), harmless ones where padded."""
    fades: bool
    """Whether the form damps the term where an inner angle is straight."""


def moved(batch: Batch, coordinates: Sequence) -> Batch:
    """The batch with its molecules at other coordinates.

    Args:
        batch: the batch.
        coordinates: of each bucket (M, D) [Å], components axis by axis; anything where padded.

    Returns:
        The batch with new coordinates of terms and distances of pairs, differentiable by the coordinates.
    """
    places = [
        jnp.where(bucket.component_present, each, 0.0) for bucket, each in zip(batch.buckets, coordinates, strict=True)
    ]
    flat = jnp.concatenate([each.reshape(-1) for each in places])
    found = _measured(_wanted(batch, flat))
    terms = {}
    for kind, each in batch.terms.items():
        count = len(each.coordinates)
        values, first, second = zip(*(found[kind, number] for number in range(count)), strict=True)
        terms[kind] = replace(each, coordinates=values, first=first, second=second)
    buckets = tuple(
        bucket if bucket.geometry is None else replace(bucket, geometry=_geometry(bucket.geometry, each))
        for bucket, each in zip(batch.buckets, places, strict=True)
    )
    return replace(batch, terms=terms, buckets=buckets)


def _wanted(batch: Batch, flat) -> dict[tuple[str, int], _Wanted]:
    """All internal coordinates by kind and number, from the components of all molecules."""
    form, kinds, result = form_named(batch.form), term_kinds(), {}
    for name, terms in batch.terms.items():
        kind = kinds[name]
        points = _points(terms, flat, kind.n_atoms)
        for number, coordinate in enumerate(form.coordinates_of(kind)):
            chosen = points[:, np.array(coordinate.atoms)]
            harmless = jnp.asarray(HARMLESS[: len(coordinate.atoms)], flat.dtype)[None]
            chosen = jnp.where(terms.present[:, None, None], chosen, harmless)
            result[name, number] = _Wanted(coordinate, kind.n_atoms, chosen, name in form.coordinates)
    return result


def _points(terms: Terms, flat, n_atoms: int):
    """Where the atoms of each term are, (T, n_atoms, 3)."""
    components = jnp.where(terms.present[:, None], terms.components, 0)
    return flat[components].reshape(-1, n_atoms, 3)


def _measured(wanted: dict[tuple[str, int], _Wanted]) -> dict[tuple[str, int], tuple]:
    """Value and derivatives of each coordinate; those of one measure are computed together, so that each compiles once."""
    result = {}
    for measure, pieces in PIECES.items():
        chosen = {key: each for key, each in wanted.items() if each.coordinate.measure == measure}
        if not chosen:
            continue
        points = jnp.concatenate([each.points for each in chosen.values()])
        if measure == "dihedral":
            fades = np.repeat([each.fades for each in chosen.values()], [len(each.points) for each in chosen.values()])
            found = _dihedrals(points, fades)
        else:
            found = pieces(points, xp=jnp)
        start = 0
        for key, each in chosen.items():
            stop = start + len(each.points)
            result[key] = _of_term(each, *(part[start:stop] for part in found))
            start = stop
    return result


def _dihedrals(points, fades: np.ndarray):
    """Dihedrals; all 0 where an inner angle is straight and the form damps the term to nothing there."""
    gone = jnp.asarray(fades) & straight(points)
    value, first, second = dihedral_pieces(jnp.where(gone[:, None, None], jnp.asarray(HARMLESS)[None], points), xp=jnp)
    return (
        jnp.where(gone, 0.0, value),
        jnp.where(gone[:, None], 0.0, first),
        jnp.where(gone[:, None, None], 0.0, second),
    )


def straight(points):
    """Whether one of the two angles of four points each, (n, 4, 3), is straight or 0: (n,)."""
    bonds = points[:, 1:] - points[:, :-1]
    return (_parallel(bonds[:, :-1], bonds[:, 1:])).any(axis=1)


def closed(points):
    """Whether the angle at the second of three points each, (n, 3, 3), is 0, where it has no derivative: (n,)."""
    first, second = points[:, 0] - points[:, 1], points[:, 2] - points[:, 1]
    return _parallel(first, second) & ((first * second).sum(axis=1) > 0.0)


def _parallel(first, second):
    normals = (jnp.cross(first, second) ** 2).sum(axis=-1)
    return normals < PARALLEL**2 * (first**2).sum(axis=-1) * (second**2).sum(axis=-1)


def _of_term(wanted: _Wanted, value, first, second):
    """Derivatives by all atoms of the term, from those by the atoms of the coordinate."""
    atoms, size = wanted.coordinate.atoms, 3 * wanted.n_atoms
    if atoms == tuple(range(wanted.n_atoms)):
        return value, first, second
    places = (3 * np.array(atoms)[:, None] + np.arange(3)).ravel()
    wide = jnp.zeros((len(value), size), first.dtype).at[:, places].set(first)
    square = jnp.zeros((len(value), size, size), second.dtype).at[:, places[:, None], places].set(second)
    return value, wide, square


def _geometry(geometry: Geometry, places) -> Geometry:
    """Distances of all atoms at (M, D)."""
    n_molecules, n_atoms = geometry.atom_present.shape
    by_axis = places.reshape(n_molecules, 3, n_atoms)
    difference = by_axis[:, :, :, None] - by_axis[:, :, None, :]
    present = geometry.atom_present[:, :, None] & geometry.atom_present[:, None, :] & ~np.eye(n_atoms, dtype=bool)[None]
    length = jnp.sqrt(jnp.where(present, (difference**2).sum(axis=1), 1.0))
    direction = jnp.where(present[:, None], difference / length[:, None], 0.0)
    return replace(geometry, distance=jnp.where(present, length, 0.0), direction=direction)
