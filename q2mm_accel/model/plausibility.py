"""Does this geometry, does this Hessian look like what it claims to be? Units, symmetry, invariance."""

from collections.abc import Collection, Sequence

import numpy as np

from q2mm_accel.errors import HessianError, HessianWarning, MoleculeError, UnitError, warn_user
from q2mm_accel.model.elements import COVALENT_RADII, bond_stiffness
from q2mm_accel.units import (
    AU_TO_MDYNA,
    BOHR_TO_ANGSTROM,
    FREQUENCY_FACTOR,
    HARTREE_TO_EV,
    HARTREE_TO_KCALMOL,
    HESSIAN_AU_TO_KJMOLA2,
    KCAL_TO_KJ,
    U_TO_ELECTRON_MASSES,
)

CHECKS = ("bohr", "zero", "frozen", "symmetry", "unit", "invariance", "frequencies")
"""What can be waived by name: coordinates in bohr; a Hessian of zeros, with rows of zeros, that is not symmetric, in another
unit, or not invariant to rigid motions; frequencies printed in a file that do not follow from its Hessian."""

_DEFAULT_RADIUS = 1.5
"""Covalent radius [Å] for elements without one in the table."""

_TOO_CLOSE = 0.5
"""Two atoms nearer than this fraction of the sum of their covalent radii are an error in the input."""

_BOHR_WINDOW = (1.45, 2.3)
"""Nearest neighbours at 1.45 to 2.3 times the usual bond length: coordinates are in bohr (factor 1.89)."""

_BONDED = 1.3
"""Two atoms nearer than this times the sum of their covalent radii vibrate as a bond does."""

_HIGHEST_FREQUENCY = (0.45, 1.5)
"""The highest frequency relative to that of the stiffest pair of atoms alone: 1.03 to 1.27 in most molecules, 0.5 in
FHF-."""

_MENDED = (0.9, 1.4)
"""... where a Hessian has been converted from a unit that is worth naming."""

_LARGEST_DIAGONAL = 3.0
"""[hartree/bohr²] Beyond CO; all that can be said of atoms without a bond."""

_ASYMMETRY = (1e-4, 1e-2)
"""Largest |H - Hᵀ| relative to max |H|: analytic QM Hessians stay below the first, finite differences below the second."""

_INVARIANCE = 0.01
"""Largest residual of H on a unit rigid translation or rotation, relative to max |H|: 1e-4 for DFT at a stationary point,
0.02 and more for transposed blocks or another frame."""

_UNITS = {
    "hartree/Å²": 1.0 / BOHR_TO_ANGSTROM**2,
    "mdyn/Å": AU_TO_MDYNA,
    "eV/Å²": HARTREE_TO_EV / BOHR_TO_ANGSTROM**2,
    "kcal/mol/bohr²": HARTREE_TO_KCALMOL,
    "kcal/mol/Å²": HESSIAN_AU_TO_KJMOLA2 / KCAL_TO_KJ,
    "kJ/mol/Å²": HESSIAN_AU_TO_KJMOLA2,
    "kJ/mol/nm²": 100.0 * HESSIAN_AU_TO_KJMOLA2,
}
"""Unit -> number of them in 1 hartree/bohr²."""
_UNWEIGHT = "(multiply element (i, j) by √(m_i m_j))"
_MASSES = {"u": 1.0, "electron masses": U_TO_ELECTRON_MASSES}
"""Unit of a mass-weighted Hessian's masses -> number of them in 1 u."""


def check_geometry(name: str, symbols: Sequence[str], coordinates: np.ndarray, check_unit: bool = True) -> None:
    """Check that no two atoms coincide and that the coordinates are in Å.

    Args:
        name: the molecule's name, for messages.
        symbols: element symbols.
        coordinates: shape (n_atoms, 3) [Å].
        check_unit: whether to look for coordinates in bohr.

    Raises:
        MoleculeError: two atoms are too close to each other.
        UnitError: the coordinates look like bohr.
    """
    if len(symbols) < 2:
        return
    distances, relative = _distances(symbols, coordinates)
    i, j = (int(k) for k in np.unravel_index(np.argmin(relative), relative.shape))
    if relative[i, j] < _TOO_CLOSE:
        raise MoleculeError(
            f"{name}: atoms {i} ({symbols[i]}) and {j} ({symbols[j]}) are {distances[i, j]:.4f} Å apart, less than half a "
            "bond length. Check the coordinates: they must be in Å, with no atom given twice."
        )
    typical = float(np.median(relative.min(axis=1)))
    if check_unit and _BOHR_WINDOW[0] < typical < _BOHR_WINDOW[1]:
        raise UnitError(
            f"{name}: nearest neighbours are {typical:.2f} times a bond length apart, so the coordinates look like bohr. "
            f'Multiply them by {BOHR_TO_ANGSTROM}, or pass waived="bohr" if they are in Å.'
        )


