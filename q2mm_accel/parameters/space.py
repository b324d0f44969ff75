"""The vector that an optimizer sees: the free, independent parameters of a force field, in units of a scale."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import ParameterError
from q2mm_accel.model.arguments import parameter_vector
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.parameters.selection import selected
from q2mm_accel.parameters.ties import Tie, resolve_ties

ROUNDING = 1e-12
"""How far a parameter that follows from others may be off by rounding, relative to the terms of its sum: a wide margin."""


@dataclass(frozen=True, eq=False)
class ParameterSpace:
    """All parameters of a force field from a vector x of the n free ones: offset + Σ_k coefficients[:, k] x[columns[:, k]].

    Attributes:
        forcefield: the force field.
        scale: shape (n_parameters,), the unit of each parameter.
        free: shape (n,), the parameter that each element of x is, divided by its scale.
        tied: shape (n_parameters,), whether a parameter follows from others.
        offset: shape (n_parameters,), in the force field's units: values of frozen parameters, constants of tied ones.
        columns: shape (n_parameters, K), the elements of x on which a parameter depends.
        coefficients: shape (n_parameters, K), in the force field's units; 0 where there are fewer than K.
    """

    forcefield: ForceField
    scale: np.ndarray
    free: np.ndarray
    tied: np.ndarray
    offset: np.ndarray
    columns: np.ndarray
    coefficients: np.ndarray

    @property
    def labels(self) -> tuple[str, ...]:
        """One name per element of x."""
        return tuple(self.forcefield.labels[number] for number in self.free)

    @property
    def start(self) -> np.ndarray:
        """The vector of the force field's own values, shape (n,)."""
        return self.forcefield.parameters[self.free] / self.scale[self.free]

    def expand(self, vector: np.ndarray) -> np.ndarray:
        """All parameters in the force field's units, shape (n_parameters,), from a vector (n,)."""
        return self.offset + (self.coefficients * vector[self.columns]).sum(axis=1)

    def reduce(self, parameters: ArrayLike) -> np.ndarray:
        """The vector (n,) whose `expand` gives these parameters.

        Raises:
            ParameterError: a frozen or tied parameter has another value than it can have, or wrong shape.
        """
        wanted = parameter_vector(parameters, self.forcefield.labels, "parameters")
        vector = wanted[self.free] / self.scale[self.free]
        found = self.expand(vector)
        # rounding goes with the size of what is added, not with that of a sum in which it cancels
        terms = np.abs(self.offset) + np.abs(self.coefficients * vector[self.columns]).sum(axis=1)
        for number in np.flatnonzero(np.abs(found - wanted) > ROUNDING * terms):
            label = self.forcefield.labels[number]
            why = "is tied to others, which make it" if self.tied[number] else "is frozen at"
            raise ParameterError(
                f"parameters[{number}] ({label}) is {wanted[number]!r}, but {label} {why} {found[number]!r}. "
                "Give that value, or free the parameter."
            )
        return vector


def parameter_space(
    forcefield: ForceField,
    active: str | Iterable[str] | ArrayLike | None = None,
    ties: Iterable[Tie] = (),
    parameter_scale: ArrayLike | str | None = None,
) -> ParameterSpace:
    """What is fitted, and how all parameters follow from it.

    Args:
        forcefield: the force field.
        active: the parameters that may move, as `selected` reads them; all by default. The others are frozen, and so are
            those that the force field pins, such as the equilibria of linear angles.
        ties: parameters that follow from others.
        parameter_scale: shape (n_parameters,), or "typical" for `ForceField.typical_scale`; 1 by default.

    Returns:
        The space.

    Raises:
        ParameterError: a malformed scale, active or tie, ties that `active` contradicts, or nothing left to fit.
    """
    n_parameters, values = forcefield.n_parameters, forcefield.parameters
    scale = _checked_scale(parameter_scale, forcefield)
    moving = np.ones(n_parameters, dtype=bool) if active is None else selected(active, forcefield, "active")
    moving &= ~forcefield.pinned
    resolved = resolve_ties(ties, forcefield)
    tied = np.isin(np.arange(n_parameters), list(resolved))
    free = np.flatnonzero(moving & ~tied)
    if n_parameters and not len(free):
        raise ParameterError(
            f"active and ties leave nothing to fit: none of the {n_parameters} parameters is free. Name some in active "
            "that the force field does not pin by equal bounds."
        )
    column = dict(zip(free.tolist(), range(len(free)), strict=True))
    offset = np.where(moving | tied, 0.0, values)
    depends = {number: {number: 1.0} for number in column}
    # frozen parameters in a tie are part of its constant; free ones are elements of x
    for number, (constant, terms) in resolved.items():
        offset[number] = constant + sum(c * values[other] for other, c in terms.items() if other not in column)
        depends[number] = {other: c for other, c in terms.items() if other in column}
        _check_tie(number, moving, depends[number], offset, forcefield)
    width = max(map(len, depends.values()), default=1)
    columns = np.zeros((n_parameters, width), dtype=np.int32)
    coefficients = np.zeros((n_parameters, width))
    for number, terms in depends.items():
        columns[number, : len(terms)] = [column[other] for other in terms]
        coefficients[number, : len(terms)] = [c * scale[other] for other, c in terms.items()]
    return ParameterSpace(forcefield, scale, free, tied, offset, columns, coefficients)


def _checked_scale(parameter_scale: ArrayLike | str | None, forcefield: ForceField) -> np.ndarray:
    if parameter_scale is None:
        return np.ones(forcefield.n_parameters)
    if isinstance(parameter_scale, str):
        if parameter_scale != "typical":
            raise ParameterError(f"parameter_scale is {parameter_scale!r}; give 'typical' or one number per parameter.")
        return forcefield.typical_scale
    scale = parameter_vector(parameter_scale, forcefield.labels, "parameter_scale")
    for number in np.flatnonzero(scale <= 0.0):
        raise ParameterError(
            f"parameter_scale[{number}] ({forcefield.labels[number]}) is {scale[number]}; scales must be positive."
        )
    return scale


def _check_tie(number: int, moving: np.ndarray, sources: dict, offset: np.ndarray, forcefield: ForceField) -> None:
    """Check that `active` and a tie say the same about a tied parameter."""
    label, labels = forcefield.labels[number], forcefield.labels
    if sources and not moving[number]:
        raise ParameterError(
            f"{label!r} is not in active, but is tied to {', '.join(repr(labels[i]) for i in sources)}, which is. "
            "Name both in active, or neither."
        )
    if not sources and moving[number]:
        raise ParameterError(
            f"{label!r} is active, but its tie leaves it at {offset[number]:g}, for nothing that it depends on is active. "
            "Name both in active, or neither."
        )
    value = forcefield.parameters[number]
    if not sources and abs(offset[number] - value) > ROUNDING * max(abs(value), abs(offset[number])):
        raise ParameterError(
            f"{label!r} and all that it is tied to are frozen, but the force field has {value:g} and the tie says "
            f"{offset[number]:g}. Change the force field, or remove the tie."
        )
