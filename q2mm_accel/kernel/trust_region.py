"""Newton steps within a trust region, one molecule at a time: where to go next, and whether to stay there.

Every step diagonalizes the Hessian, rigid motions out, and is -Σ c_i / (λ_i + μ) v_i along the eigenvectors v_i, with c_i
the component of the gradient and μ the smallest shift with which the step is downhill and no longer than the trust radius;
for a saddle point the signs of λ and c of the lowest modes are turned, so that the energy rises along them (eigenvector
following). Where the gradient has nothing along a mode of negative curvature, as symmetry may have it, the rest of the
radius is walked along this mode. A step that is refused is tried once more with stiff modes relaxed, as in a curved valley.

Sources: Moré, Sorensen, SIAM J. Sci. Stat. Comput. 1983, 4, 553 (step and hard case); Cerjan, Miller, J. Chem. Phys. 1981,
75, 2800 and Simons et al., J. Phys. Chem. 1983, 87, 2745 (saddle points).
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.rigid import rigid_motions
from q2mm_accel.kernel.spectrum import eigenpairs
from q2mm_accel.problem.arrays import Array

_FLAT = 1e-9
"""Part of the largest curvature up to which one counts as none: nothing holds the molecule along this mode."""
_FIRST_RADIUS, _LARGEST_RADIUS, _SMALLEST_RADIUS = 0.1, 0.4, 1e-9
"""[Å], per root of the number of atoms."""
_WORTH_COMPARING = 1e-9
"""[kcal/mol] Changes of the energy below drown in its rounding; then gradients decide."""
_STIFF = 1e-2
"""Part of the largest curvature from which on a mode counts as stiff."""
_BENT = 0.3
"""Part of a step up to which a correction counts as small."""
_NO_CURVATURE = 1e-12
"""[kcal/mol/Å²] The same where all are."""
_HALVINGS = 60
"""Of the interval that holds the shift."""


class Outcome(IntEnum):
    """How the relaxation of a molecule ended."""

    RUNNING = -1
    CONVERGED = 0
    STEP_LIMIT = 1
    FELL_APART = 2
    NOT_FINITE = 3
    STUCK = 4


SENTENCES = {
    Outcome.RUNNING: "it was not relaxed",
    Outcome.CONVERGED: "it has converged",
    Outcome.STEP_LIMIT: "the number of steps reached its limit",
    Outcome.FELL_APART: "it falls apart: an atom has moved too far from its QM position",
    Outcome.NOT_FINITE: "energy, gradient or Hessian is not finite",
    Outcome.STUCK: "no step lowers the energy or calms the gradient",
}
"""What each outcome means."""


class Limits(NamedTuple):
    """When a relaxation ends. These are arguments of compiled functions: other values compile nothing."""

    largest_gradient: Array | float
    """[kcal/mol/Å] of any component, at or below which it has converged."""
    n_steps: Array | int
    """Number of steps, refused ones included."""
    farthest: Array | float
    """[Å] Way of an atom from its QM position beyond which a molecule counts as fallen apart."""


class Point(NamedTuple):
    """A geometry of each molecule of a bucket and what is known of it; also of a single molecule, without the first axis."""

    coordinates: Array
    energy: Array
    gradient: Array
    hessian: Array
    finite: Array
    """(M,) whether energy, gradient and Hessian are."""
    curvatures: Array
    """(M, D) ascending; those of rigid motions and padding last."""
    modes: Array
    """(M, D, D) in columns."""
    free: Array
    """(M, D) whether the mode is neither a rigid motion nor padding."""


class Stage(IntEnum):
    """What is to be evaluated of a molecule in the next turn of the loop."""

    START = 0
    STEP = 1
    CORRECTION = 2
    POLISH = 3
    NOTHING = 4


class Lane(NamedTuple):
    """The state of the molecules of a bucket; also of a single molecule, without the first axis."""

    point: Point
    radius: Array
    stage: Array
    correction: Array
    """(M, D) of a step that was refused, in components along the modes."""
    outcome: Array
    steps: Array


class Walker(NamedTuple):
    """What of a bucket's molecules does not change; also of a single molecule, without the first axis."""

    start: Array
    """(M, D) [Å]."""
    present: Array
    """(M, D) whether the component belongs to an atom."""
    size: Array
    """(M,) root of the number of atoms."""
    n_up: Array
    """(M,) number of modes along which the energy is to rise."""


