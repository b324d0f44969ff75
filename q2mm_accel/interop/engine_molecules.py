"""An objective of q2mm whose engine is a black box, taken apart by molecules. Duck-typed: q2mm is never imported here."""

import copy
import operator
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from q2mm_accel.errors import EngineError, InteropError, OptionError, ReferenceDataError
from q2mm_accel.interop.engines import Conventions
from q2mm_accel.interop.q2mm import check_objective, plain
from q2mm_accel.interop.q2mm_model import forcefield_from_q2mm

_METHODS = {
    "energy": "energy",
    "frequency": "frequencies",
    "bond_length": "minimize",
    "bond_angle": "minimize",
    "torsion_angle": "minimize",
    "eig_diagonal": "hessian",
    "eig_offdiagonal": "hessian",
    "hessian_element": "hessian",
}
"""What q2mm asks of its engine for each kind of reference (optimizers/objective.py of 5.0.0a2 and 0c795729)."""
_STEP_KEYS = {
    ("bond", "k"): "bf",
    ("bond", "r0"): "be",
    ("angle", "k"): "af",
    ("angle", "theta0"): "ae",
    ("torsion", "k"): "df",
    ("vdw", "radius"): "vdwr",
    ("vdw", "epsilon"): "vdwfc",
}
"""The first and the last word of a label -> the key of q2mm's `STEPS` (models/forcefield.py of 0c795729)."""
_TURN = 360.0
_NAMED = 8
"""How many parameters a message names."""


@dataclass(frozen=True)
class Share:
    """What one molecule contributes.

    Attributes:
        name: the molecule's, for messages.
        rows: its references with a weight, counted from 0 in q2mm's list.
    """

    name: str
    rows: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class EngineInputs:
    """What evaluations read: copies, but for the engine. It can be pickled if the engine can.

    Attributes:
        kind: the class of the objective function.
        forcefield: q2mm's force field; its parameters do not count.
        engine: q2mm's engine, the original.
        molecules: q2mm's molecules.
        reference: q2mm's container of references, with all of them.
        shares: one for each molecule that has references with a weight.
        labels: one name for each element of x.
        x0: the start, shape (n,).
    """

    kind: type
    forcefield: Any
    engine: Any
    molecules: tuple
    reference: Any
    shares: tuple[Share, ...]
    labels: tuple[str, ...]
    x0: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """The references with a weight, ascending, shape (m,)."""
        return np.array(sorted(row for share in self.shares for row in share.rows))

    @property
    def periods(self) -> np.ndarray:
        """After what change each residual of `rows` begins anew, shape (m,); infinite but for torsion angles."""
        values = [self.reference.values[row] for row in self.rows]
        return np.array([abs(value.weight) * (_TURN if value.kind == "torsion_angle" else np.inf) for value in values])

    @property
    def row_labels(self) -> tuple[str, ...]:
        """Molecule and reference of each of `rows`."""
        names = {row: share.name for share in self.shares for row in share.rows}
        values = self.reference.values
        return tuple(f"{names[row]}: {values[row].label or f'{values[row].kind} {row}'}" for row in self.rows.tolist())

    def failure(self, share: int, x: np.ndarray, what: str, remedy: str) -> EngineError:
        """The error that names molecule, engine and parameters, to be raised."""
        name = self.shares[share].name
        error = EngineError(f"{name}: the engine {type(self.engine).__name__} {what}, at {self._named(x)}. {remedy}")
        error.molecule, error.x = name, x.copy()
        return error

    def _named(self, x: np.ndarray) -> str:
        """The elements of x that differ most from the start, relative to it."""
        change = np.abs(x - self.x0) / np.maximum(np.abs(self.x0), np.finfo(np.float64).tiny)
        chosen = np.sort(np.argsort(-change, kind="stable")[:_NAMED])
        listed = ", ".join(f"{self.labels[number]} = {x[number]:.8g}" for number in chosen.tolist())
        if len(x) <= _NAMED:
            return listed
        return f"{listed} and {len(x) - _NAMED} closer to the start (all in the error's attribute x)"


