"""One reference, and a table of many: values with weights as columns of numbers, which rows look like `Reference`."""

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import overload

import numpy as np

from q2mm_accel.errors import ReferenceDataError

INDEX_WIDTHS = {
    "energy": 0,
    "relative_energy": None,
    "frequency": 1,
    "eig_diagonal": 1,
    "eig_offdiagonal": 2,
    "hessian_element": 2,
    "bond_length": 2,
    "bond_angle": 3,
    "torsion_angle": 4,
    "force": 1,
    "normal_mode": 2,
    "mode_displacement": 1,
    "relaxed_frequency": 1,
}
"""Kinds of references, and how many integers their index has (None: the name of a group)."""

RELAXED = ("bond_length", "bond_angle", "torsion_angle", "relaxed_frequency")
"""The kinds that are read where the force field has relaxed the molecule."""

REFERENCE_KINDS = tuple(INDEX_WIDTHS)
"""The kinds by their codes in the column `kind`."""

ROW = np.dtype(
    [
        ("kind", np.int8),
        ("system", np.int32),
        ("value", np.float64),
        ("weight", np.float64),
        ("group", np.int32),
        ("index", np.int32, (4,)),
        ("floor", np.float64),
    ],
    align=True,
)
"""One reference as numbers: 56 bytes, where an object with its own integers and tuple takes some 300."""

DEFAULT_FLOOR = 300.0
"""[cm⁻¹] Modes softer than that count as if they had this frequency where deviations are divided by frequencies."""

_TOO_LARGE = 2**31
"""Systems and indices are 32-bit integers."""
_AT_A_TIME = 4096
"""Rows that iteration turns into Python numbers together."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One observation. Its contribution to the loss is [weight (value - computed)]², q2mm's definition.

    Attributes:
        kind: "energy" (absolute, kcal/mol), "relative_energy" (kcal/mol, up to a constant common to its group),
            "frequency" (cm⁻¹), "hessian_element", "eig_diagonal", "eig_offdiagonal" (hartree/bohr²), "bond_length" (Å),
            "bond_angle", "torsion_angle" (degrees), "force" (kcal/mol/Å), "normal_mode" (cm⁻¹), "mode_displacement"
            (Å u^1/2), "relaxed_frequency" (cm⁻¹). Those of `RELAXED` are read at the force field's own minimum (or saddle
            point), all others at the QM geometry.
        value: the reference value, in the unit above.
        weight: multiplies the residual before it is squared; a reference of weight 0 is left out.
        system: number of the system it belongs to.
        index: the mode (into the sorted list of all 3N, from 0) for frequency and eig_diagonal; (row, column) for
            hessian_element and eig_offdiagonal; atoms for the geometry kinds; the group's name for relative_energy; the
            Cartesian component 3 atom + axis for force; a pair (i, j) of `Molecule.normal_modes` for normal_mode, one of
            them for mode_displacement; the vibration, in ascending order and without rigid motions, for relaxed_frequency.
        label: used in messages and tables.
        floor: [cm⁻¹] of normal_mode and mode_displacement; of no meaning for other kinds.

    With ν_k, λ_k and v_k of the system's `Molecule.normal_modes` (λ in frequencies squared), f_k = max(|ν_k|, floor), and
    the gradient g and Hessian H of the force field at the QM geometry:

    - normal_mode: ν_i δ_ij + (v_iᵀ M^-½ H M^-½ v_j - λ_i δ_ij) / (f_i + f_j), on the diagonal the frequency of a mode to
      first order, beside it the coupling of two modes. Linear in H, and QM's modes say which mode is which.
    - mode_displacement: v_kᵀ M^-½ g / max(|λ_k|, floor²), by how much the mode is displaced in the force field's own
      minimum, to first order.
    """

    kind: str
    value: float
    weight: float = 1.0
    system: int = 0
    index: int | tuple[int, ...] | str | None = None
    label: str = ""
    floor: float = DEFAULT_FLOOR

    def __str__(self) -> str:
        """The label, or the kind with its index."""
        if isinstance(self.label, str) and self.label:
            return self.label
        where = "" if self.index is None else f" {self.index}"
        return f"{self.kind}{where} of system {self.system}"


