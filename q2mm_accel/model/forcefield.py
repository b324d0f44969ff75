"""A force field: parameters by type, in q2mm's units and order."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds

from q2mm_accel.errors import ParameterError
from q2mm_accel.model.arguments import real_array

BLOCKS = {
    "bond": ("bond_force_constants", "bond_lengths"),
    "angle": ("angle_force_constants", "angle_values"),
    "torsion": ("torsion_force_constants",),
    "vdw": ("vdw_radii", "vdw_epsilons"),
    "urey_bradley": ("urey_bradley_force_constants", "urey_bradley_lengths"),
}
"""Kinds of terms in the order of the parameter vector, with the fields that hold a type's adjustable parameters."""

DEFAULT_BOUNDS = {
    "bond_force_constants": (-3600.0, 3600.0),
    "bond_lengths": (0.5, 3.0),
    "angle_force_constants": (-720.0, 720.0),
    "angle_values": (30.0, 180.0),
    "torsion_force_constants": (-20.0, 20.0),
    "vdw_radii": (0.5, 5.0),
    "vdw_epsilons": (0.001, 2.0),
    "urey_bradley_force_constants": (0.0, 500.0),
    "urey_bradley_lengths": (1.0, 4.0),
}
"""q2mm's default bounds in the units of `ForceField`. Bond constants may be negative: reaction coordinates."""

POSITIVE = ("bond_lengths", "vdw_radii", "urey_bradley_lengths")
"""Fields that make no sense at 0 or below."""

NOT_NEGATIVE = ("vdw_epsilons",)
"""Fields that make no sense below 0."""

TYPICAL_SCALES = {
    "bond_force_constants": 50.0,
    "bond_lengths": 0.1,
    "angle_force_constants": 30.0,
    "angle_values": 5.0,
    "torsion_force_constants": 1.0,
    "vdw_radii": 0.2,
    "vdw_epsilons": 0.05,
    "urey_bradley_force_constants": 30.0,
    "urey_bradley_lengths": 0.1,
}
"""Changes of comparable weight: in these units a quasi-Newton method converges in far fewer steps."""

