"""The state of one fit in the traced loop: where it is, how many evaluations it took, and whether it goes on."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import jax

from q2mm_accel.problem.arrays import Array, Problem


class Status(IntEnum):
    """Why a fit ended."""

    RUNNING = -1
    CONVERGED = 0
    ITERATION_LIMIT = 1
    LINE_SEARCH_FAILED = 2
    NON_FINITE = 3
    TIME_LIMIT = 4
    INTERRUPTED = 5
    STOPPED = 6


SENTENCES = {
    Status.RUNNING: "The fit was not finished.",
    Status.CONVERGED: "Converged: a step reduced the loss by no more than tol, or the projected gradient is within gtol.",
    Status.ITERATION_LIMIT: "The number of iterations reached maxiter.",
    Status.LINE_SEARCH_FAILED: "No step along the solver's direction reduced the loss enough, so it has not converged.",
    Status.NON_FINITE: "The loss or its gradient is not finite.",
    Status.TIME_LIMIT: "The time limit was reached.",
    Status.INTERRUPTED: "Interrupted by the user.",
    Status.STOPPED: "The callback raised StopIteration.",
}
"""What each status means."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Setting:
    """What a fit depends on besides its start. These are arguments of the compiled loop: other values compile nothing."""

    problem: Problem
    scale: Array
    """(n,) size of a typical change of x."""
    lower: Array
    """(n,) of x."""
    upper: Array
    """(n,) of x."""
    ftol: Array
    """A step that reduces the loss by no more than this part of it counts as none."""
    gtol: Array
    """Largest element of the projected gradient, in internal variables, at or below which a fit has converged."""
    maxiter: Array
    """Number of accepted steps."""


class Evaluation(NamedTuple):
    """The loss at a point, with what a method needs to step on from there."""

    value: Array
    gradient: Array
    """(n,) by internal variables."""
    residuals: Array | None = None
    """(m,), for least squares."""
    jacobian: Array | None = None
    """(m, n) by internal variables, for least squares; 0 for variables that their bounds hold."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Lane:
    """A fit between two evaluations. Counters are integers, the rest has the type of the internal variables."""

    point: Array
    """(n,) internal variables of the last accepted point."""
    value: Array
    """Loss there; infinite before the first evaluation."""
    gradient: Array
    """(n,) by internal variables."""
    solver: Any
    """State of the JAXopt solver."""
    step: Array
    """Length of the next step, in units of the solver's direction."""
    rejected: Array
    """Trials rejected since the last accepted one or since the solver's memory was cleared."""
    cleared: Array
    """Whether the solver's memory was cleared since the last accepted trial."""
    barred: Array
    """Whether any trial since the last accepted one had a loss or derivative that is not finite."""
    stalled: Array
    """Accepted steps in a row that reduced the loss by no more than ftol."""
    nit: Array
    """Accepted steps."""
    nfev: Array
    """Evaluations."""
    status: Array
    """A `Status`."""
    best_point: Array
    """(n,) internal variables of the lowest loss."""
    best_value: Array
    """Lowest loss."""
    bad_point: Array
    """(n,) internal variables where a loss or derivative was last not finite."""
