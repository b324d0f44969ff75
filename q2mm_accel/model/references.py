"""What the force field shall reproduce: references collected one by one, or whole spectra and matrices at a time."""

import math
from collections.abc import Iterable, Iterator
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import ReferenceDataError
from q2mm_accel.model import topology
from q2mm_accel.model.arguments import as_tuple, instance, real_array, truth
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.reference_table import (
    DEFAULT_FLOOR,
    REFERENCE_KINDS,
    ROW,
    Reference,
    ReferenceTable,
    check_reference,
    is_position,
)
from q2mm_accel.model.vibrations import NormalModes
from q2mm_accel.units import BOHR_TO_ANGSTROM, FREQUENCY_FACTOR, GRADIENT_AU_TO_KCALMOLA

_STATIONARY = 2e-3
"""Largest component of the gradient [hartree/bohr] of a stationary point: four times the limit of common optimizers."""


class ReferenceData:
    """References to be collected, one by one or whole spectra and matrices at a time."""

    def __init__(self, references: "Iterable[Reference] | ReferenceData" = ()) -> None:
        """Start from `references`, in their order.

        Raises:
            ReferenceDataError: one of them is no `Reference`, or as for `add`.
        """
        # the first `_count` rows never change again, so that tables may share them; what lies beyond is room to grow
        self._rows, self._count = np.zeros(0, ROW), 0
        self._groups: dict[str, int] = {}
        self._labels: dict[int, str] = {}
        self._table: ReferenceTable | None = None
        if isinstance(references, ReferenceData):
            references = references.table
        if isinstance(references, ReferenceTable):
            self._rows, self._count = references.rows.copy(), len(references)
            self._groups = {name: number for number, name in enumerate(references.groups)}
            self._labels = dict(references.labels)
            return
        for reference in as_tuple(references, Reference, "references", ReferenceDataError):
            self.add(reference)

    def __reduce__(self) -> tuple:
        """Copies have the rows and no room beyond."""
        return type(self), (self.table,)

    @property
    def table(self) -> ReferenceTable:
        """What has been added so far, as columns; later additions do not show in it."""
        if self._table is None:
            self._table = ReferenceTable(self._rows[: self._count], tuple(self._groups), self._labels)
        return self._table

    def __iter__(self) -> Iterator[Reference]:
        """The references in the order in which they were added."""
        return iter(self.table)

    def __len__(self) -> int:
        """Number of references, those of weight 0 included."""
        return self._count

    @overload
    def __getitem__(self, number: int) -> Reference: ...
    @overload
    def __getitem__(self, number: slice) -> ReferenceTable: ...
    def __getitem__(self, number: int | slice) -> Reference | ReferenceTable:
        """A reference, or a table of several."""
        return self.table[number]

    def add(self, reference: Reference) -> None:
        """Add one reference.

        Raises:
            ReferenceDataError: unknown kind, malformed index, or a value or weight that is not finite.
        """
        check_reference(reference)
        index, group, integers = reference.index, -1, ()
        if isinstance(index, str):
            group = self._groups.setdefault(str(index), len(self._groups))
        elif index is not None:
            integers = tuple(index) if isinstance(index, tuple | list) else (index,)
        if reference.label:
            self._labels[self._count] = str(reference.label)
        numbers = float(reference.value), float(reference.weight)
        row = (REFERENCE_KINDS.index(reference.kind), reference.system, *numbers, group)
        self._grown(1)[0] = (*row, (*integers, -1, -1, -1, -1)[:4], float(reference.floor))

    def _grown(self, count: int) -> np.ndarray:
        """`count` further rows, to be filled."""
        start, self._count, self._table = self._count, self._count + count, None
        if self._count > len(self._rows):
            rows = np.zeros(max(self._count, 2 * len(self._rows)), ROW)
            rows[:start] = self._rows[:start]
            self._rows = rows
        return self._rows[start : self._count]

    def _fill(self, kind: str | np.ndarray, values, weight, system: int, *index, floor: float = DEFAULT_FLOOR) -> None:
        """Add many references that have been checked.

        Args:
            kind: the kind, or codes (n,).
            values: shape (n,).
            weight: one, or (n,).
            system: the system of all of them.
            index: shape (n,), for each integer of the index.
            floor: of modes.
        """
        rows = self._grown(len(values))
        rows["floor"] = floor
        rows["kind"] = REFERENCE_KINDS.index(kind) if isinstance(kind, str) else kind
        rows["system"], rows["value"], rows["weight"], rows["group"], rows["index"] = system, values, weight, -1, -1
        for place, integers in enumerate(index):
            rows["index"][:, place] = integers

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
        values = real_array(values, f"relative energies of {group!r}", ReferenceDataError, 1)
        numbers = _listed(systems, f"{group!r}: systems", "the number of each energy's system")
        if len(values) != len(numbers):
            raise ReferenceDataError(
                f"{group!r}: {len(values)} values but {len(numbers)} systems; give one system for each."
            )
        for value, system in zip(values, numbers, strict=True):
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
        places = _listed(range(len(values)) if modes is None else modes, f"system {system}: modes", "a list of mode numbers")
        if len(values) != len(places):
            raise ReferenceDataError(
                f"system {system}: {len(values)} values but {len(places)} modes; give one mode for each."
            )
        # the first stands for the weight and system of all
        suspects = [number for number, mode in enumerate(places) if number == 0 or not is_position(mode)][:2]
        for number in suspects:
            check_reference(Reference("frequency", float(values[number]), weight, system, places[number]))
        self._fill("frequency", values, weight, system, places)

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
        matrix = _square(hessian, system)
        for weight, index in ((weight_diagonal, (0, 0)), (weight_offdiagonal, (1, 0)))[: len(matrix)]:
            check_reference(Reference("hessian_element", float(matrix[index]), weight, system, index))
        row, column = np.tril_indices(len(matrix))
        weights = np.where(row == column, weight_diagonal, weight_offdiagonal)
        self._fill("hessian_element", matrix[row, column], weights, system, row, column)

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
        if not isinstance(diagonal_only, int | np.bool_):
            raise ReferenceDataError(f"system {system}: diagonal_only is {diagonal_only!r}; give True or False.")
        matrix = _eigenmatrix(_square(hessian, system), system)
        examples = [("eig_diagonal", (0, 0), weight_first), ("eig_diagonal", (1, 1), weight_diagonal)]
        if not diagonal_only:
            examples.insert(1, ("eig_offdiagonal", (1, 0), weight_offdiagonal))
        for kind, index, weight in examples[: None if len(matrix) > 1 else len(matrix)]:
            check_reference(
                Reference(kind, float(matrix[index]), weight, system, index[0] if kind == "eig_diagonal" else index)
            )
        row, column = np.diag_indices(len(matrix)) if diagonal_only else np.tril_indices(len(matrix))
        diagonal = row == column
        kinds = np.where(diagonal, REFERENCE_KINDS.index("eig_diagonal"), REFERENCE_KINDS.index("eig_offdiagonal"))
        weights = np.where(diagonal, np.where(row == 0, weight_first, weight_diagonal), weight_offdiagonal)
        self._fill(kinds, matrix[row, column], weights, system, row, np.where(diagonal, -1, column))

    def add_normal_modes(
        self,
        molecule: Molecule,
        system: int = 0,
        floor: float = DEFAULT_FLOOR,
        weight_diagonal: float = 0.02,
        weight_offdiagonal: float = 0.01 * math.sqrt(2.0),
        weight_displacement: float = 100.0,
        stationary: bool = True,
    ) -> None:
        """Add what a force field must have so that the molecule stays where it is and vibrates as QM says.

        For K vibrations (3N - 6, 3N - 5 of a linear molecule) K frequencies and K (K - 1) / 2 couplings ("normal_mode"),
        and K displacements ("mode_displacement"); all are linear in force constants, and no mode can be taken for another.
        With the default weights a deviation of 50 cm⁻¹ counts as 1, and so do 0.01 Å u^1/2.

        Args:
            molecule: with a QM Hessian; that of the system.
            system: the system.
            floor: modes softer than that [cm⁻¹] count as if they had this frequency.
            weight_diagonal: weight of frequencies [1/cm⁻¹].
            weight_offdiagonal: weight of couplings [1/cm⁻¹].
            weight_displacement: weight of displacements [1/(Å u^1/2)]; 0 leaves forces out.
            stationary: whether the geometry is a stationary point of QM, so that nothing shall be displaced. If not, the
                displacements to reproduce are those of `molecule.gradient`.

        Raises:
            ReferenceDataError: no Hessian; or a gradient that is not small at a stationary point, or missing elsewhere.
        """
        what = f"system {system} ({instance(molecule, Molecule, 'molecule', ReferenceDataError).name})"
        if molecule.hessian is None:
            raise ReferenceDataError(f"{what}: normal modes need the QM Hessian; create the Molecule with hessian=.")
        modes = molecule.normal_modes
        displaced = _displacements(molecule, modes, floor, what, truth(stationary, "stationary", ReferenceDataError))
        row, column = np.tril_indices(len(modes.eigenvalues))
        for kind, index, weight in (
            ("normal_mode", (0, 0), weight_diagonal),
            ("normal_mode", (1, 0), weight_offdiagonal),
            ("mode_displacement", 0, weight_displacement),
        ):
            check_reference(Reference(kind, 0.0, weight, system, index, floor=floor))
        diagonal = row == column
        values = np.where(diagonal, modes.frequencies[row], 0.0)
        weights = np.where(diagonal, weight_diagonal, weight_offdiagonal)
        self._fill("normal_mode", values, weights, system, row, column, floor=floor)
        self._fill("mode_displacement", displaced, weight_displacement, system, np.arange(len(displaced)), floor=floor)

    def add_forces(self, molecule: Molecule, system: int = 0, weight: float = 1.0) -> None:
        """Add the QM forces on all atoms, of any geometry: frames of a trajectory, displaced molecules, conformers.

        Args:
            molecule: with a QM gradient; that of the system.
            system: the system.
            weight: of each component [1/(kcal/mol/Å)].

        Raises:
            ReferenceDataError: the molecule has no gradient.
        """
        name = instance(molecule, Molecule, "molecule", ReferenceDataError).name
        if molecule.gradient is None:
            raise ReferenceDataError(f"system {system} ({name}): forces need QM's; create the Molecule with gradient=.")
        values = -GRADIENT_AU_TO_KCALMOLA * molecule.gradient.ravel()
        check_reference(Reference("force", float(values[0]), weight, system, 0))
        self._fill("force", values, weight, system, np.arange(len(values)))

    def add_geometry(
        self,
        molecule: Molecule,
        system: int = 0,
        bonds: ArrayLike | None = None,
        angles: ArrayLike | None = None,
        torsions: ArrayLike | None = None,
        weight_bond: float = 100.0,
        weight_angle: float = 1.0,
        weight_torsion: float = 0.3,
    ) -> None:
        """Add the molecule's bonds, angles and torsions, to be those of the force field's own minimum.

        With the default weights 0.01 Å count as 1, and so do 1 degree of an angle and about 3 of a torsion.

        Args:
            molecule: at its QM geometry; that of the system.
            system: the system.
            bonds: shape (n, 2), pairs of atoms; by default those near enough to be bonded.
            angles: shape (n, 3); by default all of these bonds.
            torsions: shape (n, 4); by default all of these bonds but those through nearly straight angles.
            weight_bond: weight of bonds [1/Å]; 0 leaves them out.
            weight_angle: weight of angles [1/degree].
            weight_torsion: weight of torsions [1/degree]; deviations are those within ±180 degrees.

        Raises:
            ReferenceDataError: indices of another shape, or of atoms that do not exist.
        """
        name = instance(molecule, Molecule, "molecule", ReferenceDataError).name
        own = topology.bonds(molecule) if bonds is None else _atoms(bonds, 2, molecule, f"{name}: bonds")
        rows = {
            "bond_length": own,
            "bond_angle": topology.angles(own) if angles is None else _atoms(angles, 3, molecule, f"{name}: angles"),
            "torsion_angle": topology.torsions(molecule, own)
            if torsions is None
            else _atoms(torsions, 4, molecule, f"{name}: torsions"),
        }
        measure = {"bond_length": topology.distances, "bond_angle": topology.angle_values}
        for (kind, atoms), weight in zip(rows.items(), (weight_bond, weight_angle, weight_torsion), strict=True):
            values = measure.get(kind, topology.dihedral_values)(molecule.coordinates, atoms)
            for value, index in list(zip(values.tolist(), atoms.tolist(), strict=True))[:1]:
                check_reference(Reference(kind, value, weight, system, tuple(index)))
            if len(atoms):
                self._fill(kind, values, weight, system, *atoms.T)


