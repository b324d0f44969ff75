"""Fits of an objective: `solve_native`, and checkpoints for SciPy's optimizers."""

from collections.abc import Callable, Sequence
from functools import cached_property
from os import PathLike

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds, OptimizeResult

from q2mm_accel.io.checkpoint import Checkpoint, Checkpointer, fingerprint, load_checkpoint


class ScipyCheckpoint:
    """A callback for any SciPy optimizer that saves the objective's best point, at most once per interval."""

    def __init__(self, objective: "Fitting", path: str | PathLike, every: float) -> None:
        """Check that the file can be written and is not a checkpoint of another problem."""
        self._objective = objective
        self._writer = Checkpointer(path, every, replaces=objective.fingerprint)

    def __call__(self, *details, **named) -> None:
        """What SciPy calls after an iteration; the point itself is taken from the objective."""
        self._writer.save_if_due(self._checkpoint)

    def save(self) -> None:
        """Save now."""
        self._writer.save(self._checkpoint())

    def _checkpoint(self) -> Checkpoint:
        best = self._objective.best
        x = self._objective.x0 if best is None else best.x
        return Checkpoint(self._objective.fingerprint, "scipy", x, self._objective.fun(x))


class Fitting:
    """Methods of `FusedObjective` that fit, or keep what a fit has reached."""

    @property
    def typical_scale(self) -> np.ndarray:
        """Size of a noticeable change of every element of x, shape (n,); native solvers step in units of it."""
        free = self.space.free
        return self.space.forcefield.typical_scale[free] / self.space.scale[free]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that defines the loss, x and its bounds: molecules, references and options.

        Precision, batches and devices do not count: a fit may go on with others.
        """
        arrays, structure = jax.tree.flatten(self._build())
        return fingerprint([*arrays, self.bounds.lb, self.bounds.ub], [str(structure), *self.labels])

    def solve_native(
        self,
        method: str | None = None,
        x0: ArrayLike | None = None,
        bounds: Bounds | Sequence | None = None,
        **options,
    ) -> OptimizeResult:
        """Minimize the loss by one traced JAXopt computation, from one start or many side by side.

        The same x as `fun` takes, in the same units. Inside, variables are in units of `typical_scale`. Trial steps are
        JAXopt's; whether they are accepted is decided here, after one evaluation each. Nothing but the problem's shapes,
        the method, `history_size` and the number of lanes makes it compile again.

        Bounds are never left:

        - "lbfgsb" (`jaxopt.LBFGSB`): limited-memory BFGS in a box; steps end inside the box and are clipped there. The
          default when there are finite bounds.
        - "lbfgs" (`jaxopt.LBFGS`): limited-memory BFGS of unbounded variables; a bounded element of x is a smooth
          function of one (a sine between two bounds, a hyperbola beside one), so it comes close to its bound but rests
          on it only in the limit. The default when there are none.
        - "levenberg-marquardt" (`jaxopt.LevenbergMarquardt`): damped Gauss-Newton steps with the exact Jacobian, clipped
          to the box; elements that the gradient pushes against a bound are held. Fewest evaluations.
        - "projected-gradient" (`jaxopt.ProjectedGradient`): spectral projected gradient, needs many evaluations.

        Args:
            method: one of these.
            x0: the start, shape (n,); by default the objective's.
            bounds: `scipy.optimize.Bounds` or n pairs; by default the objective's.
            **options: any of

                - maxiter (1000): accepted steps of each start, and of polishing.
                - tol (1e-9): a fit has converged when a step reduces the loss by no more than this part of it, or none
                  can be expected to.
                - gtol (1e-8): or when no element of the projected gradient, by variables in units of `typical_scale`, is
                  larger.
                - n_starts (1): number of fits, the first of them from x0.
                - sampling ("perturbation"): of the other starts; or "sobol", over the whole box.
                - spread (0.2): size of perturbations, relative to x0.
                - seed (0): of the starts; the same seed gives the same results.
                - lanes: how many fits go side by side; by default what keeps the machine busy. When one ends, the next
                  start takes its place.
                - history_size (20): steps that the quasi-Newton methods remember.
                - callback: called as SciPy does, with `intermediate_result` if it has this only parameter, else with the
                  best x so far; StopIteration ends the fit.
                - callback_every (10): accepted steps (of many starts: trials) between two calls, at most 64. Ctrl-C, the
                  time limit, progress and checkpoints also wait for it. It does not change the result.
                - progress (False): show a bar, with rich.
                - time_limit: seconds, the first evaluation and compilation included.
                - checkpoint: path of a file to save the state to, and checkpoint_every (30): seconds between two savings.
                - resume: path of a checkpoint to go on from. With the same method, starts, bounds and precision, the fit
                  goes on as if it had not been interrupted; else, and from checkpoints of SciPy's optimizers, from the
                  best point, as a polish does.
                  With a larger maxiter, fits go on that had reached it; of many starts, those whose lane no other has taken.
                - precision: of all steps, as of an objective, whose own it is by default. In float32 and mixed precision no
                  step can be told from none that changes the loss by less than 1e-6 of it, whatever tol.
                - polish (False): then go on from the best end in float64, so that it is as good as a fit in float64.

            Several devices take their own starts if there are at least as many; otherwise they share the molecules.

            Ctrl-C ends a fit after the current segment, with the best point as its result; a second one raises
            KeyboardInterrupt at once.

        Returns:
            x, fun, jac, success, status (a `q2mm_accel.native.lane.Status`), message, nit (of the best start, polishing
            included), nfev and njev (of all starts), method, and history: loss, evaluations and norm of the gradient in
            internal variables at the accepted points of the best start. With n_starts > 1 also starts: x0 and x, shape
            (n_starts, n), fun, nit, nfev and status of each. The loss is evaluated again by `fun`, and not above that of
            the start.

        Warns:
            CheckpointWarning: a checkpoint cannot be written; or holds several fits, and only the best point is used.

        Raises:
            OptionError: an unknown method or option, or a value that it cannot have.
            ParameterError: x0 outside the bounds, or malformed.
            PrecisionError: a reference needs more than the precision, or JAX's 64-bit mode is off.
            NonFiniteError: the loss or its gradient is not finite at x0.
            CheckpointError: a checkpoint of another problem, or a damaged one.
            OutputError: the checkpoint cannot be written.
        """
        from q2mm_accel.native.options import options_of
        from q2mm_accel.native.solve import solve

        return solve(self, method, x0, bounds, options_of(options))

    def checkpoint(self, path: str | PathLike, every: float = 30.0) -> Callable:
        """A callback for SciPy's optimizers that saves the best point so far, for `resume` or `resume_point`.

        Args:
            path: the file; a checkpoint of the same problem is replaced.
            every: interval between two savings [s].

        Returns:
            The callback; its method `save` saves at once.

        Raises:
            OutputError: the file cannot be written.
            CheckpointError: the file exists and is no checkpoint of this problem.
        """
        return ScipyCheckpoint(self, path, every)

    def resume_point(self, path: str | PathLike) -> np.ndarray:
        """The best x of a checkpoint, shape (n,), to start any optimizer from.

        Raises:
            CheckpointError: the file is damaged, or a checkpoint of another problem.
        """
        return load_checkpoint(path, self.fingerprint).x.copy()
