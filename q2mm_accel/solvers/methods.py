"""The methods of `solve_native`, each a JAXopt solver that takes one evaluation at a time.

The only module that imports JAXopt, which is no longer maintained. A trial is one call of a solver's `update` with a given
step length, which takes exactly one evaluation of the loss. `loop` decides whether it is accepted and how long the next step
is. So the loss stands in one place of the compiled program, which keeps compilation short, and many fits go side by side
without waiting for each other's line searches.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import jaxopt

from q2mm_accel.solvers.lane import Evaluation, Lane
from q2mm_accel.solvers.variables import BOX, SMOOTH, Space

_ARMIJO = 1e-4
"""Part of the reduction expected to first order that a step must bring (Armijo's condition)."""
_RECENT = 10
"""How many of the last losses the projected gradient method remembers; no step may end above the highest of them."""
_DAMPING = 1e-3
"""First damping of Levenberg and Marquardt, relative to the largest diagonal element of JᵀJ; a step with more of it is
shorter than the solver's own."""
_LEAST_DAMPING = 1e-12
"""Keeps the equations of Levenberg and Marquardt regular when no variable can move."""
_TRACED: dict[str, Any] = {"implicit_diff": False, "jit": False, "unroll": True}
"""JAXopt then only builds expressions, and the loop around it compiles them."""


class Trial(NamedTuple):
    """A proposed point, its evaluation, and how the solver goes on."""

    point: Any
    evaluation: Evaluation
    accepted: Any
    change: Any
    """Change of the loss to first order."""
    expected: Any
    """Reduction of the loss that the solver expects of its full step: when it is nothing, the fit has converged."""
    full: Any
    """Whether the step is the solver's own, not one held back after trials that were rejected."""
    if_accepted: Any
    """State of the solver."""
    if_rejected: Any
    """State of the solver."""
    next_step: Any
    """Step length after an accepted trial."""


class Method(NamedTuple):
    """A solver: its first state at an evaluated point, and a trial."""

    start: Callable[[Any, Evaluation], Any]
    attempt: Callable[[Lane, Callable[[Any], Evaluation], tuple], Trial]
    """From a lane, the function to evaluate once, and the box (lower, upper)."""
    space: Space
    squares: bool
    """Whether it needs residuals and their Jacobian."""
    can_clear: bool
    """Whether clearing its memory gives it another direction."""
    first_step: Callable[[Any], Any]
    """Length of the first step, from the norm of the gradient."""
    patience: int
    """How many steps in a row must bring no more than ftol to count as converged."""
    trials: int
    """How many trials in a row may be rejected."""


class _Recorder:
    """Evaluates each point once while the loop is traced, and keeps what JAXopt does not return."""

    def __init__(self, evaluate: Callable[[Any], Evaluation]) -> None:
        self._evaluate = evaluate
        self.point: Any = None
        self.evaluation: Any = None

    def __call__(self, point) -> Evaluation:
        # by identity of the traced array: JAXopt asks for residuals and Jacobian of one point one after the other
        if point is not self.point:
            self.point, self.evaluation = point, self._evaluate(point)
        return self.evaluation


def _known(evaluation: Evaluation) -> Callable:
    """A function for JAXopt whose value and gradient are known already."""
    return lambda _: (evaluation.value, evaluation.gradient)


def _sufficient(lane: Lane, point, evaluation: Evaluation, reference):
    """Whether the loss falls far enough below a reference value, and its change to first order."""
    change = lane.gradient @ (point - lane.point)
    return (change < 0.0) & (evaluation.value <= reference + _ARMIJO * change), change


def _first_unit(norm):
    """A first step of one typical change at most."""
    return jnp.minimum(1.0, 1.0 / norm)


def _quasi_newton(solver: Callable, space: Space, tidied: Callable) -> Method:
    """L-BFGS or L-BFGS-B, with what `tidied` makes of the memory after a step."""
    box_of = (lambda box: ()) if space.smooth else (lambda box: (box,))

    def start(point, evaluation):
        return solver(fun=_known(evaluation), stepsize=1.0).init_state(point, *box_of(None))

    def attempt(lane, evaluate, box):
        recorder = _Recorder(evaluate)
        # a step length that is given leaves JAXopt nothing to search for
        solving = solver(fun=lambda point: recorder(point)[:2], stepsize=lambda _: lane.step)
        point, state = solving.update(lane.point, lane.solver, *box_of(box))
        evaluation = recorder.evaluation
        accepted, change = _sufficient(lane, point, evaluation, lane.value)
        state = tidied(lane, point, evaluation, state)
        return Trial(
            point,
            evaluation,
            accepted,
            change,
            -change / lane.step,
            lane.rejected == 0,
            state,
            lane.solver,
            jnp.ones_like(change),
        )

    return Method(start, attempt, space, False, True, _first_unit, patience=2, trials=20)


def _without_negative_curvature(lane: Lane, point, evaluation: Evaluation, state):
    """The solver's state, without the last step where the loss curves downwards along it.

    JAXopt's L-BFGS remembers every step, and one with s·y <= 0 (s the step, y the change of the gradient) makes the inverse
    Hessian that it builds indefinite: later directions may lead uphill.
    """
    step, change = point - lane.point, evaluation.gradient - lane.gradient
    keep = partial(jnp.where, step @ change > 1e-12 * jnp.sqrt((step @ step) * (change @ change)))
    names = ("s_history", "y_history", "rho_history", "gamma", "iter_num")
    return state._replace(**{name: keep(getattr(state, name), getattr(lane.solver, name)) for name in names})


def _in_order(lane: Lane, point, evaluation: Evaluation, state):
    """The solver's state, with its memory ordered in time.

    JAXopt's L-BFGS-B expects that order, but overwrites the oldest step in place once the memory is full. As it is put in
    order after every step, that is always the first one.
    """
    size = state.s_history.shape[0]
    turn = partial(jnp.where, state.num_updates > size)
    return state._replace(
        s_history=turn(jnp.roll(state.s_history, -1, axis=0), state.s_history),
        y_history=turn(jnp.roll(state.y_history, -1, axis=0), state.y_history),
        num_updates=jnp.minimum(state.num_updates, size),
    )


def _projected_gradient() -> Method:
    """Step lengths of Barzilai and Borwein, and a loss that may rise for a while.

    Source: E. G. Birgin, J. M. Martínez, M. Raydan, SIAM J. Optim. 10, 1196 (2000).
    """

    def solver(evaluation, stepsize):
        project = jaxopt.projection.projection_box
        settings = {"value_and_grad": True, "acceleration": False, **_TRACED}
        return jaxopt.ProjectedGradient(fun=_known(evaluation), projection=project, stepsize=stepsize, **settings)

    def start(point, evaluation):
        recent = jnp.full(_RECENT, -jnp.inf, dtype=evaluation.value.dtype).at[0].set(evaluation.value)
        return solver(evaluation, 1.0).init_state(point), recent

    def attempt(lane, evaluate, box):
        state, recent = lane.solver
        known = Evaluation(lane.value, lane.gradient)
        point, state = solver(known, lambda _: lane.step).update(lane.point, state, box)
        evaluation = evaluate(point)
        accepted, change = _sufficient(lane, point, evaluation, recent.max())
        moved, turned = point - lane.point, evaluation.gradient - lane.gradient
        curvature = moved @ turned
        # the longer of Barzilai and Borwein's two lengths; along a line that curves downwards as far as the box allows
        step = jnp.where(curvature > 0.0, (moved @ moved) / jnp.where(curvature > 0.0, curvature, 1.0), 1e10)
        recent = recent.at[state.iter_num % _RECENT].set(evaluation.value)
        return Trial(
            point,
            evaluation,
            accepted,
            change,
            -change,
            lane.rejected == 0,
            (state, recent),
            lane.solver,
            jnp.clip(step, 1e-12, 1e10),
        )

    return Method(start, attempt, BOX, False, True, _first_unit, patience=50, trials=40)


def _levenberg_marquardt() -> Method:
    """Damped Gauss-Newton steps, clipped to the box; `loop.evaluate` leaves out the columns of variables that bounds hold.

    Source: K. Madsen, H. B. Nielsen, Introduction to Optimization and Data Fitting (2010), pages 120 and 121, as in JAXopt.
    """

    def solver(residuals, jacobian):
        settings = {"materialize_jac": True, "solver": "cholesky", "damping_parameter": _DAMPING, **_TRACED}
        made = jaxopt.LevenbergMarquardt(residual_fun=residuals, **settings)
        made._jac_fun = jacobian  # JAXopt 0.8.5 ignores its argument jac_fun when the Jacobian is materialized
        return made

    def start(point, evaluation):
        state = solver(lambda _: evaluation.residuals, lambda _: evaluation.jacobian).init_state(point)
        damping = jnp.maximum(state.damping_factor, _LEAST_DAMPING)
        # JAXopt starts with a Python float, but the loop's state must keep its types
        return state._replace(damping_factor=damping, increase_factor=jnp.full_like(damping, state.increase_factor))

    def attempt(lane, evaluate, box):
        recorder = _Recorder(evaluate)
        solving = solver(lambda point: recorder(point).residuals, lambda point: recorder(point).jacobian)
        _, state = solving.update(lane.point, lane.solver)
        # the step ends at the bounds, as it did when it was evaluated (`Space.outside`)
        point = jnp.clip(recorder.point, *box)
        # the reduction of the quadratic model of Σ r² at the step h: hᵀ (μ h - Jᵀr), with the damping μ before the step
        expected = state.delta @ (lane.solver.damping_factor * state.delta - lane.solver.gradient)
        accepted = state.increase_factor == 2.0  # what JAXopt sets after a step that it takes
        full = lane.solver.damping_factor <= _DAMPING * jnp.diag(lane.solver.jtj).max()
        return Trial(point, recorder.evaluation, accepted, -expected, expected, full, state, state, lane.step)

    return Method(start, attempt, BOX, True, False, jnp.ones_like, patience=1, trials=12)


METHODS: dict[str, Callable[[int], Method]] = {
    "lbfgsb": lambda history_size: _quasi_newton(
        partial(jaxopt.LBFGSB, value_and_grad=True, history_size=history_size, **_TRACED), BOX, _in_order
    ),
    "lbfgs": lambda history_size: _quasi_newton(
        partial(jaxopt.LBFGS, value_and_grad=True, history_size=history_size, **_TRACED), SMOOTH, _without_negative_curvature
    ),
    "levenberg-marquardt": lambda history_size: _levenberg_marquardt(),
    "projected-gradient": lambda history_size: _projected_gradient(),
}
"""By name, from the number of steps that a quasi-Newton method remembers."""
