"""Start and bounds of x, in the forms that users and SciPy pass, checked."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds

from q2mm_accel.errors import BoundsWarning, ParameterError, warn_user
from q2mm_accel.model.arguments import bounds_between, parameter_vector
from q2mm_accel.parameters.space import ROUNDING, ParameterSpace


def start_and_bounds(
    space: ParameterSpace, x0: ArrayLike | None, bounds: Bounds | Sequence | None
) -> tuple[np.ndarray, Bounds]:
    """Start and bounds as given, or those of the force field, checked.

    Args:
        space: what x is.
        x0: shape (n,), or None for the force field's values.
        bounds: bounds of x, or None for the force field's.

    Returns:
        x0, shape (n,), and bounds of x.

    Raises:
        ParameterError: malformed, a start outside the bounds, or one that makes no sense.

    Warns:
        BoundsWarning: tied parameters can leave the force field's bounds.
    """
    labels, limits = space.labels, space.forcefield.bounds
    if bounds is None:
        bounds = box(space, bounds_between(limits.lb / space.scale, limits.ub / space.scale))
    bounds = as_bounds(bounds, labels)
    start = parameter_vector(space.start if x0 is None else x0, labels, "x0")
    start = inside(start, bounds, space)
    parameters, names = space.expand(start), space.forcefield.labels
    for number, wanted in space.forcefield.with_parameters(parameters).unphysical().items():
        raise ParameterError(
            f"parameter {number} of {len(names)} ({names[number]}) starts at {parameters[number]:.6g}, but must be "
            f"{wanted}. Change the start or the force field."
        )
    _warn_leaving(space, bounds)
    return start, bounds


def box(space: ParameterSpace, bounds: Bounds) -> Bounds:
    """Bounds of x that keep the bounds of every parameter that depends on a single element of x.

    Args:
        space: what x is.
        bounds: of all parameters, shape (n_parameters,), each in units of its scale.

    Returns:
        Shape (n,).

    Raises:
        ParameterError: nothing lies within the bounds of all parameters that share an element of x.
    """
    lower, upper = bounds.lb[space.free].copy(), bounds.ub[space.free].copy()
    present = space.coefficients != 0.0
    for number in np.flatnonzero(space.tied & (present.sum(axis=1) == 1)):
        place = np.argmax(present[number])
        column, coefficient = space.columns[number, place], space.coefficients[number, place]
        # parameter = offset + coefficient x: its bounds become bounds of x, and a negative coefficient swaps them
        limits = np.array([bounds.lb[number], bounds.ub[number]]) * (space.scale[number] / coefficient)
        low, high = np.sort(limits - space.offset[number] / coefficient)
        lower[column], upper[column] = max(lower[column], low), min(upper[column], high)
        if lower[column] > upper[column]:
            raise ParameterError(
                f"no value of {space.labels[column]!r} keeps its bounds and those of {space.forcefield.labels[number]!r}, "
                "which is tied to it. Change the tie, or pass bounds."
            )
    return bounds_between(lower, upper)


def _warn_leaving(space: ParameterSpace, bounds: Bounds) -> None:
    """Warn of tied parameters that can leave the force field's bounds although x keeps its own.

    Interval arithmetic: the ends of a sum are the sums of the ends of its terms, which is exact for affine functions of
    different elements of x.
    """
    present, limits = space.coefficients != 0.0, space.forcefield.bounds
    ends = np.stack([bounds.lb[space.columns], bounds.ub[space.columns]])
    # 0 times an infinite bound is NaN
    products = space.coefficients * np.where(present, ends, 0.0)
    lower, upper = (space.offset + choice(products, axis=0).sum(axis=1) for choice in (np.min, np.max))
    margin = ROUNDING * (np.abs(space.offset) + np.abs(limits.lb) + np.abs(limits.ub))
    outside = space.tied & ((lower < limits.lb - margin) | (upper > limits.ub + margin))
    named = [
        f"{space.forcefield.labels[i]} ({lower[i]:g} to {upper[i]:g}, bounds {limits.lb[i]:g} to {limits.ub[i]:g})"
        for i in np.flatnonzero(outside)
    ]
    if named:
        warn_user(
            f"a fit can leave the force field's bounds, for these parameters follow from others: {'; '.join(named[:4])}"
            f"{' ...' if len(named) > 4 else ''}. Pass narrower bounds, or check the result.",
            BoundsWarning,
        )


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
    return bounds_between(lower.copy(), upper.copy())


def _from_pairs(pairs: Sequence) -> Bounds:
    if not hasattr(pairs, "__len__") or any(np.size(pair) != 2 for pair in pairs):
        raise ParameterError(
            f"bounds must be scipy.optimize.Bounds or pairs (lower, upper), one per parameter, not {str(pairs)[:100]}."
        )
    lower = [-np.inf if low is None else low for low, _ in pairs]
    upper = [np.inf if high is None else high for _, high in pairs]
    try:
        return bounds_between(np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"bounds must be real numbers: {error}.") from error


def inside(vector: np.ndarray, bounds: Bounds, space: ParameterSpace) -> np.ndarray:
    """A start within its bounds: what lies outside by no more than rounding, as from another scale, is moved onto them.

    Returns:
        Shape (n,).

    Raises:
        ParameterError: it lies outside by more; the message names the first such parameter, in physical units.
    """
    found = np.clip(vector, bounds.lb, bounds.ub)
    for number in np.flatnonzero(np.abs(vector - found) > ROUNDING * np.abs(found)).tolist():
        place = int(space.free[number])
        scale, unit = space.scale[place], space.forcefield.each(lambda parameter: parameter.unit)[place]
        value, low, high = scale * vector[number], scale * bounds.lb[number], scale * bounds.ub[number]
        scaled = f" (x[{number}] is {vector[number]:.6g}, in units of {scale:g})" if scale != 1.0 else ""
        raise ParameterError(
            f"parameter {number} of {len(vector)} ({space.labels[number]}) starts at {value:.6g} {unit}, outside its bounds "
            f"{low:.6g} to {high:.6g}{scaled}. Change the start or pass other bounds."
        )
    return found