class Evaluator:
    """Evaluates molecules in the process that it lives in, each by an objective of q2mm of its own."""

    def __init__(self, inputs: EngineInputs) -> None:
        """Evaluate nothing yet."""
        self._inputs = inputs
        self._forcefield = copy.deepcopy(inputs.forcefield)
        self._objectives: dict[int, Any] = {}
        self.begun = 0

    def run(self, tasks: Sequence[tuple[int, np.ndarray]]) -> list[np.ndarray]:
        """The residuals of shares at vectors, one after the other.

        Raises:
            EngineError: the engine raised something, or does not give a number for each reference.
        """
        return [self._residuals(share, x) for share, x in tasks]

    def close(self) -> None:
        """Forget what the engine has set up for the molecules."""
        self._objectives.clear()

    def _residuals(self, share: int, x: np.ndarray) -> np.ndarray:
        objective = self._objectives.pop(share, None)  # what fails may be left in any state, and is made anew
        self.begun += 1
        if objective is None:
            objective = self._objective(self._inputs.shares[share])
        try:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # the objective refuses what is not finite
                values = np.array(objective.residuals(x.copy()), dtype=np.float64)
        except Exception as error:  # an engine of somebody else's: whatever it raises, the molecule is named
            raise self._inputs.failure(
                share,
                x,
                f"raised {type(error).__name__}: {error}",
                "Check that it can evaluate this molecule, or tighten the bounds of parameters that it cannot have.",
            ) from error
        wanted = len(self._inputs.shares[share].rows)
        if values.shape != (wanted,):
            raise self._inputs.failure(
                share, x, f"gives residuals of the shape {values.shape} instead of ({wanted},)", "Correct it."
            )
        self._objectives[share] = objective
        return values

    def _objective(self, share: Share) -> Any:
        inputs, reference = self._inputs, copy.copy(self._inputs.reference)
        reference.values = [inputs.reference.values[row] for row in share.rows]
        return inputs.kind(self._forcefield, inputs.engine, list(inputs.molecules), reference)


def inputs_from_q2mm(objective_function: Any) -> EngineInputs:
    """Copy what an objective function of q2mm evaluates; it is only read.

    Args:
        objective_function: a `q2mm.optimizers.objective.ObjectiveFunction`.

    Returns:
        The copies.

    Raises:
        InteropError: it is something else; its engine lacks methods that its references need; or what it computes for one
            molecule depends on others.
        ReferenceDataError: no reference has a weight, or one is to a molecule that does not exist.
    """
    objective_function = plain(objective_function)
    check_objective(objective_function)
    _check_methods(objective_function, ("residuals",))
    _check_methods(objective_function.forcefield, ("get_param_vector", "set_param_vector", "get_bounds"))
    values = list(objective_function.reference.values)
    molecules = copy.deepcopy(tuple(objective_function.molecules))
    shares = _shares(values, [f"molecule {i} ({each.name or 'unnamed'})" for i, each in enumerate(molecules)])
    _check_engine(objective_function, {values[row].kind for share in shares for row in share.rows})
    forcefield = copy.deepcopy(objective_function.forcefield)
    x0 = np.array(forcefield.get_param_vector(), dtype=np.float64)
    reference = copy.copy(objective_function.reference)
    reference.values = copy.deepcopy(values)
    labels = _labels(forcefield, len(x0))
    return EngineInputs(
        type(objective_function), forcefield, objective_function.engine, molecules, reference, shares, labels, x0
    )


