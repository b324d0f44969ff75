"""A molecule as quantum chemistry describes it: elements, coordinates, energy, Hessian."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import MoleculeError, QMFileError
from q2mm_accel.model.arguments import as_tuple, instance, integer, real_array, truth
from q2mm_accel.model.elements import element_of
from q2mm_accel.model.hessians import square_hessian
from q2mm_accel.model.plausibility import CHECKS, check_geometry, checked_hessian
from q2mm_accel.model.printed import check_printed
from q2mm_accel.model.saddle import TURNS, check_saddle, inverted, method_c
from q2mm_accel.model.vibrations import NormalModes, normal_modes_of
from q2mm_accel.readers.objects import ase_record, psi4_record, pyscf_record
from q2mm_accel.readers.pairs import read_file
from q2mm_accel.readers.record import QMRecord
from q2mm_accel.units import FREQUENCY_FACTOR


@dataclass(frozen=True, eq=False, init=False)
class Molecule:
    """Elements, coordinates and quantum-mechanical data of one molecule.

    Attributes:
        symbols: element symbols, one per atom. Other ways to write them are understood where they are clear: "FE", "H1",
            atomic numbers, "D" and "H(Iso=2)", which also say the mass.
        coordinates: shape (n_atoms, 3) [Å].
        hessian: second derivatives of the QM energy, shape (3 n_atoms, 3 n_atoms) [hartree/bohr²], or None. Cartesian,
            not mass-weighted, in the frame and atom order of `coordinates`. Given as such a matrix or its lower triangle,
            row by row, or with the shape (n_atoms, 3, n_atoms, 3) or (n_atoms, n_atoms, 3, 3); kept symmetrised.
        energy: QM energy [hartree], or None.
        gradient: first derivatives of the QM energy, shape (n_atoms, 3) [hartree/bohr], or None; of a stationary point it
            need not be given.
        name: used in messages and tables; by default the formula.
        charge: total charge [e].
        multiplicity: spin multiplicity 2S + 1.
        masses: shape (n_atoms,) [u]; by default those of the most abundant isotopes, as in q2mm, or of those in `symbols`.
        turned: how the curvature along a reaction coordinate is treated, as `as_minimum` says; "" where there is none.
        waived: names of checks that geometry and Hessian do not have to pass, out of `plausibility.CHECKS`: "bohr", "zero",
            "frozen", "symmetry" (which leaves the Hessian as it is), "unit", "invariance", and of files "frequencies".

    Arrays are read-only copies in float64 of what is given.

    Raises:
        MoleculeError: wrong types or shapes, unknown elements, values that are not finite, atoms on top of each other.
        UnitError: the coordinates look like bohr, or the Hessian like another unit.
        HessianError: the Hessian is not symmetric, is zero, or does not belong to these coordinates.

    Warns:
        HessianWarning: the Hessian is less symmetric than analytic ones are.
    """

    symbols: tuple[str, ...]
    coordinates: np.ndarray
    hessian: np.ndarray | None
    energy: float | None
    gradient: np.ndarray | None
    name: str
    charge: int
    multiplicity: int
    masses: np.ndarray
    turned: str
    waived: tuple[str, ...]

    def __init__(
        self,
        symbols: Iterable[str],
        coordinates: ArrayLike,
        hessian: ArrayLike | None = None,
        energy: float | None = None,
        gradient: ArrayLike | None = None,
        name: str | None = "",
        charge: int = 0,
        multiplicity: int = 1,
        masses: ArrayLike | None = None,
        turned: str = "",
        waived: str | Iterable[str] = (),
    ) -> None:
        """Convert and check what is given; the attributes are explained above."""
        given_name = instance("" if name is None else name, str, "the name of a molecule", MoleculeError)
        if not isinstance(symbols, Iterable):
            raise MoleculeError(
                f"{given_name or 'molecule'}: symbols must be a list such as ['O', 'H', 'H'], not {symbols!r:.60}."
            )
        elements, isotopes = _elements([str(symbol) for symbol in symbols], given_name or "molecule")
        name = given_name or _formula(elements)
        n_atoms = len(elements)
        if masses is None:
            masses = isotopes
        values = {
            "symbols": elements,
            "coordinates": finite_array(coordinates, (n_atoms, 3), f"{name}: coordinates"),
            "hessian": None if hessian is None else square_hessian(hessian, n_atoms, name),
            "energy": None if energy is None else float(finite_array(energy, (), f"{name}: energy")),
            "gradient": None if gradient is None else finite_array(gradient, (n_atoms, 3), f"{name}: gradient"),
            "name": name,
            "charge": integer(charge, f"{name}: charge", MoleculeError),
            "multiplicity": integer(multiplicity, f"{name}: multiplicity", MoleculeError),
            "masses": finite_array(masses, (n_atoms,), f"{name}: masses"),
            "turned": _known_turn(turned, name),
            "waived": _checks(waived, name),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)
        self._check()

    def _check(self) -> None:
        if not self.symbols:
            raise MoleculeError(f"{self.name}: a molecule needs at least one atom.")
        if self.multiplicity < 1:
            raise MoleculeError(f"{self.name}: multiplicity is {self.multiplicity}; it is 2S + 1, from 1.")
        for atom, mass in enumerate(self.masses):
            if not mass > 0:
                raise MoleculeError(f"{self.name}: the mass of atom {atom} is {mass} u; masses must be positive.")
        check_geometry(self.name, self.symbols, self.coordinates, check_unit="bohr" not in self.waived)
        if self.hessian is not None:
            parts = (self.symbols, self.coordinates, self.masses, self.hessian, self.gradient, self.waived)
            hessian = checked_hessian(self.name, *parts)
            hessian.flags.writeable = False
            object.__setattr__(self, "hessian", hessian)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        format: str | None = None,
        hessian: str | os.PathLike[str] | bool | None = None,
        name: str | None = None,
        charge: int | None = None,
        multiplicity: int | None = None,
        waived: str | Iterable[str] = (),
    ) -> Self:
        """A molecule from a file that a QM program wrote; `q2mm_accel.readers` has a table of the formats.

        Args:
            path: Gaussian's or Q-Chem's .fchk, Gaussian's .log, ORCA's .hess, Q-Chem's .out, GAMESS's .dat, Jaguar's
                .01.in, QCSchema JSON of Psi4 or QCEngine, .xyz, `coord` or Molden (with `hessian`), or our .npz.
            format: one of `q2mm_accel.readers.FORMATS`; by default what the file's name or content say.
            hessian: a second file, for geometries without one: .npy [hartree/bohr²], xtb's `hessian`, or any file that is
                read. None takes what xtb wrote beside the geometry where that is clear: `NAME.hessian` beside `NAME.xyz` or
                `NAME.xtbopt.xyz`; `hessian` beside `xtbopt.xyz` or the folder's only geometry. False takes none.
            name: by default the file's, without its suffix.
            charge: [e]; by default what the file says, and 0 where it says nothing.
            multiplicity: 2S + 1; by default what the file says, and 1 where it says nothing.
            waived: checks that are left out, as for `Molecule`.

        Returns:
            The molecule with all that the file has: Hessian, gradient, energy, and the masses with which the program worked.

        Raises:
            QMFileError: the file is missing, damaged, cut or of an unknown format; or its printed frequencies do not follow
                from its Hessian within 0.5 cm⁻¹.
            MoleculeError, UnitError, HessianError: what it holds cannot be right, as for `Molecule`.
            MissingPackageError: a package that reads such files is not installed.
        """
        record = read_file(path, format, hessian)
        return cls._of_record(record, record.path.stem if name is None else name, charge, multiplicity, waived)

    @classmethod
    def from_pyscf(cls, calculation: Any, hessian: ArrayLike | None = None, name: str = "", gradient: bool = True) -> Self:
        """A molecule from PySCF.

        Args:
            calculation: a mean-field object that has been run, or its Hessian object.
            hessian: shape (N, N, 3, 3) as PySCF has it, or (3N, 3N) [hartree/bohr²]; by default it is computed, unless the
                Hessian object has it already.
            name: by default the formula.
            gradient: whether to compute the gradient; without, the geometry counts as stationary.

        Raises:
            QMFileError: not such an object, not converged, or with ghost atoms.
            MoleculeError, UnitError, HessianError: as for `Molecule`.
        """
        return cls._of_record(pyscf_record(calculation, hessian, truth(gradient, "gradient", MoleculeError)), name)

    @classmethod
    def from_ase(
        cls, atoms: Any, hessian: Any = None, name: str = "", charge: int | None = None, multiplicity: int | None = None
    ) -> Self:
        """A molecule from ASE; energy and forces are those that its calculator has already.

        Args:
            atoms: an `Atoms` object without periodic directions.
            hessian: shape (3N, 3N) or (N, 3, N, 3) [eV/Å²], or ASE's `VibrationsData` or `Vibrations`.
            name: by default the formula.
            charge: [e]; 0 by default.
            multiplicity: 2S + 1; 1 by default.

        Raises:
            QMFileError: not such an object, periodic, or vibrations of something else.
            MoleculeError, UnitError, HessianError: as for `Molecule`.
        """
        return cls._of_record(ase_record(atoms, hessian), name, charge, multiplicity)

    @classmethod
    def from_psi4(cls, wavefunction: Any, name: str = "") -> Self:
        """A molecule from Psi4.

        Args:
            wavefunction: that of `psi4.hessian(..., return_wfn=True)` or `psi4.frequency(..., return_wfn=True)`.
            name: by default the formula.

        Raises:
            QMFileError: not such an object, without a Hessian, or with ghost atoms.
            MoleculeError, UnitError, HessianError: as for `Molecule`.
        """
        return cls._of_record(psi4_record(wavefunction), name)

    @classmethod
    def _of_record(
        cls,
        record: QMRecord,
        name: str,
        charge: int | None = None,
        multiplicity: int | None = None,
        waived: str | Iterable[str] = (),
    ) -> Self:
        """A checked molecule of what was read; errors name the file."""
        for atom, (first, second) in enumerate(zip(record.first_symbols, record.symbols, strict=False)):
            if (element_of(first) or (first,))[0] != (element_of(second) or (second,))[0]:
                raise QMFileError(f"{record.path}: atom {atom} is {first}, but in the file of the Hessian it is {second}.")
        charge = record.charge if charge is None else charge
        multiplicity = record.multiplicity if multiplicity is None else multiplicity
        try:
            molecule = cls(
                symbols=record.symbols,
                coordinates=record.coordinates,
                hessian=record.hessian,
                energy=record.energy,
                gradient=record.gradient,
                name=name,
                charge=0 if charge is None else charge,
                multiplicity=1 if multiplicity is None else multiplicity,
                masses=record.masses,
                waived=waived,
            )
        except MoleculeError as error:
            raise type(error)(f"{record.path}: {error}") from error
        printed = None if "frequencies" in molecule.waived else record.frequencies
        if molecule.hessian is not None and printed is not None:
            parts = (molecule.hessian, molecule.coordinates, molecule.masses, printed, record.signed)
            check_printed(str(record.path), *parts)
        return molecule

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.symbols)

    def as_minimum(self, method: str = "inverted") -> Self:
        """A transition state as the minimum that a force field can hold: for the estimate and the references alike.

        Args:
            method: "inverted": the imaginary frequency becomes a real one of the same size, everything else stays as it is.
                "C": the most negative eigenvalue of the Cartesian Hessian becomes 1 hartree/bohr², other negative ones 0.
                "D": the Hessian stays as it is, and so does its negative curvature; `estimate_force_constants` then lets
                bonds and angles be negative. "E": as "D", but types of bonds and angles whose estimate is not above 0 have
                that of method C.

        Returns:
            The molecule with the new Hessian.

        Raises:
            MoleculeError: the molecule has no Hessian, has been turned before, or the method is unknown.
            HessianError: it is a minimum already.

        Warns:
            SaddleWarning: it has several imaginary frequencies.

        Source: C, D and E: Limé and Norrby, J. Comput. Chem. 2015, 36, 1130, as in q2mm 5.0.0a2.
        """
        hessian = self.known_hessian("curvature to be turned")
        if not isinstance(method, str) or method not in TURNS:
            raise MoleculeError(f"{self.name}: the method is {method!r:.60}; it is one of {', '.join(map(repr, TURNS))}.")
        if self.turned:
            raise MoleculeError(f"{self.name}: its curvature has been turned ({self.turned!r}). Start from the QM Hessian.")
        if method == "inverted":
            hessian = inverted(hessian, self.normal_modes, self.masses, self.name)
        elif method == "C":
            hessian = method_c(hessian, self.name)
        else:
            check_saddle(np.linalg.eigvalsh(hessian), self.name)
        # 1 hartree/bohr² along the motion of a hydrogen is 5,100 cm⁻¹, which would be taken for another unit
        waived = (*self.waived, "unit") if method == "C" else self.waived
        return replace(self, hessian=hessian, turned=method, waived=waived)

    @cached_property
    def normal_modes(self) -> NormalModes:
        """The vibrations of the QM Hessian, rigid motions projected out.

        Raises:
            MoleculeError: the molecule has no Hessian.
        """
        return normal_modes_of(self.known_hessian("normal modes"), self.coordinates, self.masses)

    def frequencies(self) -> np.ndarray:
        """Harmonic frequencies of the QM Hessian, the full sorted list with translations and rotations.

        Returns:
            Shape (3 n_atoms,) [cm⁻¹], ascending; imaginary frequencies are negative.

        Raises:
            MoleculeError: the molecule has no Hessian.
        """
        scale = 1.0 / np.sqrt(np.repeat(self.masses, 3))
        eigenvalues = np.linalg.eigvalsh(self.known_hessian("frequencies") * np.outer(scale, scale))
        return FREQUENCY_FACTOR * np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues))

    def known_hessian(self, wanted: str) -> np.ndarray:
        """The Hessian, for what cannot be had without it.

        Raises:
            MoleculeError: there is none.
        """
        if self.hessian is None:
            raise MoleculeError(
                f"{self.name}: it has no Hessian, so no {wanted}; pass hessian= when creating it (to the command, "
                "GEOMETRY+HESSIAN)."
            )
        return self.hessian


def finite_array(values: ArrayLike, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A read-only float64 copy of `values`.

    Args:
        values: numbers.
        shape: the shape they must have.
        what: what they are, for messages.

    Returns:
        The array.

    Raises:
        MoleculeError: another shape, not numbers, or not finite.
    """
    array = real_array(values, what, MoleculeError, shape=shape)
    array.flags.writeable = False
    return array


