"""Do the frequencies that a program printed follow from the Hessian that was read?"""

import numpy as np

from q2mm_accel.errors import QMFileError
from q2mm_accel.model.vibrations import normal_modes_of
from q2mm_accel.units import FREQUENCY_FACTOR

LIMIT = 0.5
"""[cm⁻¹] A Hessian with seven decimals gives frequencies within 0.02."""
_FLOOR = 50.0
"""[cm⁻¹] Below, squares are compared: a frequency near 0 is the root of rounding."""

_WAIVER = 'Where the Hessian is right, pass waived="frequencies".'


def check_printed(
    source: str, hessian: np.ndarray, coordinates: np.ndarray, masses: np.ndarray, printed: np.ndarray, signed: bool = True
) -> float:
    """Compare printed frequencies with those of a Hessian, with rigid motions projected out or as they are.

    Args:
        source: the file, for the message.
        hessian: shape (3N, 3N) [hartree/bohr²].
        coordinates: shape (N, 3) [Å].
        masses: shape (N,) [u].
        printed: shape (K,), of the vibrations, or all 3N [cm⁻¹]; imaginary ones negative.
        signed: False where imaginary ones were printed without a sign.

    Returns:
        The largest difference [cm⁻¹].

    Raises:
        QMFileError: another number of frequencies, or a difference above `LIMIT`; with both lists.
    """
    scale = 1.0 / np.sqrt(np.repeat(masses, 3))
    eigenvalues = np.linalg.eigvalsh(scale[:, None] * (hessian + hessian.T) / 2 * scale)
    all_modes = FREQUENCY_FACTOR * np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues))
    vibrations = normal_modes_of(hessian, coordinates, masses).frequencies
    rigid = np.zeros(len(all_modes) - len(vibrations))
    choices = [vibrations, np.concatenate([vibrations, rigid]), all_modes]
    if len(rigid) == 5 and np.count_nonzero(printed == 0) == 6:
        # ORCA 4 projects six motions out of linear molecules, too: one of a pair of bends is lost
        choices += [np.append(np.delete(vibrations, mode), np.zeros(6)) for mode in range(len(vibrations))]
    choices = [_ordered(choice, signed) for choice in choices if len(choice) == len(printed)]
    given = _ordered(printed, signed)
    if not choices:
        raise QMFileError(
            f"{source}: it prints {len(printed)} frequencies, but its Hessian has {len(vibrations)} vibrations. Printed: "
            f"{_listed(given)}. Computed: {_listed(_ordered(vibrations, signed))} cm⁻¹. {_WAIVER}"
        )
    best = min(choices, key=lambda choice: np.max(_differences(given, choice), initial=0.0))
    largest = float(np.max(_differences(given, best), initial=0.0))
    if not largest <= LIMIT:
        raise QMFileError(
            f"{source}: its printed frequencies do not follow from its Hessian, they differ by {largest:.4g} cm⁻¹ (limit "
            f"{LIMIT}): the Hessian is of another geometry or was read wrongly, or the masses differ. Printed: "
            f"{_listed(given)}. Computed: {_listed(best)} cm⁻¹. {_WAIVER}"
        )
    return largest


def _ordered(frequencies: np.ndarray, signed: bool) -> np.ndarray:
    return np.sort(frequencies if signed else np.abs(frequencies))


def _differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    squares = first * np.abs(first) - second * np.abs(second)
    return np.abs(squares) / np.maximum(np.abs(first) + np.abs(second), 2 * _FLOOR)


def _listed(frequencies: np.ndarray) -> str:
    return ", ".join(f"{value:.1f}" for value in frequencies)
