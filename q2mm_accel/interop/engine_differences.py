"""Where a function is evaluated for its derivatives, and what these are: differences of second order within bounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds

from q2mm_accel.errors import OptionError
from q2mm_accel.model.arguments import real_array


@dataclass(frozen=True, eq=False)
class Differences:
    """Two points for every element of a vector that its bounds leave free, and their weights.

    Attributes:
        points: shape (p, n).
        element: which element of the vector each point changes, shape (p,).
        weights: shape (p,). The derivative is the sum of weight times (value at the point - value at the vector).
    """

    points: np.ndarray
    element: np.ndarray
    weights: np.ndarray

    def derivatives(self, changes: np.ndarray) -> np.ndarray:
        """The derivatives by the n elements; 0 for those that their bounds hold.

        Args:
            changes: shape (p, m), values at the points less those at the vector.

        Returns:
            Shape (m, n).
        """
        slopes = np.zeros((self.points.shape[1], changes.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the objective
            np.add.at(slopes, self.element, self.weights[:, None] * changes)
        return slopes.T


def checked_steps(steps: ArrayLike, labels: Sequence[str]) -> np.ndarray:
    """One step for each element of x.

    Args:
        steps: shape (n,), or one number for all.
        labels: the n elements' names.

    Returns:
        Shape (n,).

    Raises:
        OptionError: other shapes, or a step that is not above 0.
    """
    scalar = np.ndim(np.asarray(steps, dtype=object)) == 0
    values = real_array(steps, "steps", OptionError, shape=() if scalar else (len(labels),))
    values = np.broadcast_to(values, (len(labels),)).copy()
    for number in np.flatnonzero(values <= 0.0)[:1].tolist():
        raise OptionError(f"steps[{number}] ({labels[number]}) is {values[number]:g}; it must be above 0.")
    return values


def differences(vector: np.ndarray, steps: np.ndarray, bounds: Bounds, labels: Sequence[str]) -> Differences:
    """Points for central differences, or for one-sided ones where a bound is closer than the step.

    One-sided ones take two points on the side with more room, so that they are of second order too, and of shorter steps
    where two do not fit. No point leaves the bounds; beside a vector that is outside them, none lies farther outside.

    Args:
        vector: shape (n,).
        steps: shape (n,).
        bounds: of the vector.
        labels: the n elements' names.

    Returns:
        The points and their weights.

    Raises:
        OptionError: a step that is lost in rounding.
    """
    first, second = _offsets(vector, steps, bounds)
    lower, upper = np.minimum(bounds.lb, vector), np.maximum(bounds.ub, vector)
    ends = np.stack([np.clip(vector + offset, lower, upper) for offset in (first, second)])
    a, b = ends - vector  # what the rounded sums differ by
    free = (a != 0.0) & (b != 0.0) & (a != b)
    for number in np.flatnonzero(~free & (first != 0.0))[:1].tolist():
        raise OptionError(
            f"steps[{number}] ({labels[number]}) is {steps[number]:g}, but within its bounds {vector[number]:g} does not "
            "change by it. Give a larger step, wider bounds, or two equal ones to hold it."
        )
    elements = np.flatnonzero(free)
    points = np.repeat(vector[None], 2 * len(elements), axis=0)
    element = np.repeat(elements, 2)
    points[np.arange(len(points)), element] = ends[:, elements].T.ravel()
    a, b = a[elements], b[elements]
    # the slope at 0 of the parabola through (0, 0), (a, ·) and (b, ·)
    weights = np.stack([b / (a * (b - a)), a / (b * (a - b))], axis=1)
    return Differences(points, element, weights.ravel())


def _offsets(vector: np.ndarray, steps: np.ndarray, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """Two distances to go from every element, 0 where there is no room, each (n,)."""
    below, above = np.maximum(vector - bounds.lb, 0.0), np.maximum(bounds.ub - vector, 0.0)
    narrow, room = np.minimum(below, above), np.maximum(below, above)
    short = np.minimum(steps, 0.5 * room)
    # in a box narrower than two steps both sides may have room for steps that are no shorter than one-sided ones
    central = (narrow >= steps) | (narrow >= short)
    side = np.where(above >= below, 1.0, -1.0)
    step = np.where(central, np.minimum(steps, narrow), side * short)
    return step, np.where(central, -step, 2.0 * step)
