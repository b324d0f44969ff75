"""A force field: parameters by type, in q2mm's units and order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds

from q2mm_accel.errors import FormError, ParameterError
from q2mm_accel.model.arguments import bounds_between, real_array
from q2mm_accel.model.kinds import KINDS, SIGNED_BOUNDS, Kind, Parameter, constant_fields, kind_named, parameter_fields

_Value = TypeVar("_Value")
_Made = TypeVar("_Made")

_NONE = np.zeros(0)
_NONE.flags.writeable = False


@dataclass(frozen=True, eq=False, init=False)
class ForceField:
    """Force-field parameters, one entry per type.

    Every kind of term (model/kinds.py) has a field for each of its parameters and constants, shape (n_types,); those that
    are not given have no types. Read them as attributes. The first five kinds, E in kcal/mol:

        bond_force_constants [kcal/mol/Å²], bond_lengths [Å]: E = k (r - r0)² without a factor 1/2 (form "harmonic").
        angle_force_constants [kcal/mol/rad²], angle_values [degrees]: E = k (θ - θ0)².
        torsion_force_constants [kcal/mol]: E = k (1 + cos(n φ - γ)) with torsion_periodicities, the integers n (not
            adjustable, 1 by default), and torsion_phases [degrees], γ (not adjustable, 0 by default).
        vdw_radii [Å], half the distance of the minimum between two like atoms; vdw_epsilons [kcal/mol].
        urey_bradley_force_constants [kcal/mol/Å²], urey_bradley_lengths [Å].

    And further ones; k in kcal/mol and Å or radians, values of angles in degrees:

        harmonic_dihedral_force_constants, harmonic_dihedral_values: E = k (φ - φ0)², the deviation within ±180 degrees; so
            too harmonic_improper_force_constants, harmonic_improper_values.
        improper_force_constants, improper_periodicities (2 by default), improper_phases (180): as torsions.
        stretch_stretch_force_constants, bond_bend_force_constants, bend_bend_force_constants: E = k d1 d2, deviations from
            the equilibria of the bonds and angles of the same atoms; stretch_bend_force_constants: E = k (d1 + d2) dθ.
        coulomb_charges [e]: E = 332.06 q_i q_j / r.
        special_vdw_radii [Å], special_vdw_epsilons [kcal/mol]: of pairs instead of combined ones; in the form mm3 the radius
            is the distance of the minimum, in others half of it.

    Attributes:
        form: name of the functional form, "harmonic", "mm3", "amber" or one that was registered.
        labels: one name per parameter, in the order of `parameters`; made from the types' numbers by default.
        arrays: the arrays by field.
        limits: lower and upper bound of each type, shape (n_types, 2), by field, where they are not those of the kind: see
            `with_bounds`.

    Raises:
        ParameterError: an unknown field, arrays of unequal length, values that are not finite, a periodicity below 1,
            labels that do not fit, or malformed limits.
    """

    form: str
    labels: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]
    limits: Mapping[str, np.ndarray]

    def __init__(
        self,
        form: str,
        *,
        labels: Sequence[str] | None = None,
        arrays: Mapping[str, ArrayLike] | None = None,
        limits: Mapping[str, ArrayLike] | None = None,
        **fields: ArrayLike | None,
    ) -> None:
        """Convert to read-only float64 arrays and check them."""
        if not isinstance(form, str):
            raise FormError(f"form is {form!r}; give the name of a functional form, such as 'harmonic' or 'mm3'.")
        for name, given in (("arrays", arrays), ("limits", limits)):
            if not isinstance({} if given is None else given, Mapping):
                raise ParameterError(f"{name} is {given!r:.60}; it must map fields to arrays.")
        defaults = constant_fields()
        given = {**(arrays or {}), **fields}
        given = {name: values for name, values in given.items() if values is not None or name not in defaults}
        object.__setattr__(self, "form", form)
        checked = _complete({name: _field(name, values) for name, values in given.items()})
        object.__setattr__(self, "arrays", MappingProxyType(checked))
        object.__setattr__(self, "labels", self._labels(labels))
        object.__setattr__(self, "limits", MappingProxyType(self._checked_limits(limits or {})))

    def __reduce__(self) -> tuple:
        """A copy or a pickle is made anew, so that kinds that are not known here are refused by name."""
        return partial(in_order, type(self), self.form), (self.labels, dict(self.arrays), dict(self.limits))

    def __dir__(self) -> list[str]:
        """With the fields of all kinds."""
        return [*super().__dir__(), *parameter_fields(), *constant_fields()]

    def __getattr__(self, name: str) -> np.ndarray:
        """The array of a field, shape (n_types,)."""
        arrays = self.__dict__.get("arrays", {})
        if name in arrays:
            return arrays[name]
        if not name.startswith("_") and (name in parameter_fields() or name in constant_fields()):
            return _NONE
        raise AttributeError(f"a force field has no {name!r}")

    def _labels(self, labels: Sequence[str] | None) -> tuple[str, ...]:
        if labels is None:
            return tuple(f"{kind} {number} {parameter.label}" for kind, number, parameter in self._entries())
        if isinstance(labels, str) or not isinstance(labels, Iterable):
            raise ParameterError(f"labels is {labels!r}; it must be a list of names, one for each parameter.")
        names = tuple(str(label) for label in labels)
        if len(names) != self.n_parameters:
            raise ParameterError(f"labels: {len(names)} were given for {self.n_parameters} parameters; give one for each.")
        return names

    def _entries(self) -> list[tuple[str, int, Parameter]]:
        """Kind, type and declaration of every parameter, in the order of `parameters`."""
        return [
            (name, number, parameter)
            for name, kind in KINDS.items()
            for number in range(self.n_types(name))
            for parameter in kind.parameters
        ]

    @property
    def n_parameters(self) -> int:
        """Number of adjustable parameters."""
        return sum(len(getattr(self, field)) for field in parameter_fields())

    def n_types(self, kind: str) -> int:
        """Number of types of a kind of term."""
        return len(getattr(self, kind_named(kind).fields[0]))

    def positions(self, kind: str) -> np.ndarray:
        """Where the parameters of a kind's types stand in `parameters`, shape (n_types, parameters of a type)."""
        kind_named(kind)
        start = 0
        for name, declared in KINDS.items():
            size = self.n_types(name) * len(declared.parameters)
            if name == kind:
                return np.arange(start, start + size).reshape(-1, len(declared.parameters))
            start += size
        raise AssertionError(kind)

    @property
    def parameters(self) -> np.ndarray:
        """All adjustable parameters, shape (n_parameters,), a fresh array in q2mm's order.

        Kind after kind in the order of `kinds.KINDS`, type after type: [bond k, r0]* [angle k, θ0]* [torsion k]*
        [vdw radius, ε]* [urey_bradley k, r0]* and so on, in the units of the fields.
        """
        blocks = [np.stack([getattr(self, field) for field in kind.fields], axis=1).ravel() for kind in KINDS.values()]
        return np.concatenate(blocks)

    def with_parameters(self, parameters: ArrayLike) -> Self:
        """A force field with other parameter values and the same types.

        Args:
            parameters: shape (n_parameters,), in the order and units of `parameters`.

        Returns:
            The new force field.

        Raises:
            ParameterError: wrong length, or not finite.
        """
        vector = _vector(parameters, "parameters")
        if vector.shape != (self.n_parameters,):
            raise ParameterError(f"parameters has {len(vector)} entries; this force field has {self.n_parameters}.")
        changes: dict[str, Any] = {}
        for name, kind in KINDS.items():
            block = vector[self.positions(name)]
            changes.update({field: block[:, column] for column, field in enumerate(kind.fields)})
        return replace(self, **changes)

    @property
    def bounds(self) -> Bounds:
        """Default lower and upper bound of every parameter, as `scipy.optimize.Bounds`: `limits`, or else the kind's.

        A force field with a negative force constant of a bond or angle is that of a transition state, and has q2mm's bounds
        of them all, within which they may be negative.
        """
        rows = [self._limits_of(parameter)[number] for _, number, parameter in self._entries()]
        lower, upper = np.array(rows, dtype=np.float64).reshape(-1, 2).T
        return bounds_between(lower, upper)

    @property
    def pinned(self) -> np.ndarray:
        """Which parameters no fit moves, for their bounds coincide; shape (n_parameters,)."""
        return self.bounds.lb == self.bounds.ub

    def with_bounds(self, **bounds: ArrayLike) -> Self:
        """The same force field with other default bounds, which fits take unless they are given bounds of their own.

        Args:
            bounds: field -> (lower, upper), or one such pair for each of its types, shape (n_types, 2), such as
                bond_force_constants=(-3600.0, 3600.0). Where both are equal, the parameter is pinned: no fit moves it.

        Returns:
            The new force field.

        Raises:
            ParameterError: an unknown field, or bounds that are malformed.
        """
        known = parameter_fields()
        for name in bounds:
            if name not in known:
                raise ParameterError(f"a force field has no adjustable {name!r}; fields are {', '.join(known)}.")
        wide = {
            name: np.broadcast_to(given, (len(getattr(self, name)), 2)) if np.shape(given) == (2,) else given
            for name, given in bounds.items()
        }
        return replace(self, limits={**self.limits, **wide})

    def _limits_of(self, parameter: Parameter) -> np.ndarray:
        """Lower and upper bound of each type, shape (n_types, 2)."""
        values, declared = getattr(self, parameter.field), parameter.bounds
        if parameter.field in SIGNED_BOUNDS and np.any(values < 0.0):
            declared = SIGNED_BOUNDS[parameter.field]
        return self.limits.get(parameter.field, np.broadcast_to(np.array(declared), (len(values), 2)))

    def _checked_limits(self, limits: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
        known, checked = parameter_fields(), {}
        for name, given in limits.items():
            if name not in known:
                raise ParameterError(f"limits: a force field has no adjustable {name!r}; fields are {', '.join(known)}.")
            shape = (len(getattr(self, name)), 2)
            array = real_array(given, f"limits of {name}", ParameterError, shape=shape, finite=False)
            for number in np.flatnonzero(~(array[:, 0] <= array[:, 1])):  # NaN too
                raise ParameterError(
                    f"limits: {name}[{number}] has the bounds {array[number, 0]} and {array[number, 1]}; give a lower bound "
                    "and an upper one that is not below it."
                )
            array.flags.writeable = False
            checked[name] = array
        return checked

    @property
    def typical_scale(self) -> np.ndarray:
        """Size of a noticeable change of every parameter, shape (n_parameters,): a good `parameter_scale` for fits."""
        return np.array(self.each(lambda parameter: parameter.typical), dtype=np.float64)

    def unphysical(self) -> dict[int, str]:
        """Parameters that make no sense, such as a negative length: number -> what it must be."""
        found = {}
        for number, (sign, value) in enumerate(zip(self.each(lambda each: each.sign), self.parameters, strict=True)):
            if sign == "positive" and value <= 0.0:
                found[number] = "above 0"
            if sign == "not negative" and value < 0.0:
                found[number] = "not below 0"
        return found

    def each(self, what: Callable[[Parameter], _Value]) -> list[_Value]:
        """Something of the declaration of every parameter, in the order of `parameters`."""
        return [what(parameter) for _, _, parameter in self._entries()]


def in_order(
    made: Callable[..., _Made],
    form: str,
    labels: Sequence[str],
    arrays: Mapping[str, ArrayLike],
    limits: Mapping[str, ArrayLike] | None = None,
) -> _Made:
    """A force field from arrays that were stored kind after kind, in the order of its labels.

    Raises:
        ParameterError: kinds of the user's own are registered in another order here, which would exchange parameters.
    """
    kind_of = {field: name for name, kind in KINDS.items() for field in kind.all_fields}
    stored = list(dict.fromkeys(kind_of[field] for field in arrays if field in kind_of))
    expected = [name for name in KINDS if name in stored]
    if stored != expected:
        raise ParameterError(
            f"these parameters were stored in the order of the kinds {', '.join(stored)}, but here it is "
            f"{', '.join(expected)}. Register your kinds in the same order."
        )
    return made(form=form, labels=labels, arrays=arrays, limits=limits)


def _field(name: str, values: ArrayLike | None) -> np.ndarray:
    known = [*parameter_fields(), *constant_fields()]
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.0)
        raise ParameterError(
            f"a force field has no field {name!r}; did you mean {' or '.join(map(repr, near))}? A field of a kind of your "
            "own exists once register_kind has made the kind known."
        )
    return _vector(values, name)


