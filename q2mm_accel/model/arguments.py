"""What users pass, turned into float64 arrays, tuples and plain values, or refused by the name of the argument."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds

from q2mm_accel.errors import ParameterError, Q2MMAccelError

_Kind = TypeVar("_Kind")


def real_array(
    values: ArrayLike,
    what: str,
    error: type[Q2MMAccelError],
    ndim: int | None = None,
    shape: tuple[int, ...] | None = None,
    finite: bool = True,
) -> np.ndarray:
    """A fresh float64 array of real numbers.

    Args:
        values: any array-like: lists, integers, float32, big-endian, read-only ...
        what: what they are, for messages.
        error: the type of error to raise.
        ndim: the number of dimensions they must have; any by default.
        shape: the shape they must have; any by default.
        finite: whether all of them must be finite.

    Returns:
        The array, contiguous, a copy.

    Raises:
        Q2MMAccelError: of the type `error`: not real numbers, another shape, or not finite.
    """
    wanted = f"{what} must be real numbers"
    wanted += f" of shape {shape}" if shape is not None else ""
    wanted += f" of {ndim} dimension{'s' * (ndim > 1)}" if ndim is not None else ""
    try:
        raw = np.asarray(values)
    except ValueError as problem:
        raise error(f"{wanted}: {problem}.") from problem
    fits = raw.shape == shape if shape is not None else ndim in (None, raw.ndim)
    if raw.dtype.kind not in "fiuO" or not fits:
        raise error(f"{wanted}, but has the shape {raw.shape} and the dtype {raw.dtype}: {str(values)[:60]}")
    try:
        with np.errstate(over="ignore"):  # of longer numbers: what becomes infinite is refused below
            array = np.array(raw, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as problem:
        raise error(f"{wanted}: {problem}.") from problem
    if finite and not np.all(np.isfinite(array)):
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        found = f"element {place} is {array[place]}" if place else f"it is {array}"
        raise error(f"{what} must be finite, but {found}.")
    return array


def instance(value: object, kind: type[_Kind], what: str, error: type[Q2MMAccelError]) -> _Kind:
    """A value of one class.

    Raises:
        Q2MMAccelError: of the type `error`: it is something else.
    """
    if not isinstance(value, kind):
        raise error(f"{what} is {value!r:.60}; give a {kind.__name__}.")
    return value


def truth(value: object, what: str, error: type[Q2MMAccelError]) -> bool:
    """True or False, also NumPy's.

    Raises:
        Q2MMAccelError: of the type `error`: it is something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise error(f"{what} is {value!r:.60}; it must be True or False.")
    return bool(value)


def integer(value: object, what: str, error: type[Q2MMAccelError]) -> int:
    """A whole number, which may be written as 1.0.

    Raises:
        Q2MMAccelError: of the type `error`: it is something else.
    """
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        if float(value).is_integer():
            return int(value)
    raise error(f"{what} is {value!r:.60}; it must be an integer.")


def as_tuple(items: _Kind | Iterable[_Kind], kind: type[_Kind], what: str, error: type[Q2MMAccelError]) -> tuple[_Kind, ...]:
    """Items of one class as a tuple; a single one is a tuple of one.

    Raises:
        Q2MMAccelError: of the type `error`: one of them is something else.
    """
    if isinstance(items, kind):
        return (items,)
    try:
        iterator = iter(cast(Iterable[_Kind], items))  # arrays without axes are instances of Iterable, and yet not iterable
    except TypeError as problem:
        raise error(f"{what} is {items!r:.60}; give a sequence of {kind.__name__}.") from problem
    result = tuple(iterator)
    for number, item in enumerate(result):
        if not isinstance(item, kind):
            raise error(f"{what}[{number}] is a {type(item).__name__}; make a {kind.__name__} of it.")
    return result


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
    for number in np.flatnonzero(~np.isfinite(vector)).tolist():
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


def bounds_between(lower: np.ndarray, upper: np.ndarray) -> Bounds:
    """SciPy's bounds of a vector, shape (n,), which takes arrays although it is not annotated so."""
    limits: Any = (lower, upper)
    return Bounds(*limits)
