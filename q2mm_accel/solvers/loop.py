"""The traced loop: all lanes take trials side by side until they end or a segment is over."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.jacobian import residuals_and_jacobian
from q2mm_accel.kernel.loss import loss
from q2mm_accel.problem.arrays import Array
from q2mm_accel.solvers.lane import Evaluation, Lane, Setting, Status
from q2mm_accel.solvers.methods import METHODS, Method, Trial

RECORDED = 64
"""Accepted steps that a segment can record."""

_HELD_BACK = 5
"""Steps in a row beyond a method's patience that may bring nothing because trials before them were rejected."""
_ROUNDINGS = 8.0
"""Reduction of the loss, in units of rounding, that no step can be relied on to bring."""
_SMALLEST, _LARGEST = 0.1, 0.5
"""Bounds of the factor by which a rejected step is shortened."""


def _choose(condition, first, second):
    return jax.tree.map(partial(jnp.where, condition), first, second)


def evaluate(method: Method, setting: Setting, point) -> Evaluation:
    """The loss at internal variables (n,), with its derivatives by them.

    A loss that is not finite gets NaN for its gradient, by which `_outcome` knows it; residuals and Jacobian are always
    finite, for a NaN would stay in a solver's state.
    """
    x, slope = method.space.outside(point, setting.scale, setting.lower, setting.upper)
    if not method.squares:
        value, gradient = jax.value_and_grad(loss, argnums=1)(setting.problem, x)
        return Evaluation(value, gradient * slope)
    residuals, jacobian = residuals_and_jacobian(setting.problem, x)
    jacobian = jacobian * slope[None]
    value, gradient = (residuals**2).sum(), 2.0 * (residuals @ jacobian)
    # active set: where a bound stops the descent, the variable does not take part in the step
    held = ((x <= setting.lower) & (gradient > 0.0)) | ((x >= setting.upper) & (gradient < 0.0))
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(jacobian))
    # JAXopt compares Σ r² and must reject the step; so large that it is, but Σ r² stays finite
    huge = jnp.sqrt(jnp.finfo(value.dtype).max / len(residuals)) * 1e-3
    gradient = jnp.where(finite, gradient, jnp.nan)
    return Evaluation(value, gradient, jnp.where(finite, residuals, huge), jnp.where(finite & ~held[None], jacobian, 0.0))


def opened(method: Method, point, n_residuals: int) -> Lane:
    """A lane at internal variables (n,) before its first evaluation."""
    zero, infinite = jnp.zeros_like(point), jnp.asarray(jnp.inf, dtype=point.dtype)
    count = jnp.asarray(0)
    nothing = Evaluation(jnp.zeros_like(infinite), zero)
    if method.squares:
        nothing = nothing._replace(
            residuals=jnp.zeros(n_residuals, point.dtype), jacobian=jnp.zeros((n_residuals, len(point)), point.dtype)
        )
    return Lane(
        point=point,
        value=infinite,
        gradient=zero,
        solver=method.start(point, nothing),
        step=jnp.ones_like(infinite),
        rejected=count,
        cleared=jnp.asarray(False),
        barred=jnp.asarray(False),
        stalled=count,
        nit=count,
        nfev=count,
        status=jnp.asarray(int(Status.RUNNING)),
        best_point=point,
        best_value=infinite,
        bad_point=point,
    )


class _Outcome(NamedTuple):
    """A trial and what follows from it."""

    trial: Trial
    first: Array
    """Whether it only evaluated the start."""
    finite: Array
    accepted: Array
    clear: Array
    """Whether the solver's memory is to be cleared, after too many rejected trials."""
    exhausted: Array
    """Whether there is nothing left to try."""


