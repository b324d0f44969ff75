"""What the force field shall reproduce: reference values with weights."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import ReferenceDataError
from q2mm_accel.model.arguments import real_array

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
}
"""Kinds of references, and how many integers their index has (None: the name of a group)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One observation. Its contribution to the loss is [weight (value - computed)]², q2mm's definition.

    Attributes:
        kind: "energy" (absolute, kcal/mol), "relative_energy" (kcal/mol, up to a constant common to its group),
            "frequency" (cm⁻¹), "hessian_element", "eig_diagonal", "eig_offdiagonal" (hartree/bohr²), "bond_length" (Å),
            "bond_angle", "torsion_angle" (degrees).
        value: the reference value, in the unit above.
        weight: multiplies the residual before it is squared; a reference of weight 0 is left out.
        system: number of the system it belongs to.
        index: the mode (into the sorted list of all 3N, from 0) for frequency and eig_diagonal; (row, column) for
            hessian_element and eig_offdiagonal; atoms for the geometry kinds; the group's name for relative_energy.
        label: used in messages and tables.
    """

    kind: str
    value: float
    weight: float = 1.0
    system: int = 0
    index: int | tuple[int, ...] | str | None = None
    label: str = ""

    def __str__(self) -> str:
        """The label, or the kind with its index."""
        where = "" if self.index is None else f" {self.index}"
        return self.label or f"{self.kind}{where} of system {self.system}"


class ReferenceData:
    """A list of references, with loaders for whole spectra and matrices."""

    def __init__(self, references: Iterable[Reference] = ()) -> None:
        """Start from `references`, in their order."""
        self._references: list[Reference] = []
        for reference in references:
            self.add(reference)

    def __iter__(self) -> Iterator[Reference]:
        """The references in the order in which they were added."""
        return iter(self._references)

    def __len__(self) -> int:
        """Number of references, those of weight 0 included."""
        return len(self._references)

    def add(self, reference: Reference) -> None:
        """Add one reference.

        Raises:
            ReferenceDataError: unknown kind, malformed index, or a value or weight that is not finite.
        """
        if not isinstance(reference.kind, str) or reference.kind not in INDEX_WIDTHS:
            raise ReferenceDataError(f"{reference}: unknown kind {reference.kind!r}; known are {', '.join(INDEX_WIDTHS)}.")
        if not (_is_real(reference.value) and _is_real(reference.weight)):
            raise ReferenceDataError(
                f"{reference}: value {reference.value!r} and weight {reference.weight!r} must be finite real numbers."
            )
        if reference.weight < 0:
            raise ReferenceDataError(f"{reference}: the weight is {reference.weight}; weights are not negative.")
        if not _is_position(reference.system):
            raise ReferenceDataError(f"{reference}: system is {reference.system!r}; give the system's number, from 0.")
        _check_index(reference)
        self._references.append(reference)

    def add_energy(self, value: float, weight: float = 1.0, system: int = 0, label: str = "") -> None:
        """Add an absolute energy [kcal/mol], as q2mm compares it: no offset is taken out."""
        self.add(Reference("energy", value, weight, system, None, label))

    def add_relative_energies(
        self, values: ArrayLike, systems: Iterable[int], group: str = "energies", weight: float = 1.0
    ) -> None:
        """Add energies that are compared up to one free constant.

        Args:
            values: shape (n,) [kcal/mol].
            systems: the n systems they belong to.
            group: references with the same group share the constant.
            weight: weight of each.
        """
        values, systems = real_array(values, f"relative energies of {group!r}", ReferenceDataError, 1), list(systems)
        if len(values) != len(systems):
            raise ReferenceDataError(
                f"{group!r}: {len(values)} values but {len(systems)} systems; give one system for each."
            )
        for value, system in zip(values, systems, strict=True):
            self.add(Reference("relative_energy", float(value), weight, system, group))

    def add_frequencies(
        self, values: ArrayLike, modes: Iterable[int] | None = None, weight: float = 1.0, system: int = 0
    ) -> None:
        """Add frequencies of one system.

        Args:
            values: shape (n,) [cm⁻¹], imaginary ones negative.
            modes: position of each in the sorted list of all 3N computed modes; 0, 1, ... by default.
            weight: weight of each.
            system: the system.
        """
        values = real_array(values, f"frequencies of system {system}", ReferenceDataError, 1)
        modes = list(range(len(values)) if modes is None else modes)
        if len(values) != len(modes):
            raise ReferenceDataError(
                f"system {system}: {len(values)} values but {len(modes)} modes; give one mode for each."
            )
        for value, mode in zip(values, modes, strict=True):
            self.add(Reference("frequency", float(value), weight, system, int(mode) if _is_position(mode) else mode))

    def add_hessian(
        self, hessian: ArrayLike, system: int = 0, weight_diagonal: float = 0.1, weight_offdiagonal: float = 0.05
    ) -> None:
        """Add all lower-triangle elements of a Cartesian Hessian.

        Args:
            hessian: shape (3N, 3N) [hartree/bohr²].
            system: the system.
            weight_diagonal: weight of diagonal elements (q2mm's default).
            weight_offdiagonal: weight of the others.
        """
        for row, column, value in _lower_triangle(hessian, system):
            weight = weight_diagonal if row == column else weight_offdiagonal
            self.add(Reference("hessian_element", value, weight, system, (row, column)))

    def add_eigenmatrix(
        self,
        hessian: ArrayLike,
        system: int = 0,
        diagonal_only: bool = False,
        weight_first: float = 0.0,
        weight_diagonal: float = 0.1,
        weight_offdiagonal: float = 0.05,
    ) -> None:
        """Add the elements of Qᵀ H Q, Q the eigenvectors of the QM Hessian H (Cartesian, as in q2mm 5.0.0a2).

        Args:
            hessian: QM Hessian, shape (3N, 3N) [hartree/bohr²]; the same as the system's molecule carries.
            system: the system.
            diagonal_only: whether to leave out the off-diagonal elements.
            weight_first: weight of the lowest eigenvalue, at a transition state the reaction coordinate.
            weight_diagonal: weight of the other eigenvalues.
            weight_offdiagonal: weight of the off-diagonal elements.
        """
        matrix = _square(hessian, system)
        _, vectors = np.linalg.eigh(matrix)
        for row, column, value in _lower_triangle(vectors.T @ matrix @ vectors, system):
            if row == column:
                weight = weight_first if row == 0 else weight_diagonal
                self.add(Reference("eig_diagonal", value, weight, system, row))
            elif not diagonal_only:
                self.add(Reference("eig_offdiagonal", value, weight_offdiagonal, system, (row, column)))


def _square(matrix: ArrayLike, system: int) -> np.ndarray:
    array = real_array(matrix, f"the Hessian of system {system}", ReferenceDataError, 2)
    if array.shape[0] != array.shape[1]:
        raise ReferenceDataError(f"system {system}: a Hessian must be square, but has the shape {array.shape}.")
    return array


def _lower_triangle(matrix: ArrayLike, system: int) -> Iterator[tuple[int, int, float]]:
    matrix = _square(matrix, system)
    for row, column in zip(*np.tril_indices(len(matrix)), strict=True):
        yield int(row), int(column), float(matrix[row, column])


def _check_index(reference: Reference) -> None:
    width, index = INDEX_WIDTHS[reference.kind], reference.index
    if width is None:
        valid = isinstance(index, str) and bool(index)
        wanted = "the name of its group"
    elif width == 0:
        valid, wanted = index is None, "None"
    elif width == 1:
        valid, wanted = _is_position(index), "a mode number from 0"
    else:
        valid = isinstance(index, tuple | list) and len(index) == width and all(map(_is_position, index))
        wanted = f"{width} integers from 0"
    if not valid:
        raise ReferenceDataError(f"{reference}: index is {index!r}, but {reference.kind} needs {wanted}.")


def _is_position(index: object) -> bool:
    return isinstance(index, int | np.integer) and not isinstance(index, bool) and index >= 0


def _is_real(value: object) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiu" and bool(np.isfinite(value))
