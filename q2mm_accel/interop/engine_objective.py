"""An objective of q2mm on an engine outside of JAX, with the methods of a fused one and derivatives by differences."""

import copy
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds

from q2mm_accel.errors import InteropError, NonFiniteError, OptionError, ParameterError
from q2mm_accel.interop.engine_differences import checked_steps, differences
from q2mm_accel.interop.engine_molecules import EngineInputs, Evaluator, inputs_from_q2mm, steps_by_type
from q2mm_accel.interop.engine_workers import Workers
from q2mm_accel.interop.q2mm import widened
from q2mm_accel.model.arguments import bounds_between, integer, parameter_rows, parameter_vector, real_array
from q2mm_accel.parameters.bounds import as_bounds

_CACHED_POINTS = 4
_STEP = 1e-3
"""In the units of each parameter: `ScipyOptimizer`'s `eps` of 5.0.0a2, whose objective has no step of its own."""
_LISTED = 5


class Best(NamedTuple):
    """The lowest loss asked for so far."""

    x: np.ndarray
    fun: float


@dataclass(frozen=True, eq=False)
class _Point:
    """Residuals (m,) at a vector, the loss, and the residuals' derivatives (m, n) if they were asked for."""

    residuals: np.ndarray
    loss: float
    jacobian: np.ndarray | None


