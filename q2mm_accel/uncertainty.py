"""What data determine about parameters: standard errors, correlations, and combinations that no data tell apart.

Near a minimum the residuals are linear in the parameters, r(x + d) = r + J d, so that everything follows from J by linear
regression (Draper and Smith, Applied Regression Analysis, 3rd ed., chapters 5 and 8). Nothing here evaluates a force field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.linalg import qr, solve
from scipy.stats import t as student_t

from q2mm_accel.errors import UncertaintyError

_NOTHING = 1e-9
"""Changes of residuals below this part of the largest are rounding."""
_LOOSE = 10.0
"""Typical changes: data with a larger standard error say nothing."""
_PART = 1e-3
"""Parameters with a smaller part in a combination, in typical changes, are not named."""
_WRITTEN = 4
"""How many parameters of a combination are printed."""
_LEAST_FREEDOM = 0.5
"""Degrees of freedom from which on deviations tell their own size."""
_CORRELATED = 0.95
"""From which absolute value on a correlation is listed."""
_AT_BOUND = 1e-9
"""Distance from a bound, in typical changes, within which a parameter is at it."""


@dataclass(frozen=True)
class Combination:
    """A direction in which parameters can be changed together without a reference that says so.

    Attributes:
        labels: of the parameters that change.
        changes: of each of them, in its own unit; the one that matters most changes by a typical amount.
        units: of the changes.
    """

    labels: tuple[str, ...]
    changes: tuple[float, ...]
    units: tuple[str, ...]

    def __str__(self) -> str:
        """The changes, each with its parameter, the largest four of them."""
        parts = list(zip(self.labels, self.changes, self.units, strict=True))
        rest = f" and {len(parts) - _WRITTEN} smaller ones" if len(parts) > _WRITTEN else ""
        return ", ".join(f"{label} {change:+.3g} {unit}" for label, change, unit in parts[:_WRITTEN]) + rest


@dataclass(frozen=True, eq=False)
class Linearized:
    """Residuals around a point, and what their parameters are: what an `Uncertainty` is made of.

    Attributes:
        residuals: shape (m,), of references, then of priors.
        jacobian: shape (m, n), their derivatives by x.
        n_references: how many of them are references'.
        groups: shape (n_references,), of references whose errors may be related: their molecule.
        x: shape (n,).
        lower: lower bounds, shape (n,).
        upper: upper bounds.
        typical: shape (n,), a noticeable change of each element of x.
        scale: shape (n,), parameter per element of x.
        labels: of the elements.
        units: of the parameters.
        references: labels of the references.
    """

    residuals: np.ndarray
    jacobian: np.ndarray
    n_references: int
    groups: np.ndarray
    x: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    typical: np.ndarray
    scale: np.ndarray
    labels: tuple[str, ...]
    units: tuple[str, ...]
    references: Sequence[str]

    @cached_property
    def at_bounds(self) -> np.ndarray:
        """Shape (n,), whether an element is held by a bound: it is there, and the loss would fall beyond it."""
        slope, near = self.jacobian.T @ self.residuals, _AT_BOUND * self.typical
        return ((self.x <= self.lower + near) & (slope > 0.0)) | ((self.x >= self.upper - near) & (slope < 0.0))


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What the references say about the parameters at a minimum, and what they leave open.

    All of it is for residuals that are linear in the parameters between the minimum and one standard error away, and holds
    parameters at active bounds there. Standard errors are right as far as deviations are independent and equally large in
    units of 1 / weight, up to the common factor sqrt(`reduced_chi2`). Deviations of a force field from QM are not noise but
    what its form cannot do: then `robust_errors`, which take the deviations as they are, are the better guess, and neither
    says how far parameters are from those of another form.

    Attributes:
        labels: of the n elements of x.
        units: of their parameters.
        values: shape (n,), parameters in the force field's units.
        typical: shape (n,), noticeable changes of them.
        covariance: shape (n, n), of the parameters; NaN at bounds, infinite variances where nothing determines them.
        robust_covariance: the same without equally large deviations (sandwich estimate).
        open: labels of the parameters that nothing determines, priors included.
        at_bounds: labels of the parameters that bounds hold.
        singular_values: shape (n,), descending: by how much references change, in units of 1 / weight, along directions of
            typical changes. Priors and bounds do not count.
        reduced_chi2: sum of the squared residuals of references by `degrees_of_freedom`.
        degrees_of_freedom: number of references less that of parameters which they determine beside priors and bounds.
        leverage: shape (n_references,), from 0 to 1: how much of each reference's value the fit takes over.
        references: labels of the references.
        idle: labels of the parameters that no reference depends on.
        undetermined: directions in which references change by less than their deviations over ten typical changes, priors
            and bounds aside, with as few parameters as possible in each; without those of `idle`.
    """

    labels: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    typical: np.ndarray
    covariance: np.ndarray
    robust_covariance: np.ndarray
    open: tuple[str, ...]
    at_bounds: tuple[str, ...]
    singular_values: np.ndarray
    reduced_chi2: float
    degrees_of_freedom: float
    leverage: np.ndarray
    references: Sequence[str]
    idle: tuple[str, ...]
    undetermined: tuple[Combination, ...]

    @property
    def standard_errors(self) -> np.ndarray:
        """Shape (n,), in the force field's units: infinite where nothing determines a parameter, NaN at bounds."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @property
    def robust_errors(self) -> np.ndarray:
        """The same of the sandwich estimate."""
        return np.sqrt(np.maximum(np.diag(self.robust_covariance), 0.0))  # rounding can leave variances of 0 below it

    def intervals(self, level: float = 0.95) -> np.ndarray:
        """Where parameters are with that probability, by Student's distribution.

        Args:
            level: the probability, between 0 and 1.

        Returns:
            Shape (n, 2), lower and upper ends in the force field's units.

        Raises:
            UncertaintyError: a level that is no such number.
        """
        if not (isinstance(level, float) and 0.0 < level < 1.0):
            raise UncertaintyError(f"level is {level!r:.60}; it is a probability, such as 0.95.")
        reach = student_t.ppf(0.5 + 0.5 * level, self.degrees_of_freedom) * self.standard_errors
        return np.stack([self.values - reach, self.values + reach], axis=1)

    @property
    def correlations(self) -> np.ndarray:
        """Shape (n, n), from -1 to 1; NaN where a parameter is at a bound or open."""
        errors = np.where(np.isfinite(self.standard_errors), self.standard_errors, np.nan)
        return self.covariance / np.outer(errors, errors)

    @property
    def n_determined(self) -> int:
        """How many independent directions of parameters the references determine, priors and bounds aside."""
        return len(self.labels) - len(self.idle) - len(self.undetermined)

    @property
    def correlated(self) -> tuple[tuple[str, str, float], ...]:
        """Pairs of parameters with correlations of 0.95 or more, strongest first."""
        strength = np.triu(np.nan_to_num(np.abs(self.correlations)), 1)
        pairs = np.argwhere(strength >= _CORRELATED)
        order = np.argsort(-strength[tuple(pairs.T)], kind="stable")
        return tuple((self.labels[i], self.labels[j], float(self.correlations[i, j])) for i, j in pairs[order])

    @property
    def vague(self) -> tuple[str, ...]:
        """Parameters whose standard error is larger than a noticeable change."""
        return tuple(label for label, vague in zip(self.labels, self.standard_errors > self.typical, strict=True) if vague)


def uncertainty_of(linear: Linearized, scaled: bool = True, by_molecule: bool = False) -> Uncertainty:
    """Standard errors and what no data tell apart, from residuals and their Jacobian.

    Args:
        linear: residuals around the minimum.
        scaled: whether weights are known up to a common factor only, which the deviations tell; otherwise they are
            1 / standard deviation.
        by_molecule: whether `robust_errors` take deviations of the same molecule as related, which needs many molecules.

    Returns:
        The uncertainty.

    Example:
        Four measurements of one number: the standard error is their standard deviation over the square root of 4.

        >>> import numpy as np
        >>> from q2mm_accel.uncertainty import Linearized, uncertainty_of
        >>> values, one = np.array([1.0, 2.0, 3.0, 4.0]), np.ones(1)
        >>> linear = Linearized(
        ...     residuals=values - 2.5, jacobian=-np.ones((4, 1)), n_references=4, groups=np.arange(4), x=2.5 * one,
        ...     lower=-np.inf * one, upper=np.inf * one, typical=one, scale=one, labels=("number",), units=("",),
        ...     references=["a", "b", "c", "d"],
        ... )
        >>> print(uncertainty_of(linear).standard_errors.round(6), (values.std(ddof=1) / 2.0).round(6))
        [0.645497] 0.645497

    Raises:
        UncertaintyError: there are no more references than parameters to be determined from them.
    """
    free = np.flatnonzero(~linear.at_bounds)
    count = linear.n_references
    jacobian = linear.jacobian * linear.typical
    triangular = _triangular(jacobian[:count])  # of the references: much smaller, and all that follows needs
    fitted = _Fitted.of(_triangular(np.concatenate([triangular, jacobian[count:]])[:, free]))
    back = np.zeros((len(linear.x), fitted.back.shape[1]))  # of all elements: columns of the Jacobian need no copy
    back[free] = fitted.back
    rotated, residuals = jacobian[:count] @ back, linear.residuals[:count]
    leverage = np.sum(rotated**2, axis=1)
    freedom = count - float(leverage.sum())
    if scaled and freedom < _LEAST_FREEDOM:
        raise UncertaintyError(
            f"{count} references determine {leverage.sum():.0f} parameters: nothing is left to tell how large deviations "
            "are. Add references or priors, freeze parameters, or say scaled=False if weights are 1 / standard deviation."
        )
    chi2 = float(residuals @ residuals) / freedom if freedom >= _LEAST_FREEDOM else np.nan
    # a residual's own variance is smaller by 1 - leverage (HC2 of MacKinnon and White, J. Econometrics 1985, 29, 305)
    shares = residuals if by_molecule else residuals / np.sqrt(np.maximum(1.0 - leverage, _NOTHING))
    sums = rotated * shares[:, None]
    if by_molecule:
        names, places = np.unique(linear.groups, return_inverse=True)
        sums = np.stack([sums[places == place].sum(axis=0) for place in range(len(names))])
    unit = linear.typical * linear.scale
    variances = {"plain": np.eye(rotated.shape[1]) * (chi2 if scaled else 1.0), "robust": sums.T @ sums}
    covariances = {name: fitted.covariance(each, free, unit) for name, each in variances.items()}
    idle, directions, singular_values = _undetermined(linear, triangular, np.sqrt(chi2) if scaled else 1.0)
    return Uncertainty(
        labels=linear.labels,
        units=linear.units,
        values=linear.x * linear.scale,
        typical=unit,
        covariance=covariances["plain"],
        robust_covariance=covariances["robust"],
        open=tuple(linear.labels[number] for number in free[fitted.open]),
        at_bounds=tuple(linear.labels[number] for number in np.flatnonzero(linear.at_bounds)),
        singular_values=singular_values,
        reduced_chi2=chi2,
        degrees_of_freedom=freedom,
        leverage=leverage,
        references=linear.references,
        idle=idle,
        undetermined=directions,
    )


def _triangular(matrix: np.ndarray) -> np.ndarray:
    """R of a matrix Q R with orthonormal columns of Q."""
    found: Any = np.linalg.qr(matrix, mode="r")
    return found


class _Fitted(NamedTuple):
    """What is fitted, priors included, by the singular values of its Jacobian."""

    back: np.ndarray
    """(n, r): directions over their singular values, by which residuals become parameters. With the Jacobian before it, its
    columns are orthonormal."""
    open: np.ndarray
    """(n,), whether an element can change without any residual that does."""

    @classmethod
    def of(cls, jacobian: np.ndarray) -> Self:
        """From a Jacobian, or a triangular factor of it."""
        _, sizes, directions = np.linalg.svd(jacobian)
        sizes = np.concatenate([sizes, np.zeros(len(directions) - len(sizes))])[: len(directions)]
        fixed = sizes > _NOTHING * sizes.max(initial=0.0)
        loose = np.sum(directions[~fixed] ** 2, axis=0) > _NOTHING
        return cls(directions[fixed].T / sizes[fixed], loose)

    def covariance(self, middle: np.ndarray, free: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Of all parameters, from that of rotated residuals: NaN at bounds, infinite variances of those that are open."""
        result = np.full((len(unit), len(unit)), np.nan)
        result[np.ix_(free, free)] = self.back @ middle @ self.back.T
        result *= np.outer(unit, unit)
        loose = free[self.open]
        result[loose, :], result[:, loose] = np.nan, np.nan
        result[loose, loose] = np.inf
        return result