def check_reference(reference: Reference) -> None:
    """Check that a reference can be what it says, whatever the systems.

    Raises:
        ReferenceDataError: unknown kind, malformed index, or a value or weight that is not finite.
    """
    if not isinstance(reference, Reference):
        raise ReferenceDataError(f"{reference!r} is a {type(reference).__name__}; make a Reference of it.")
    if not isinstance(reference.kind, str) or reference.kind not in INDEX_WIDTHS:
        raise ReferenceDataError(f"{reference}: unknown kind {reference.kind!r}; known are {', '.join(INDEX_WIDTHS)}.")
    if not (_is_real(reference.value) and _is_real(reference.weight)):
        raise ReferenceDataError(
            f"{reference}: value {reference.value!r} and weight {reference.weight!r} must be finite real numbers."
        )
    if reference.weight < 0:
        raise ReferenceDataError(f"{reference}: the weight is {reference.weight}; weights are not negative.")
    if not is_position(reference.system):
        raise ReferenceDataError(f"{reference}: system is {reference.system!r}; give the system's number, from 0.")
    _check_index(reference)
    if not (_is_real(reference.floor) and reference.floor > 0.0):
        raise ReferenceDataError(f"{reference}: the floor is {reference.floor!r}; give a frequency above 0 in cm⁻¹.")
    if not (reference.label is None or isinstance(reference.label, str)):
        raise ReferenceDataError(f"{reference}: the label is {reference.label!r}; give text.")


def _check_index(reference: Reference) -> None:
    width, index = INDEX_WIDTHS[reference.kind], reference.index
    if width is None:
        valid = isinstance(index, str) and bool(index)
        wanted = "the name of its group"
    elif width == 0:
        valid, wanted = index is None, "None"
    elif width == 1:
        valid, wanted = is_position(index), "a mode number from 0"
    else:
        valid = isinstance(index, tuple | list) and len(index) == width and all(map(is_position, index))
        wanted = f"{width} integers from 0"
    if not valid:
        raise ReferenceDataError(f"{reference}: index is {index!r}, but {reference.kind} needs {wanted}.")


def is_position(index: object) -> bool:
    """Whether something is the number of a system, mode, row, column or atom, from 0."""
    return isinstance(index, int | np.integer) and not isinstance(index, bool) and bool(0 <= index < _TOO_LARGE)


def _is_real(value: object) -> bool:
    try:
        number = np.asarray(value)
    except ValueError:  # nested lists of different lengths
        return False
    return number.ndim == 0 and number.dtype.kind in "fiu" and math.isfinite(float(number))