def _atoms(given: ArrayLike, width: int, molecule: Molecule, what: str) -> np.ndarray:
    """Indices of atoms, (n, width)."""
    array = np.asarray(given)
    if array.size == 0:
        return np.zeros((0, width), dtype=np.int64)
    if array.dtype.kind not in "iu" or array.ndim != 2 or array.shape[1] != width:
        raise ReferenceDataError(
            f"{what} must be integers of shape (n, {width}), but have the shape {array.shape} and dtype {array.dtype}."
        )
    for row in array[((array < 0) | (array >= molecule.n_atoms)).any(axis=1)][:1].tolist():
        raise ReferenceDataError(f"{what} name the atoms {row}; there are 0 to {molecule.n_atoms - 1}.")
    return array.astype(np.int64)


def _displacements(molecule: Molecule, modes: NormalModes, floor: float, what: str, stationary: bool) -> np.ndarray:
    """By how much QM's gradient displaces each mode, (K,) [Å u^1/2]."""
    if stationary:
        largest = 0.0 if molecule.gradient is None else float(np.max(np.abs(molecule.gradient)))
        if largest > _STATIONARY:
            raise ReferenceDataError(
                f"{what}: the largest component of its QM gradient is {largest:.2g} hartree/bohr (limit {_STATIONARY}), so "
                "this geometry is not a stationary point. Optimize it, or pass stationary=False to reproduce the gradient."
            )
        return np.zeros(len(modes.eigenvalues))
    if molecule.gradient is None:
        raise ReferenceDataError(
            f"{what}: stationary is False, but there is no gradient; create the Molecule with gradient=."
        )
    along = modes.vectors.T @ (molecule.gradient / np.sqrt(molecule.masses)[:, None]).ravel()
    return BOHR_TO_ANGSTROM * along / np.maximum(np.abs(modes.eigenvalues), (floor / FREQUENCY_FACTOR) ** 2)


def _square(matrix: ArrayLike, system: int) -> np.ndarray:
    array = real_array(matrix, f"the Hessian of system {system}", ReferenceDataError, 2)
    if array.shape[0] != array.shape[1]:
        raise ReferenceDataError(f"system {system}: a Hessian must be square, but has the shape {array.shape}.")
    return array


def _eigenmatrix(matrix: np.ndarray, system: int) -> np.ndarray:
    """Qᵀ H Q of a square matrix H."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            _, vectors = np.linalg.eigh(matrix)
            product = vectors.T @ matrix @ vectors
    except np.linalg.LinAlgError as error:
        raise ReferenceDataError(
            f"system {system}: the Hessian has no eigenvectors: {error}. Check its elements."
        ) from error
    return real_array(product, f"the Hessian of system {system}", ReferenceDataError)


def _listed(items: Iterable, what: str, wanted: str) -> list:
    try:
        iterator = iter(items)
    except TypeError as error:
        raise ReferenceDataError(f"{what} is {items!r}; give {wanted}.") from error
    return list(iterator)
