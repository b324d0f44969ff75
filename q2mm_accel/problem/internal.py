"""Internal coordinates of terms with their first and second Cartesian derivatives, in closed form.

At a fixed geometry these never change, so they are computed once, in float64, by NumPy: nothing has to be compiled. Where
molecules move (`kernel/coordinates.py`), the same formulas are traced: all functions take the array module, NumPy or
`jax.numpy`, as `xp`. Leading axis of all arrays: the terms. Names: `s_1` and `s_2` are the first and second derivative of s
by the difference vectors of the atoms, `f_s` that of f by s.

An angle θ is described by its supplement u = π - θ, and instead of ∂²u the smooth ∂²(u²)/2 = ∂u ∂uᵀ + u ∂²u is kept:
∂²u diverges as 1/u at a linear angle, while the Hessian of k (θ - π)² does not.
"""

from types import ModuleType

import numpy as np

NEARLY_LINEAR = 1e-3
"""Supplements [rad] below this, 0.06 degrees, count as linear. The energy of an angle whose equilibrium is not 180 degrees
has a kink at u = 0, and its Hessian grows as 1/u beside it: noise, in a geometry that is linear but for rounding."""

CLIPPED = float(np.arccos(1.0 - 1e-7))
"""[rad] How near to 0 or 180 degrees clipped angles get."""

_SERIES_LIMIT = 0.01
"""tan² u up to which u is computed from the series of arctan; nine terms leave less than 1e-17."""

_IDENTITY = np.eye(3)[None]
_DISTANCE_VECTORS = np.array([[-1.0, 1.0]])
_ANGLE_VECTORS = np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]])
_CHAIN_VECTORS = np.array([[-1.0, 1.0, 0.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 0.0, -1.0, 1.0]])


def distance_pieces(points, xp: ModuleType = np):
    """Distances of two points each, with first and second derivatives.

    Args:
        points: shape (n, 2, 3) [Å].
        xp: the array module.

    Returns:
        Distance (n,) [Å], gradient (n, 6), Hessian (n, 6, 6).
    """
    difference = points[:, 1] - points[:, 0]
    length = xp.sqrt(_dot(difference, difference))
    unit = difference / length[:, None]
    hessian = (_IDENTITY - _outer(unit, unit)) / length[:, None, None]
    return length, *_to_atoms(xp, _DISTANCE_VECTORS, unit, hessian)


def angle_pieces(points, xp: ModuleType = np):
    """Supplements u of the angles at the second of three points each, with ∂u and ∂²(u²)/2.

    With s = |a x b|², d = a·b and g = u/√s, the derivatives of f = u²/2 are f_s = -g d / 2R² and f_d = s g / R²,
    R² = s + d², because ∂u/∂√s = -d/R² and ∂u/∂d = √s/R².

    Args:
        points: shape (n, 3, 3) [Å].
        xp: the array module.

    Returns:
        u (n,) [rad], ∂u (n, 9), which is 0 where u is 0, and ∂²(u²)/2 (n, 9, 9).
    """
    a, b = points[:, 0] - points[:, 1], points[:, 2] - points[:, 1]
    cross, d = xp.cross(a, b), _dot(a, b)
    s = _dot(cross, cross)
    r2 = s + d**2
    g, g_s = _supplement_ratio(xp, s, d)
    f_s, f_d = -0.5 * g * d / r2, s * g / r2
    f_ss = -0.5 * d * (g_s / r2 - g / r2**2)
    f_sd = -0.5 * (g + d / r2) / r2 + g * d**2 / r2**2
    f_dd = s * (1.0 - 2.0 * d * g) / r2**2

    # With c = a x b and its Jacobian J: dc = -b x da + a x db, and ∂²s = 2 JᵀJ + 2 Σ_k c_k ∂²c_k, where ∂²c mixes a and b.
    jacobian = xp.concatenate([-_skew(xp, b), _skew(xp, a)], axis=2)
    s_1, d_1 = 2.0 * (jacobian * cross[:, :, None]).sum(axis=1), xp.concatenate([b, a], axis=1)
    zero, twist, one = xp.zeros_like(_skew(xp, a)), _skew(xp, cross), _IDENTITY + xp.zeros_like(_skew(xp, a))
    s_2 = 2.0 * xp.matmul(xp.swapaxes(jacobian, 1, 2), jacobian) + 2.0 * _blocks(xp, [[zero, -twist], [twist, zero]])
    d_2 = _blocks(xp, [[zero, one], [one, zero]])
    gradient = f_s[:, None] * s_1 + f_d[:, None] * d_1
    hessian = sum(
        factor[:, None, None] * matrix
        for factor, matrix in (
            (f_s, s_2),
            (f_d, d_2),
            (f_ss, _outer(s_1, s_1)),
            (f_sd, _outer(s_1, d_1) + _outer(d_1, s_1)),
            (f_dd, _outer(d_1, d_1)),
        )
    )
    first, second = _to_atoms(xp, _ANGLE_VECTORS, gradient, hessian)
    # ∂(u²/2) = u ∂u; at a linear angle ∂u has no direction, and 0 is its mean over all. √s has no derivative there.
    u = xp.where(s > 0.0, xp.sqrt(xp.where(s > 0.0, s, 1.0)) * g, 0.0)
    defined = (u > 0.0)[:, None]
    return u, xp.where(defined, first / xp.where(defined, u[:, None], 1.0), 0.0), second