def walker_from(start, present, n_up) -> Walker:
    """What does not change: where molecules begin (M, D), which components are atoms', and n_up (M,)."""
    size = jnp.sqrt(present.sum(axis=1, dtype=start.dtype) / 3.0)
    return Walker(jnp.where(present, start, 0.0), present, size, n_up)


def begun(molecule: Walker) -> Lane:
    """Before anything is evaluated."""
    start, present = molecule.start, molecule.present
    row, matrix = jnp.zeros_like(start), jnp.zeros((*start.shape, start.shape[1]), start.dtype)
    none, false = jnp.zeros(len(start), jnp.int32), jnp.zeros_like(present)
    point = Point(start, row[:, 0], row, matrix, false[:, 0], row, matrix, false)
    stage = jnp.where(present.any(axis=1), jnp.int32(Stage.START), jnp.int32(Stage.NOTHING))
    outcome = jnp.where(present.any(axis=1), jnp.int32(Outcome.RUNNING), jnp.int32(Outcome.CONVERGED))
    return Lane(point, _FIRST_RADIUS * molecule.size, stage, row, outcome, none)


def known(place, mechanics: Sequence, present, goes, after=0.0) -> Point:
    """What energies (M,), gradients (M, D) and Hessians (M, D, D) of a bucket say; no modes if it is not going on."""
    energy, gradient, hessian = mechanics
    finite = jnp.isfinite(energy) & jnp.isfinite(gradient).all(axis=1) & jnp.isfinite(hessian).all(axis=(1, 2))
    gradient = jnp.where(finite[:, None], gradient, 0.0)
    hessian = jnp.where(finite[:, None, None], hessian, 0.0)
    matrices, bound = jax.vmap(without_rigid)(hessian, place, present)
    nothing = jnp.zeros_like(gradient), jnp.zeros_like(hessian)
    curvatures, modes = jax.lax.cond(goes, eigenpairs, lambda _: nothing, matrices + after)
    return Point(place, energy, gradient, hessian, finite, curvatures, modes, curvatures < bound[:, None])


def without_rigid(hessian, place, present):
    """The Hessian (D, D) of one molecule with rigid motions and padding moved above all other eigenvalues.

    Args:
        hessian: (D, D).
        place: (D,) where the atoms are.
        present: (D,) whether the component belongs to an atom.

    Returns:
        P H P + 2 b (1 - P) with P the projection on what is neither, and the bound b' above all eigenvalues of P H P and
        below 2 b.
    """
    rigid = rigid_motions(place, present)
    turned = rigid @ hessian
    matrix = hessian - rigid.T @ turned - turned.T @ rigid + rigid.T @ (turned @ rigid.T) @ rigid
    # no eigenvalue is larger than the largest sum of a row (Gershgorin); 1 in case that all are 0
    bound = jnp.maximum(jnp.abs(matrix).sum(axis=1).max(), 1.0)
    outside = rigid.T @ rigid + jnp.diag(jnp.where(present, 0.0, 1.0))
    return matrix + 2.0 * bound * outside, 1.5 * bound


class Proposal(NamedTuple):
    """A step of one molecule that is to be tried."""

    step: Array
    """(D,) [Å]."""
    length: Array
    predicted: Array
    """Change of the energy by the quadratic model."""
    gain: Array
    """What the model gains where the signs of maximized modes are turned, above 0."""
    slopes: Array
    """(D,) of the model at its end."""


def _slopes(point: Point):
    """Components of the gradient along the modes, 0 along rigid motions and padding."""
    return jnp.where(point.free, point.gradient @ point.modes, 0.0)


def flatness(curvatures, free):
    """The curvature up to which one of a molecule's (D,) counts as none."""
    return jnp.maximum(_FLAT * jnp.where(free, jnp.abs(curvatures), 0.0).max(), _NO_CURVATURE)


