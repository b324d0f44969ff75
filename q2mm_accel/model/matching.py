"""Which computed mode a reference frequency is compared with."""

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import ReferenceDataError
from q2mm_accel.model.arguments import real_array


def match_frequencies(
    quantum: ArrayLike, computed: ArrayLike, threshold: float = 50.0, align: str = "lowest"
) -> tuple[np.ndarray, np.ndarray]:
    """Pair the real vibrations of two spectra in ascending order.

    The pairs are made once, at the start of a fit: the modes are positions, which stay the same while the parameters
    change. With `align="lowest"`, as in q2mm, the lowest QM frequency above the threshold belongs to the lowest computed
    mode above it, and so on up to the end of the shorter list; what is left of the longer one is not used. With
    `align="highest"` the highest belongs to the highest of all computed modes, and so on down: at a stationary point no
    QM vibration is left over, even where the force field to start from has modes without a restoring force.

    Args:
        quantum: QM frequencies [cm⁻¹], imaginary ones negative, in any order.
        computed: all 3N frequencies [cm⁻¹] of the force field to start from, ascending, imaginary ones negative.
        threshold: lower limit [cm⁻¹] of a vibration; below it are translations, rotations and imaginary modes.
        align: "lowest" or "highest".

    Returns:
        The QM frequencies, ascending, shape (n,) [cm⁻¹], and the computed mode of each, shape (n,), from 0: values and
        modes as `ReferenceData.add_frequencies` takes them.

    Raises:
        ReferenceDataError: frequencies that are not real, finite numbers, computed ones that are not ascending, or another
            threshold or `align` than above.

    Source: q2mm's diagnostics/systems.py, commit 0c795729, for "lowest".
    """
    quantum, computed = _spectrum(quantum, "quantum"), _spectrum(computed, "computed")
    if np.any(np.diff(computed) < 0):
        raise ReferenceDataError(
            "the computed frequencies are not ascending, so their positions are not mode numbers; sort them first."
        )
    limit = float(real_array(threshold, "the threshold", ReferenceDataError, shape=(), finite=False))
    if np.isnan(limit):
        raise ReferenceDataError("the threshold is nan; give the lower limit of a vibration in cm⁻¹.")
    if not isinstance(align, str) or align not in ("lowest", "highest"):
        raise ReferenceDataError(f"align is {align!r}; it must be 'lowest' or 'highest'.")
    values = np.sort(quantum[quantum > limit])
    if align == "highest":
        modes = np.arange(len(computed))
        n = min(len(values), len(modes))
        return values[len(values) - n :], modes[len(modes) - n :]
    modes = np.flatnonzero(computed > limit)
    n = min(len(values), len(modes))
    return values[:n], modes[:n]


def _spectrum(frequencies: ArrayLike, what: str) -> np.ndarray:
    spectrum = real_array(frequencies, f"the {what} frequencies", ReferenceDataError, finite=False)
    if spectrum.ndim != 1:
        raise ReferenceDataError(f"the {what} frequencies must be one list, but have the shape {spectrum.shape}.")
    if not np.all(np.isfinite(spectrum)):
        number = int(np.flatnonzero(~np.isfinite(spectrum))[0])
        raise ReferenceDataError(f"the {what} frequency {number} is {spectrum[number]}; all must be finite.")
    return spectrum