def _undetermined(
    linear: Linearized, triangular: np.ndarray, deviation: float
) -> tuple[tuple[str, ...], tuple[Combination, ...], np.ndarray]:
    """Parameters without effect, directions that references leave open, and singular values, priors and bounds aside."""
    norms = np.linalg.norm(triangular, axis=0)
    without = norms <= _NOTHING * norms.max(initial=0.0)
    numbers = np.flatnonzero(~without)
    _, sizes, directions = np.linalg.svd(triangular[:, numbers])
    sizes = np.concatenate([sizes, np.zeros(len(numbers))])[: len(numbers)]
    loose = sizes <= max(_NOTHING * sizes.max(initial=0.0), deviation / _LOOSE)
    found = [_combination(linear, numbers, each) for each in _sparse(directions[loose])]
    idle = tuple(linear.labels[number] for number in np.flatnonzero(without))
    return idle, tuple(found), np.concatenate([sizes, np.zeros(int(without.sum()))])


def _sparse(directions: np.ndarray) -> np.ndarray:
    """Other directions of the same space, each with an element of its own, which makes them short (reduced echelon form)."""
    if not len(directions):
        return directions
    decomposed: Any = qr(directions, mode="r", pivoting=True)
    triangular, order = decomposed
    reduced = np.empty_like(directions)
    reduced[:, order] = solve(triangular[:, : len(directions)], triangular)
    return reduced


def _combination(linear: Linearized, numbers: np.ndarray, direction: np.ndarray) -> Combination:
    largest = np.argmax(np.abs(direction))
    changes = direction / direction[largest]
    named = np.flatnonzero(np.abs(changes) >= _PART)
    order = named[np.argsort(-np.abs(changes[named]), kind="stable")]
    chosen = numbers[order]
    return Combination(
        tuple(linear.labels[number] for number in chosen),
        tuple((changes[order] * (linear.typical * linear.scale)[chosen]).tolist()),
        tuple(linear.units[number] for number in chosen),
    )
