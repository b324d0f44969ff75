"""What is known of parameters before a fit: Gaussian priors, and q2mm's penalty on the distance from the start.

Both are residuals weight (center - parameter), so that everything that works on sums of squares takes them in.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import OptionError, ParameterError
from q2mm_accel.model.arguments import real_array
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.parameters.selection import selected


@dataclass(frozen=True, eq=False)
class Prior:
    """A Gaussian prior on parameters: each adds [(center - parameter) / width]² to the loss, -2 ln of its density.

    The loss is then -2 ln of a posterior density, up to a constant, if the weights of the references are 1 / standard
    deviation. A parameter that several priors name gets a term from each.

    Attributes:
        parameters: labels, shell patterns, names of fields ("bond_lengths") or a boolean mask.
        width: standard deviation, in the force field's units, above 0.
        center: in the force field's units; by default the force field's value of each parameter.

    Raises:
        ParameterError: a width that is not above 0, or a number that is not finite.
    """

    parameters: str | Iterable[str] | ArrayLike
    width: float
    center: float | None = None

    def __post_init__(self) -> None:
        """Check and convert."""
        what = f"of the prior on {self.parameters!r}"
        if not isinstance(self.parameters, Iterable):
            raise ParameterError(f"the parameters {what} are no names; give labels, patterns or names of fields.")
        if not isinstance(self.parameters, str) and not hasattr(self.parameters, "__array__"):
            object.__setattr__(self, "parameters", tuple(self.parameters))
        width = float(real_array(self.width, f"the width {what}", ParameterError, shape=()))
        if width <= 0.0:
            raise ParameterError(f"the width {what} is {width}; it must be above 0.")
        object.__setattr__(self, "width", width)
        if self.center is not None:
            object.__setattr__(
                self, "center", float(real_array(self.center, f"the center {what}", ParameterError, shape=()))
            )


@dataclass(frozen=True, eq=False)
class PriorRows:
    """Further residuals weight (center - parameter), one per row.

    Attributes:
        parameter: shape (P,), the parameter's number.
        center: shape (P,), in the force field's units.
        weight: shape (P,), above 0, in the inverse of these units.
    """

    parameter: np.ndarray
    center: np.ndarray
    weight: np.ndarray


NO_ROWS = PriorRows(np.zeros(0, dtype=np.int32), np.zeros(0), np.zeros(0))
"""No further residuals."""


def prior_rows(priors: Iterable[Prior], l2: float, scale: np.ndarray, forcefield: ForceField) -> PriorRows:
    """The residuals of all priors, one for each parameter they name, and then of the penalty l2 Σ (Δx)².

    Args:
        priors: the priors.
        l2: factor of the squared distance of all parameters from the force field's, in units of `scale`; 0 for none.
        scale: shape (n_parameters,).
        forcefield: the force field.

    Returns:
        The rows.

    Raises:
        ParameterError: a prior that matches no parameter.
        OptionError: l2 is negative or not a finite number.
    """
    values = forcefield.parameters
    numbers, centers, weights = [NO_ROWS.parameter], [NO_ROWS.center], [NO_ROWS.weight]
    for place, prior in enumerate(priors):
        matched = np.flatnonzero(selected(prior.parameters, forcefield, f"priors[{place}]"))
        numbers.append(matched.astype(np.int32))
        centers.append(values[matched] if prior.center is None else np.full(len(matched), prior.center))
        weights.append(np.full(len(matched), 1.0 / prior.width))
    factor = float(real_array(l2, "l2", OptionError, shape=()))
    if factor < 0.0:
        raise OptionError(f"l2 is {factor}; the penalty's factor is 0 or above.")
    if factor > 0.0:
        numbers.append(np.arange(len(values), dtype=np.int32))
        centers.append(values)
        # l2 Σ (Δp / scale)² as squares of residuals
        weights.append(np.sqrt(factor) / scale)
    return PriorRows(np.concatenate(numbers), np.concatenate(centers), np.concatenate(weights))