def proposed(lane: Lane, n_up) -> Proposal:
    """Where one molecule is to be evaluated next, as a step from where it is."""
    components = _trust_region_step(lane.point, lane.radius, n_up)
    slopes, curvatures = _slopes(lane.point), lane.point.curvatures
    parts = slopes * components + 0.5 * curvatures * components**2
    taken = jnp.select(
        [lane.stage == Stage.STEP, lane.stage == Stage.CORRECTION, lane.stage == Stage.POLISH],
        [components, components + lane.correction, _newton_step(lane.point)],
        jnp.zeros_like(components),
    )
    gain = -(_turned(slopes, n_up) * parts).sum()
    length = jnp.linalg.norm(components)
    return Proposal(lane.point.modes @ taken, length, parts.sum(), gain, slopes + curvatures * components)


def _turned(slopes, n_up):
    """-1 for the modes along which the energy is to rise, else 1."""
    return jnp.where(jnp.arange(len(slopes), dtype=n_up.dtype) < n_up, -1.0, 1.0)


def _correction(point: Point, proposal: Proposal, trial: Point):
    """What a refused step lacks along stiff modes, where they bend while the molecule moves along soft ones.

    Straight steps along a curved valley are short. At the cost of another evaluation stiff modes are relaxed to where the
    model has them, by a step of Newton's from the refused geometry.
    """
    stiff = point.free & (point.curvatures > _STIFF * jnp.where(point.free, point.curvatures, 0.0).max())
    excess = trial.gradient @ point.modes - proposal.slopes
    return jnp.where(stiff, -excess / jnp.where(stiff, point.curvatures, 1.0), 0.0)


def _newton_step(point: Point):
    """The step to the stationary point of the quadratic model, in components along the modes; 0 along flat ones."""
    steep = point.free & (jnp.abs(point.curvatures) > flatness(point.curvatures, point.free))
    return jnp.where(steep, -_slopes(point) / jnp.where(steep, point.curvatures, 1.0), 0.0)


def _trust_region_step(point: Point, radius, n_up):
    """The step of one molecule in components along the modes."""
    sign, floor = _turned(point.curvatures, n_up), flatness(point.curvatures, point.free)
    curvature, slope = sign * point.curvatures, sign * _slopes(point)
    lowest = jnp.where(point.free, curvature, jnp.inf).min()
    lowest = jnp.where(jnp.isfinite(lowest), lowest, 1.0)
    least = jnp.maximum(0.0, floor - lowest)

    def along(shift):
        return jnp.where(point.free, -slope / jnp.where(point.free, curvature + shift, 1.0), 0.0)

    def narrowed(_, limits):
        low, high = limits
        middle = 0.5 * (low + high)
        long = jnp.linalg.norm(along(middle)) > radius
        return jnp.where(long, middle, low), jnp.where(long, high, middle)

    # no component is longer than the whole gradient by the smallest shifted curvature
    most = jnp.maximum(least, jnp.linalg.norm(slope) / radius - lowest)
    _, high = jax.lax.fori_loop(0, _HALVINGS, narrowed, (least, most))
    inside = jnp.linalg.norm(along(least)) <= radius
    components = along(jnp.where(inside, least, high))
    # the hard case: the rest of the radius along the mode of most negative curvature, to the side that is downhill
    rest = jnp.sqrt(jnp.maximum(radius**2 - (components**2).sum(), 0.0))
    which = jnp.argmin(jnp.where(point.free, curvature, jnp.inf))
    downhill = jnp.where(slope[which] > 0.0, -1.0, 1.0)
    return components.at[which].add(jnp.where(inside & (lowest < -floor), rest * downhill, 0.0))


