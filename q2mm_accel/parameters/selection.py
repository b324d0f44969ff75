"""Parameters of a force field, chosen by labels, shell patterns, fields or a mask."""

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import ParameterError
from q2mm_accel.model.forcefield import ForceField


def selected(parameters: str | Iterable[str] | ArrayLike, forcefield: ForceField, what: str) -> np.ndarray:
    """Which parameters are meant.

    Args:
        parameters: a boolean mask of shape (n_parameters,), or one or several names. A name is a label of the force
            field; or else the field that holds the parameters, such as "bond_force_constants"; or else a shell pattern
            for labels, such as "bond * k".
        forcefield: the force field.
        what: the option's name, for messages.

    Returns:
        A boolean mask, shape (n_parameters,).

    Raises:
        ParameterError: a name that matches nothing, a mask of another length, or something else.
    """
    if isinstance(parameters, str):
        return _named(parameters, forcefield, what)
    if not isinstance(parameters, Iterable):
        raise ParameterError(f"{what} is {parameters!r}; give labels, patterns, names of fields or a boolean mask.")
    items = list(np.asarray(parameters) if hasattr(parameters, "__array__") else parameters)
    if items and all(isinstance(item, bool | np.bool_) for item in items):
        if len(items) != forcefield.n_parameters:
            raise ParameterError(
                f"{what} is a mask of {len(items)} entries, but the force field has {forcefield.n_parameters} parameters; "
                "give one entry for each."
            )
        return np.array(items, dtype=bool)
    mask = np.zeros(forcefield.n_parameters, dtype=bool)
    for number, item in enumerate(items):
        if not isinstance(item, str):
            raise ParameterError(
                f"{what}[{number}] is {item!r}; give labels, patterns, names of fields or a boolean mask of shape "
                f"({forcefield.n_parameters},)."
            )
        mask |= _named(item, forcefield, what)
    return mask


def movable(active: str | Iterable[str] | ArrayLike | None, forcefield: ForceField) -> np.ndarray:
    """The parameters that a fit may move: those named, all by default, but none that the force field pins.

    Args:
        active: as `selected` reads them, or None.
        forcefield: the force field.

    Returns:
        A boolean mask, shape (n_parameters,).

    Raises:
        ParameterError: as `selected`; or all that is named is pinned.
    """
    named = np.ones(forcefield.n_parameters, dtype=bool) if active is None else selected(active, forcefield, "active")
    moving = named & ~forcefield.pinned
    if named.any() and not moving.any():
        first = int(np.argmax(named))
        raise ParameterError(
            f"active names only parameters that the force field pins, such as {forcefield.labels[first]!r} at "
            f"{forcefield.parameters[first]:g}. Give them bounds to move in: ForceField.with_bounds."
        )
    return moving


def position(label: str, forcefield: ForceField, what: str) -> int:
    """The number of the one parameter with a label.

    Raises:
        ParameterError: no parameter has it, or several.
    """
    found = [number for number, other in enumerate(forcefield.labels) if other == label]
    if not found:
        raise ParameterError(f"{what}: no parameter has the label {label!r}. {_hint(label, forcefield)}")
    if len(found) > 1:
        raise ParameterError(
            f"{what}: the label {label!r} belongs to {len(found)} parameters ({', '.join(map(str, found[:5]))}); give the "
            "force field labels that differ."
        )
    return found[0]


def fields_of(forcefield: ForceField) -> list[str]:
    """The field that holds each parameter, such as "bond_lengths", in the order of the parameters."""
    return forcefield.each(lambda parameter: parameter.field)


def _named(name: str, forcefield: ForceField, what: str) -> np.ndarray:
    """The parameters that a name means, as a mask: the first reading that matches any counts."""
    # labels first: they may contain characters, such as brackets, that mean something in a pattern
    readings = (
        (label == name for label in forcefield.labels),
        (field == name for field in fields_of(forcefield)),
        (fnmatchcase(label, name) for label in forcefield.labels),
    )
    for reading in readings:
        mask = np.fromiter(reading, dtype=bool, count=forcefield.n_parameters)
        if mask.any():
            return mask
    raise ParameterError(f"{what}: {name!r} matches no parameter. {_hint(name, forcefield)}")


def _hint(name: str, forcefield: ForceField) -> str:
    labels = get_close_matches(name, forcefield.labels, n=4, cutoff=0.0)
    fields = dict.fromkeys(fields_of(forcefield))
    return f"Labels are, for example, {', '.join(map(repr, labels))}; fields are {', '.join(fields)}."
