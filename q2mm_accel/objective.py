"""FusedObjective: the NumPy boundary of the kernel, and the only home of compiled functions."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from numpy.typing import ArrayLike
from scipy.optimize import Bounds

from q2mm_accel.errors import NonFiniteError, ParameterError
from q2mm_accel.interop.q2mm import problem_from_q2mm
from q2mm_accel.kernel import residuals as kernel
from q2mm_accel.kernel.batching import quantised
from q2mm_accel.kernel.lookup import check_references
from q2mm_accel.kernel.potentials import form_named
from q2mm_accel.kernel.problem import build_problem, checked_systems, warn_unused
from q2mm_accel.model.bounds import as_bounds, check_inside, parameter_vector
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.system import System
from q2mm_accel.precision import require_float64
from q2mm_accel.threads import exclusive_eigh

traces: Counter[str] = Counter()
"""How often each function below was traced, which is how often it was compiled."""

_CACHED_POINTS = 4
_BATCH_BYTES = 256 * 2**20
"""Memory that the Hessians of the parameter vectors evaluated at a time may take in `fun_batch`."""


def _counted(function: Callable) -> Callable:
    def traced(*arguments):
        traces[function.__name__] += 1
        return function(*arguments)

    traced.__name__ = function.__name__
    return traced


_value_and_gradient = jax.jit(jax.value_and_grad(_counted(kernel.loss), argnums=1))
predictions = jax.jit(_counted(kernel.predictions))
_residuals = jax.jit(_counted(kernel.residuals))


_losses = jax.jit(jax.vmap(_counted(kernel.loss), in_axes=(None, 0)))


class Best(NamedTuple):
    """The lowest loss evaluated so far."""

    x: np.ndarray
    fun: float


class FusedObjective:
    """Loss of a force field against quantum-chemical references, with its exact gradient, as one compiled program.

    The loss is Σ [weight (reference - computed)]² over all references, everything computed at the QM geometries.
    All methods take any array-like x of n numbers and return NumPy arrays of float64 that the caller may keep and change.

    Attributes:
        systems: the molecules with their terms.
        references: those with a weight above 0, in the order given; residuals and predictions have this order.
        problem: the arrays that compiled functions take.
        x0: the start, shape (n,).
        bounds: `scipy.optimize.Bounds` of x.
        labels: one name per element of x.
        reference_labels: one name per residual.
        best: lowest loss evaluated so far and its x, or None.
        kernel_runs: how often the compiled program was run.
    """

    def __init__(
        self,
        systems: Iterable[System],
        forcefield: ForceField,
        references: ReferenceData | Iterable[Reference],
        *,
        x0: ArrayLike | None = None,
        bounds: Bounds | Sequence | None = None,
        parameter_scale: ArrayLike | None = None,
    ) -> None:
        """Precompute everything that does not depend on the parameters.

        Args:
            systems: the molecules with their terms.
            forcefield: functional form, types and start values.
            references: what to reproduce; references of weight 0 are left out.
            x0: the start, shape (n,), in the units of x; by default the force field's parameters.
            bounds: `scipy.optimize.Bounds` or n pairs (lower, upper), in the units of x; by default the force field's.
            parameter_scale: shape (n,): force-field parameter = scale times element of x; 1 by default, so that x is in
                the force field's units.

        Raises:
            PrecisionError: JAX's 64-bit mode is off.
            VersionError: the installed jaxlib gives wrong results.
            FormError: unknown functional form.
            TopologyError: a term or type that does not exist or is undefined.
            ReferenceDataError: a reference to something that does not exist, or no reference.
            ParameterError: x0 outside the bounds, or malformed x0, bounds or scale.
        """
        require_float64()
        form_named(forcefield.form)
        self.systems = checked_systems(systems)
        self._forcefield = forcefield
        self.references = tuple(r for r in ReferenceData(references) if r.weight != 0.0)
        check_references(self.references, self.systems)
        self.labels = tuple(forcefield.labels)
        self._scale = parameter_vector(
            np.ones(len(self.labels)) if parameter_scale is None else parameter_scale, self.labels, "parameter_scale"
        )
        for number in np.flatnonzero(self._scale <= 0.0):
            raise ParameterError(
                f"parameter_scale[{number}] ({self.labels[number]}) is {self._scale[number]}; scales must be positive."
            )
        default = Bounds(forcefield.bounds.lb / self._scale, forcefield.bounds.ub / self._scale)
        self.bounds = as_bounds(default if bounds is None else bounds, self.labels)
        self.x0 = parameter_vector(forcefield.parameters / self._scale if x0 is None else x0, self.labels, "x0")
        check_inside(self.x0, self.bounds, self.labels)
        for number, wanted in self.forcefield(self.x0).unphysical().items():
            raise ParameterError(
                f"parameter {number} of {len(self.labels)} ({self.labels[number]}) starts at {self.x0[number]:.6g}, but "
                f"must be {wanted}. Change the start."
            )
        self.problem = jax.device_put(build_problem(self.systems, forcefield, self.references, self._scale))
        warn_unused(self.systems, forcefield)
        self.best: Best | None = None
        self.kernel_runs = 0
        self._points: OrderedDict[bytes, tuple[float, np.ndarray]] = OrderedDict()

    @classmethod
    def from_q2mm(
        cls, objective_function, *, x0: ArrayLike | None = None, bounds: Bounds | Sequence | None = None
    ) -> "FusedObjective":
        """The same loss as a q2mm `ObjectiveFunction` on a `JaxEngine`, with the same parameter vector and bounds.

        Args:
            objective_function: of q2mm 5.0.0a2 or later. It is only read.
            x0: another start, shape (n,), in q2mm's units.
            bounds: other bounds, in q2mm's units.

        Returns:
            An objective whose `fun(x)` equals `objective_function(x)`.

        Raises:
            InteropError: a term, reference or engine that cannot be carried over.
            MoleculeError: a molecule whose coordinates or masses cannot be right.
            ParameterError: the start lies outside the bounds.
        """
        found = problem_from_q2mm(objective_function)
        return cls(
            found.systems,
            found.forcefield,
            found.references,
            x0=found.x0 if x0 is None else x0,
            bounds=found.bounds if bounds is None else bounds,
            parameter_scale=found.parameter_scale,
        )

    @property
    def reference_labels(self) -> tuple[str, ...]:
        """One name per residual: the molecule and the reference."""
        return tuple(f"{self.systems[r.system].molecule.name}: {r}" for r in self.references)

    @property
    def loss(self) -> Callable[[Array], Array]:
        """The loss as a pure JAX function of x, shape (n,), to be used inside other JAX programs."""
        return partial(kernel.loss, self.problem)

    def fun(self, x: ArrayLike) -> float:
        """The loss at x.

        Raises:
            ParameterError: x has the wrong length or is not finite.
            NonFiniteError: the loss or its gradient is not finite; `best` stays available.
        """
        return self._evaluate(x)[0]

    def jac(self, x: ArrayLike) -> np.ndarray:
        """The gradient of the loss at x, shape (n,). Raises as `fun` does."""
        return self._evaluate(x)[1].copy()

    def fun_and_jac(self, x: ArrayLike) -> tuple[float, np.ndarray]:
        """Loss and gradient, for `minimize(..., jac=True)`. Raises as `fun` does."""
        value, gradient = self._evaluate(x)
        return value, gradient.copy()

    def residuals(self, x: ArrayLike) -> np.ndarray:
        """Weight (reference - computed) at x, shape (m,), in the order of `references`. Raises as `fun` does."""
        return self._per_reference(_residuals, x)

    def predictions(self, x: ArrayLike) -> np.ndarray:
        """What the force field gives for every reference at x, shape (m,), in the references' units."""
        return self._per_reference(predictions, x)

    def fun_batch(self, vectors: ArrayLike) -> np.ndarray:
        """The losses of many parameter vectors in one call.

        Args:
            vectors: shape (S, n), one vector per row. (`scipy.optimize.differential_evolution(vectorized=True)` has them
                as columns: pass it `lambda X: objective.fun_batch(X.T)`.)

        Returns:
            Shape (S,).

        Raises:
            ParameterError: wrong shape, or an element that is not finite.
            NonFiniteError: a loss is not finite.
        """
        try:
            rows = np.asarray(vectors)
        except ValueError as error:
            raise ParameterError(f"vectors must have the shape (S, {len(self.labels)}): {error}.") from error
        if rows.ndim != 2 or rows.shape[1] != len(self.labels):
            raise ParameterError(f"vectors must have the shape (S, {len(self.labels)}), but has {rows.shape}.")
        checked = [parameter_vector(row, self.labels, f"vectors[{number}]") for number, row in enumerate(rows)]
        rows = np.array(checked, dtype=np.float64).reshape(rows.shape)
        if len(rows) == 0:
            return np.zeros(0)
        size = self._batch_size(quantised(len(rows)))
        full = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
        blocks = [self._run(_losses, block) for block in full.reshape(-1, size, rows.shape[1])]
        values = np.concatenate(blocks)[: len(rows)]
        finite = np.isfinite(values)
        if finite.any():
            number = int(np.argmin(np.where(finite, values, np.inf)))
            self._remember(rows[number], float(values[number]))
        for number in np.flatnonzero(~finite):
            raise self._non_finite(rows[number], f"the loss of vector {number}")
        return values

    def forcefield(self, x: ArrayLike) -> ForceField:
        """The force field with the parameters x."""
        return self._forcefield.with_parameters(parameter_vector(x, self.labels, "x") * self._scale)

    def _batch_size(self, count: int) -> int:
        each = sum(8 * bucket.component_present.size * bucket.component_present.shape[1] for bucket in self.problem.buckets)
        return int(min(count, max(1, _BATCH_BYTES // (8 * each))))

    def _evaluate(self, x: ArrayLike) -> tuple[float, np.ndarray]:
        vector = parameter_vector(x, self.labels, "x")
        key = vector.tobytes()
        point = self._points.get(key)
        if point is None:
            value, gradient = self._run(_value_and_gradient, vector)
            self._check_finite(vector, float(value), gradient)
            self._remember(vector, float(value))
            point = self._points[key] = float(value), gradient
            while len(self._points) > _CACHED_POINTS:
                self._points.popitem(last=False)
        return point

    def _check_finite(self, vector: np.ndarray, value: float, gradient: np.ndarray) -> None:
        if not np.isfinite(value):
            raise self._non_finite(vector, "the loss")
        if not np.all(np.isfinite(gradient)):
            names = [self.labels[i] for i in np.flatnonzero(~np.isfinite(gradient))[:5]]
            raise self._non_finite(vector, f"the derivative by {', '.join(names)}")

    def _run(self, function: Callable, argument: np.ndarray):
        """Results of a compiled function as fresh NumPy arrays."""
        require_float64()
        with exclusive_eigh():
            results = jax.tree.map(partial(np.array, dtype=np.float64), function(self.problem, argument))
        self.kernel_runs += 1
        return results

    def _remember(self, vector: np.ndarray, value: float) -> None:
        if self.best is None or value < self.best.fun:
            self.best = Best(vector.copy(), value)

    def _per_reference(self, function: Callable, x: ArrayLike) -> np.ndarray:
        vector = parameter_vector(x, self.labels, "x")
        values = self._run(function, vector)[: len(self.references)]
        if not np.all(np.isfinite(values)):
            raise self._non_finite(vector, "a prediction")
        return values

    def _non_finite(self, vector: np.ndarray, what: str) -> NonFiniteError:
        computed = self._run(predictions, vector)[: len(self.references)]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = [(r.weight * (r.value - value)) ** 2 for r, value in zip(self.references, computed, strict=True)]
        bad = [self.references[i] for i in np.flatnonzero(~np.isfinite(squares))]
        names = dict.fromkeys(self.systems[reference.system].molecule.name for reference in bad)
        where = f"molecules {', '.join(names)} (first: {bad[0]})" if bad else "no prediction; only the derivative"
        outside = np.flatnonzero((vector < self.bounds.lb) | (vector > self.bounds.ub))
        numbers = dict.fromkeys([*self.forcefield(vector).unphysical(), *outside.tolist()])
        suspects = [f"{self.labels[i]} = {vector[i]:.6g}" for i in list(numbers)[:5]] or ["none"]
        best = "none yet" if self.best is None else f"{self.best.fun:.6g}, in .best"
        return NonFiniteError(
            f"{what} is not finite. Affected: {where}. Parameters that make no sense or are outside their bounds: "
            f"{', '.join(suspects)}. Best loss so far: {best}. Pass bounds to the optimizer, or tighten them."
        )
