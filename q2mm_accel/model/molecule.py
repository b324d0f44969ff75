"""A molecule as quantum chemistry describes it: elements, coordinates, energy, Hessian."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import MoleculeError
from q2mm_accel.model.arguments import instance, integer, real_array, truth
from q2mm_accel.model.elements import MASSES
from q2mm_accel.model.plausibility import check_geometry, check_hessian
from q2mm_accel.model.saddle import TURNS, check_saddle, inverted, method_c
from q2mm_accel.model.vibrations import NormalModes, normal_modes_of
from q2mm_accel.units import FREQUENCY_FACTOR


@dataclass(frozen=True, eq=False, init=False)
class Molecule:
    """Elements, coordinates and quantum-mechanical data of one molecule.

    Attributes:
        symbols: element symbols, one per atom.
        coordinates: shape (n_atoms, 3) [Å].
        hessian: second derivatives of the QM energy, shape (3 n_atoms, 3 n_atoms) [hartree/bohr²], or None. Cartesian,
            not mass-weighted, in the frame and atom order of `coordinates`. It is used as it is, not symmetrised.
        energy: QM energy [hartree], or None.
        gradient: first derivatives of the QM energy, shape (n_atoms, 3) [hartree/bohr], or None; of a stationary point it
            need not be given.
        name: used in messages and tables; by default the formula.
        charge: total charge [e].
        multiplicity: spin multiplicity 2S + 1.
        masses: shape (n_atoms,) [u]; by default those of the most abundant isotopes, as in q2mm.
        turned: how the curvature along a reaction coordinate is treated, as `as_minimum` says; "" where there is none.
        check: False accepts a geometry or Hessian that fails the plausibility checks (unit, invariance, symmetry).

    Arrays are read-only copies in float64 of what is given.

    Raises:
        MoleculeError: wrong types or shapes, unknown elements, values that are not finite, atoms on top of each other.
        UnitError: the coordinates look like bohr, or the Hessian like kcal/mol/Å².
        HessianError: the Hessian is not symmetric, is zero, or does not belong to these coordinates.
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
    check: bool

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
        check: bool = True,
    ) -> None:
        """Convert and check what is given; the attributes are explained above."""
        given_name = instance("" if name is None else name, str, "the name of a molecule", MoleculeError)
        if not isinstance(symbols, Iterable):
            raise MoleculeError(
                f"{given_name or 'molecule'}: symbols must be a list such as ['O', 'H', 'H'], not {symbols!r:.60}."
            )
        elements = tuple(str(symbol) for symbol in symbols)
        name = given_name or _formula(elements)
        _check_elements(elements, name)
        n_atoms = len(elements)
        if masses is None:
            masses = [MASSES[symbol] for symbol in elements]
        values = {
            "symbols": elements,
            "coordinates": finite_array(coordinates, (n_atoms, 3), f"{name}: coordinates"),
            "hessian": None if hessian is None else finite_array(hessian, (3 * n_atoms,) * 2, f"{name}: hessian"),
            "energy": None if energy is None else float(finite_array(energy, (), f"{name}: energy")),
            "gradient": None if gradient is None else finite_array(gradient, (n_atoms, 3), f"{name}: gradient"),
            "name": name,
            "charge": integer(charge, f"{name}: charge", MoleculeError),
            "multiplicity": integer(multiplicity, f"{name}: multiplicity", MoleculeError),
            "masses": finite_array(masses, (n_atoms,), f"{name}: masses"),
            "turned": _known_turn(turned, name),
            "check": truth(check, f"{name}: check", MoleculeError),
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
        check_geometry(self.name, self.symbols, self.coordinates, check_unit=self.check)
        if self.hessian is not None and self.check:
            check_hessian(self.name, self.coordinates, self.hessian)

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
        return replace(self, hessian=hessian, turned=method)

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
            raise MoleculeError(f"{self.name}: it has no Hessian, so no {wanted}; pass hessian= when creating it.")
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


def _check_elements(symbols: Sequence[str], name: str) -> None:
    for atom, symbol in enumerate(symbols):
        if symbol not in MASSES:
            raise MoleculeError(
                f"{name}: atom {atom} has the unknown element {symbol!r}; use a symbol such as 'C' or 'Rh' "
                "(dummy atoms must be removed)."
            )


def _known_turn(turned: str, name: str) -> str:
    if turned not in ("", *TURNS):
        raise MoleculeError(f"{name}: turned is {turned!r:.60}; leave it out, it is for `as_minimum` to say.")
    return turned


def _formula(symbols: Sequence[str]) -> str:
    counts = {symbol: symbols.count(symbol) for symbol in dict.fromkeys(symbols)}
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in counts.items()) or "molecule"
