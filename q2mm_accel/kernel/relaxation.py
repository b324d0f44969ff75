"""A force field's own stationary points: steps of `trust_region`, all molecules of a batch at once, by one compiled loop.

Molecules that have ended stand still. A `Search` takes the same steps one at a time, by what another engine computes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.coordinates import moved
from q2mm_accel.kernel.hessian import whole_mechanics
from q2mm_accel.kernel.trust_region import (
    Lane,
    Limits,
    Point,
    Proposal,
    Stage,
    Walker,
    begun,
    followed,
    known,
    negative,
    proposed,
    walker_from,
)
from q2mm_accel.problem.arrays import Array, Batch, Bucket


class Relaxed(NamedTuple):
    """What became of the molecules of a bucket."""

    coordinates: Array
    """(M, D) [Å], components axis by axis, 0 where padded."""
    energy: Array
    """(M,) [kcal/mol]."""
    gradient: Array
    """(M, D) [kcal/mol/Å]."""
    hessian: Array
    """(M, D, D) [kcal/mol/Å²]."""
    outcome: Array
    """(M,) an `Outcome`."""
    steps: Array
    """(M,) taken or refused."""
    n_negative: Array
    """(M,) modes of negative curvature, rigid motions out."""
    curvatures: Array
    """(M, D) eigenvalues of the Hessians, those of rigid motions and padding last [kcal/mol/Å²]."""
    modes: Array
    """(M, D, D) eigenvectors in columns."""
    free: Array
    """(M, D) whether the mode is neither a rigid motion nor padding."""


def relax(batch: Batch, parameters, limits: Limits, n_maximized: Sequence) -> list[Relaxed]:
    """Relax all molecules of a batch from their QM geometries.

    When a molecule has converged, one more step of Newton's is taken unless the gradient is larger there: the limit bounds
    the gradient, and where modes are soft, the geometry needs what is beyond.

    Args:
        batch: the molecules, with coordinates and without anything `fixed`.
        parameters: all parameters of the force field.
        limits: when to end.
        n_maximized: of each bucket (M,) integers, along how many modes the energy is to rise: 0 for minima, 1 for
            transition states.

    Returns:
        Of each bucket what became of its molecules.
    """
    assert all(bucket.fixed is None for bucket in batch.buckets), "what is fixed does not move"
    molecules = [_molecule(bucket, up) for bucket, up in zip(batch.buckets, n_maximized, strict=True)]

    def goes_on(lanes):
        return jnp.stack([(lane.stage != Stage.NOTHING).any() for lane in lanes]).any()

    def turn(lanes):
        proposals = [jax.vmap(proposed)(lane, each.n_up) for lane, each in zip(lanes, molecules, strict=True)]
        # one evaluation for all stages: the largest part of the program, to be compiled once
        places = [lane.point.coordinates + each.step for lane, each in zip(lanes, proposals, strict=True)]
        trials = _evaluated(batch, parameters, places, [(lane.stage != Stage.NOTHING).any() for lane in lanes])
        follows = jax.vmap(followed, (0, 0, 0, 0, None))
        return [follows(*each, limits) for each in zip(lanes, proposals, trials, molecules, strict=True)]

    lanes = jax.lax.while_loop(goes_on, turn, [begun(each) for each in molecules])
    return [_relaxed(lane) for lane in lanes]


class Search(NamedTuple):
    """A relaxation whose energies, gradients and Hessians come from elsewhere, one turn of `relax`'s loop at a time."""

    molecule: Walker
    lane: Lane


class Visit(NamedTuple):
    """Where a search wants everything computed next."""

    proposal: Proposal
    place: Array
    """(M, D) [Å], components axis by axis."""


def search_from(start, n_up) -> Search:
    """The search that begins at coordinates (M, D) [Å], axis by axis, with modes (M,) along which energies are to rise."""
    molecule = walker_from(start, jnp.ones(start.shape, bool), n_up)
    return Search(molecule, begun(molecule))


def visit(search: Search) -> Visit:
    """Where to compute energies, gradients and Hessians."""
    proposal = jax.vmap(proposed)(search.lane, search.molecule.n_up)
    return Visit(proposal, search.lane.point.coordinates + proposal.step)


def visited(search: Search, visit: Visit, energy, gradient, hessian, limits: Limits) -> Search:
    """The search after energies (M,), gradients (M, D) and Hessians (M, D, D) were computed there."""
    molecule, lane = search
    goes = (lane.stage != Stage.NOTHING).any()
    trial = known(visit.place, (energy, gradient, hessian), molecule.present, goes)
    lane = jax.vmap(followed, (0, 0, 0, 0, None))(lane, visit.proposal, trial, molecule, limits)
    return Search(molecule, lane)


def is_over(search: Search) -> bool:
    """Whether nothing is to be computed any more."""
    return bool((search.lane.stage == Stage.NOTHING).all())


def relaxed_by(search: Search) -> Relaxed:
    """What became of the molecules."""
    return _relaxed(search.lane)


def _molecule(bucket: Bucket, n_up) -> Walker:
    return walker_from(bucket.start, bucket.component_present, n_up)


def _relaxed(lane: Lane) -> Relaxed:
    point = lane.point
    return Relaxed(
        coordinates=point.coordinates,
        energy=point.energy,
        gradient=point.gradient,
        hessian=point.hessian,
        outcome=lane.outcome,
        steps=lane.steps,
        n_negative=jax.vmap(negative)(point),
        curvatures=point.curvatures,
        modes=point.modes,
        free=point.free,
    )


def _evaluated(batch: Batch, parameters, places: Sequence, going: Sequence) -> list[Point]:
    """Everything that is known of the molecules at some coordinates, of each bucket (M, D).

    Where no molecule of a bucket is going on, nothing is diagonalized, and modes are 0.
    """
    found, after, points = whole_mechanics(moved(batch, places), parameters), 0.0, []
    for bucket, place, goes, *mechanics in zip(batch.buckets, places, going, *found, strict=True):
        points.append(known(place, mechanics, bucket.component_present, goes, after))
        # two batched `eigh` at the same time can hang (`observables.spectra`): each waits for the last
        after = 0.0 * points[-1].curvatures[0, 0]
    return points
