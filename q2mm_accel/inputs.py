"""What a fit starts from: molecules, references and options, as the arrays that compiled functions take."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Self

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import ArrayLike
from scipy.optimize import Bounds

from q2mm_accel.devices import check_batch_size, mesh_of, n_shares, placed
from q2mm_accel.errors import ParameterError, Q2MMAccelWarning, TopologyError
from q2mm_accel.interop.q2mm import problem_from_q2mm
from q2mm_accel.kernel.arrays import Problem
from q2mm_accel.kernel.cast import check_resolution, in_precision
from q2mm_accel.kernel.lookup import check_references
from q2mm_accel.kernel.potentials import form_named
from q2mm_accel.kernel.problem import build_problem, warn_unused
from q2mm_accel.kernel.robust import checked_f_scale
from q2mm_accel.memory import memory_explained
from q2mm_accel.model.balance import balanced_weights
from q2mm_accel.model.bounds import parameter_vector
from q2mm_accel.model.box import box, start_and_bounds
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.numbers import as_tuple
from q2mm_accel.model.priors import Prior, prior_rows
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.selection import selected
from q2mm_accel.model.space import parameter_space
from q2mm_accel.model.system import System
from q2mm_accel.model.ties import Tie
from q2mm_accel.precision import require


class FitInputs:
    """Molecules, references and options of a fit, and the vector x that an optimizer sees.

    Attributes:
        systems: the molecules with their terms.
        references: those with a weight above 0, as given and in that order.
        space: which parameters x holds, and how all others follow from it.
        precision: of the arrays, one of `precision.PRECISIONS`.
        mesh: the devices that share the molecules out, or None.
        problem: the arrays that compiled functions take.
        x0: the start, shape (n,).
        bounds: `scipy.optimize.Bounds` of x.
        labels: one name per element of x.
    """

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
        devices: int | Sequence[jax.Device] | None = None,
        mesh: Mesh | None = None,
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
                x has an element for each active parameter only. All by default.
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

        Raises:
            PrecisionError: JAX's 64-bit mode is off; or a reference needs more than float32.
            DeviceError: devices that do not exist, or a mesh without an axis "molecules".
            VersionError: the installed jaxlib gives wrong results.
            FormError: unknown functional form.
            TopologyError: a term or type that does not exist or is undefined.
            ReferenceDataError: a reference to something that does not exist, or no reference.
            ParameterError: x0 outside the bounds; malformed x0, bounds, scale, active, ties or priors.
            OptionError: an l2, balance, loss, f_scale, precision or batch_size that it cannot have.

        Warns:
            UnusedParameterWarning: no term uses a parameter that x holds.
            BoundsWarning: tied parameters can leave the force field's bounds.
        """
        require(precision)
        self.mesh = mesh_of(devices, mesh)
        check_batch_size(batch_size)
        form_named(forcefield.form)
        self.systems = as_tuple(systems, System, "systems", TopologyError)
        self.references = tuple(r for r in ReferenceData(references) if r.weight != 0.0)
        check_references(self.references, self.systems)
        active = None if active is None else selected(active, forcefield, "active")
        ties, priors = as_tuple(ties, Tie, "ties", ParameterError), as_tuple(priors, Prior, "priors", ParameterError)
        self.space = parameter_space(forcefield, active, ties, parameter_scale)
        self.labels = self.space.labels
        self.x0, self.bounds = start_and_bounds(self.space, x0, bounds)
        self._priors = prior_rows(priors, l2, self.space.scale, forcefield)
        self._build = partial(
            build_problem,
            self.systems,
            forcefield,
            self.references,
            space=self.space,
            weights=balanced_weights(self.references, balance),
            priors=self._priors,
            loss=loss,
            f_scale=checked_f_scale(loss, f_scale),
        )
        self.precision, self._batch_size = precision, batch_size
        self._problems: dict[str, Problem] = {}
        self.problem = self.problem_in(precision)
        warn_unused(self.systems, self.space)
        self._inputs = {
            **{"systems": self.systems, "forcefield": forcefield, "references": self.references},
            **{"x0": self.x0.copy(), "bounds": Bounds(self.bounds.lb.copy(), self.bounds.ub.copy())},
            **{"parameter_scale": self.space.scale, "active": active, "ties": ties, "priors": priors, "l2": l2},
            **{"balance": dict(balance) if isinstance(balance, Mapping) else balance, "loss": loss, "f_scale": f_scale},
            **{"precision": precision, "batch_size": batch_size},
        }

    def problem_in(self, precision: str) -> Problem:
        """The problem in one of `precision.PRECISIONS`, on its devices.

        Raises:
            PrecisionError: a reference needs more.
        """
        if precision not in self._problems:
            problem = self.host_problem(precision)
            with memory_explained(problem, "the problem"):
                self._problems[precision] = placed(problem, self.mesh)
        return self._problems[precision]

    def host_problem(self, precision: str) -> Problem:
        """The problem in one of `precision.PRECISIONS`, of NumPy arrays. Raises as `problem_in` does."""
        check_resolution(self.references, self.systems, precision)
        return in_precision(self._build(n_devices=n_shares(self.mesh), batch_size=self._batch_size), precision)

    def __reduce__(self) -> tuple:
        """Pickle the inputs only; a copy is built again from them, on one device, and starts without evaluations."""
        return _rebuilt, (type(self), self._inputs)

    @classmethod
    def from_q2mm(
        cls, objective_function, *, x0: ArrayLike | None = None, bounds: Bounds | Sequence | None = None, **options
    ) -> Self:
        """The same loss as a q2mm `ObjectiveFunction` on a `JaxEngine`, with the same parameter vector and bounds.

        Args:
            objective_function: of q2mm 5.0.0a2 or later. It is only read.
            x0: another start, shape (n,), in q2mm's units.
            bounds: other bounds, in q2mm's units.
            options: active, ties, priors, l2, balance, loss, f_scale and further options of a new objective.

        Returns:
            An objective whose `fun(x)` equals `objective_function(x)`, unless options change it.

        Raises:
            InteropError: a term, reference or engine that cannot be carried over.
            MoleculeError: a molecule whose coordinates or masses cannot be right.
            ParameterError: the start lies outside the bounds, or as for a new objective.
            OptionError: as for a new objective.
        """
        found = problem_from_q2mm(objective_function)
        if options.get("active") is not None:
            options["active"] = selected(options["active"], found.forcefield, "active")
        options["ties"] = as_tuple(options.get("ties", ()), Tie, "ties", ParameterError)
        space = parameter_space(found.forcefield, options.get("active"), options["ties"], found.parameter_scale)
        return cls(
            found.systems,
            found.forcefield,
            found.references,
            x0=found.x0[space.free] if x0 is None else x0,
            bounds=box(space, found.bounds) if bounds is None else bounds,
            parameter_scale=found.parameter_scale,
            **options,
        )

    @property
    def reference_labels(self) -> tuple[str, ...]:
        """One name per reference, for `predictions`: the molecule and the reference."""
        return tuple(f"{self.systems[r.system].molecule.name}: {r}" for r in self.references)

    @property
    def residual_labels(self) -> tuple[str, ...]:
        """One name per residual: those of the references, then the priors' parameters."""
        labels = self.space.forcefield.labels
        return (*self.reference_labels, *(f"prior: {labels[number]}" for number in self._priors.parameter))

    @property
    def residual_rows(self) -> np.ndarray:
        """Where the residuals stand in the padded ones of compiled functions, shape (m,)."""
        priors = len(self.problem.references.present) + np.arange(len(self._priors.weight))
        return np.concatenate([np.arange(len(self.references)), priors])

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


def _rebuilt(kind: type[FitInputs], inputs: dict) -> FitInputs:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)  # given when the original was built
        return kind(**inputs)