def _outcome(method: Method, lane: Lane, trial: Trial) -> _Outcome:
    first = lane.nfev == 0
    value, gradient = trial.evaluation[:2]
    # well below the largest number, so that products of two losses or gradients do not overflow in a solver
    finite = (value < jnp.sqrt(jnp.finfo(value.dtype).max)) & jnp.all(jnp.isfinite(gradient))
    accepted = finite & (first | trial.accepted)
    many = ~accepted & (lane.rejected >= method.trials)
    clear = many & ~lane.cleared if method.can_clear else jnp.zeros_like(many)
    return _Outcome(trial, first, finite, accepted, clear, many & ~clear)


def _advanced(method: Method, setting: Setting, lane: Lane) -> Lane:
    """A lane after one more trial; the first trial is that of the start."""
    box = method.space.box(setting.scale, setting.lower, setting.upper)
    trial = method.attempt(lane, partial(evaluate, method, setting), box)
    result = _outcome(method, lane, trial)
    accepted, value = result.accepted, trial.evaluation.value
    small = jnp.abs(value - lane.value) <= setting.ftol * jnp.abs(value)
    better = accepted & (value < lane.best_value)
    after = Lane(
        point=jnp.where(accepted, trial.point, lane.point),
        value=jnp.where(accepted, value, lane.value),
        gradient=jnp.where(accepted, trial.evaluation.gradient, lane.gradient),
        solver=_next_state(method, lane, result),
        step=_next_step(method, lane, result),
        rejected=jnp.where(accepted | result.clear, 0, lane.rejected + 1),
        cleared=~accepted & (lane.cleared | result.clear),
        barred=~accepted & (lane.barred | ~result.finite),
        stalled=jnp.where(accepted, jnp.where(small & ~result.first, lane.stalled + 1, 0), lane.stalled),
        nit=lane.nit + (accepted & ~result.first),
        nfev=lane.nfev + 1,
        status=lane.status,
        best_point=jnp.where(better, trial.point, lane.best_point),
        best_value=jnp.where(better, value, lane.best_value),
        bad_point=jnp.where(result.finite, lane.bad_point, trial.point),
    )
    after = replace(after, status=_status(method, setting, lane, after, result, box))
    # a traced loop must return the types that it got, and jnp.where and counters promote
    return jax.tree.map(lambda new, old: new.astype(old.dtype), after, lane)


def _next_state(method: Method, lane: Lane, result: _Outcome):
    """The solver's state: new at the start and when cleared, else its own."""
    trial = result.trial
    accepted = _choose(result.first, method.start(trial.point, trial.evaluation), trial.if_accepted)
    rejected = trial.if_rejected
    if method.can_clear:
        rejected = _choose(result.clear, method.start(lane.point, Evaluation(lane.value, lane.gradient)), rejected)
    return _choose(result.accepted, accepted, rejected)


def _next_step(method: Method, lane: Lane, result: _Outcome):
    """Length of the next step: the solver's own after an accepted trial, else a shorter one.

    Along the step s in [0, 1] of the trial the loss is about f + c s + b s², with c the change to first order and b what the
    trial shows beyond it; its minimum is at -c / (2 b).
    """
    trial = result.trial
    excess = trial.evaluation.value - lane.value - trial.change
    factor = jnp.where(excess > 0.0, -0.5 * trial.change / jnp.where(excess > 0.0, excess, 1.0), _LARGEST)
    factor = jnp.where(result.finite, jnp.clip(factor, _SMALLEST, _LARGEST), _SMALLEST)
    gradient = jnp.where(result.accepted, trial.evaluation.gradient, lane.gradient)
    new = method.first_step(jnp.linalg.norm(gradient))
    accepted = jnp.where(result.first, new, trial.next_step)
    return jnp.where(result.accepted, accepted, jnp.where(result.clear, new, lane.step * factor))


