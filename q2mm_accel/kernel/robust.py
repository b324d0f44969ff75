"""Robust losses as residuals: SciPy's Σ C² ρ((r/C)²) of `least_squares`, written as a sum of squares.

A residual r becomes s = r sqrt(ρ(z) / z), z = (r/C)², so that s² = C² ρ(z) and everything that works on sums of squares
stays right. Near 0, ρ(z) / z is a series or a form without cancellation; far away s = ±C sqrt(ρ) from |r/C|, whose square
could overflow.

Source of the definitions: documentation of scipy.optimize.least_squares.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp


class RobustLoss(NamedTuple):
    """ρ in two pieces that meet at |r/C| = `border`."""

    border: float
    ratio: Callable
    """ρ(z) / z from z, below."""
    rho: Callable
    """ρ from t = |r/C|, above."""


_TERMS = 12
"""Of a series in z <= 0.01: the first one left out is below 1e-23, below rounding in second derivatives too."""
_SATURATED = 1e9
"""From this t on, arctan(t²) is π/2 to the last digit."""


def _series(z, coefficients):
    """Σ coefficients[k] z^k, by Horner's rule."""
    total = jnp.zeros_like(z)
    for coefficient in reversed(coefficients):
        total = total * z + coefficient
    return total


def _log1p_ratio(z):
    """ln(1 + z) / z."""
    return _series(z, [(-1.0) ** k / (k + 1) for k in range(_TERMS)])


def _arctan_ratio(z):
    """arctan(z) / z."""
    return _series(z * z, [(-1.0) ** k / (2 * k + 1) for k in range(_TERMS)])


# soft_l1: 2 (√(1 + z) - 1) = 2 z / (1 + √(1 + z)); far away t √(1 + 1/t²) stands for √(1 + t²), whose square could overflow.
# cauchy: ln(1 + t²) = ln(e⁰ + e^(2 ln t)). arctan: near 0 a series in z², for arctan(z) is odd.
_RHO = {
    "soft_l1": RobustLoss(
        1.0, lambda z: 2.0 / (1.0 + jnp.sqrt(1.0 + z)), lambda t: 2.0 * (t * jnp.sqrt(1.0 + (1.0 / t) ** 2) - 1.0)
    ),
    "huber": RobustLoss(1.0, jnp.ones_like, lambda t: 2.0 * t - 1.0),
    "cauchy": RobustLoss(0.1, _log1p_ratio, lambda t: jnp.logaddexp(jnp.zeros_like(t), 2.0 * jnp.log(t))),
    "arctan": RobustLoss(0.1, _arctan_ratio, lambda t: jnp.arctan(jnp.minimum(t, _SATURATED) ** 2)),
}
"""By SciPy's names; "linear" is the residual itself."""


def shaped(name: str, residuals, f_scale):
    """The residuals (R,) whose squares sum to a loss.

    Args:
        name: one of `problem.checks.LOSSES`.
        residuals: (R,).
        f_scale: C, the deviation from which on residuals count less.

    Returns:
        (R,), with the signs of the residuals; smooth at 0.
    """
    if name == "linear":
        return residuals
    loss = _RHO[name]
    ratio = residuals / f_scale
    inside = jnp.abs(ratio) <= loss.border
    # both pieces see only arguments at which they are smooth: the derivative of the one not chosen must be finite too
    near = residuals * jnp.sqrt(loss.ratio(jnp.where(inside, ratio, 0.0) ** 2))
    far = jnp.sign(residuals) * f_scale * jnp.sqrt(loss.rho(jnp.where(inside, loss.border, jnp.abs(ratio))))
    return jnp.where(inside, near, far)
