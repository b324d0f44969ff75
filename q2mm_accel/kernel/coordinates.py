"""Internal coordinates of single terms with their first and second Cartesian derivatives.

At a fixed geometry these never change, so they are computed once, in float64. The derivatives are written out, in terms
of the vectors between neighbouring atoms: they compile in a fraction of the time that `jax.hessian` of a dihedral takes.

An angle θ is described by its supplement u = π - θ, and instead of ∂²u the smooth ∂²(u²)/2 = ∂u ∂uᵀ + u ∂²u is kept:
∂²u diverges as 1/u at a linear angle, while the Hessian of k (θ - π)² does not.
"""

import jax
import jax.numpy as jnp
import numpy as np

NEARLY_LINEAR = 1e-6
"""Supplements [rad] below this count as linear: ∂u has no defined direction at coordinates of float64."""

_SERIES_LIMIT = 0.01
"""tan² u up to which u is computed from the series of arctan; nine terms leave less than 1e-17."""

_ANGLE_VECTORS = np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]])
_CHAIN_VECTORS = np.array([[-1.0, 1.0, 0.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 0.0, -1.0, 1.0]])


def _to_atoms(combination, gradient, hessian):
    """Derivatives with respect to difference vectors -> with respect to the k atoms' coordinates."""
    n_vectors, n_atoms = combination.shape
    first = jnp.einsum("va,vx->ax", combination, gradient.reshape(n_vectors, 3))
    blocks = hessian.reshape(n_vectors, 3, n_vectors, 3)
    second = jnp.einsum("va,vxwy,wb->axby", combination, blocks, combination)
    return first.reshape(3 * n_atoms), second.reshape(3 * n_atoms, 3 * n_atoms)


def _skew(vector):
    """The matrix of `vector` x."""
    x, y, z = vector
    return jnp.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def distance_pieces(points):
    """Distance of two points, shape (2, 3), with its gradient (6,) and Hessian (6, 6)."""
    difference = points[1] - points[0]
    length = jnp.sqrt(jnp.dot(difference, difference))
    unit = difference / length
    hessian = (jnp.eye(3) - jnp.outer(unit, unit)) / length
    return length, *_to_atoms(np.array([[-1.0, 1.0]]), unit, hessian)


def supplement_ratio(cross_squared, dot):
    """U / |a x b| with u = atan2(|a x b|, -a·b), a smooth function of |a x b|² down to a linear angle."""
    tangent_squared = cross_squared / jnp.where(dot == 0.0, 1.0, dot) ** 2
    linear = (dot < 0.0) & (tangent_squared < _SERIES_LIMIT)
    z = jnp.where(linear, tangent_squared, 0.0)
    series = sum((-z) ** n / (2 * n + 1) for n in range(9)) / jnp.where(linear, -dot, 1.0)
    length = jnp.sqrt(jnp.where(linear, 1.0, cross_squared))
    return jnp.where(linear, series, jnp.arctan2(length, -dot) / length)


def angle_pieces(points):
    """Supplement u of the angle at the second of three points, shape (3, 3), with ∂u (9,) and ∂²(u²)/2 (9, 9).

    With s = |a x b|², d = a·b and g = u/√s, the derivatives of f = u²/2 are f_s = -g d / 2R² and f_d = s g / R²,
    R² = s + d², because ∂u/∂√s = -d/R² and ∂u/∂d = √s/R². ∂u is 0 where u is 0.
    """
    a, b = points[0] - points[1], points[2] - points[1]
    cross, dot = jnp.cross(a, b), jnp.dot(a, b)
    s, r2 = jnp.dot(cross, cross), jnp.dot(cross, cross) + dot**2
    g, g_s = jax.value_and_grad(supplement_ratio)(s, dot)
    f_s, f_d = -0.5 * g * dot / r2, s * g / r2
    f_ss = -0.5 * dot * (g_s / r2 - g / r2**2)
    f_sd = -0.5 * (g + dot / r2) / r2 + g * dot**2 / r2**2
    f_dd = s * (1.0 - 2.0 * dot * g) / r2**2

    jacobian = jnp.concatenate([-_skew(b), _skew(a)], axis=1)
    s_1, d_1 = 2.0 * jacobian.T @ cross, jnp.concatenate([b, a])
    zero, twist, one = jnp.zeros((3, 3)), _skew(cross), jnp.eye(3)
    s_2 = 2.0 * jacobian.T @ jacobian + 2.0 * jnp.block([[zero, -twist], [twist, zero]])
    d_2 = jnp.block([[zero, one], [one, zero]])
    mixed = jnp.outer(s_1, d_1)
    gradient = f_s * s_1 + f_d * d_1
    hessian = f_s * s_2 + f_d * d_2 + f_ss * jnp.outer(s_1, s_1) + f_sd * (mixed + mixed.T) + f_dd * jnp.outer(d_1, d_1)
    first, second = _to_atoms(_ANGLE_VECTORS, gradient, hessian)
    u = jnp.sqrt(s) * g
    return u, jnp.where(u > 0.0, first / jnp.where(u > 0.0, u, 1.0), 0.0), second