def _elements(symbols: Sequence[str], name: str) -> tuple[tuple[str, ...], list[float]]:
    """Symbols as in the periodic table, and masses [u]."""
    found = [element_of(symbol) for symbol in symbols]
    for atom, (text, element) in enumerate(zip(symbols, found, strict=True)):
        if element is None:
            raise MoleculeError(
                f"{name}: atom {atom} has the unknown element {text!r}; use a symbol such as 'C' or 'Rh', written like that "
                "(dummy atoms must be removed; other isotopes go into masses=)."
            )
    known = [element for element in found if element is not None]
    return tuple(symbol for symbol, _ in known), [mass for _, mass in known]


def _checks(waived: str | Iterable[str], name: str) -> tuple[str, ...]:
    names = as_tuple(waived, str, f"{name}: waived", MoleculeError)
    if not set(names) <= set(CHECKS):
        raise MoleculeError(
            f"{name}: waived is {waived!r:.60}; name the checks to be left out, of {', '.join(map(repr, CHECKS))}."
        )
    return names


def _known_turn(turned: str, name: str) -> str:
    if turned not in ("", *TURNS):
        raise MoleculeError(f"{name}: turned is {turned!r:.60}; leave it out, it is for `as_minimum` to say.")
    return turned


def _formula(symbols: Sequence[str]) -> str:
    counts = {symbol: symbols.count(symbol) for symbol in dict.fromkeys(symbols)}
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in counts.items()) or "molecule"