def _status(method: Method, setting: Setting, lane: Lane, after: Lane, result: _Outcome, box):
    """Whether a lane goes on after a trial, and if not why.

    Steps that bring nothing are convergence only if they are the solver's own, not held back by rejected trials, and only
    at the lowest loss: a method whose loss may rise can end in a higher minimum.
    """
    expected, full = result.trial.expected, result.trial.full
    # 0 where a bound holds the variable
    projected = jnp.clip(after.point - after.gradient, *box) - after.point
    nothing = (expected >= 0.0) & (expected <= setting.ftol * jnp.abs(lane.value))
    flat = ~result.accepted & result.finite & full & nothing
    ended = (result.accepted & full & (after.stalled >= method.patience)) | flat
    ended = ended | (jnp.abs(projected).max() <= setting.gtol)
    converged = ended & (after.value <= after.best_value + setting.ftol * jnp.abs(after.best_value))
    failed = result.exhausted | ended | (after.stalled >= method.patience + _HELD_BACK)
    # a wall of losses that are not finite, not the line search, may be what stops a fit
    cause = jnp.where(lane.barred | ~result.finite, int(Status.NON_FINITE), int(Status.LINE_SEARCH_FAILED))
    status = jnp.where(after.nit >= setting.maxiter, int(Status.ITERATION_LIMIT), int(Status.RUNNING))
    status = jnp.where(failed, cause, status)
    status = jnp.where(converged, int(Status.CONVERGED), status)
    return jnp.where(result.first & ~result.finite, int(Status.NON_FINITE), status)


def _like(dtype, setting: Setting) -> Setting:
    """A setting in the precision of the lanes. Reductions of the loss within its rounding count as none, whatever ftol."""
    names = ("scale", "lower", "upper", "ftol", "gtol")
    setting = replace(setting, **{name: jnp.asarray(getattr(setting, name)).astype(dtype) for name in names})
    return replace(setting, ftol=jnp.maximum(setting.ftol, _ROUNDINGS * jnp.finfo(setting.problem.dtype).eps))


def segment(method: str, history_size: int, setting: Setting, lanes: Lane, until, trials):
    """Take trials until every lane has ended or taken a number of steps, or a number of trials is reached.

    Args:
        method: one of `METHODS`.
        history_size: number of steps that a quasi-Newton method remembers.
        setting: what the fits depend on.
        lanes: L lanes, each array with a leading axis.
        until: (L,) number of accepted steps at which a lane waits; at most `RECORDED` above those it has.
        trials: how many trials every lane takes at most.

    Returns:
        The lanes, and the loss, the number of evaluations and the norm of the gradient of their accepted points, shape
        (L, RECORDED + 1, 3), counted from the first point of the segment.
    """
    solver, setting = METHODS[method](history_size), _like(lanes.value.dtype, setting)
    before, rows = lanes.nit, jnp.arange(len(lanes.nit))

    def active(lanes):
        return (lanes.status == int(Status.RUNNING)) & (lanes.nit < until)

    def go_on(carry):
        count, lanes, _ = carry
        return (count < trials) & jnp.any(active(lanes))

    def body(carry):
        count, lanes, record = carry
        # lanes that wait are computed as well and keep what they had: one program for all cannot skip them
        after = jax.vmap(_choose)(active(lanes), jax.vmap(partial(_advanced, solver, setting))(lanes), lanes)
        accepted = (after.nit > lanes.nit) | ((after.nfev == 1) & (lanes.nfev == 0))
        # the first row is that of the start; a place beyond the last row is dropped
        place = jnp.where(accepted, after.nit - before, record.shape[1])
        norm = jnp.linalg.norm(after.gradient, axis=1)
        seen = jnp.stack([after.value, after.nfev.astype(norm.dtype), norm], axis=1)
        return count + 1, after, record.at[rows, place].set(seen, mode="drop")

    record = jnp.full((len(rows), RECORDED + 1, 3), jnp.nan, dtype=lanes.value.dtype)
    with jax.default_matmul_precision("highest"):  # as in `over_batches`
        _, lanes, record = jax.lax.while_loop(go_on, body, (jnp.asarray(0), lanes, record))
    return lanes, record