_LABELS = {
    "bond_force_constants": "bond {} k",
    "bond_lengths": "bond {} r0",
    "angle_force_constants": "angle {} k",
    "angle_values": "angle {} theta0",
    "torsion_force_constants": "torsion {} k",
    "vdw_radii": "vdw {} radius",
    "vdw_epsilons": "vdw {} epsilon",
    "urey_bradley_force_constants": "urey_bradley {} k",
    "urey_bradley_lengths": "urey_bradley {} r0",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class ForceField:
    """Force-field parameters, one entry per type.

    Attributes:
        form: name of the functional form, "harmonic" or "mm3" (or one registered by the user); `FusedObjective` looks it up.
        bond_force_constants: shape (n_bond_types,) [kcal/mol/Å²], E = k (r - r0)² without a factor 1/2.
        bond_lengths: shape (n_bond_types,) [Å].
        angle_force_constants: shape (n_angle_types,) [kcal/mol/rad²], E = k (θ - θ0)².
        angle_values: shape (n_angle_types,) [degrees].
        torsion_force_constants: shape (n_torsion_types,) [kcal/mol], E = k (1 + cos(n φ - γ)).
        torsion_periodicities: shape (n_torsion_types,), the integers n; not adjustable, 1 by default.
        torsion_phases: shape (n_torsion_types,) [degrees], γ; not adjustable, 0 by default.
        vdw_radii: shape (n_vdw_types,) [Å], half the distance of the minimum between two like atoms.
        vdw_epsilons: shape (n_vdw_types,) [kcal/mol].
        urey_bradley_force_constants: shape (n_urey_bradley_types,) [kcal/mol/Å²].
        urey_bradley_lengths: shape (n_urey_bradley_types,) [Å].
        labels: one name per parameter, in the order of `parameters`; made from the types' numbers by default.

    Raises:
        ParameterError: arrays of unequal length, values that are not finite, a periodicity below 1, labels that do not fit.
    """

    form: str
    bond_force_constants: ArrayLike = ()
    bond_lengths: ArrayLike = ()
    angle_force_constants: ArrayLike = ()
    angle_values: ArrayLike = ()
    torsion_force_constants: ArrayLike = ()
    torsion_periodicities: ArrayLike | None = None
    torsion_phases: ArrayLike | None = None
    vdw_radii: ArrayLike = ()
    vdw_epsilons: ArrayLike = ()
    urey_bradley_force_constants: ArrayLike = ()
    urey_bradley_lengths: ArrayLike = ()
    labels: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Convert to read-only float64 arrays and check them."""
        for field in fields(self):
            optional = field.name in ("torsion_periodicities", "torsion_phases") and getattr(self, field.name) is None
            if field.name in ("form", "labels") or optional:
                continue
            object.__setattr__(self, field.name, _vector(getattr(self, field.name), field.name))
        n_torsions = len(self.torsion_force_constants)
        if self.torsion_periodicities is None:
            object.__setattr__(self, "torsion_periodicities", np.ones(n_torsions))
        if self.torsion_phases is None:
            object.__setattr__(self, "torsion_phases", np.zeros(n_torsions))
        self._check_lengths()
        if isinstance(self.labels, str):
            raise ParameterError(f"labels is {self.labels!r}; it must be a list of names, one for each parameter.")
        labels = self._default_labels() if self.labels is None else tuple(str(label) for label in self.labels)
        if len(labels) != self.n_parameters:
            raise ParameterError(f"labels: {len(labels)} were given for {self.n_parameters} parameters; give one for each.")
        object.__setattr__(self, "labels", labels)

    def _check_lengths(self) -> None:
        groups = [*BLOCKS.values(), ("torsion_force_constants", "torsion_periodicities", "torsion_phases")]
        for first, *others in groups:
            for other in others:
                if len(getattr(self, first)) != len(getattr(self, other)):
                    raise ParameterError(
                        f"{first} has {len(getattr(self, first))} entries but {other} has {len(getattr(self, other))}; "
                        "each type needs one of both."
                    )
        for number, n in enumerate(self.torsion_periodicities):
            if n < 1 or n != round(n):
                raise ParameterError(f"torsion_periodicities[{number}] is {n}; a periodicity is an integer from 1.")

    def _default_labels(self) -> tuple[str, ...]:
        return tuple(
            _LABELS[name].format(number)
            for names in BLOCKS.values()
            for number in range(len(getattr(self, names[0])))
            for name in names
        )

    @property
    def n_parameters(self) -> int:
        """Number of adjustable parameters."""
        return sum(len(getattr(self, name)) for names in BLOCKS.values() for name in names)

    def n_types(self, kind: str) -> int:
        """Number of types of a kind of term: "bond", "angle", "torsion", "vdw" or "urey_bradley"."""
        return len(getattr(self, BLOCKS[kind][0]))

    @property
    def parameters(self) -> np.ndarray:
        """All adjustable parameters, shape (n_parameters,), a fresh array in q2mm's order.

        [bond k, r0]* [angle k, θ0]* [torsion k]* [vdw radius, ε]* [urey_bradley k, r0]*, in the units of the attributes.
        """
        blocks = [np.stack([getattr(self, name) for name in names], axis=1).ravel() for names in BLOCKS.values()]
        return np.concatenate(blocks)

    def with_parameters(self, parameters: ArrayLike) -> "ForceField":
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
        changes, start = {}, 0
        for names in BLOCKS.values():
            width, count = len(names), len(getattr(self, names[0]))
            block = vector[start : start + width * count].reshape(count, width)
            changes.update({name: block[:, column] for column, name in enumerate(names)})
            start += width * count
        return replace(self, **changes)

    @property
    def bounds(self) -> Bounds:
        """Lower and upper bound of every parameter, as `scipy.optimize.Bounds`."""
        lower, upper = np.array(self._per_parameter(DEFAULT_BOUNDS), dtype=np.float64).reshape(-1, 2).T
        return Bounds(lower, upper)

    @property
    def typical_scale(self) -> np.ndarray:
        """Size of a noticeable change of every parameter, shape (n_parameters,): a good `parameter_scale` for fits."""
        return np.array(self._per_parameter(TYPICAL_SCALES), dtype=np.float64)

    def unphysical(self) -> dict[int, str]:
        """Parameters that make no sense, such as a negative length: number -> what it must be."""
        fields_of = self._per_parameter({name: name for names in BLOCKS.values() for name in names})
        found = {}
        for number, (name, value) in enumerate(zip(fields_of, self.parameters, strict=True)):
            if name in POSITIVE and value <= 0.0:
                found[number] = "above 0"
            if name in NOT_NEGATIVE and value < 0.0:
                found[number] = "not below 0"
        return found

    def _per_parameter(self, by_field: dict) -> list:
        return [by_field[name] for names in BLOCKS.values() for _ in range(len(getattr(self, names[0]))) for name in names]


def _vector(values: ArrayLike, what: str) -> np.ndarray:
    raw = np.asarray(values, dtype=object)
    if raw.ndim != 1:
        raise ParameterError(f"{what} must be one-dimensional, but has the shape {raw.shape}.")
    for number, value in enumerate(raw):
        if isinstance(value, float | np.floating) and not np.isfinite(value):
            raise ParameterError(f"{what}[{number}] is {value}; it must be finite.")
    array = real_array(values, what, ParameterError)
    array.flags.writeable = False
    return array