@dataclass(frozen=True, eq=False, repr=False)
class ReferenceTable(Sequence[Reference]):
    """References as columns, which do not change. As a sequence it holds `Reference` objects, made when asked for.

    Attributes:
        rows: shape (R,), of the type `ROW`, read-only.
        groups: names of the groups of relative energies, in the order of their first rows; each has one.
        labels: by row, of those that have one.
    """

    rows: np.ndarray
    groups: tuple[str, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold what cannot be written to."""
        rows = self.rows.view()
        rows.setflags(write=False)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))

    def __reduce__(self) -> tuple:
        """Copies are read-only too."""
        return type(self), (self.rows, self.groups, dict(self.labels))

    @property
    def kind(self) -> np.ndarray:
        """Position in `REFERENCE_KINDS`, (R,)."""
        return self.rows["kind"]

    @property
    def system(self) -> np.ndarray:
        """Number of the system, (R,)."""
        return self.rows["system"]

    @property
    def value(self) -> np.ndarray:
        """Reference value, (R,), in the kind's unit."""
        return self.rows["value"]

    @property
    def weight(self) -> np.ndarray:
        """Weight as given, (R,)."""
        return self.rows["weight"]

    @property
    def group(self) -> np.ndarray:
        """Position in `groups` of relative energies, -1 for all others, (R,)."""
        return self.rows["group"]

    @property
    def floor(self) -> np.ndarray:
        """Frequency [cm⁻¹] below which modes count as if they had it, (R,)."""
        return self.rows["floor"]

    @property
    def indices(self) -> np.ndarray:
        """The integers of the index, -1 where there are fewer than four, (R, 4)."""
        return self.rows["index"]

    def is_kind(self, kind: str) -> np.ndarray:
        """Which rows are of a kind, (R,)."""
        return self.kind == REFERENCE_KINDS.index(kind)

    def by_kind(self, values: Mapping[str, float], default: float) -> np.ndarray:
        """Of each row what `values` has for its kind, (R,)."""
        return np.array([values.get(kind, default) for kind in REFERENCE_KINDS])[self.kind]

    def is_relaxed(self) -> np.ndarray:
        """Which rows are read where the force field has relaxed the molecule, (R,)."""
        return self.by_kind(dict.fromkeys(RELAXED, 1.0), 0.0) > 0.0

    def kind_counts(self) -> dict[str, int]:
        """How many there are of each kind that occurs, in the order of their first rows."""
        codes, first, counts = np.unique(self.kind, return_index=True, return_counts=True)
        return {REFERENCE_KINDS[codes[number]]: int(counts[number]) for number in np.argsort(first)}

    def weighted(self) -> "ReferenceTable":
        """Those with a weight above 0, in the same order."""
        return self.take(self.weight != 0.0)

    def take(self, chosen: slice | np.ndarray) -> "ReferenceTable":
        """Some of the rows.

        Args:
            chosen: a slice, a mask (R,) or row numbers.
        """
        rows, groups, labels = self.rows[chosen], (), {}
        relative = rows["group"] >= 0
        if relative.any():
            # groups are numbered anew, in the order in which they now occur first
            used, first, number = np.unique(rows["group"][relative], return_index=True, return_inverse=True)
            order, rows = np.argsort(first), rows.copy()
            rows["group"][relative] = np.argsort(order)[number]
            groups = tuple(self.groups[group] for group in used[order])
        if self.labels:
            before = np.arange(len(self))[chosen].tolist()
            labels = {now: self.labels[number] for now, number in enumerate(before) if number in self.labels}
        return ReferenceTable(rows, groups, labels)

    def __len__(self) -> int:
        """Number of references."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Reference]:
        """The references in order."""
        for start in range(0, len(self), _AT_A_TIME):
            yield from self._made(start, start + _AT_A_TIME)

    @overload
    def __getitem__(self, number: int) -> Reference: ...
    @overload
    def __getitem__(self, number: slice) -> "ReferenceTable": ...
    def __getitem__(self, number: int | slice) -> "Reference | ReferenceTable":
        """A reference, or a table of several."""
        if isinstance(number, slice):
            return self.take(number)
        start = range(len(self))[number]  # of negative numbers too, and IndexError beyond the ends
        return next(self._made(start, start + 1))

    def __eq__(self, other: object) -> bool:
        """Whether a table or tuple holds the same references."""
        if not isinstance(other, ReferenceTable | tuple):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    def __repr__(self) -> str:
        """What there is, in few words."""
        return f"<references: {', '.join(f'{count} {kind}' for kind, count in self.kind_counts().items()) or 'none'}>"

    def _made(self, start: int, stop: int) -> Iterator[Reference]:
        names = ("kind", "value", "weight", "system", "group", "index", "floor")
        columns = (self.rows[name][start:stop].tolist() for name in names)
        for number, (code, value, weight, system, group, index, floor) in enumerate(zip(*columns, strict=True), start):
            kind = REFERENCE_KINDS[code]
            width = INDEX_WIDTHS[kind]
            if width is None:
                where = self.groups[group]
            elif width == 0:
                where = None
            else:
                where = index[0] if width == 1 else tuple(index[:width])
            yield Reference(kind, value, weight, system, where, self.labels.get(number, ""), floor)