class EngineObjective:
    """The loss of a q2mm `ObjectiveFunction` on any engine with q2mm's `MMEngine` methods, and its derivatives.

    For engines that cannot be carried over to `FusedObjective`: they compute what they compute, at q2mm's speed. The loss is
    q2mm's to the last digit. Derivatives are differences, 2n evaluations of every molecule for n parameters, which
    `workers` processes share. They are central; where a bound is closer than the step, both points lie on the other side of
    x and the formula is of second order too. An element between two equal bounds has the derivative 0.

    All methods take any array-like x of n numbers and return NumPy arrays of float64 that the caller may keep and change.
    Use it as a context manager, or call `close`, to end worker processes early; they end with the objective anyway.
    Objectives can be pickled if their engine can; copies start without evaluations.

    Attributes:
        x0: the start, shape (n,), in q2mm's units.
        bounds: `scipy.optimize.Bounds` of x.
        steps: of the differences, shape (n,), in the units of x.
        best: lowest loss asked for so far and its x, or None. The points of differences do not count.
    """

    x0: np.ndarray
    bounds: Bounds
    steps: np.ndarray
    best: Best | None

    def __init__(
        self,
        objective_function: Any,
        *,
        x0: ArrayLike | None = None,
        bounds: Bounds | Sequence | None = None,
        workers: int = 1,
        timeout: float = 600.0,
        steps: ArrayLike | str | None = None,
    ) -> None:
        """Copy what is evaluated, and evaluate nothing yet.

        Args:
            objective_function: of q2mm 5.0.0a2 or later. It is only read, and its force field, molecules and references
                are copied; its engine is used as it is (a copy of it in worker processes).
            x0: another start, shape (n,).
            bounds: other bounds than q2mm's default ones.
            workers: how many processes evaluate; 1 for none but this one. Scripts must keep what they do under
                `if __name__ == "__main__":`, as with all processes that Python spawns.
            timeout: how long a worker process may take to evaluate one molecule once [s], or infinity. Nothing can
                interrupt an evaluation in this process.
            steps: of the differences, shape (n,) or one for all, in the units of x. By default those that q2mm's own
                gradient has: the objective's `fd_step` (1e-4 in 0c795729), else 1e-3, with which `ScipyOptimizer` lets
                SciPy difference. "by type" for q2mm's `STEPS` (0.02 Å, 1 degree ...), with which it analyses sensitivity:
                for engines that give few digits, as Tinker does, or relax molecules loosely.

        Raises:
            InteropError: no objective function, an engine that lacks methods; or with workers, one that cannot be pickled.
            ReferenceDataError: no reference has a weight, or one is to a molecule that does not exist.
            ParameterError: the start lies outside the bounds that were given; malformed x0 or bounds.
            OptionError: workers, timeout or steps that it cannot have.

        Warns:
            BoundsWarning: q2mm's start lies outside q2mm's default bounds, which are widened to hold it.
        """
        inputs = inputs_from_q2mm(objective_function)
        start = parameter_vector(inputs.x0 if x0 is None else x0, inputs.labels, "x0")
        limits = _limits(inputs, bounds, start)
        chosen = checked_steps(_steps(objective_function, inputs, steps), inputs.labels)
        count = integer(workers, "workers", OptionError)
        seconds = float(real_array(timeout, "timeout", OptionError, shape=(), finite=False))
        if count < 1:
            raise OptionError(f"workers is {count}; give 1 to evaluate in this process, or how many processes to start.")
        if not seconds > 0.0:
            raise OptionError(f"timeout is {seconds}; it must be above 0, in seconds.")
        self._open(inputs, start, limits, chosen, count, seconds)

    def _open(
        self, inputs: EngineInputs, x0: np.ndarray, bounds: Bounds, steps: np.ndarray, workers: int, timeout: float
    ) -> None:
        """Begin without evaluations."""
        self.x0, self.bounds, self.steps = x0.copy(), bounds_between(bounds.lb.copy(), bounds.ub.copy()), steps.copy()
        self.best: Best | None = None
        self._made_of = inputs, x0, bounds, steps, workers, timeout
        self._inputs, self._rows, self._periods = inputs, inputs.rows, inputs.periods
        self._runner = Evaluator(inputs) if workers == 1 else Workers(inputs, workers, timeout)
        self._points: OrderedDict[bytes, _Point] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple:
        """Pickle what it was made of; a copy starts without evaluations."""
        return _opened, (type(self), *self._made_of)

    def __enter__(self) -> Self:
        """The objective itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End worker processes."""
        self.close()

    def close(self) -> None:
        """End worker processes. Evaluations after that start others."""
        with self._lock:
            self._runner.close()

    @property
    def labels(self) -> tuple[str, ...]:
        """One name per element of x, those of `FusedObjective`."""
        return self._inputs.labels

    @property
    def n_parameters(self) -> int:
        """How many elements x has."""
        return len(self._inputs.labels)

    @property
    def residual_labels(self) -> tuple[str, ...]:
        """One name per residual: the molecule and the reference."""
        return self._inputs.row_labels

    @property
    def evaluations(self) -> int:
        """How often the engine was asked to evaluate a molecule, differences and failures included."""
        return self._runner.begun

    def forcefield(self, x: ArrayLike) -> Any:
        """A copy of q2mm's force field with the parameters x."""
        forcefield = copy.deepcopy(self._inputs.forcefield)
        forcefield.set_param_vector(parameter_vector(x, self.labels, "x"))
        return forcefield

    def fun(self, x: ArrayLike) -> float:
        """The loss at x, that of q2mm.

        Raises:
            ParameterError: x has the wrong length or is not finite.
            NonFiniteError: the loss is not finite; `best` stays available.
            EngineError: the engine raised something; or its worker process ended, took too long or cannot be started.
        """
        return self._evaluated(x).loss

    def jac(self, x: ArrayLike) -> np.ndarray:
        """The gradient of the loss at x, shape (n,): 2 Jᵀr with J of `residuals_jac`. Raises as it does."""
        return self.fun_and_jac(x)[1]

    def fun_and_jac(self, x: ArrayLike) -> tuple[float, np.ndarray]:
        """Loss and gradient, for `minimize(..., jac=True)`. Raises as `residuals_jac` does."""
        point = self._evaluated(x, derivatives=True)
        assert point.jacobian is not None
        return point.loss, 2.0 * (point.residuals @ point.jacobian)

    def residuals(self, x: ArrayLike) -> np.ndarray:
        """Weight (reference - computed) of references with a weight, shape (m,), in q2mm's order. Raises as `fun` does."""
        return self._evaluated(x).residuals.copy()

    def residuals_jac(self, x: ArrayLike) -> np.ndarray:
        """Differences of `residuals` by x, shape (m, n).

        Raises:
            NonFiniteError: a residual is not finite at x or at a point of the differences.
            OptionError: a step is lost in rounding.
            Q2MMAccelError: as for `fun`.
        """
        point = self._evaluated(x, derivatives=True)
        assert point.jacobian is not None
        return point.jacobian.copy()

    def fun_batch(self, vectors: ArrayLike) -> np.ndarray:
        """The losses of many parameter vectors, which worker processes share.

        Args:
            vectors: shape (S, n), one vector per row.

        Returns:
            Shape (S,).

        Raises:
            ParameterError: wrong shape, or an element that is not finite.
            NonFiniteError: a loss is not finite.
            EngineError: as for `fun`.
        """
        rows = parameter_rows(vectors, self.labels, "vectors")
        with self._lock:
            found = self._run(rows)
            values = np.array([self._loss(residuals) for residuals in found])
            finite = np.isfinite(values)
            if finite.any():
                number = int(np.argmin(np.where(finite, values, np.inf)))
                self._remember(rows[number], float(values[number]))
            for number in np.flatnonzero(~finite).tolist():
                raise self._non_finite(rows[number], f"the loss of vector {number}", found[number])
        return values

    def solve_native(
        self, method: str | None = None, x0: ArrayLike | None = None, bounds: Bounds | Sequence | None = None, **options: Any
    ) -> NoReturn:
        """Not possible: an engine outside of JAX cannot be traced.

        Raises:
            InteropError: always; the message says what to use instead.
        """
        raise self._untraced("solve_native traces the loss and its exact derivatives")

    def solve_linear(self, stiffness: float | None = 0.5) -> NoReturn:
        """Not possible: an engine outside of JAX cannot be traced.

        Raises:
            InteropError: always; the message says what to use instead.
        """
        raise self._untraced("solve_linear needs the terms' exact derivatives")

    def _untraced(self, why: str) -> InteropError:
        return InteropError(
            f"{why}, but the engine {type(self._inputs.engine).__name__} computes outside of JAX, and cannot "
            "be traced. Use scipy.optimize.minimize(objective.fun_and_jac, objective.x0, jac=True, bounds=objective.bounds) "
            "or scipy.optimize.least_squares(objective.residuals, objective.x0, jac=objective.residuals_jac, "
            "bounds=(objective.bounds.lb, objective.bounds.ub))."
        )

    def _evaluated(self, x: ArrayLike, derivatives: bool = False) -> _Point:
        vector = parameter_vector(x, self.labels, "x")
        key = vector.tobytes()
        with self._lock:
            point = self._points.get(key)
            if point is None or (derivatives and point.jacobian is None):
                point = self._points[key] = self._computed(vector, point, derivatives)
                while len(self._points) > _CACHED_POINTS:
                    self._points.popitem(last=False)
        return point

    def _computed(self, vector: np.ndarray, known: _Point | None, derivatives: bool) -> _Point:
        plan = differences(vector, self.steps, self.bounds, self.labels) if derivatives else None
        points = np.zeros((0, len(vector))) if plan is None else plan.points
        found = self._run(points if known is not None else np.concatenate([vector[None], points]))
        residuals, beside = (found[0], found[1:]) if known is None else (known.residuals, found)
        loss = self._loss(residuals)
        if not np.isfinite(loss):
            raise self._non_finite(vector, "the loss", residuals)
        self._remember(vector, loss)
        if plan is None:
            return _Point(residuals, loss, None)
        for place in np.flatnonzero(~np.isfinite(beside).all(axis=1))[:1].tolist():
            name = self.labels[plan.element[place]]
            raise self._non_finite(plan.points[place], f"the derivative by {name}", beside[place])
        return _Point(residuals, loss, plan.derivatives(self._changes(beside - residuals)))

    def _changes(self, changes: np.ndarray) -> np.ndarray:
        """Changes of residuals, (p, m); those of torsion angles are taken the short way round."""
        turns = np.where(np.isinf(self._periods), 0.0, np.rint(changes / self._periods))
        return changes - turns * np.where(np.isinf(self._periods), 0.0, self._periods)

    def _run(self, vectors: np.ndarray) -> np.ndarray:
        """Residuals at vectors (S, n), shape (S, m)."""
        shares = self._inputs.shares
        found = self._runner.run([(share, vector) for vector in vectors for share in range(len(shares))])
        values = np.zeros((len(vectors), len(self._rows)))
        places = [np.searchsorted(self._rows, share.rows) for share in shares]
        for number, residuals in enumerate(found):
            values[number // len(shares), places[number % len(shares)]] = residuals
        return values

    def _loss(self, residuals: np.ndarray) -> float:
        """As q2mm sums: with those of weight 0, as the order of additions depends on their number."""
        whole = np.zeros(len(self._inputs.reference.values))
        whole[self._rows] = residuals
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.sum(whole**2))

    def _remember(self, vector: np.ndarray, loss: float) -> None:
        if self.best is None or loss < self.best.fun:
            self.best = Best(vector.copy(), loss)

    def _non_finite(self, vector: np.ndarray, what: str, residuals: np.ndarray) -> NonFiniteError:
        with np.errstate(over="ignore", invalid="ignore"):
            bad = set(self._rows[~np.isfinite(residuals**2)].tolist())
        names = [share.name for share in self._inputs.shares if bad.intersection(share.rows)]
        first = self.residual_labels[int(np.searchsorted(self._rows, min(bad)))] if bad else "their sum"
        outside = np.flatnonzero((vector < self.bounds.lb) | (vector > self.bounds.ub)).tolist()
        suspects = [f"{self.labels[number]} = {vector[number]:.6g}" for number in outside[:_LISTED]] or ["none"]
        return NonFiniteError(
            f"{what} is not finite on the engine {type(self._inputs.engine).__name__}. Affected: molecules "
            f"{', '.join(names) or 'none alone'} (first: {first}). Parameters outside their bounds: {', '.join(suspects)}. "
            f"Best loss so far: {'none yet' if self.best is None else f'{self.best.fun:.6g}, in .best'}. "
            "Pass bounds to the optimizer, or tighten them."
        )


