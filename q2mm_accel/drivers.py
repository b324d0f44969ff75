"""A drop-in for q2mm's own drivers: its `ObjectiveFunction`, whose values and derivatives come from the fused kernel.

Duck-typed: q2mm itself is never imported here.
"""

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from q2mm_accel.errors import InteropError, NonFiniteError, NonFiniteWarning, OptionError, RelaxationError, warn_user
from q2mm_accel.interop.engine_objective import EngineObjective
from q2mm_accel.interop.q2mm import plain, torsion_signs, weighed
from q2mm_accel.objective import FusedObjective

Value = TypeVar("Value")
_OF_THE_VECTOR = ("x0", "bounds", "active", "ties", "parameter_scale")
_OF_THE_LOSS = ("priors", "l2", "balance", "loss", "f_scale", "n_maximized")
_CACHES = ("_handles", "_qm_eigenvectors")
"""What q2mm keeps between its own evaluations."""


def accelerate(objective_function: Any, **options: Any) -> "Accelerated":
    """The same objective for q2mm's own drivers, many times faster, with exact gradients for every kind of reference.

    One line of a driver changes, `objective = accelerate(objective)`. `ScipyOptimizer(...).optimize(objective)`,
    `OptimizationLoop(objective).run()`, `compute_sensitivity(objective)` and whatever else calls an `ObjectiveFunction`
    then run as before. The result is an instance of the original's class, and shares its force field, molecules and
    references: what a driver writes into the force field is written into yours. `history` and `n_eval` begin anew.

    Where there is no loss, as at a negative well depth that a simplex without bounds tries, it is infinite, with a warning,
    so that drivers turn back; at the start, and for gradients, it is an error. (q2mm has no defined answer there: NumPy's
    eigenvalues of matrices with NaN are an error or any numbers.)

    Args:
        objective_function: a `q2mm.optimizers.objective.ObjectiveFunction`, 5.0.0a2 or later, or what `accelerate` made of
            one, to do it again. It is only read.
        options: of `FusedObjective.from_q2mm` that change neither the parameter vector nor the loss: clipped_angles, check,
            precision, batch_size, devices, mesh, unrelaxed_penalty; on other engines workers, timeout, steps.

    Returns:
        The objective; its `fused` is the `FusedObjective`, or the `EngineObjective` on an engine whose terms are unknown
        (whose gradients are finite differences), its `original` the one that was given.

    Raises:
        InteropError: a term, reference or engine that cannot be carried over.
        OptionError: an option that changes the vector or the loss, or a value that an option cannot have.
        MoleculeError, ParameterError: as for `FusedObjective.from_q2mm`.
    """
    for names, why in (
        (_OF_THE_VECTOR, "q2mm's drivers take the start, its length and the bounds from q2mm's force field"),
        (_OF_THE_LOSS, "a drop-in has the loss of the objective that it stands in for"),
    ):
        for name in names:
            if name in options:
                raise OptionError(
                    f"{name} = {options[name]!r} cannot be given to accelerate: {why}. Leave it out, or fit "
                    f"FusedObjective.from_q2mm(objective, {name}=...) with SciPy or solve_native."
                )
    original = plain(objective_function)
    fused = FusedObjective.from_q2mm(original, **options)
    kind = _accelerated(type(original))
    made = kind.__new__(kind)
    made._open(original, fused)
    return made


@cache
def _accelerated(kind: type) -> "type[Accelerated]":
    return type(f"Accelerated{kind.__name__}", (Accelerated, kind), {"__doc__": Accelerated.__doc__})


