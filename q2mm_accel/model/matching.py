"""Which computed mode a reference frequency is compared with."""

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import ReferenceDataError
from q2mm_accel.model.arguments import real_array
from q2mm_accel.model.molecule import Molecule


def match_frequencies(
    quantum: Molecule | ArrayLike, computed: ArrayLike, threshold: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Pair the vibrations of QM with the highest of all computed modes: the highest with the highest, and so on down.

    The pairs are made once, at the start of a fit: the modes are positions, which stay the same while the parameters
    change. From the top no vibration loses its partner where the force field to start from has modes without a restoring
    force: from the bottom a single torsion at 0 would shift all pairs.

    Args:
        quantum: a molecule with its QM Hessian, whose rigid motions are projected out; or its 3N - 6 vibrations (3N - 5 of a
            linear molecule) [cm⁻¹], imaginary ones negative, in any order.
        computed: all 3N frequencies [cm⁻¹] of the force field, ascending, imaginary ones negative.
        threshold: QM frequencies up to it [cm⁻¹] are not used; by default the imaginary ones.

    Returns:
        The QM frequencies, ascending, shape (n,) [cm⁻¹], and the computed mode of each, shape (n,), from 0: values and
        modes as `ReferenceData.add_frequencies` takes them.

    Raises:
        ReferenceDataError: frequencies that are not real, finite numbers, computed ones that are not ascending, numbers of
            frequencies that cannot be of the same molecule, or another threshold than above.
        MoleculeError: the molecule has no Hessian.
    """
    name = quantum.name if isinstance(quantum, Molecule) else "quantum"
    if isinstance(quantum, Molecule):
        quantum = quantum.normal_modes.frequencies
    quantum, computed = checked_spectrum(quantum, "quantum"), checked_spectrum(computed, "computed")
    check_ascending(computed)
    limit = checked_threshold(threshold)
    _check_counts(name, len(quantum), len(computed))
    values = np.sort(quantum)[np.sort(quantum) > limit]
    return values, np.arange(len(computed) - len(values), len(computed))


def _check_counts(name: str, n_quantum: int, n_computed: int) -> None:
    rigid = n_computed - n_quantum
    if n_computed % 3 == 0 and rigid in ({3: (3,), 6: (5,)}.get(n_computed, (5, 6))):
        return
    if rigid == 0 and n_computed:
        remedy = "They include rigid motions: give the Molecule, or its normal_modes.frequencies."
    else:
        remedy = "Give all vibrations of QM, the Molecule for short, and all 3N computed frequencies."
    raise ReferenceDataError(
        f"{name}: {n_quantum} vibrations cannot belong to {n_computed} computed frequencies: of 3N there are 3N - 6, or "
        f"3N - 5 of a linear molecule. {remedy}"
    )


def checked_spectrum(frequencies: ArrayLike, what: str) -> np.ndarray:
    """A list of finite frequencies, shape (n,) [cm⁻¹]; `what` they are stands in messages.

    Raises:
        ReferenceDataError: something else.
    """
    spectrum = real_array(frequencies, f"the {what} frequencies", ReferenceDataError, finite=False)
    if spectrum.ndim != 1:
        raise ReferenceDataError(f"the {what} frequencies must be one list, but have the shape {spectrum.shape}.")
    if not np.all(np.isfinite(spectrum)):
        number = int(np.flatnonzero(~np.isfinite(spectrum))[0])
        raise ReferenceDataError(f"the {what} frequency {number} is {spectrum[number]}; all must be finite.")
    return spectrum


def check_ascending(computed: np.ndarray) -> None:
    """Check that positions in a list of computed frequencies are mode numbers.

    Raises:
        ReferenceDataError: they are not ascending.
    """
    if np.any(np.diff(computed) < 0):
        raise ReferenceDataError(
            "the computed frequencies are not ascending, so their positions are not mode numbers; sort them first."
        )


def checked_threshold(threshold: float) -> float:
    """A limit of frequencies [cm⁻¹], which may be infinite.

    Raises:
        ReferenceDataError: something else.
    """
    limit = float(real_array(threshold, "the threshold", ReferenceDataError, shape=(), finite=False))
    if np.isnan(limit):
        raise ReferenceDataError("the threshold is nan; give the lower limit of a vibration in cm⁻¹.")
    return limit
