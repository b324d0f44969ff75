"""Which computed mode q2mm compares a reference frequency with."""

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.model.matching import check_ascending, checked_spectrum, checked_threshold


def match_as_q2mm(quantum: ArrayLike, computed: ArrayLike, threshold: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """Pair frequencies from the lowest up, as q2mm does: for comparisons with it, and for nothing else.

    The lowest QM frequency above the threshold belongs to the lowest computed mode above it, and so on up to the end of the
    shorter list; what is left of the longer one is not used. A torsion without a restoring force shifts all pairs.

    Args:
        quantum: QM frequencies [cm⁻¹], imaginary ones negative, in any order.
        computed: all 3N frequencies [cm⁻¹] of the force field to start from, ascending, imaginary ones negative.
        threshold: lower limit [cm⁻¹] of a vibration; below it are translations, rotations and imaginary modes.

    Returns:
        The QM frequencies, ascending, shape (n,) [cm⁻¹], and the computed mode of each, shape (n,), from 0.

    Raises:
        ReferenceDataError: frequencies that are not real, finite numbers, computed ones that are not ascending, or another
            threshold than above.

    Source: q2mm's diagnostics/systems.py, commit 0c795729.
    """
    quantum, computed = checked_spectrum(quantum, "quantum"), checked_spectrum(computed, "computed")
    check_ascending(computed)
    limit = checked_threshold(threshold)
    values, modes = np.sort(quantum[quantum > limit]), np.flatnonzero(computed > limit)
    n = min(len(values), len(modes))
    return values[:n], modes[:n]