class Accelerated:
    """What `accelerate` returns: an `ObjectiveFunction` of q2mm with the values and derivatives of a `FusedObjective`.

    It counts, remembers and writes as the original does: 5.0.0a2 sets its force field to the parameters that it evaluates,
    later versions leave it alone.

    Attributes:
        fused: the `FusedObjective`, or the `EngineObjective`.
        original: the objective that it stands in for.
        forcefield: q2mm's own, the original's.
        engine: the original's. Where that says that it has no analytical gradients, a copy that says it has: drivers ask it
            before they call `gradient`.
        molecules: the original's.
        reference: the original's.
        n_eval: evaluations of loss or residuals, but not of gradients.
        history: their losses.
    """

    fused: FusedObjective | EngineObjective
    original: Any
    forcefield: Any
    engine: Any
    molecules: Sequence[Any]
    reference: Any
    n_eval: int
    history: list[float]

    def _open(self, original: Any, fused: FusedObjective | EngineObjective) -> None:
        """Begin as the original, without evaluations."""
        vars(self).update(vars(original))
        vars(self).update({name: {} for name in _CACHES if name in vars(original)})
        self.original, self.fused = original, fused
        self.engine = _differentiable(original.engine)
        self.n_eval, self.history = 0, []
        self._carried = [copy.copy(value) for value in self.reference.values], list(self.molecules)
        given = weighed(self)
        self._rows = [number for number, _ in given]
        # an engine's own residuals have q2mm's signs
        self._signs = torsion_signs([v for _, v in given]) if isinstance(fused, FusedObjective) else np.ones(len(given))
        self._paired = False

    def __call__(self, param_vector: ArrayLike) -> float:
        """The loss, as q2mm's `ObjectiveFunction` has it.

        Args:
            param_vector: shape (n,), in q2mm's units.

        Raises:
            ParameterError: wrong length, or an element that is not finite.
            NonFiniteError, RelaxationError: there is no loss at the first point since `history` was empty.
            InteropError: references or molecules have changed since they were carried over.

        Warns:
            NonFiniteWarning: there is no loss at a later point, and infinity is returned.
        """
        x = self._visited(param_vector)
        # if the last point was asked for its gradient too, this one is likely to be: both at once
        paired, self._paired = self._paired, False
        return self._counted(self._defined(self.fused.fun if paired else self._sum_of_squares, x, np.inf))

    def residuals(self, param_vector: ArrayLike) -> NDArray[np.float64]:
        """Weight times deviation of all references in q2mm's order, 0 where the weight is; raises as the loss does."""
        x = self._visited(param_vector)
        values = np.zeros(len(self.reference.values))
        values[self._rows] = self._signs * self._defined(self.fused.residuals, x, np.full(len(self._signs), np.inf))
        self._counted(float(np.sum(values**2)))
        return values

    def gradient(self, param_vector: ArrayLike) -> NDArray[np.float64]:
        """The exact gradient of the loss, shape (n,), for every kind of reference; not counted. Raises as the loss does."""
        self._paired = True
        return self.fused.jac(self._visited(param_vector))

    def batched_scores(self, param_matrix: ArrayLike) -> NDArray[np.float64]:
        """The losses of the rows of an array (batch, n), each counted, for q2mm's sensitivity analysis."""
        # one by one: `fun_batch` takes three times as long on a CPU, for large sets
        return np.array([self(x) for x in np.atleast_2d(np.asarray(param_matrix, dtype=np.float64))])

    def reset(self) -> None:
        """Forget counts and history. What has been compiled stays."""
        self.n_eval = 0
        self.history.clear()

    def _visited(self, param_vector: ArrayLike) -> NDArray[np.float64]:
        """The vector, after the force field was set to it where q2mm's objective does that."""
        if not self.history:  # drivers clear it before they start
            self._check_unchanged()
        x = np.array(param_vector, dtype=np.float64)
        if not hasattr(self.forcefield, "with_params"):
            self.forcefield.set_param_vector(x)
        return x

    def _sum_of_squares(self, x: NDArray[np.float64]) -> float:
        """The loss without its gradient, in half the time or less."""
        return float(np.sum(self.fused.residuals(x) ** 2))

    def _defined(self, function: Callable[[NDArray[np.float64]], Value], x: NDArray[np.float64], otherwise: Value) -> Value:
        """Of a point what a function gives; where it gives nothing finite, something else, but not for a driver's start."""
        try:
            return function(x)
        except (NonFiniteError, RelaxationError) as error:
            if not self.history:
                raise
            warn_user(f"a driver asked for the loss where there is none, and was told infinity: {error}", NonFiniteWarning)
            return otherwise

    def _counted(self, value: float) -> float:
        self.n_eval += 1
        self.history.append(value)
        return value

    def _check_unchanged(self) -> None:
        values, molecules = self._carried
        now = self.reference.values
        if len(molecules) != len(self.molecules) or any(a is not b for a, b in zip(molecules, self.molecules, strict=True)):
            raise InteropError("the molecules have changed since accelerate carried them over; call accelerate again.")
        if len(values) != len(now):
            raise InteropError(
                f"there are {len(now)} references, but accelerate carried {len(values)} over; call accelerate again."
            )
        for number, (before, after) in enumerate(zip(values, now, strict=True)):
            if before != after:
                raise InteropError(
                    f"reference {number} ({after.label or after.kind}) has changed since accelerate carried it over, from "
                    f"{before} to {after}; call accelerate again."
                )


def _differentiable(engine: Any) -> Any:
    """An engine that says that there are analytical gradients."""
    if engine.supports_analytical_gradients():
        return engine
    engine = copy.copy(engine)
    engine.supports_analytical_gradients = lambda: True
    return engine