def _opened(kind: type[EngineObjective], *made_of: Any) -> EngineObjective:
    objective = kind.__new__(kind)
    objective._open(*made_of)
    return objective


def _steps(objective_function: Any, inputs: EngineInputs, steps: ArrayLike | str | None) -> ArrayLike:
    """Steps as given, of q2mm's gradient, or of its sensitivity analysis."""
    if steps is None:
        return getattr(objective_function, "fd_step", _STEP)
    return steps_by_type(inputs) if isinstance(steps, str) and steps == "by type" else steps


def _limits(inputs: EngineInputs, bounds: Bounds | Sequence | None, start: np.ndarray) -> Bounds:
    """Bounds as given, or q2mm's default ones, which are widened to hold q2mm's own start."""
    labels = inputs.labels
    limits = as_bounds(bounds, labels) if bounds is not None else as_bounds(inputs.forcefield.get_bounds(), labels)
    if bounds is None:
        limits = widened(inputs.x0, limits, labels)
    outside = np.flatnonzero((start < limits.lb) | (start > limits.ub)).tolist()
    if outside:
        listed = [f"{labels[i]} = {start[i]:.6g} ({limits.lb[i]:g} to {limits.ub[i]:g})" for i in outside[:_LISTED]]
        raise ParameterError(
            f"{len(outside)} of {len(labels)} parameters start outside their bounds: {', '.join(listed)}. Change x0 or pass "
            "other bounds."
        )
    return limits
