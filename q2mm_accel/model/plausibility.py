"""Does this geometry, does this Hessian look like what it claims to be? Units, symmetry, invariance."""

from collections.abc import Sequence

import numpy as np

from q2mm_accel.errors import HessianError, MoleculeError, UnitError
from q2mm_accel.model.elements import COVALENT_RADII
from q2mm_accel.units import BOHR_TO_ANGSTROM, HESSIAN_AU_TO_KJMOLA2, KCAL_TO_KJ

_DEFAULT_RADIUS = 1.5
"""Covalent radius [Å] for elements without one in the table."""

_TOO_CLOSE = 0.5
"""Two atoms nearer than this fraction of the sum of their covalent radii are an error in the input."""

_BOHR_WINDOW = (1.45, 2.3)
"""Nearest neighbours at 1.45 to 2.3 times the usual bond length: coordinates are in bohr (factor 1.89)."""

_LARGEST_DIAGONAL = (0.005, 3.0)
"""Plausible range of a Hessian's largest diagonal element [hartree/bohr²]: Li2 to CO and beyond."""

_ASYMMETRY = 1e-4
"""Largest |H - Hᵀ| relative to max |H|; analytic QM Hessians reach 1e-6 and better."""

_INVARIANCE = 0.01
"""Largest residual of H on a unit rigid translation or rotation, relative to max |H|: 1e-4 for DFT at a stationary point,
0.02 and more for transposed blocks or another frame."""


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
    radii = np.array([COVALENT_RADII.get(symbol, _DEFAULT_RADIUS) for symbol in symbols])
    distances = np.linalg.norm(coordinates[:, None] - coordinates[None], axis=-1)
    relative = distances / (radii[:, None] + radii[None])
    np.fill_diagonal(relative, np.inf)
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
            f"Multiply them by {BOHR_TO_ANGSTROM}, or pass check=False if they are in Å."
        )


def check_hessian(name: str, coordinates: np.ndarray, hessian: np.ndarray) -> None:
    """Check that a Hessian is symmetric, in hartree/bohr², and invariant to rigid motions of these coordinates.

    Args:
        name: the molecule's name, for messages.
        coordinates: shape (n_atoms, 3) [Å].
        hessian: shape (3 n_atoms, 3 n_atoms) [hartree/bohr²].

    Raises:
        HessianError: zero, asymmetric, or not invariant (mass-weighted, other frame, other atom order).
        UnitError: its magnitude belongs to another unit.
    """
    if len(coordinates) == 1:
        return  # a single atom's Hessian is zero
    largest = float(np.max(np.abs(hessian)))
    if largest == 0.0:
        raise HessianError(f"{name}: every element of the Hessian is zero; was it read completely? Or pass check=False.")
    asymmetry = float(np.max(np.abs(hessian - hessian.T))) / largest
    if asymmetry > _ASYMMETRY:
        row, column = (int(k) for k in np.unravel_index(np.argmax(np.abs(hessian - hessian.T)), hessian.shape))
        raise HessianError(
            f"{name}: the Hessian is not symmetric: element ({row}, {column}) is {hessian[row, column]:.6g} and "
            f"({column}, {row}) is {hessian[column, row]:.6g} (relative {asymmetry:.1e}, limit {_ASYMMETRY}). "
            "Check the order in which it was read, or pass check=False."
        )
    _check_magnitude(name, hessian)
    _check_invariance(name, coordinates, hessian, largest)


def _check_magnitude(name: str, hessian: np.ndarray) -> None:
    diagonal = float(np.max(np.diag(hessian)))
    low, high = _LARGEST_DIAGONAL
    if low <= diagonal <= high:
        return
    units = {
        "kcal/mol/Å²": HESSIAN_AU_TO_KJMOLA2 / KCAL_TO_KJ,
        "kJ/mol/Å²": HESSIAN_AU_TO_KJMOLA2,
        "kJ/mol/nm²": 100.0 * HESSIAN_AU_TO_KJMOLA2,
    }
    likely = [f"{unit} (divide by {factor:.6g})" for unit, factor in units.items() if 0.05 <= diagonal / factor <= high]
    raise UnitError(
        f"{name}: the largest diagonal element of the Hessian is {diagonal:.4g}, outside {low} to {high} hartree/bohr². "
        f"Likely unit: {' or '.join(likely) or 'none known'}. Convert it to hartree/bohr², or pass check=False."
    )


def _check_invariance(name: str, coordinates: np.ndarray, hessian: np.ndarray, largest: float) -> None:
    centred = coordinates - coordinates.mean(axis=0)
    for kind, motions in (
        ("translation", [np.tile(axis, (len(coordinates), 1)) for axis in np.eye(3)]),
        ("rotation", [np.cross(axis, centred) for axis in np.eye(3)]),
    ):
        for axis, motion in zip("xyz", motions, strict=True):
            length = np.linalg.norm(motion)
            if length < 1e-6:
                continue
            residual = float(np.max(np.abs(hessian @ (motion.ravel() / length)))) / largest
            if residual > _INVARIANCE:
                raise HessianError(
                    f"{name}: the Hessian is not invariant to a {kind} along {axis} (residual {residual:.2g} of its largest "
                    f"element, limit {_INVARIANCE}). It is mass-weighted, or belongs to another orientation or atom order "
                    "than the coordinates. Pass the Cartesian Hessian of this geometry, or check=False."
                )