def _complete(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of all fields of the kinds that have types, checked, constants filled in."""
    result = {}
    for kind in KINDS.values():
        constants = kind.constants if isinstance(kind, Kind) else ()
        fields = kind.all_fields
        if not any(len(arrays.get(field, _NONE)) for field in fields):
            continue
        count = len(arrays.get(fields[0], _NONE))
        for constant in constants:
            filled = np.full(count, constant.default)
            filled.flags.writeable = False
            arrays.setdefault(constant.field, filled)
        for field in fields[1:]:
            if len(arrays.get(field, _NONE)) != count:
                raise ParameterError(
                    f"{fields[0]} has {count} entries but {field} has {len(arrays.get(field, _NONE))}; "
                    "each type needs one of both."
                )
        for constant in constants:
            _check_constant(constant.field, arrays[constant.field], constant.integer)
        result.update({field: arrays[field] for field in fields})
    return result


def _check_constant(field: str, values: np.ndarray, integer: bool) -> None:
    for number, value in enumerate(values):
        if integer and (value < 1 or value != round(value)):
            raise ParameterError(f"{field}[{number}] is {value}; a periodicity is an integer from 1.")


def _vector(values: ArrayLike | None, what: str) -> np.ndarray:
    try:
        raw = np.asarray(values, dtype=object)
    except ValueError as error:
        raise ParameterError(f"{what} must be a list of real numbers: {error}.") from error
    if values is None or raw.ndim != 1:
        raise ParameterError(f"{what} must be one-dimensional, but has the shape {raw.shape}.")
    for number, value in enumerate(raw):
        if isinstance(value, float | np.floating) and not np.isfinite(value):
            raise ParameterError(f"{what}[{number}] is {value}; it must be finite.")
    array = real_array(values, what, ParameterError)
    array.flags.writeable = False
    return array
