"""`solve_native`: from options to a `scipy.optimize.OptimizeResult`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds, OptimizeResult

from q2mm_accel.devices import everywhere
from q2mm_accel.errors import CheckpointWarning, NonFiniteError, warn_user
from q2mm_accel.inputs import FitInputs
from q2mm_accel.io.checkpoint import Checkpoint, Checkpointer, load_checkpoint
from q2mm_accel.model.arguments import parameter_vector
from q2mm_accel.parameters.bounds import as_bounds, inside
from q2mm_accel.solvers.fits import Fits, begin, usual_lanes
from q2mm_accel.solvers.lane import SENTENCES, Setting, Status
from q2mm_accel.solvers.options import Options, check_method
from q2mm_accel.solvers.resuming import n_lanes, n_starts, restore, to_checkpoint
from q2mm_accel.solvers.starts import draw_starts
from q2mm_accel.solvers.watch import Watch, held_interrupts

_UNLIMITED = np.iinfo(np.int32).max


Evaluate = Callable[[ArrayLike], tuple[float, np.ndarray]]
"""Loss and gradient at an x, as the objective evaluates them in its own precision; raises where they are not finite."""


def solve(
    inputs: FitInputs,
    evaluate: Evaluate,
    method: str | None,
    x0: ArrayLike,
    bounds: Bounds | Sequence,
    options: Options,
) -> OptimizeResult:
    """What `FusedObjective.solve_native` does; its docstring explains method, options, result and errors.

    Args:
        inputs: of the fit.
        evaluate: loss and gradient as the objective gives them.
        method: one of `METHODS`, or None for the default.
        x0: shape (n,).
        bounds: of x.
        options: all others.
    """
    began = time.monotonic()
    limits = as_bounds(bounds, inputs.labels)
    bounded = np.any(np.isfinite(limits.lb) | np.isfinite(limits.ub))
    if method is None:
        method = "lbfgsb" if bounded else "lbfgs"
    check_method(method)
    start = parameter_vector(x0, inputs.labels, "x0")
    start = inside(start, limits, inputs.space)
    saver = None
    if options.checkpoint is not None:
        saver = Checkpointer(options.checkpoint, options.checkpoint_every, replaces=inputs.fingerprint)
    if options.resume is None:
        fits = fits_from(inputs, method, start, limits, options)
    else:
        known = load_checkpoint(options.resume, inputs.fingerprint)
        fits, start = _resumed(inputs, method, start, limits, options, known)
    first = evaluate(start)[0]  # raises where the start makes no sense, before anything large is compiled
    with held_interrupts() as interrupted:
        with Watch(options, began, interrupted) as watch:
            stages = [fits]
            stopped = _run(inputs, evaluate, stages, options, saver, watch)
            if options.polish and stopped is None:
                exact = replace(options, precision="float64", n_starts=1)
                # by the objective's own measure, for in float32 a fit may end above its start
                best = min(fits.x[fits.best], start, key=lambda x: evaluate(x)[0])
                stages.append(fits_from(inputs, method, best, limits, exact))
                stopped = _run(inputs, evaluate, stages, options, saver, watch)
        return _result(evaluate, stages, start, first, stopped)


def _resumed(
    inputs: FitInputs, method: str, start: np.ndarray, limits: Bounds, options: Options, known: Checkpoint
) -> tuple[Fits, np.ndarray]:
    """Fits where those of a checkpoint were if they are the same, else from its best point; and that point.

    Warns:
        CheckpointWarning: the checkpoint holds several fits, and only their best point is used.
    """
    fits = fits_from(inputs, method, start, limits, replace(options, lanes=options.lanes or n_lanes(known)))
    best = parameter_vector(known.x, inputs.labels, "x0")
    best = inside(best, limits, inputs.space)
    difference = restore(fits, known)
    if difference is None:
        return fits, best
    if n_starts(known) > 1:
        warn_user(
            f"{options.resume} holds {n_starts(known)} fits, of which only the best point is used: {difference}.",
            CheckpointWarning,
        )
    return fits_from(inputs, method, best, limits, options), best


def fits_from(inputs: FitInputs, method: str, start: np.ndarray, limits: Bounds, options: Options) -> Fits:
    """Fits before their first evaluation: starts go to the devices if there are enough, else these share the molecules."""
    scale, precision = inputs.typical_scale, options.precision or inputs.precision
    lanes = min(
        options.n_starts,
        options.lanes or usual_lanes(inputs.arrays(inputs.precision), inputs.mesh, method, options.history_size),
    )
    mesh = inputs.mesh if inputs.mesh is not None and lanes >= inputs.mesh.size else None
    if mesh is None:
        problem = inputs.arrays(precision)
    else:
        # every device has as many lanes as the others
        lanes -= lanes % mesh.size
        problem = everywhere(inputs.host_arrays(precision), mesh)
    numbers = (np.asarray(options.tol, dtype=np.float64), np.asarray(options.gtol, dtype=np.float64))
    maxiter = np.asarray(min(options.maxiter, _UNLIMITED), dtype=np.int64)
    setting = Setting(problem, scale, limits.lb, limits.ub, *numbers, maxiter)
    drawn = (options.n_starts, options.sampling, options.spread, options.seed)
    starts = draw_starts(start, limits.lb, limits.ub, scale, *drawn)
    return begin(method, options.history_size, setting, mesh, inputs.labels, starts, lanes)


def _run(
    inputs: FitInputs,
    evaluate: Evaluate,
    stages: list[Fits],
    options: Options,
    saver: Checkpointer | None,
    watch: Watch,
) -> Status | None:
    """Advance the last fits until all have ended, or return why they, or what is to follow, were stopped.

    The best point is kept in any case. Checkpoints hold the first fits with the best point of the last.
    """
    fits, to_follow = stages[-1], options.polish and len(stages) == 1

    def snapshot() -> Checkpoint:
        best = fits.x[fits.best]
        return to_checkpoint(stages[0], inputs.fingerprint, best, evaluate(best)[0])

    # a single fit ends its segment after so many steps; with many lanes the slowest would make all others wait
    trials = _UNLIMITED if len(fits.owner) == 1 else options.callback_every
    stopped = None
    try:
        while fits.running and stopped is None:
            fits.advance(options.callback_every, trials)
            stopped = watch.reason_to_stop(fits)
            if saver is not None:
                saver.save_if_due(snapshot)
    finally:
        # also after exceptions of a callback or a second Ctrl-C: what was reached is not lost
        if saver is not None and fits.settled:
            saver.save(snapshot())
        evaluate(fits.x[fits.best])[0]
    if stopped is None or not (fits.running or to_follow):
        return None
    fits.stop(stopped)
    return stopped


def _result(
    evaluate: Evaluate, stages: list[Fits], start: np.ndarray, first: float, stopped: Status | None
) -> OptimizeResult:
    """The best of the last fits, its loss evaluated again by the objective, and never worse than the start."""
    fits = stages[-1]
    best, nfev = fits.best, sum(int(stage.nfev.sum()) for stage in stages)
    x = fits.x[best].copy()
    # by the objective's own measure: a fit in lower precision, or one that stopped at once, may end above its start
    if evaluate(x)[0] > first:
        x = start
    fun, jac = evaluate(x)
    status = Status(fits.status[best]) if stopped is None else stopped
    history = np.concatenate([np.zeros((0, 3)), *(part for stage in stages for part in stage.history[stage.best])])
    result = OptimizeResult(
        x=x,
        fun=fun,
        jac=jac,
        success=status == Status.CONVERGED,
        status=status,
        message=_message(evaluate, stages, status),
        nit=sum(int(stage.nit[stage.best]) for stage in stages),
        nfev=nfev,
        njev=nfev,
        history={
            "fun": history[:, 0].copy(),
            "nfev": history[:, 1].astype(np.int64),
            "gradient_norm": history[:, 2].copy(),
        },
        method=fits.method,
    )
    many = stages[0]
    if len(many.fun) > 1:
        names = ("x", "fun", "nit", "nfev", "status")
        result.starts = {"x0": many.starts.copy(), **{name: getattr(many, name).copy() for name in names}}
    return result


def _message(evaluate: Evaluate, stages: list[Fits], status: Status) -> str:
    fits, many, sentence = stages[-1], stages[0], SENTENCES[status]
    if status == Status.NON_FINITE:
        sentence = f"{sentence} {_where(evaluate, fits.bad[fits.best])}"
    if len(many.fun) > 1:
        converged = int((many.status == int(Status.CONVERGED)).sum())
        sentence = f"{sentence} Best of {len(many.fun)} starts: number {many.best}; {converged} converged."
    return sentence


def _where(evaluate: Evaluate, x: np.ndarray) -> str:
    """Which molecules and parameters make the loss not finite at x."""
    try:
        value = evaluate(x)[0]
    except NonFiniteError as error:
        return str(error)
    return f"Where that was last found, the objective itself gives {value:.6g}."