def clipped_angle_pieces(points, xp: ModuleType = np):
    """As `angle_pieces`, but angles nearer to 0 or 180 degrees than `CLIPPED` are there, and have no derivatives.

    Source: q2mm's `_safe_arccos`, backends/mm/jax_engine.py (5.0.0a2 and 0c795729).
    """
    u, first, second = angle_pieces(points, xp)
    inside = (u > CLIPPED) & (u < np.pi - CLIPPED)
    value = xp.clip(u, CLIPPED, np.pi - CLIPPED)
    return value, xp.where(inside[:, None], first, 0.0), xp.where(inside[:, None, None], second, 0.0)


def dihedral_pieces(points, xp: ModuleType = np):
    """Dihedrals φ of four points each, by atan2 with the sign of IUPAC, with first and second derivatives.

    With the bond vectors a, v, c: y = |v| a·(v x c) and x = (a·v)(v·c) - (a·c)(v·v), and φ = atan2(y, x), so that
    ∂φ = (x ∂y - y ∂x) / (x² + y²).

    Args:
        points: shape (n, 4, 3) [Å].
        xp: the array module.

    Returns:
        φ (n,) [rad], gradient (n, 12), Hessian (n, 12, 12).
    """
    a, v, c = points[:, 1] - points[:, 0], points[:, 2] - points[:, 1], points[:, 3] - points[:, 2]
    x, x_1, x_2 = _cosine_part(xp, a, v, c)
    y, y_1, y_2 = _sine_part(xp, a, v, c)
    norm = x**2 + y**2
    gradient = (x[:, None] * y_1 - y[:, None] * x_1) / norm[:, None]
    turned = _outer(y_1, x_1) - _outer(x_1, y_1)
    slope = 2.0 * (x[:, None] * x_1 + y[:, None] * y_1)
    x, y, norm = (value[:, None, None] for value in (x, y, norm))
    # quotient rule; neither `turned` nor the last term is symmetric, but their sum is
    hessian = (x * y_2 - y * x_2 + turned - _outer(gradient, slope)) / norm
    return xp.arctan2(y, x)[:, 0, 0], *_to_atoms(xp, _CHAIN_VECTORS, gradient, hessian)


def _supplement_ratio(xp, s, d):
    """The ratio g = u / √s with u = atan2(√s, -d), and ∂g/∂s: smooth in s down to a linear angle.

    There g = arctan(√z) / √z / |d| with z = tan² u = s/d², as the series (1 - z/3 + z²/5 - ...) / |d|.
    """
    # `where` computes both sides: the one that is not chosen gets harmless arguments
    negative = d < 0.0
    tangent_squared = s / xp.where(d == 0.0, 1.0, d) ** 2
    linear = negative & (tangent_squared < _SERIES_LIMIT)
    z, length = xp.where(linear, tangent_squared, 0.0), xp.where(linear, -d, 1.0)
    series = sum((-z) ** n / (2 * n + 1) for n in range(9)) / length
    series_s = sum(-n * (-z) ** (n - 1) / (2 * n + 1) for n in range(1, 10)) / length**3
    safe = xp.where(linear, 1.0, s)
    root = xp.sqrt(safe)
    g = xp.where(linear, series, xp.arctan2(root, -d) / root)
    return g, xp.where(linear, series_s, -(d / (safe + d**2) + g) / (2.0 * safe))


