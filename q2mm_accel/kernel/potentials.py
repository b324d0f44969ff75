"""Energies of single terms as scalar functions, and the functional forms made of them.

Every potential acts element by element on arrays (write it with `jax.numpy`); its derivatives come from JAX. Bonds,
angles and Urey-Bradley terms see the deviation of their coordinate from its equilibrium, so that nothing is lost by
subtraction near a linear angle. Energies are in kcal/mol, lengths in Å, angles in radians.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax.numpy as jnp

from q2mm_accel.errors import FormError

_PER_RADIAN = 180.0 / math.pi
_MINIMUM_TO_SIGMA = 2.0 / 2.0 ** (1.0 / 6.0)
_WALL = 0.34


def harmonic(deviation, force_constant, equilibrium):
    """E = k d², without a factor 1/2 (q2mm's and AMBER's convention)."""
    return force_constant * deviation**2


def mm3_bond(deviation, force_constant, equilibrium):
    """E = k d² (1 - 2.55 d + 7/12 2.55² d²), d in Å.

    Source: Allinger, Yuh, Lii, J. Am. Chem. Soc. 1989, 111, 8551; coefficients as in q2mm.
    """
    return force_constant * deviation**2 * (1.0 - 2.55 * deviation + (7.0 / 12.0) * 2.55**2 * deviation**2)


def mm3_angle(deviation, force_constant, equilibrium):
    """E = k d² (1 - 0.014 D + 5.6e-5 D² - 7e-7 D³ + 9e-10 D⁴), d in radians and D the same in degrees.

    Source: Allinger, Yuh, Lii, J. Am. Chem. Soc. 1989, 111, 8551; coefficients as in q2mm.
    """
    d = deviation * _PER_RADIAN
    return force_constant * deviation**2 * (1.0 - 0.014 * d + 5.6e-5 * d**2 - 7.0e-7 * d**3 + 9.0e-10 * d**4)


def cosine_torsion(angle, force_constant, periodicity, phase):
    """E = k (1 + cos(n φ - γ)), for proper and improper torsions."""
    return force_constant * (1.0 + jnp.cos(periodicity * angle - phase))


def lennard_jones(distance, radius, epsilon):
    """E = 4 ε ((σ/r)¹² - (σ/r)⁶) with σ = 2 R / 2^(1/6), R half the distance of the minimum."""
    sixth = (_MINIMUM_TO_SIGMA * radius / distance) ** 6
    return 4.0 * epsilon * (sixth**2 - sixth)


def mm3_vdw(distance, radius, epsilon):
    """E = ε (184000 exp(-12 r/R) - 2.25 (R/r)⁶); for r < 0.34 R the wall ε 184000 exp(-12 0.34) (0.34 R/r)¹².

    R is the sum of the two radii. At the wall the attraction is dropped, as in q2mm: the energy has a step there.
    Source: Allinger, Yuh, Lii, J. Am. Chem. Soc. 1989, 111, 8551; wall as in q2mm.
    """
    edge = _WALL * radius
    outside = 184000.0 * jnp.exp(-12.0 * distance / radius) - 2.25 * (radius / distance) ** 6
    wall = 184000.0 * math.exp(-12.0 * _WALL) * (edge / distance) ** 12
    return epsilon * jnp.where(distance >= edge, outside, wall)


def geometric_mean(first, second):
    """√(a b), as a product of roots."""
    return jnp.sqrt(first) * jnp.sqrt(second)


def total(first, second):
    """A + b."""
    return first + second


@dataclass(frozen=True)
class Form:
    """The potentials of one functional form.

    Attributes:
        bond: (deviation [Å], force constant, equilibrium [Å]) -> kcal/mol.
        angle: (deviation [rad], force constant, equilibrium [rad]) -> kcal/mol.
        torsion: (dihedral [rad], force constant, periodicity, phase [rad]) -> kcal/mol.
        urey_bradley: as bond, for the distance of an angle's outer atoms.
        combine_radii: two atoms' radii -> the pair's radius.
        vdw: (distance [Å], the pair's radius [Å], the pair's ε) -> kcal/mol; ε is √(ε_i ε_j) in every form.
    """

    bond: Callable
    angle: Callable
    torsion: Callable
    urey_bradley: Callable
    combine_radii: Callable
    vdw: Callable


_FORMS = {
    "harmonic": Form(harmonic, harmonic, cosine_torsion, harmonic, geometric_mean, lennard_jones),
    "mm3": Form(mm3_bond, mm3_angle, cosine_torsion, harmonic, total, mm3_vdw),
}


def register_form(name: str, like: str = "harmonic", **potentials: Callable) -> None:
    """Make a new functional form known under a name, for `ForceField(form=name)`.

    Args:
        name: the new form's name.
        like: an existing form whose potentials it keeps where none is given.
        potentials: fields of `Form` to replace.

    Raises:
        FormError: the name is taken, `like` is unknown, or a keyword is no field of `Form`.
    """
    if name in _FORMS:
        raise FormError(f"the form {name!r} exists already; choose another name.")
    unknown = set(potentials) - set(Form.__dataclass_fields__)
    if unknown:
        raise FormError(f"{name!r}: unknown potential {sorted(unknown)}; a form has {list(Form.__dataclass_fields__)}.")
    _FORMS[name] = replace(form_named(like), **potentials)


def form_named(name: str) -> Form:
    """The functional form of that name.

    Raises:
        FormError: there is none.
    """
    if not isinstance(name, str) or name not in _FORMS:
        raise FormError(f"unknown functional form {name!r}; known are {', '.join(sorted(_FORMS))}.")
    return _FORMS[name]