def dihedral_pieces(points):
    """Dihedral φ of four points, shape (4, 3), by atan2 with the sign of IUPAC, its gradient (12,) and Hessian (12, 12).

    With the bond vectors a, v, c: y = |v| a·(v x c) and x = (a·v)(v·c) - (a·c)(v·v), and φ = atan2(y, x), so that
    ∂φ = (x ∂y - y ∂x) / (x² + y²).
    """
    a, v, c = points[1] - points[0], points[2] - points[1], points[3] - points[2]
    one, zero = jnp.eye(3), jnp.zeros((3, 3))
    av, vc, ac, vv = jnp.dot(a, v), jnp.dot(v, c), jnp.dot(a, c), jnp.dot(v, v)
    x = av * vc - ac * vv
    x_1 = jnp.concatenate([v * vc - c * vv, a * vc + c * av - 2.0 * ac * v, v * av - a * vv])
    x_av = vc * one + jnp.outer(v, c) - 2.0 * jnp.outer(c, v)
    x_ac = jnp.outer(v, v) - vv * one
    x_vv = jnp.outer(a, c) + jnp.outer(c, a) - 2.0 * ac * one
    x_vc = jnp.outer(a, v) + av * one - 2.0 * jnp.outer(v, a)
    x_2 = jnp.block([[zero, x_av, x_ac], [x_av.T, x_vv, x_vc], [x_ac.T, x_vc.T, zero]])

    length, triple = jnp.sqrt(vv), jnp.dot(a, jnp.cross(v, c))
    t_1 = jnp.concatenate([jnp.cross(v, c), jnp.cross(c, a), jnp.cross(a, v)])
    t_2 = jnp.block([[zero, -_skew(c), _skew(v)], [_skew(c), zero, -_skew(a)], [-_skew(v), _skew(a), zero]])
    l_1 = jnp.concatenate([jnp.zeros(3), v / length, jnp.zeros(3)])
    l_vv = (one - jnp.outer(v, v) / vv) / length
    l_2 = jnp.block([[zero, zero, zero], [zero, l_vv, zero], [zero, zero, zero]])
    y, y_1 = length * triple, triple * l_1 + length * t_1
    mixed = jnp.outer(l_1, t_1)
    y_2 = triple * l_2 + mixed + mixed.T + length * t_2

    norm = x**2 + y**2
    gradient = (x * y_1 - y * x_1) / norm
    turned = jnp.outer(y_1, x_1) - jnp.outer(x_1, y_1)
    slope = 2.0 * (x * x_1 + y * y_1)
    hessian = (x * y_2 - y * x_2 + turned - jnp.outer(gradient, slope)) / norm
    return jnp.arctan2(y, x), *_to_atoms(_CHAIN_VECTORS, gradient, hessian)


def local_pieces(bonds, angles, torsions):
    """Coordinates and derivatives of all terms.

    Args:
        bonds: points of distances, shape (n_bonds, 2, 3) [Å].
        angles: points of angles, shape (n_angles, 3, 3) [Å].
        torsions: points of dihedrals, shape (n_torsions, 4, 3) [Å].

    Returns:
        For each kind a tuple (coordinate (n,), first derivatives (n, 3k), second derivatives (n, 3k, 3k)): distance
        [Å], supplement of the angle [rad] (with ∂²(u²)/2 as second derivatives), dihedral [rad].
    """
    return jax.vmap(distance_pieces)(bonds), jax.vmap(angle_pieces)(angles), jax.vmap(dihedral_pieces)(torsions)
