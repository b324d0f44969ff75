"""The internal variables of the solvers: x in units of typical changes, in a box or without bounds.

Internal and external are MINUIT's words: the solver sees the internal variables y, the user the external ones, x.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

_NUDGE = 1e-3
"""How far from its bounds a smoothly bounded variable starts, relative to their distance ..."""
_LARGEST_NUDGE = 0.1
"""... but at most, in typical changes."""
_ROUNDINGS = 4.0
"""How close to a bound an internal variable is at it, relative to the variable in units of rounding."""


class Space(NamedTuple):
    """How internal variables y, (n,), become elements of x, and the box that holds them."""

    smooth: bool
    """Whether bounds are kept by a smooth function of unbounded variables, and not by a box."""

    def box(self, scale, lower, upper) -> tuple[Array, Array]:
        """Bounds of y."""
        if self.smooth:
            return jnp.full_like(lower, -jnp.inf), jnp.full_like(upper, jnp.inf)
        return lower / scale, upper / scale

    def outside(self, internal, scale, lower, upper) -> tuple[Array, Array]:
        """The external x and its derivative dx/dy, (n,) each.

        With a box x = y scale. A variable at its bound but for rounding is exactly there: a solver that asks which variables
        their bounds hold would otherwise count for ever on one that cannot move.
        Smoothly, as in MINUIT: a sine between two bounds, a branch of a hyperbola above or below a single one.
        (F. James, M. Roos, Comput. Phys. Commun. 10, 343, 1975.)
        """
        if not self.smooth:
            reach = _ROUNDINGS * jnp.finfo(internal.dtype).eps * jnp.abs(internal)
            least, most = self.box(scale, lower, upper)
            value = jnp.clip(internal * scale, lower, upper)
            value = jnp.where(internal - least <= reach, lower, value)
            return jnp.where(most - internal <= reach, upper, value), scale
        below, above = jnp.isfinite(lower), jnp.isfinite(upper)
        # Every branch below is computed for every variable, so that each must stay finite where another is chosen.
        half = jnp.where(below & above, 0.5 * (upper - lower), 1.0)
        fixed = half == 0.0
        # dx/dy is then `scale` in the middle between the bounds, and y in the same units as that of a free variable
        angle = internal * scale / jnp.where(fixed, 1.0, half)
        root = jnp.sqrt(internal**2 + 1.0)
        one_sided = jnp.where(below, lower + scale * (root - 1.0), upper - scale * (root - 1.0))
        value = jnp.where(below & above, jnp.where(fixed, lower, lower + half * (1.0 + jnp.sin(angle))), one_sided)
        one_sided_slope = scale * internal / root * jnp.where(below, 1.0, -1.0)
        slope = jnp.where(below & above, jnp.where(fixed, 0.0, scale * jnp.cos(angle)), one_sided_slope)
        free = ~below & ~above
        # rounding of sine and root
        value = jnp.where(free, internal * scale, jnp.clip(value, lower, upper))
        return value, jnp.where(free, scale, slope)

    def inside(self, x: np.ndarray, scale: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """The y of an x within its bounds, (..., n); at a bound, where the smooth function is flat, of one close to it."""
        if not self.smooth:
            return x / scale
        below, above = np.isfinite(lower), np.isfinite(upper)
        both = below & above
        half = np.where(both & (upper > lower), 0.5 * (np.where(both, upper - lower, 2.0)), 1.0)
        nudge = np.minimum(_NUDGE, _LARGEST_NUDGE * scale / half)
        position = np.clip((x - np.where(below, lower, 0.0)) / half - 1.0, nudge - 1.0, 1.0 - nudge)
        distance = np.where(below, x - np.where(below, lower, 0.0), np.where(above, upper, 0.0) - x) / scale
        one_sided = np.sqrt((np.maximum(distance, _NUDGE) + 1.0) ** 2 - 1.0)
        bounded = np.where(both, half / scale * np.arcsin(position), one_sided)
        return np.where(below | above, np.where(both & (upper == lower), 0.0, bounded), x / scale)


BOX, SMOOTH = Space(False), Space(True)
