"""FusedObjective: the NumPy boundary of the kernel, and the only home of compiled functions."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import cached_property, partial
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from q2mm_accel.diagnosis import non_finite
from q2mm_accel.errors import NonFiniteError
from q2mm_accel.fitting import Fitting
from q2mm_accel.inputs import FitInputs
from q2mm_accel.kernel import residuals as kernel
from q2mm_accel.kernel.curvature import hessian_product
from q2mm_accel.kernel.jacobian import jacobian
from q2mm_accel.kernel.layout import quantised
from q2mm_accel.memory import Estimate, Warmup, compiled_ahead, estimate, memory_explained
from q2mm_accel.model.bounds import parameter_rows, parameter_vector
from q2mm_accel.precision import require
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
_jacobian = jax.jit(_counted(jacobian))
_losses = jax.jit(jax.vmap(_counted(kernel.loss), in_axes=(None, 0)))
_hessian_product = jax.jit(_counted(hessian_product))


class Best(NamedTuple):
    """The lowest loss evaluated so far."""

    x: np.ndarray
    fun: float


class FusedObjective(FitInputs, Fitting):
    """Loss of a force field against quantum-chemical references, with its exact gradient, as one compiled program.

    The loss is Σ [weight (reference - computed)]² over all references, everything computed at the QM geometries, and
    Σ [(center - parameter) / width]² over priors. It is the sum of squares of `residuals`, whatever the options.
    All methods take any array-like x of n numbers and return NumPy arrays of float64 that the caller may keep and change.
    Objectives can be pickled; copies are built again from the same inputs, on one device, and give bitwise the same values.

    Attributes:
        systems: the molecules with their terms.
        references: those with a weight above 0, as given and in that order; predictions and residuals have this order.
        space: which parameters x holds, and how all others follow from it.
        problem: the arrays that compiled functions take.
        x0: the start, shape (n,).
        bounds: `scipy.optimize.Bounds` of x.
        labels: one name per element of x.
        best: lowest loss evaluated so far and its x, or None.
        kernel_runs: how often the compiled program was run.
    """

    best: Best | None = None
    kernel_runs: int = 0

    @cached_property
    def _points(self) -> OrderedDict[bytes, tuple[float, np.ndarray]]:
        """Loss and gradient of the last points, by the bytes of x."""
        return OrderedDict()

    @property
    def loss(self) -> Callable[[Array], Array]:
        """The loss as a pure JAX function of x, shape (n,), to be used inside other JAX programs.

        For second derivatives with `batch_size` take `hessp`, or differentiate forward first: `jax.hessian` does not.
        """
        return partial(kernel.loss, self.problem)

    @property
    def memory_estimate(self) -> Estimate:
        """Memory that loss and gradient take on each device, estimated from shapes; nothing is compiled for it."""
        return estimate(self.problem)

    def warmup(self) -> Warmup:
        """Compile `fun` and `jac` ahead of their first call, without evaluating anything.

        Returns:
            Seconds it took, and memory as the compiler laid it out, beside `memory_estimate`.
        """
        with exclusive_eigh():
            return compiled_ahead(_value_and_gradient, self.problem, self.x0)

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
        """What is squared and summed to the loss at x, shape (m,), named by `residual_labels`. Raises as `fun` does.

        First weight (reference - computed) in the order of `references`, shaped by a loss that is not linear, then
        (center - parameter) / width of each prior.
        """
        values = self._checked(_residuals, x, self.residual_rows)
        self._remember(parameter_vector(x, self.labels, "x"), float(values @ values))
        return values

    def residuals_jac(self, x: ArrayLike) -> np.ndarray:
        """Derivatives of `residuals` by x, shape (m, n), at about twice the price of `jac`. Raises as `fun` does."""
        return self._checked(_jacobian, x, self.residual_rows)

    def hess(self, x: ArrayLike) -> np.ndarray:
        """Gauss-Newton's approximation of the loss' Hessian, for `minimize(..., hess=)`. Raises as `fun` does.

        2 JᵀJ with J of `residuals_jac`: no eigenvalue is negative. Exact where residuals vanish or are linear in x, as
        those of Hessians, eigenmatrices and energies are in force constants.

        Returns:
            Shape (n, n), symmetric.
        """
        jacobian = self.residuals_jac(x)
        return 2.0 * jacobian.T @ jacobian

    def hessp(self, x: ArrayLike, p: ArrayLike) -> np.ndarray:
        """The exact Hessian of the loss at x times a vector p of n numbers, for `minimize(..., hessp=)`.

        Where eigenvalues coincide, the second derivative of those that a parameter splits does not exist and is left out.

        Returns:
            Shape (n,).

        Raises:
            ParameterError: x or p has the wrong length or is not finite.
            NonFiniteError: the product is not finite.
        """
        vector, direction = parameter_vector(x, self.labels, "x"), parameter_vector(p, self.labels, "p")
        values = self._run(_hessian_product, vector, direction)
        if not np.all(np.isfinite(values)):
            raise self._non_finite(vector, "a second derivative")
        return values

    def predictions(self, x: ArrayLike) -> np.ndarray:
        """What the force field gives for every reference at x, shape (R,), in the references' units."""
        return self._checked(predictions, x, slice(len(self.references)))

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
        rows = parameter_rows(vectors, self.labels, "vectors")
        if len(rows) == 0:
            return np.zeros(0)
        size = self._vectors_at_a_time(quantised(len(rows)))
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

    def _vectors_at_a_time(self, count: int) -> int:
        return min(count, max(1, _BATCH_BYTES // (64 * self.problem.hessian_elements)))

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

    def _run(self, function: Callable, *arguments: np.ndarray):
        """Results of a compiled function as fresh NumPy arrays."""
        require(self.precision)
        with memory_explained(self.problem, f"evaluating the {function.__name__.replace('_', ' ')}"), exclusive_eigh():
            results = jax.tree.map(partial(np.array, dtype=np.float64), function(self.problem, *arguments))
        self.kernel_runs += 1
        return results

    def _remember(self, vector: np.ndarray, value: float) -> None:
        if self.best is None or value < self.best.fun:
            self.best = Best(vector.copy(), value)

    def _checked(self, function: Callable, x: ArrayLike, rows: np.ndarray | slice) -> np.ndarray:
        vector = parameter_vector(x, self.labels, "x")
        values = self._run(function, vector)[rows]
        if not np.all(np.isfinite(values)):
            raise self._non_finite(vector, "a prediction")
        return values

    def _non_finite(self, vector: np.ndarray, what: str) -> NonFiniteError:
        computed = self._run(predictions, vector)[: len(self.references)]
        best = None if self.best is None else self.best.fun
        return non_finite(what, vector, computed, self.systems, self.references, self.space, self.bounds, best)
