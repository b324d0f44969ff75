"""Where the fits of a multi-start begin."""

import numpy as np

from q2mm_accel.errors import OptionError

SAMPLINGS = ("perturbation", "sobol")
"""How starts are drawn: around x0, or over the whole space between the bounds."""


def draw_starts(
    x0: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    scale: np.ndarray,
    n_starts: int,
    sampling: str,
    spread: float,
    seed: int,
) -> np.ndarray:
    """Starts within the bounds, the first of which is x0; the same for the same seed.

    Both ways take a scrambled Sobol sequence (`scipy.stats.qmc.Sobol`), which covers the space more evenly than
    independent draws.

    Args:
        x0: shape (n,).
        lower: shape (n,).
        upper: shape (n,).
        scale: shape (n,), the typical change of each element.
        n_starts: S.
        sampling: "perturbation" within ±spread times |x0| (or the typical change, where that is larger), or "sobol"
            between the bounds.
        spread: size of the perturbations.
        seed: of the sequence.

    Returns:
        Shape (S, n).

    Raises:
        OptionError: "sobol" with an infinite bound.
    """
    if sampling == "sobol":
        if not np.all(np.isfinite(lower) & np.isfinite(upper)):
            raise OptionError("sampling='sobol' needs finite bounds for every parameter; use sampling='perturbation'.")
        low, high = lower, upper
    else:
        reach = spread * np.maximum(np.abs(x0), scale)
        low, high = np.maximum(x0 - reach, lower), np.minimum(x0 + reach, upper)
    if n_starts == 1:
        return x0[None].copy()
    from scipy.stats import qmc  # takes longer to import than all of this package

    # a Sobol sequence is balanced in powers of 2 only; what is left over is not used
    sequence = qmc.Sobol(len(x0), rng=seed).random_base2((n_starts - 1).bit_length())
    drawn = low + sequence[: n_starts - 1] * (high - low)
    return np.concatenate([x0[None], np.clip(drawn, lower, upper)])