def followed(lane: Lane, proposal: Proposal, trial: Point, molecule: Walker, limits: Limits) -> Lane:
    """The state of one molecule after an evaluation."""
    point, stage = lane.point, lane.stage
    accepted, radius = _judged(point, proposal, trial, lane, molecule)
    calmer = trial.finite & (jnp.abs(trial.gradient).max() <= jnp.abs(point.gradient).max())
    stepping = (stage == Stage.STEP) | (stage == Stage.CORRECTION)
    correction = _correction(point, proposal, trial)
    small = jnp.linalg.norm(correction) < _BENT * proposal.length
    bent = (stage == Stage.STEP) & ~accepted & trial.finite & small & (molecule.n_up == 0)
    taken = jnp.select([stage == Stage.START, stepping, stage == Stage.POLISH], [jnp.bool_(True), accepted, calmer], False)
    point = jax.tree.map(lambda new, old: jnp.where(taken, new, old), trial, point)
    radius = jnp.where(stepping & ~bent, radius, lane.radius)
    steps = lane.steps + stepping.astype(lane.steps.dtype)
    open_still = (stage == Stage.START) | stepping
    outcome = jnp.where(open_still, _outcome(point, radius, steps, molecule, limits), lane.outcome)
    step = jnp.where(bent, jnp.int32(Stage.CORRECTION), jnp.int32(Stage.STEP))
    going = jnp.where(outcome == Outcome.RUNNING, step, jnp.int32(Stage.NOTHING))
    next_stage = jnp.where(outcome == Outcome.CONVERGED, jnp.int32(Stage.POLISH), going)
    stage = jnp.where(open_still, next_stage, jnp.int32(Stage.NOTHING))
    return Lane(point, radius, stage, jnp.where(bent, correction, 0.0), outcome, steps)


def _judged(point: Point, proposal: Proposal, trial: Point, lane: Lane, molecule: Walker):
    """Whether a step of one molecule is taken, and the next radius."""
    change, radius, corrected = trial.energy - point.energy, lane.radius, lane.stage == Stage.CORRECTION
    gain = jnp.maximum(proposal.gain, jnp.finfo(change.dtype).tiny)
    # of a minimum what the energy falls beside what it should; of a saddle point how well the model knew the change
    ratio = jnp.where(molecule.n_up == 0, -change / gain, 1.0 - jnp.abs(change - proposal.predicted) / gain)
    drowned = proposal.gain < _WORTH_COMPARING * jnp.maximum(1.0, 1e-3 * jnp.abs(point.energy))
    calmer = jnp.linalg.norm(_slopes(trial)) <= jnp.linalg.norm(_slopes(point))
    good = jnp.where(drowned, calmer, ratio > 0.75) & ~corrected
    # a corrected step that gains more than the model knows of leads elsewhere
    enough = jnp.where(corrected, (ratio > 0.25) & (ratio < 2.0), ratio > 1e-4)
    accepted = trial.finite & jnp.where(drowned, calmer, enough)
    wider = jnp.where(proposal.length > 0.9 * radius, jnp.minimum(2.0 * radius, _LARGEST_RADIUS * molecule.size), radius)
    poor = ~trial.finite | ~jnp.where(drowned, calmer, ratio > 0.25)
    return accepted, jnp.where(poor, 0.25 * jnp.minimum(proposal.length, radius), jnp.where(good, wider, radius))


def negative(point: Point):
    """Number of modes of negative curvature."""
    return (point.free & (point.curvatures < -flatness(point.curvatures, point.free))).sum(dtype=jnp.int32)


def _outcome(point: Point, radius, steps, molecule: Walker, limits: Limits):
    """Whether one molecule has ended, and how."""
    way = jnp.sqrt(((point.coordinates - molecule.start) ** 2).reshape(3, -1).sum(axis=0)).max()
    converged = (jnp.abs(point.gradient).max() <= limits.largest_gradient) & (negative(point) == molecule.n_up)
    small = radius < _SMALLEST_RADIUS
    reasons = [~point.finite, converged, way > limits.farthest, small, steps >= limits.n_steps]
    names = [Outcome.NOT_FINITE, Outcome.CONVERGED, Outcome.FELL_APART, Outcome.STUCK, Outcome.STEP_LIMIT]
    codes = [jnp.int32(int(name)) for name in names]
    return jnp.select(reasons, codes, jnp.int32(int(Outcome.RUNNING)))
