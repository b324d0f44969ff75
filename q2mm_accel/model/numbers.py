"""Numbers and sequences as users pass them, turned into float64 arrays and tuples or refused by name."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import Q2MMAccelError

_Kind = TypeVar("_Kind")


def real_array(
    values: ArrayLike,
    what: str,
    error: type[Q2MMAccelError],
    ndim: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """A fresh float64 array of finite real numbers.

    Args:
        values: any array-like: lists, integers, float32, big-endian, read-only ...
        what: what they are, for messages.
        error: the type of error to raise.
        ndim: the number of dimensions they must have; any by default.
        shape: the shape they must have; any by default.

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
        array = np.array(raw, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as problem:
        raise error(f"{wanted}: {problem}.") from problem
    if not np.all(np.isfinite(array)):
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        found = f"element {place} is {array[place]}" if place else f"it is {array}"
        raise error(f"{what} must be finite, but {found}.")
    return array


def as_tuple(items: _Kind | Iterable[_Kind], kind: type[_Kind], what: str, error: type[Q2MMAccelError]) -> tuple[_Kind, ...]:
    """Items of one class as a tuple; a single one is a tuple of one.

    Raises:
        Q2MMAccelError: of the type `error`: one of them is something else.
    """
    if isinstance(items, kind):
        return (items,)
    if not isinstance(items, Iterable):
        raise error(f"{what} is {items!r}; give a sequence of {kind.__name__}.")
    result = tuple(items)
    for number, item in enumerate(result):
        if not isinstance(item, kind):
            raise error(f"{what}[{number}] is a {type(item).__name__}; make a {kind.__name__} of it.")
    return result
