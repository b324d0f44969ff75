"""Parameter vectors and bounds as users and SciPy pass them, checked."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds

from q2mm_accel.errors import ParameterError


def parameter_vector(values: ArrayLike, labels: Sequence[str], what: str) -> np.ndarray:
    """A fresh float64 vector with one finite element per label.

    Args:
        values: any array-like of n real numbers: list, read-only, strided, float32, big-endian ...
        labels: the n parameters' names.
        what: the vector's name, for messages.

    Returns:
        Shape (n,), contiguous, a copy.

    Raises:
        ParameterError: not real numbers, another shape, or an element that is not finite.
    """
    try:
        raw = np.asarray(values)
    except ValueError as error:
        raise ParameterError(f"{what} must be real numbers: {error}.") from error
    if raw.dtype.kind not in "fiu" and not (raw.dtype.kind == "O" and raw.ndim == 1):
        raise ParameterError(f"{what} must be real numbers, but has the dtype {raw.dtype}.")
    try:
        vector = np.array(raw, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"{what} must be real numbers: {error}.") from error
    if vector.shape != (len(labels),):
        raise ParameterError(
            f"{what} must have the shape ({len(labels)},), one number per parameter, but has {vector.shape}."
        )
    for number in np.flatnonzero(~np.isfinite(vector)):
        raise ParameterError(f"{what}[{number}] ({labels[number]}) is {vector[number]}; it must be finite.")
    return vector


def parameter_rows(values: ArrayLike, labels: Sequence[str], what: str) -> np.ndarray:
    """A fresh float64 array of parameter vectors, one per row, shape (S, n).

    Raises:
        ParameterError: not real numbers, another shape, or an element that is not finite.
    """
    try:
        rows = np.asarray(values)
    except ValueError as error:
        raise ParameterError(f"{what} must have the shape (S, {len(labels)}): {error}.") from error
    if rows.ndim != 2 or rows.shape[1] != len(labels):
        raise ParameterError(f"{what} must have the shape (S, {len(labels)}), but has {rows.shape}.")
    checked = [parameter_vector(row, labels, f"{what}[{number}]") for number, row in enumerate(rows)]
    return np.array(checked, dtype=np.float64).reshape(rows.shape)


def as_bounds(bounds: Bounds | Sequence, labels: Sequence[str]) -> Bounds:
    """Bounds with one lower and one upper limit per parameter.

    Args:
        bounds: `scipy.optimize.Bounds`, or n pairs (lower, upper) in which None stands for no limit.
        labels: the n parameters' names.

    Returns:
        The bounds, arrays of shape (n,).

    Raises:
        ParameterError: another number of bounds, NaN, or a lower bound above the upper one.
    """
    if not isinstance(bounds, Bounds):
        bounds = _from_pairs(bounds)
    try:
        lower, upper = (np.asarray(limit, dtype=np.float64) for limit in (bounds.lb, bounds.ub))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"bounds must be real numbers: {error}.") from error
    if any(limit.shape not in ((), (len(labels),)) for limit in (lower, upper)):
        raise ParameterError(
            f"bounds are given for {max(lower.size, upper.size)} parameters, but there are {len(labels)}; "
            "give one pair for each."
        )
    lower, upper = (np.broadcast_to(limit, (len(labels),)) for limit in (lower, upper))
    for number, (low, high) in enumerate(zip(lower, upper, strict=True)):
        if not low <= high:
            raise ParameterError(
                f"the bounds of parameter {number} ({labels[number]}) are {low} and {high}; "
                "the lower must not exceed the upper."
            )
    return Bounds(lower.copy(), upper.copy())


def _from_pairs(pairs: Sequence) -> Bounds:
    if not hasattr(pairs, "__len__") or any(np.size(pair) != 2 for pair in pairs):
        raise ParameterError(
            f"bounds must be scipy.optimize.Bounds or pairs (lower, upper), one per parameter, not {str(pairs)[:100]}."
        )
    lower = [-np.inf if low is None else low for low, _ in pairs]
    upper = [np.inf if high is None else high for _, high in pairs]
    try:
        return Bounds(np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"bounds must be real numbers: {error}.") from error


def check_inside(vector: np.ndarray, bounds: Bounds, labels: Sequence[str]) -> None:
    """Check that a start lies within its bounds.

    Raises:
        ParameterError: it does not; the message names the first parameter outside.
    """
    for number in np.flatnonzero((vector < bounds.lb) | (vector > bounds.ub)):
        raise ParameterError(
            f"parameter {number} of {len(labels)} ({labels[number]}) starts at {vector[number]:.6g}, outside its bounds "
            f"{bounds.lb[number]:.6g} to {bounds.ub[number]:.6g}. Change the start or pass other bounds."
        )
