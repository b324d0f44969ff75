"""Ties: parameters that follow from others by an affine equation."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from numpy.typing import ArrayLike

from q2mm_accel.errors import ParameterError
from q2mm_accel.model.arguments import real_array
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.parameters.selection import position


@dataclass(frozen=True)
class Tie:
    """One parameter as an affine function of others: parameter = constant + Σ coefficient · other.

    Ties may follow each other in chains. The tied parameter is no longer fitted; its start follows from the tie.

    Attributes:
        parameter: label of the parameter that follows.
        terms: label of another parameter -> its coefficient, not 0. At least one.
        constant: in the force field's unit of the tied parameter.

    Raises:
        ParameterError: no terms, a tie of a parameter to itself, or a number that is not finite or is 0.
    """

    parameter: str
    terms: Mapping[str, float]
    constant: float = 0.0

    def __post_init__(self) -> None:
        """Check and copy."""
        what = f"the tie of {self.parameter!r}"
        _check_label(self.parameter, "the tied parameter")
        if not isinstance(self.terms, Mapping) or not self.terms:
            raise ParameterError(
                f"{what}: terms is {self.terms!r}; it must map labels of other parameters to coefficients. "
                "To keep a parameter fixed, leave it out of active."
            )
        for label in self.terms:
            _check_label(label, f"{what}: one of its terms")
        if self.parameter in self.terms:
            raise ParameterError(f"{what}: the parameter is tied to itself. Name other parameters in its terms.")
        terms = {label: _number(value, f"{what}: the coefficient of {label!r}") for label, value in self.terms.items()}
        for label in (label for label, value in terms.items() if value == 0.0):
            raise ParameterError(f"{what}: the coefficient of {label!r} is 0. Leave the term out.")
        object.__setattr__(self, "terms", terms)
        object.__setattr__(self, "constant", _number(self.constant, f"{what}: the constant"))

    @classmethod
    def equal(cls, first: str, second: str, *others: str) -> "tuple[Tie, ...]":
        """Several parameters share the value of the first: a tie for each of the others."""
        _check_label(first, "first")
        return tuple(cls(other, {first: 1.0}) for other in (second, *others))

    @classmethod
    def ratio(cls, parameter: str, other: str, factor: float) -> "Tie":
        """A fixed ratio: parameter = factor · other."""
        _check_label(other, "other")
        return cls(parameter, {other: factor})

    @classmethod
    def total(cls, parameter: str, *others: str, constant: float) -> "Tie":
        """A fixed sum: parameter + Σ others = constant, so that the first follows from the others."""
        for number, label in enumerate(others):
            _check_label(label, f"others[{number}]")
        return cls(parameter, {label: -float(count) for label, count in Counter(others).items()}, constant)


def resolve_ties(ties: Iterable[Tie], forcefield: ForceField) -> dict[int, tuple[float, dict[int, float]]]:
    """The tied parameters as affine functions of parameters that are not tied.

    Args:
        ties: the ties.
        forcefield: the force field whose labels they name.

    Returns:
        Number of a tied parameter -> its constant, and number of another parameter -> coefficient, none of them 0.

    Raises:
        ParameterError: an unknown or ambiguous label, a parameter tied twice, or a circle of ties.
    """
    direct: dict[int, tuple[float, dict[int, float]]] = {}
    for tie in ties:
        what = f"the tie of {tie.parameter!r}"
        number = position(tie.parameter, forcefield, what)
        if number in direct:
            raise ParameterError(f"{tie.parameter!r} is tied twice. Give one tie for each parameter.")
        direct[number] = tie.constant, {position(label, forcefield, what): c for label, c in tie.terms.items()}
    try:
        # sources before those that follow from them, so that one pass of substitution is enough
        order = list(TopologicalSorter({number: terms for number, (_, terms) in direct.items()}).static_order())
    except CycleError as error:
        circle = [forcefield.labels[number] for number in error.args[1]]
        raise ParameterError(f"these ties run in a circle: {' -> '.join(circle)}. Remove one of them.") from error
    resolved: dict[int, tuple[float, dict[int, float]]] = {}
    for number in (number for number in order if number in direct):
        resolved[number] = _substituted(*direct[number], resolved)
    return resolved


def _substituted(constant: float, terms: dict[int, float], resolved: dict) -> tuple[float, dict[int, float]]:
    """An affine function of parameters as one of those that are not tied.

    Args:
        constant: of the function.
        terms: number of a parameter -> its coefficient.
        resolved: number of a tied parameter -> its own function of parameters that are not tied.
    """
    total: dict[int, float] = {}
    for number, coefficient in terms.items():
        own, factors = resolved.get(number, (0.0, {number: 1.0}))
        constant += coefficient * own
        for source, factor in factors.items():
            total[source] = total.get(source, 0.0) + coefficient * factor
    return constant, {source: factor for source, factor in total.items() if factor != 0.0}


def _check_label(label: object, what: str) -> None:
    if not isinstance(label, str):
        raise ParameterError(f"{what} is {label!r:.60}; a parameter is named by its label.")


def _number(value: ArrayLike, what: str) -> float:
    return float(real_array(value, what, ParameterError, shape=()))