def _distances(symbols: Sequence[str], coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of all atoms [Å], and relative to the sum of their covalent radii; infinite of an atom from itself."""
    radii = np.array([COVALENT_RADII.get(symbol, _DEFAULT_RADIUS) for symbol in symbols])
    distances = np.linalg.norm(coordinates[:, None] - coordinates[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return distances, distances / (radii[:, None] + radii[None])


def checked_hessian(
    name: str,
    symbols: Sequence[str],
    coordinates: np.ndarray,
    masses: np.ndarray,
    hessian: np.ndarray,
    gradient: np.ndarray | None = None,
    waived: Collection[str] = (),
) -> np.ndarray:
    """A Hessian that is symmetric, in hartree/bohr², and invariant to rigid motions of these coordinates.

    Args:
        name: the molecule's name, for messages.
        symbols: element symbols.
        coordinates: shape (n_atoms, 3) [Å].
        masses: shape (n_atoms,) [u].
        hessian: shape (3 n_atoms, 3 n_atoms) [hartree/bohr²].
        gradient: shape (n_atoms, 3) [hartree/bohr]; None for that of a stationary point. Where it is not 0 it turns with the
            molecule: H (ω × x) = ω × g.
        waived: checks of `CHECKS` that are left out; without that of symmetry the Hessian stays as it is.

    Returns:
        (H + Hᵀ) / 2.

    Raises:
        HessianError: zero, asymmetric, or not invariant (frozen atoms, mass-weighted, other frame, other atom order).
        UnitError: its highest frequency belongs to another unit.

    Warns:
        HessianWarning: it is less symmetric than analytic ones are.
    """
    if len(coordinates) == 1:
        return hessian  # a single atom's is zero
    if "zero" not in waived and not np.any(hessian):
        raise HessianError(f'{name}: every element of the Hessian is zero; was it read completely? Or pass waived="zero".')
    if "frozen" not in waived:
        _check_frozen(name, symbols, hessian)
    if "symmetry" not in waived:
        hessian = _symmetric(name, hessian)
    if "invariance" not in waived:
        _check_invariance(name, coordinates, masses, hessian, gradient)
    if "unit" not in waived:
        _check_unit(name, symbols, coordinates, masses, hessian)
    return hessian


def _check_frozen(name: str, symbols: Sequence[str], hessian: np.ndarray) -> None:
    rows = hessian.reshape(len(symbols), -1)
    zero = np.flatnonzero(~rows.any(axis=1))
    if 0 < len(zero) < len(symbols):
        named = ", ".join(f"{symbols[atom]}{atom}" for atom in zero[:6].tolist())
        raise HessianError(
            f"{name}: all elements of the Hessian that belong to {len(zero)} of its {len(symbols)} atoms are zero ({named}"
            f"{' ...' if len(zero) > 6 else ''}), as where atoms were frozen or left out of it. Compute it for all atoms, "
            'or pass waived=("frozen", "invariance"): such atoms then count as if nothing held them.'
        )


def _symmetric(name: str, hessian: np.ndarray) -> np.ndarray:
    largest = float(np.max(np.abs(hessian)))
    difference = np.abs(hessian - hessian.T)
    asymmetry = float(np.max(difference)) / largest if largest else 0.0
    if asymmetry > _ASYMMETRY[0]:
        row, column = (int(k) for k in np.unravel_index(np.argmax(difference), hessian.shape))
        found = (
            f"element ({row}, {column}) is {hessian[row, column]:.6g} and ({column}, {row}) is {hessian[column, row]:.6g}, "
            f"apart by {asymmetry:.1e} of the largest element"
        )
        if asymmetry > _ASYMMETRY[1]:
            raise HessianError(
                f"{name}: the Hessian is not symmetric: {found} (limit {_ASYMMETRY[1]}). Check the order in which it was "
                'read, or pass waived="symmetry".'
            )
        warn_user(
            f"{name}: the Hessian is less symmetric than an analytic one: {found}. The mean with its transpose is used.",
            HessianWarning,
        )
    return 0.5 * (hessian + hessian.T)


def _check_unit(name: str, symbols: Sequence[str], coordinates: np.ndarray, masses: np.ndarray, hessian: np.ndarray) -> None:
    """Compare the highest frequency with that of the stiffest bond, which depends on length and elements alone."""
    expected = _highest_expected(symbols, coordinates, masses)
    if expected is None:
        _check_diagonal(name, hessian)
        return
    highest = _highest(hessian, masses)
    low, high = _HIGHEST_FREQUENCY
    if low * expected <= highest <= high * expected:
        return
    guesses = {f"{unit} (divide by {factor:.6g})": hessian / factor for unit, factor in _UNITS.items()}
    for unit, factor in _MASSES.items():
        guesses[f"mass-weighted in {unit} {_UNWEIGHT}"] = factor * _unweighted(hessian, masses)
    ratios = {guess: _highest(matrix, masses) / expected for guess, matrix in guesses.items()}
    sound = [
        guess
        for guess, ratio in ratios.items()
        if _MENDED[0] <= ratio <= _MENDED[1] and _residuals(coordinates, guesses[guess])[0] <= _INVARIANCE
    ]
    likely = min(sound, key=lambda guess: abs(np.log(ratios[guess] / np.mean(_MENDED))), default="none known")
    raise UnitError(
        f"{name}: the highest frequency of the Hessian is {highest:.0f} cm⁻¹, but its bonds make one expect {expected:.0f}. "
        f'Likely unit: {likely}. Convert it to hartree/bohr², or pass waived="unit".'
    )


def _unweighted(hessian: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """The Cartesian Hessian of one that is mass-weighted in u."""
    roots = np.sqrt(np.repeat(masses, 3))
    return roots[:, None] * hessian * roots


def _highest_expected(symbols: Sequence[str], coordinates: np.ndarray, masses: np.ndarray) -> float | None:
    """Frequency of the fastest of all bonded pairs of atoms, each on its own [cm⁻¹]."""
    distances, relative = _distances(symbols, coordinates)
    pairs = np.argwhere(np.triu(relative < _BONDED))
    values = [
        bond_stiffness(symbols[i], symbols[j], float(distances[i, j])) * (1.0 / masses[i] + 1.0 / masses[j])
        for i, j in pairs.tolist()
    ]
    return FREQUENCY_FACTOR * float(np.sqrt(max(values))) if values else None


def _highest(hessian: np.ndarray, masses: np.ndarray) -> float:
    """The highest frequency [cm⁻¹], imaginary ones as negative."""
    weights = 1.0 / np.sqrt(np.repeat(masses, 3))
    value = np.linalg.eigvalsh(weights[:, None] * hessian * weights)[-1]
    return float(FREQUENCY_FACTOR * np.sign(value) * np.sqrt(np.abs(value)))


def _check_diagonal(name: str, hessian: np.ndarray) -> None:
    largest = float(np.max(np.diag(hessian)))
    if largest > _LARGEST_DIAGONAL:
        raise UnitError(
            f"{name}: it has no bond, but the largest diagonal element of its Hessian is {largest:.4g}, above "
            f'{_LARGEST_DIAGONAL} hartree/bohr². Convert it to hartree/bohr², or pass waived="unit".'
        )


def _residuals(coordinates: np.ndarray, hessian: np.ndarray, gradient: np.ndarray | None = None) -> tuple[float, float, str]:
    """Largest residual of H on a translation and on a rotation, relative to max |H|, and the axis of the latter."""
    centred, axes = coordinates - coordinates.mean(axis=0), np.eye(3)
    largest = float(np.max(np.abs(hessian)))
    slope = np.zeros_like(centred) if gradient is None else BOHR_TO_ANGSTROM * gradient
    shifts = [(np.broadcast_to(axis, centred.shape), np.zeros_like(centred)) for axis in axes]
    turns = [(np.cross(axis, centred), np.cross(axis, slope)) for axis in axes]
    found = []
    for motion, expected in (*shifts, *turns):
        length = np.linalg.norm(motion)
        residual = float(np.max(np.abs(hessian @ motion.ravel() - expected.ravel())))
        found.append(residual / length / largest if length > 1e-6 else 0.0)
    return max(found[:3]), max(found[3:]), "xyz"[int(np.argmax(found[3:]))]


def _check_invariance(
    name: str, coordinates: np.ndarray, masses: np.ndarray, hessian: np.ndarray, gradient: np.ndarray | None
) -> None:
    shifted, turned, axis = _residuals(coordinates, hessian, gradient)
    if max(shifted, turned) <= _INVARIANCE:
        return
    if shifted > _INVARIANCE and max(_residuals(coordinates, _unweighted(hessian, masses))[:2]) <= _INVARIANCE:
        cause = f"It is mass-weighted {_UNWEIGHT}; the masses may be in u or in electron masses."
    elif shifted > _INVARIANCE:
        cause = (
            "It is in another atom order or order of components than the coordinates, leaves some atoms out, or is "
            "mass-weighted. Pass the Cartesian Hessian of this geometry."
        )
    else:
        cause = (
            "It belongs to another orientation or atom order than the coordinates, or the geometry is no stationary point "
            f"of this QM method{'' if gradient is None else ', and the gradient not that of this geometry'}. Pass the "
            "Hessian and the gradient= of this geometry."
        )
    motion, residual = ("translation", shifted) if shifted > _INVARIANCE else (f"rotation about {axis}", turned)
    raise HessianError(
        f"{name}: the Hessian is not invariant to a {motion} (residual {residual:.2g} of its largest element, limit "
        f'{_INVARIANCE}). {cause} Or pass waived="invariance".'
    )