def _cosine_part(xp, a, v, c):
    """The dihedral's x = (a·v)(v·c) - (a·c)(v·v), with derivatives by (a, v, c)."""
    av, vc, ac, vv = (_dot(*pair)[:, None] for pair in ((a, v), (v, c), (a, c), (v, v)))
    first = xp.concatenate([v * vc - c * vv, a * vc + c * av - 2.0 * ac * v, v * av - a * vv], axis=1)
    value = (av * vc - ac * vv)[:, 0]
    av, vc, ac, vv = (dot[:, :, None] * _IDENTITY for dot in (av, vc, ac, vv))
    x_av = vc + _outer(v, c) - 2.0 * _outer(c, v)
    x_ac = _outer(v, v) - vv
    x_vv = _outer(a, c) + _outer(c, a) - 2.0 * ac
    x_vc = _outer(a, v) + av - 2.0 * _outer(v, a)
    zero = xp.zeros_like(x_av)
    lower = (xp.swapaxes(block, 1, 2) for block in (x_av, x_ac, x_vc))
    x_va, x_ca, x_cv = lower
    return value, first, _blocks(xp, [[zero, x_av, x_ac], [x_va, x_vv, x_vc], [x_ca, x_cv, zero]])


def _sine_part(xp, a, v, c):
    """The dihedral's y = |v| a·(v x c), with derivatives by (a, v, c): a product of a length and a triple product."""
    length, triple = xp.sqrt(_dot(v, v)), _dot(a, xp.cross(v, c))
    t_1 = xp.concatenate([xp.cross(v, c), xp.cross(c, a), xp.cross(a, v)], axis=1)
    t_a, t_v, t_c = (_skew(xp, vector) for vector in (a, v, c))
    zero = xp.zeros_like(t_a)
    t_2 = _blocks(xp, [[zero, -t_c, t_v], [t_c, zero, -t_a], [-t_v, t_a, zero]])
    unit = v / length[:, None]
    l_1 = xp.concatenate([xp.zeros_like(v), unit, xp.zeros_like(v)], axis=1)
    l_vv = (_IDENTITY - _outer(unit, unit)) / length[:, None, None]
    l_2 = _blocks(xp, [[zero, zero, zero], [zero, l_vv, zero], [zero, zero, zero]])
    first = triple[:, None] * l_1 + length[:, None] * t_1
    second = triple[:, None, None] * l_2 + _outer(l_1, t_1) + _outer(t_1, l_1) + length[:, None, None] * t_2
    return length * triple, first, second


def _to_atoms(xp, combination, gradient, hessian):
    """Derivatives by the coordinates of k atoms, (n, 3k) and (n, 3k, 3k), from those by difference vectors of the atoms.

    Args:
        xp: the array module.
        combination: (vectors, k), each vector as a sum of atoms with these coefficients.
        gradient: (n, 3 vectors).
        hessian: (n, 3 vectors, 3 vectors).
    """
    n_vectors, n_atoms = combination.shape
    by_vector = gradient.reshape(-1, n_vectors, 3)
    first = xp.einsum("va,nvx->nax", combination, by_vector).reshape(-1, 3 * n_atoms)
    spread = np.kron(combination, np.eye(3))
    return first, xp.matmul(xp.matmul(spread.T, hessian), spread)


def _dot(first, second):
    return (first * second).sum(axis=-1)


def _outer(first, second):
    return first[:, :, None] * second[:, None, :]


def _skew(xp, vectors):
    """The matrices of `vectors` x, shape (n, 3, 3)."""
    x, y, z = (vectors[:, axis] for axis in range(3))
    zero = xp.zeros_like(x)
    rows = ([zero, -z, y], [z, zero, -x], [-y, x, zero])
    return xp.stack([xp.stack(row, axis=1) for row in rows], axis=1)


def _blocks(xp, rows):
    """Block matrices of (n, 3, 3) blocks."""
    return xp.concatenate([xp.concatenate(row, axis=2) for row in rows], axis=1)


PIECES = {
    "distance": distance_pieces,
    "angle": angle_pieces,
    "clipped_angle": clipped_angle_pieces,
    "dihedral": dihedral_pieces,
}
"""Value and derivatives of each measure: (points (n, atoms, 3), xp) -> (n,), (n, 3k), (n, 3k, 3k)."""
