"""FusedObjective: the NumPy boundary of the kernel, and the only home of compiled functions."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from numpy.typing import ArrayLike
from scipy.optimize import Bounds, OptimizeResult

from q2mm_accel.devices import check_batch_size, mesh_of
from q2mm_accel.errors import (
    NonFiniteError,
    OptionError,
    ParameterError,
    ReferenceDataError,
    RelaxationError,
    TopologyError,
)
from q2mm_accel.inputs import FitInputs
from q2mm_accel.interop.engine_objective import EngineObjective
from q2mm_accel.interop.engines import is_known
from q2mm_accel.interop.original import check_against_original, check_option
from q2mm_accel.interop.q2mm import Q2MMProblem, beside, check_objective, plain, problem_from_q2mm
from q2mm_accel.io.checkpoint import Checkpoint, Checkpointer, load_checkpoint
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.kernel.curvature import gauss_newton
from q2mm_accel.kernel.hessian import whole_mechanics
from q2mm_accel.kernel.jacobian import turned_jacobian
from q2mm_accel.kernel.relaxation import relax, relaxed_by, search_from, visit, visited
from q2mm_accel.kernel.stiffness import stiffness_slopes
from q2mm_accel.kernel.trust_region import SENTENCES, Outcome
from q2mm_accel.memory import Estimate, Warmup, compiled_ahead, estimate, memory_explained
from q2mm_accel.model.arguments import (
    as_tuple,
    bounds_between,
    instance,
    parameter_rows,
    parameter_vector,
    real_array,
    truth,
)
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import form_named
from q2mm_accel.model.reference_table import ReferenceTable
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.system import System
from q2mm_accel.parameters.bounds import box, start_and_bounds
from q2mm_accel.parameters.priors import Prior, prior_rows
from q2mm_accel.parameters.selection import movable, selected
from q2mm_accel.parameters.space import ParameterSpace, parameter_space
from q2mm_accel.parameters.ties import Tie
from q2mm_accel.problem.arrays import Batch, Problem
from q2mm_accel.problem.balance import balanced_weights
from q2mm_accel.problem.checks import (
    check_references,
    check_terms,
    checked_f_scale,
    non_finite,
    suspects,
    warn_unused,
)
from q2mm_accel.problem.frozen import settled
from q2mm_accel.problem.layout import quantised
from q2mm_accel.problem.relaxable import checked_penalty, unrelaxed, upward_modes
from q2mm_accel.runtime import exclusive_eigh, require
from q2mm_accel.solvers.linear import Calls, solve_linear
from q2mm_accel.solvers.native import solve
from q2mm_accel.solvers.options import options_of
from q2mm_accel.uncertainty import Linearized, Uncertainty, uncertainty_of

_CACHED_POINTS = 4
_BATCH_BYTES = 256 * 2**20
"""Memory that the Hessians of the parameter vectors evaluated at a time may take in `fun_batch`."""
_WORKSPACE_BYTES = 512 * 2**20
"""Size of a Jacobian up to which its memory on the device is kept for the next one."""

value_and_gradient = jax.jit(jax.value_and_grad(kernel.loss, argnums=1))
predictions = jax.jit(kernel.predictions)
residuals = jax.jit(kernel.residuals)
jacobian = jax.jit(turned_jacobian, donate_argnames="workspace", keep_unused=True)
normal_matrix = jax.jit(gauss_newton)
losses = jax.jit(jax.vmap(kernel.loss, in_axes=(None, 0)))
hessian_product = jax.jit(kernel.hessian_product)
directed_slopes = jax.jit(stiffness_slopes)
prediction_changes = jax.jit(kernel.prediction_changes)
_mechanics = jax.jit(whole_mechanics)
relaxed = jax.jit(relax)
search_begun, search_visit, search_visited, search_result = map(jax.jit, (search_from, visit, visited, relaxed_by))
_ends_of_relaxations = jax.jit(kernel.ends_of_relaxations)


def _computed_once(problem: Problem, batch: Batch, parameters: np.ndarray):
    """Energies, gradients and Hessians of a batch of a problem that is only computed once."""
    with memory_explained(problem, "computing what is frozen"):
        return _mechanics(batch, parameters)


class Best(NamedTuple):
    """The lowest loss evaluated so far."""

    x: np.ndarray
    fun: float


class FusedObjective:
    """Loss of a force field against quantum-chemical references, with its exact gradient, as one compiled program.

    The loss is Σ [weight (reference - computed)]² over all references, everything computed at the QM geometries, and
    Σ [(center - parameter) / width]² over priors. It is the sum of squares of `residuals`, whatever the options.
    One bond at 1 Å whose energy k (r - r0)² is to be 8 kcal/mol, with k = 200 and r0 = 0.9:

    >>> from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System
    >>> pair = System(Molecule(["H", "F"], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), bond_atoms=[[0, 1]], bond_types=[0])
    >>> field = ForceField(form="harmonic", bond_force_constants=[200.0], bond_lengths=[0.9])
    >>> objective = FusedObjective([pair], field, [Reference("energy", 8.0, 1.0)])
    >>> round(objective.fun([200.0, 0.9]), 9), objective.jac([200.0, 0.9]).round(6).tolist()
    (36.0, [-0.12, 480.0])

    (8 - 2)² = 36; its slopes are -2 (8 - 2) (r - r0)² and 2 (8 - 2) 2 k (r - r0).

    All methods take any array-like x of n numbers and return NumPy arrays of float64 that the caller may keep and change.
    Objectives can be pickled; copies are built again from the same inputs, on one device, and give bitwise the same values.

    Attributes:
        x0: the start, shape (n,).
        bounds: `scipy.optimize.Bounds` of x.
        inputs: all that it was made of, and the arrays that compiled functions take.
        best: lowest loss evaluated so far and its x, or None.
        kernel_runs: how often the compiled program was run.
    """

    x0: np.ndarray
    bounds: Bounds
    best: Best | None
    kernel_runs: int

    def __init__(
        self,
        systems: Iterable[System],
        forcefield: ForceField,
        references: ReferenceData | Iterable[Reference],
        *,
        x0: ArrayLike | None = None,
        bounds: Bounds | Sequence | None = None,
        parameter_scale: ArrayLike | str | None = None,
        active: str | Iterable[str] | ArrayLike | None = None,
        ties: Tie | Iterable[Tie] = (),
        priors: Prior | Iterable[Prior] = (),
        l2: float = 0.0,
        balance: str | Mapping[str, float] | None = None,
        loss: str = "linear",
        f_scale: float = 1.0,
        precision: str = "float64",
        batch_size: int | None = None,
        devices: int | Sequence | None = None,
        mesh: Mesh | None = None,
        n_maximized: int | Sequence[int] = 0,
        unrelaxed_penalty: float | None = None,
    ) -> None:
        """Precompute everything that does not depend on the parameters.

        Args:
            systems: the molecules with their terms.
            forcefield: functional form, types and start values.
            references: what to reproduce; references of weight 0 are left out.
            x0: the start, shape (n,), in the units of x; by default the force field's parameters.
            bounds: `scipy.optimize.Bounds` or n pairs (lower, upper), in the units of x. By default the force field's;
                an element of x that others are tied to keeps their bounds too.
            parameter_scale: shape (n_parameters,), or "typical" for `ForceField.typical_scale`: force-field parameter =
                scale times element of x; 1 by default, so that x is in the force field's units.
            active: the parameters that a fit may change: labels, shell patterns such as "bond *", fields such as
                "bond_force_constants", or a boolean mask (n_parameters,). The others keep the force field's values, and
                x has an element for each active parameter only. All by default. Those that the force field pins stay.
            ties: parameters that follow from others (`Tie`); x has no element for them.
            priors: what is known of parameters beforehand (`Prior`).
            l2: q2mm's regularization: l2 times the squared distance from the force field's parameters, all of them, in
                units of `parameter_scale`.
            balance: None for the references' own weights; "count" to divide the sum of each kind by its number of
                references; or a tolerance for each kind, in its unit, to divide deviations by.
            loss: "linear" for the sum of squares; or "soft_l1", "huber", "cauchy" or "arctan", which count large
                deviations less: twice the cost of `scipy.optimize.least_squares`. Priors stay squares, and the free
                constant of relative energies the one of least squares.
            f_scale: weight times deviation from which on such a loss counts less.
            precision: "float64"; "mixed" to assemble Hessians in float32 and compute all that follows in float64; or
                "float32" for everything, which also works with JAX's 64-bit mode off. Results are float64 arrays anyway.
                Modes that the force field puts below 10 cm⁻¹ have errors of up to 1 cm⁻¹, and little of the gradient is
                right where references read them.
            batch_size: how many molecules each device evaluates at a time, to save memory; all by default.
            devices: how many of `jax.devices()`, or which of them, share the molecules out; JAX's default one otherwise.
                A device that gets no molecule has nothing to do, but for starts of `solve_native`.
            mesh: instead, a `jax.sharding.Mesh` with an axis "molecules", also over several hosts; every process then
                makes the same calls.
            n_maximized: along how many of the lowest modes the energy is to rise where molecules are relaxed, for all or
                for each system: 0 for their own minima, 1 for transition states.
            unrelaxed_penalty: a molecule that does not relax is an error that names it. With a penalty its lengths and
                angles count as those of the QM geometry plus so many Å or radians per kcal/mol/Å of the force field's
                force there, and frequencies as 0: nothing that a fit would call good, and a slope towards smaller forces.

        Raises:
            PrecisionError: JAX's 64-bit mode is off; or a reference needs more than float32.
            DeviceError: devices that do not exist, or a mesh without an axis "molecules".
            VersionError: the installed jaxlib gives wrong results.
            FormError: unknown functional form.
            TopologyError: a term or type that does not exist or is undefined.
            ReferenceDataError: a reference to something that does not exist, or no reference.
            ParameterError: no force field; x0 outside the bounds; malformed x0, bounds, scale, active, ties or priors.
            OptionError: an l2, balance, loss, f_scale, precision or batch_size that it cannot have.

        Warns:
            UnusedParameterWarning: no term of a molecule with references uses a parameter that x holds.
            BoundsWarning: tied parameters can leave the force field's bounds.
        """
        require(precision)
        devices_shared = mesh_of(devices, mesh)
        check_batch_size(batch_size)
        form_named(instance(forcefield, ForceField, "forcefield", ParameterError).form)
        chosen = as_tuple(systems, System, "systems", TopologyError)
        compared = ReferenceData(references).table.weighted()
        check_references(compared, chosen)
        check_terms(chosen, forcefield)
        moving = movable(active, forcefield)
        space = parameter_space(forcefield, moving, as_tuple(ties, Tie, "ties", ParameterError), parameter_scale)
        start, limits = start_and_bounds(space, x0, bounds)
        inputs = FitInputs(
            systems=chosen,
            moving=settled(chosen, space, batch_size, _computed_once),
            references=compared,
            weights=balanced_weights(compared, balance),
            space=space,
            priors=prior_rows(as_tuple(priors, Prior, "priors", ParameterError), l2, space.scale, forcefield),
            x0=start,
            bounds=limits,
            loss=loss,
            f_scale=checked_f_scale(loss, f_scale),
            precision=precision,
            batch_size=batch_size,
            mesh=devices_shared,
            upward=upward_modes(n_maximized, chosen),
            penalty=None if unrelaxed_penalty is None else checked_penalty(unrelaxed_penalty),
        )
        inputs.arrays(precision)
        warn_unused(chosen, compared, space)
        self._open(inputs)

    def _open(self, inputs: FitInputs) -> None:
        """Begin without evaluations."""
        self.inputs = inputs
        self.x0, self.bounds = inputs.x0.copy(), bounds_between(inputs.bounds.lb.copy(), inputs.bounds.ub.copy())
        self.best, self.kernel_runs = None, 0
        self._points: OrderedDict[bytes, tuple[float, np.ndarray]] = OrderedDict()  # loss and gradient by bytes of x
        self._workspace: Array | None = None

    def __reduce__(self) -> tuple:
        """Pickle the inputs, and what a subclass has added; a copy runs on one device, and starts without evaluations."""
        added = {name: value for name, value in vars(self).items() if name not in _OWN}
        return _opened, (type(self), replace(self.inputs, mesh=None)), added

    @classmethod
    def from_q2mm(
        cls,
        objective_function,
        *,
        x0: ArrayLike | None = None,
        bounds: Bounds | Sequence | None = None,
        clipped_angles: bool = False,
        check: str | None = "error",
        **options,
    ) -> Self | EngineObjective:
        """The same loss as a q2mm `ObjectiveFunction`, with the same parameter vector and bounds.

        If its engine is a `JaxEngine` or an `OpenMMEngine`, in the fused program. On any other it is an `EngineObjective`
        with the same face: the engine's own values, and finite differences.

        Args:
            objective_function: of q2mm 5.0.0a2 or later. It is only read.
            x0: another start, shape (n,), in q2mm's units.
            bounds: other bounds, in q2mm's units. By default q2mm's, widened where its start lies outside.
            clipped_angles: whether angles within 0.026 degrees of 180 have no force and no stiffness, as in q2mm's
                JaxEngine; by default they have those of the formula.
            check: what to do where values are not q2mm's, at the start and a percent beside it: "error", "warn", or None
                not to compare, which saves two evaluations by q2mm. Nothing is to be compared on another engine, whose own
                values these are.
            options: active, ties, priors, l2, balance, loss, f_scale and further options of a new objective, but for
                parameter_scale; on another engine those of `EngineObjective` (workers, timeout, steps).

        Returns:
            An objective whose `fun(x)` equals `objective_function(x)`, unless options change it.

        Raises:
            InteropError: a term, reference or engine that cannot be carried over; or a value that is not q2mm's.
            MoleculeError: a molecule whose coordinates or masses cannot be right.
            ParameterError: the start lies outside the bounds, or as for a new objective.
            OptionError: a parameter_scale, an unknown check, or as for a new objective.

        Warns:
            UnmatchedTermWarning: q2mm leaves out terms that have no parameter.
            BoundsWarning: q2mm's start lies outside its bounds.
            DifferenceWarning: q2mm's minimizer stops early; or, by option, a value is not q2mm's.
        """
        if "parameter_scale" in options:
            raise OptionError(
                "parameter_scale cannot be given here: x is q2mm's parameter vector, in q2mm's units. Leave it out, or let "
                "the optimizer scale; solve_native does."
            )
        objective_function = plain(objective_function)
        check_objective(objective_function)
        check_option(check)
        clipped = truth(clipped_angles, "clipped_angles", OptionError)
        if not is_known(objective_function.engine):
            return _on_its_engine(objective_function, clipped, x0=x0, bounds=bounds, **options)
        found = problem_from_q2mm(objective_function, clipped, bounds is None)
        if options.get("active") is not None:
            options["active"] = selected(options["active"], found.forcefield, "active")
        options["ties"] = as_tuple(options.get("ties", ()), Tie, "ties", ParameterError)
        space = parameter_space(found.forcefield, options.get("active"), options["ties"], found.parameter_scale)
        objective = cls(
            found.systems,
            found.forcefield,
            found.references,
            x0=found.x0[space.free] if x0 is None else x0,
            bounds=box(space, found.bounds) if bounds is None else bounds,
            parameter_scale=found.parameter_scale,
            **options,
        )
        objective._check_against(objective_function, found, check)
        return objective

    def _check_against(self, objective_function, found: Q2MMProblem, check: str | None) -> None:
        """Compare with the original at the start and a percent beside it, to either side at random."""
        other = beside(self.x0, self.bounds, np.random.default_rng(0).choice([-1.0, 1.0], len(self.x0)))
        points = [(self.expand(x) / found.parameter_scale, x) for x in (self.x0, other)]
        check_against_original(objective_function, found, self.predictions, points, check, self.precision == "float64")

    @property
    def systems(self) -> tuple[System, ...]:
        """The molecules with their terms."""
        return self.inputs.systems

    @property
    def references(self) -> ReferenceTable:
        """Those with a weight above 0, as given and in that order, which is that of predictions and residuals.

        A sequence of `Reference` that cannot be changed; its columns are arrays: `value`, `weight`, `system`, ...
        """
        return self.inputs.references

    @property
    def space(self) -> ParameterSpace:
        """Which parameters x holds, and how all others follow from it."""
        return self.inputs.space

    @property
    def problem(self) -> Problem:
        """The arrays that compiled functions take, on their devices."""
        return self.inputs.arrays(self.inputs.precision)

    @property
    def precision(self) -> str:
        """That of the arrays, one of `runtime.PRECISIONS`."""
        return self.inputs.precision

    @property
    def mesh(self) -> Mesh | None:
        """The devices that share the molecules out, or None."""
        return self.inputs.mesh

    @property
    def labels(self) -> tuple[str, ...]:
        """One name per element of x."""
        return self.inputs.labels

    @property
    def typical_scale(self) -> np.ndarray:
        """Size of a noticeable change of every element of x, shape (n,); native solvers step in units of it."""
        return self.inputs.typical_scale

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that defines the loss, x and its bounds: molecules, references and options.

        Names of molecules, precision, batches and devices do not count: a fit may go on with others.
        """
        return self.inputs.fingerprint

    @property
    def reference_labels(self) -> tuple[str, ...]:
        """One name per reference, for `predictions`: the molecule and the reference."""
        names = [system.molecule.name for system in self.systems]
        return tuple(f"{names[reference.system]}: {reference}" for reference in self.references)

    @property
    def residual_labels(self) -> tuple[str, ...]:
        """One name per residual: those of the references, then the priors' parameters."""
        labels = self.space.forcefield.labels
        return (*self.reference_labels, *(f"prior: {labels[number]}" for number in self.inputs.priors.parameter))

    @property
    def residual_rows(self) -> np.ndarray | slice:
        """Where the m residuals stand in the padded ones of compiled functions."""
        if not len(self.inputs.priors.weight):
            return slice(len(self.references))
        priors = len(self.problem.references.present) + np.arange(len(self.inputs.priors.weight))
        return np.concatenate([np.arange(len(self.references)), priors])

    def reweighted(self, weights: ArrayLike) -> "FusedObjective":
        """The same objective with other weights, without compiling anything again: of parts of the data, or resampled ones.

        Args:
            weights: shape (R,), of `references`, 0 or above; those of 0 count nothing.

        Raises:
            ReferenceDataError: another shape, or a weight that is negative or not finite.
        """
        values = real_array(weights, "weights", ReferenceDataError, shape=(len(self.references),))
        if (values < 0.0).any():
            number = int(np.argmin(values))
            raise ReferenceDataError(f"weights[{number}] is {values[number]}; a weight is 0 or above.")
        return _opened(type(self), replace(self.inputs, weights=values))

    def expand(self, x: ArrayLike) -> np.ndarray:
        """All parameters of the force field at x, shape (n_parameters,), in its units."""
        return self.space.expand(parameter_vector(x, self.labels, "x"))

    def reduce(self, parameters: ArrayLike) -> np.ndarray:
        """The x at which `expand` gives these parameters, shape (n,).

        Raises:
            ParameterError: wrong shape, or frozen or tied parameters that differ from what they must be beyond rounding.
        """
        return self.space.reduce(parameters)

    def forcefield(self, x: ArrayLike) -> ForceField:
        """The force field with the parameters at x."""
        return self.space.forcefield.with_parameters(self.expand(x))

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
            return compiled_ahead(value_and_gradient, self.problem, self.x0)

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
        values = self._checked(residuals, x, self.residual_rows)
        self._remember(parameter_vector(x, self.labels, "x"), float(values @ values))
        return values

    def residuals_jac(self, x: ArrayLike) -> np.ndarray:
        """Derivatives of `residuals` by x, shape (m, n). Raises as `fun` does.

        At about twice the price of `jac`; where there are 100,000 elements of matrices, for what it takes to fill the array.
        """
        vector, references = parameter_vector(x, self.labels, "x"), self.problem.references
        # fresh memory takes longer than the Jacobian; whoever calls at the same time finds none here and takes fresh memory
        workspace, self._workspace = self._workspace, None
        if workspace is None and self.mesh is None:
            shape = len(vector), len(references.present) + len(self.problem.priors.present)
            workspace = jnp.zeros(shape, references.value.dtype)
        turned = self._compiled(jacobian, vector, workspace)
        values = np.array(turned, dtype=np.float64)[:, self.residual_rows].T
        if self.mesh is None and turned.nbytes <= _WORKSPACE_BYTES:
            self._workspace = turned
        return self._finite(values, vector)

    def hess(self, x: ArrayLike) -> np.ndarray:
        """Gauss-Newton's approximation of the loss' Hessian, for `minimize(..., hess=)`. Raises as `fun` does.

        2 JᵀJ with J of `residuals_jac`, which is never in memory as a whole: no eigenvalue is negative. Exact where
        residuals vanish or are linear in x, as those of Hessians, eigenmatrices and energies are in force constants.

        Returns:
            Shape (n, n), symmetric.
        """
        return self._checked(normal_matrix, x, slice(None))

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
        values = self._run(hessian_product, vector, direction)
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
        blocks = [self._run(losses, block) for block in full.reshape(-1, size, rows.shape[1])]
        values = np.concatenate(blocks)[: len(rows)]
        finite = np.isfinite(values)
        if finite.any():
            number = int(np.argmin(np.where(finite, values, np.inf)))
            self._remember(rows[number], float(values[number]))
        for number in np.flatnonzero(~finite):
            raise self._non_finite(rows[number], f"the loss of vector {number}")
        return values

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
            x, fun, jac, success, status (a `Status`), message, nit (of the best start, polishing
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
        start, limits = self.x0 if x0 is None else x0, self.bounds if bounds is None else bounds
        return solve(self.inputs, self._evaluate, method, start, limits, options_of(options))

    def solve_linear(self, stiffness: float | None = 0.5) -> OptimizeResult:
        """The global minimum over all force constants and equilibria, where residuals are linear in them, by one solve.

        Energies k (q - q0)² are linear in k and in k q0, so that forces and Hessians at the QM geometry are: as references
        "force", "normal_mode", "mode_displacement", "hessian_element", elements of eigenmatrices, and relative energies of
        the same molecule. Bounds, ties, frozen parameters, priors of force constants, weights and balance are those of the
        objective. Force constants whose equilibria are free are held at 0 or above. Equilibria that couplings read are
        those of the solve before, until they do not change.

        Args:
            stiffness: of molecules all of whose normal modes are references, no direction may be softer than this part of
                what QM has, modes below 30 cm⁻¹ counted as if they had that frequency and imaginary ones left out; None for
                no such limit.

        Returns:
            x, fun, jac, success, message, nit (solves), `optimality` (by how much the conditions of a minimum are off, as
            a cosine), `at_bounds` (labels), and `cuts`: the directions that are held at the least stiffness, each with
            system, molecule, the normal mode that is most like it, and QM's frequency.

        Raises:
            LinearityError: a reference or parameter in which residuals are not linear; use `solve_native`.
            OptionError: a stiffness that it cannot have, a precision other than float64.
            SolverError: bounds and stiffness contradict each other.
            NonFiniteError: as for `fun`.
        """
        return solve_linear(
            self.inputs,
            Calls(self.fun_and_jac, self.hess, self.predictions, self._changes, self._stiffness_slopes),
            stiffness,
        )

    def uncertainty(self, x: ArrayLike, scaled: bool = True, by_molecule: bool = False) -> Uncertainty:
        """Standard errors at a minimum, correlations, and what the references do not determine.

        Args:
            x: the minimum, shape (n,).
            scaled: whether weights are known up to a common factor only, which the deviations tell. Otherwise they are
                1 / standard deviation, in the references' units.
            by_molecule: whether `robust_errors` take deviations of the same molecule as related, which needs many molecules.

        Returns:
            The uncertainty, in the force field's units.

        Raises:
            UncertaintyError: there are no more references than parameters to be determined from them.
            ParameterError, NonFiniteError: as for `fun`.
        """
        vector, space = parameter_vector(x, self.labels, "x"), self.space
        units = space.forcefield.each(lambda parameter: parameter.unit)
        counting = np.flatnonzero(self.inputs.weights > 0.0)
        rows = np.concatenate([counting, np.arange(len(self.references), len(self.residual_labels))])
        names = self.reference_labels
        linear = Linearized(
            residuals=self.residuals(vector)[rows],
            jacobian=self.residuals_jac(vector)[rows],
            n_references=len(counting),
            groups=self.references.system[counting],
            x=vector,
            lower=self.bounds.lb,
            upper=self.bounds.ub,
            typical=self.typical_scale,
            scale=space.scale[space.free],
            labels=self.labels,
            units=tuple(units[number] for number in space.free),
            references=[names[number] for number in counting],
        )
        return uncertainty_of(linear, truth(scaled, "scaled", OptionError), truth(by_molecule, "by_molecule", OptionError))

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

    def _changes(self, x: ArrayLike, direction: np.ndarray) -> np.ndarray:
        """Derivatives of predictions at x along a direction (n,), (R,)."""
        vector = parameter_vector(x, self.labels, "x")
        return self._finite(self._run(prediction_changes, vector, direction)[: len(self.references)], vector)

    def _stiffness_slopes(self, x: ArrayLike, directions: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        """Derivatives by x of the stiffness of systems along directions (3N,), (n, number of directions)."""
        vector, spread = parameter_vector(x, self.labels, "x"), self.inputs.spread(directions)
        return self._finite(self._run(directed_slopes, vector, spread.columns)[:, spread.places], vector)

    def _vectors_at_a_time(self, count: int) -> int:
        return min(count, max(1, _BATCH_BYTES // (64 * self.problem.hessian_elements)))

    def _evaluate(self, x: ArrayLike) -> tuple[float, np.ndarray]:
        vector = parameter_vector(x, self.labels, "x")
        key = vector.tobytes()
        point = self._points.get(key)
        if point is None:
            value, gradient = self._run(value_and_gradient, vector)
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

    def _run(self, function: Callable, *arguments):
        """Results of a compiled function as fresh NumPy arrays."""
        return jax.tree.map(partial(np.array, dtype=np.float64), self._compiled(function, *arguments))

    def _compiled(self, function: Callable, *arguments):
        """Results of a compiled function, which have been computed."""
        require(self.precision)
        with memory_explained(self.problem, f"evaluating the {function.__name__.replace('_', ' ')}"), exclusive_eigh():
            results = jax.block_until_ready(function(self.problem, *arguments))
        self.kernel_runs += 1
        return results

    def _remember(self, vector: np.ndarray, value: float) -> None:
        if self.best is None or value < self.best.fun:
            self.best = Best(vector.copy(), value)

    def _checked(self, function: Callable, x: ArrayLike, rows: np.ndarray | slice) -> np.ndarray:
        vector = parameter_vector(x, self.labels, "x")
        return self._finite(self._run(function, vector)[rows], vector)

    def _finite(self, values: np.ndarray, vector: np.ndarray) -> np.ndarray:
        flat = values.ravel(order="K")
        with np.errstate(all="ignore"):
            squares = flat @ flat  # a fraction of the time of looking at each; large numbers overflow
        if not np.isfinite(squares) and not np.all(np.isfinite(values)):
            raise self._non_finite(vector, "a prediction")
        return values

    def _unrelaxed(self, vector: np.ndarray) -> list[tuple[str, str, float]]:
        """The molecules that have not relaxed at a vector: name, what happened, largest gradient."""
        codes, gradients = self._run(_ends_of_relaxations, vector)
        numbers = self.inputs.relaxed_rows
        failed = np.flatnonzero(codes[list(numbers.values())] != Outcome.CONVERGED)
        rows = list(numbers.items())
        return [
            (self.systems[number].molecule.name, SENTENCES[Outcome(int(codes[row]))], float(gradients[row]))
            for number, row in (rows[place] for place in failed)
        ]

    def _non_finite(self, vector: np.ndarray, what: str) -> NonFiniteError | RelaxationError:
        best = None if self.best is None else self.best.fun
        if self.problem.relaxing:
            ends = self._unrelaxed(vector)
            if ends:
                return unrelaxed(ends, suspects(vector, self.space, self.bounds), best)
        computed = self._run(predictions, vector)[: len(self.references)]
        return non_finite(what, vector, computed, self.systems, self.references, self.space, self.bounds, best)


def _on_its_engine(objective_function, clipped_angles: bool, **options) -> EngineObjective:
    unknown = {*options, *(["clipped_angles"] if clipped_angles else [])} - {"x0", "bounds", "workers", "timeout", "steps"}
    if unknown:
        raise OptionError(
            f"{', '.join(sorted(unknown))}: objectives on a {type(objective_function.engine).__name__} cannot have that, "
            "for its terms are not known here. Leave it out, or give q2mm's objective a JaxEngine or an OpenMMEngine."
        )
    return EngineObjective(objective_function, **options)


_OWN = ("inputs", "x0", "bounds", "best", "kernel_runs", "_points", "_workspace")
"""What `_open` makes."""


def _opened(kind: type[FusedObjective], inputs: FitInputs) -> FusedObjective:
    require(inputs.precision)
    objective = kind.__new__(kind)
    objective._open(inputs)
    return objective


class ScipyCheckpoint:
    """A callback for any SciPy optimizer that saves the objective's best point, at most once per interval."""

    def __init__(self, objective: "FusedObjective", path: str | PathLike, every: float) -> None:
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