def steps_by_type(inputs: EngineInputs) -> np.ndarray:
    """q2mm's steps for numerical differentiation, which depend on the kind of parameter, shape (n,).

    Raises:
        OptionError: this version of q2mm has none, or none for one of the parameters.
    """
    own = getattr(inputs.forcefield, "get_step_sizes", None)
    if callable(own):
        return np.array(own(), dtype=np.float64)
    table = getattr(sys.modules.get("q2mm.optimizers.defaults"), "STEPS", {})
    keys = [_STEP_KEYS.get((label.split()[0], label.split()[-1])) for label in inputs.labels]
    for label in (label for label, key in zip(inputs.labels, keys, strict=True) if key not in table):
        raise OptionError(f"steps='by type': q2mm has no step for {label}; give numbers.")
    return np.array([table[key] for key in keys], dtype=np.float64)


def pickled(inputs: EngineInputs) -> bytes:
    """The inputs for other processes.

    Raises:
        InteropError: a part of them cannot be sent there.
    """
    parts = {
        "class of the objective function": inputs.kind,
        "engine": inputs.engine,
        "force field": inputs.forcefield,
        "molecules": inputs.molecules,
        "references": inputs.reference,
    }
    for what, part in parts.items():
        try:
            pickle.dumps(part)
        except (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise InteropError(
                f"the {what} ({getattr(part, '__name__', type(part).__name__)}) cannot be sent to worker processes: "
                f"{error}. Give workers=1, which evaluates in this process; or make it so that it can be pickled."
            ) from error
    return pickle.dumps(inputs)


def _labels(forcefield: Any, count: int) -> tuple[str, ...]:
    """The names that a fused objective gives the parameters; numbers where q2mm has parameters that are unknown here."""
    labels = forcefield_from_q2mm(forcefield, "harmonic", Conventions(1.0, 1.0, 1.0)).labels
    return tuple(labels) if len(labels) == count else tuple(f"parameter {number}" for number in range(count))


def _shares(values: Sequence[Any], names: Sequence[str]) -> tuple[Share, ...]:
    rows: dict[int, list[int]] = {}
    for number, value in enumerate(values):
        molecule = operator.index(value.molecule_idx)
        if not -len(names) <= molecule < len(names):
            raise ReferenceDataError(
                f"reference {number} ({value.label or value.kind}): there is no molecule {molecule}; there are "
                f"{len(names)}, from 0."
            )
        if value.weight != 0.0:
            rows.setdefault(molecule % len(names), []).append(number)
    if not rows:
        raise ReferenceDataError("no reference has a weight other than 0, so there is nothing to fit; add references.")
    return tuple(Share(names[molecule], tuple(rows[molecule])) for molecule in sorted(rows))


def _check_methods(part: Any, names: Sequence[str]) -> None:
    missing = [name for name in names if not callable(getattr(part, name, None))]
    if missing:
        raise InteropError(
            f"the {type(part).__name__} has no {' and no '.join(missing)}; give a q2mm ObjectiveFunction and its ForceField."
        )


def _check_engine(objective_function: Any, kinds: set[str]) -> None:
    engine = objective_function.engine
    needed = ["supports_runtime_params", *sorted({_METHODS[kind] for kind in kinds if kind in _METHODS})]
    missing = [name for name in needed if not callable(getattr(engine, name, None))]
    if not missing and engine.supports_runtime_params() and not callable(getattr(engine, "create_context", None)):
        missing = ["create_context"]
    if missing:
        raise InteropError(
            f"the engine {type(engine).__name__} has no {' and no '.join(missing)}, which q2mm calls for references of the "
            f"kinds {', '.join(sorted(kinds))}. Derive it from q2mm.backends.base.MMEngine and define them."
        )
    # 0c795729 puts molecules with equal terms together, so that a molecule alone may have other residuals
    together = getattr(objective_function, "_can_batch_hessians", None)
    if callable(together) and together():
        raise InteropError(
            f"this q2mm evaluates the Hessians of several molecules on a {type(engine).__name__} together, so they "
            "cannot be taken apart. Use FusedObjective.from_q2mm, which computes them itself."
        )
