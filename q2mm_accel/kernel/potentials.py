"""Energies of single terms as scalar functions, and the functional forms made of them.

Every potential acts element by element on arrays (write it with `jax.numpy`); its derivatives come from JAX. It takes the
coordinates of its kind (model/kinds.py), then the parameters, those of other kinds that it reads, and the constants. Where a
kind declares an equilibrium, the potential sees the deviation from it, so that nothing is lost by subtraction near a linear
angle. Energies are in kcal/mol, lengths in Å, angles in radians, charges in e.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax.numpy as jnp

from q2mm_accel.errors import FormError
from q2mm_accel.model.arguments import truth
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import (
    FORMS,
    KINDS,
    Coordinate,
    Form,
    Kind,
    PairKind,
    add_kind,
    form_named,
    pair_kinds,
)

_PER_RADIAN = 180.0 / math.pi
_MINIMUM_TO_SIGMA = 2.0 / 2.0 ** (1.0 / 6.0)
_WALL = 0.34
_DAMPED_FROM, _DAMPED_TO = math.sin(math.radians(10.0)), math.sin(math.radians(5.0))
"""Sines of the angle below which MM3's stretch-bend, and damped torsions, fade out, and at which they are gone."""
COULOMB = 332.06
"""[kcal/mol Å/e²] Energy of two unit charges at 1 Å."""


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


def coulomb(distance, charges):
    """E = 332.06 q_i q_j / r, from the product of the charges."""
    return COULOMB * charges / distance


def stretch_stretch(first, second, force_constant, *_):
    """E = k d_1 d_2."""
    return force_constant * first * second


def stretch_bend(first, second, bend, force_constant, *_):
    """E = k (d_1 + d_2) d_θ."""
    return force_constant * (first + second) * bend


def mm3_stretch_bend(first, second, bend, force_constant, first_length, second_length, angle):
    """E = w k (d_1 + d_2) d_θ, with the w of `faded` by the sine of the angle: near a straight angle it has no direction.

    Source: Allinger, Yuh, Lii, J. Am. Chem. Soc. 1989, 111, 8551; fading as in q2mm after its version 5.0.0a2.
    """
    return faded(jnp.sin(angle + bend)) * stretch_bend(first, second, bend, force_constant)


def bond_bend(stretch, bend, force_constant, *_):
    """E = k d dθ, of one bond of an angle."""
    return force_constant * stretch * bend


def mm3_bond_bend(stretch, bend, force_constant, length, angle):
    """E = w k d dθ, with the w of `mm3_stretch_bend`."""
    return faded(jnp.sin(angle + bend)) * bond_bend(stretch, bend, force_constant)


def bend_bend(first, second, force_constant, *_):
    """E = k d_1 d_2, of two angles at one atom."""
    return force_constant * first * second


@dataclass(frozen=True)
class Damped:
    """E = w e(φ), with the w of `faded` by the smaller sine of the two inner angles.

    The dihedral's own derivatives grow without bound as an inner angle becomes straight.
    Source: q2mm after its version 5.0.0a2.
    """

    energy: Callable

    def __call__(self, angle, first, second, *parameters):
        """From the dihedral and its two inner angles [rad]."""
        return faded(jnp.minimum(jnp.sin(first), jnp.sin(second))) * self.energy(angle, *parameters)


def faded(sine):
    """W = t² (3 - 2 t), t from 0 to 1 between the sines of 5 and 10 degrees."""
    t = jnp.clip((sine - _DAMPED_TO) / (_DAMPED_FROM - _DAMPED_TO), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def geometric_mean(first, second):
    """√(a b), as a product of roots."""
    return jnp.sqrt(first) * jnp.sqrt(second)


def geometric_mean_or_nothing(first, second):
    """√(a b) with the derivative 0 where one is 0, as where a force field switches a type off; NaN below 0."""
    return _root(first) * _root(second)


def _root(values):
    zero = values == 0.0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, values)))


def arithmetic_mean(first, second):
    """(a + b) / 2."""
    return 0.5 * (first + second)


def total(first, second):
    """A + b."""
    return first + second


def product(first, second):
    """A b."""
    return first * second


_DAMPED_TORSION = (
    Coordinate("dihedral", (0, 1, 2, 3)),
    Coordinate("angle", (0, 1, 2)),
    Coordinate("angle", (1, 2, 3)),
)

_CLIPPED_ANGLES = {"angle": (Coordinate("clipped_angle", (0, 1, 2), equilibrium=1),)}
"""q2mm's: within 0.026 degrees of a straight angle a term has no force and no stiffness."""

_COMMON = {
    "bond": harmonic,
    "angle": harmonic,
    "torsion": cosine_torsion,
    "vdw": lennard_jones,
    "urey_bradley": harmonic,
    "harmonic_dihedral": harmonic,
    "improper": cosine_torsion,
    "harmonic_improper": harmonic,
    "stretch_stretch": stretch_stretch,
    "stretch_bend": stretch_bend,
    "bond_bend": bond_bend,
    "bend_bend": bend_bend,
    "coulomb": coulomb,
    "special_vdw": lennard_jones,
}
"""Energy of each kind where a form has no other."""

_GEOMETRIC = {"vdw_radii": geometric_mean, "vdw_epsilons": geometric_mean_or_nothing, "coulomb_charges": product}

FORMS["harmonic"] = Form(_COMMON, _GEOMETRIC)
FORMS["mm3"] = Form(
    _COMMON
    | {
        "bond": mm3_bond,
        "angle": mm3_angle,
        "vdw": mm3_vdw,
        "stretch_bend": mm3_stretch_bend,
        "bond_bend": mm3_bond_bend,
        "special_vdw": mm3_vdw,
    },
    _GEOMETRIC | {"vdw_radii": total},
    faded=frozenset({"stretch_bend", "bond_bend"}),
)
FORMS["harmonic-clipped"] = replace(FORMS["harmonic"], coordinates=_CLIPPED_ANGLES)
FORMS["mm3-clipped"] = replace(FORMS["mm3"], coordinates=_CLIPPED_ANGLES)
FORMS["amber"] = Form(_COMMON, _GEOMETRIC | {"vdw_radii": arithmetic_mean}, one_four={"vdw": 0.5, "coulomb": 1.0 / 1.2})


def register_form(name: str, like: str = "harmonic", *, damped_torsions: bool | None = None, **potentials: Callable) -> None:
    """Make a new functional form known under a name, for `ForceField(form=name)`.

    Args:
        name: the new form's name.
        like: an existing form whose potentials it keeps where none is given.
        damped_torsions: whether torsions fade out as an inner angle becomes straight, below 10 degrees; as in `like` by
            default. They are exact in the forms that come with the package. A given `torsion` is that without fading.
        potentials: name of a kind -> its energy, as `kernel.potentials` describes it; or how pairs combine the parameters
            of two atoms: combine_radii, combine_epsilons, combine_charges, and so on for the fields of other kinds of
            pairs, in full (combine_<field>) where two kinds would share the short name.

    Raises:
        FormError: the name is taken, `like` is unknown, or a keyword is neither a kind nor a combination, or no function.
    """
    if not isinstance(name, str) or not name:
        raise FormError(f"the name of a form is {name!r}; give a word.")
    if name in FORMS:
        raise FormError(f"the form {name!r} exists already; choose another name.")
    old = form_named(like)
    if damped_torsions is not None:
        truth(damped_torsions, "damped_torsions", FormError)
    combined = _names_of_combinations()
    unknown = set(potentials) - set(KINDS) - set(combined)
    if unknown:
        raise FormError(f"{name!r}: unknown potential {sorted(unknown)}; a form has {[*KINDS, *combined]}.")
    for key, function in potentials.items():
        if not callable(function):
            raise FormError(f"{name!r}: {key} is {function!r}; it must be a function.")
    energies = {**old.energies, **{key: each for key, each in potentials.items() if key in KINDS}}
    coordinates = {kind: each for kind, each in old.coordinates.items() if kind != "torsion"}
    if isinstance(energies["torsion"], Damped):
        energies["torsion"] = energies["torsion"].energy
    if "torsion" in old.coordinates if damped_torsions is None else damped_torsions:
        energies["torsion"], coordinates["torsion"] = Damped(energies["torsion"]), _DAMPED_TORSION
    FORMS[name] = Form(
        energies,
        {**old.combinations, **{combined[key]: each for key, each in potentials.items() if key in combined}},
        coordinates,
        old.one_four,
        old.faded - set(potentials),
    )


def _names_of_combinations() -> dict[str, str]:
    """Keywords of `register_form` for combinations -> the field that each is of."""
    names = {}
    for kind, each in pair_kinds().items():
        for field in each.fields:
            names.setdefault(f"combine_{field.removeprefix(f'{kind}_')}", field)
            names[f"combine_{field}"] = field
    return names


def register_kind(kind: Kind | PairKind, energy: Callable, **combinations: Callable) -> None:
    """Make a new kind of term known, in all forms, after all others in the order of the parameter vector.

    Args:
        kind: its declaration; terms then are `<name>_atoms` and `<name>_types` of `System`, and parameters are the declared
            fields of `ForceField`.
        energy: (coordinates or deviations, parameters, parameters it reads, constants) -> kcal/mol, element by element on
            arrays, by functions of `jax.numpy` that have two derivatives, also where everything is 1 and deviations are 0,
            as in padding. Of a kind of pairs: (distance, the pair's parameters).
        combinations: of a kind of pairs, for each of its fields (first, second) -> the pair's parameter.

    Raises:
        FormError: the name or a field is taken, the declaration contradicts itself, or a function is missing.
    """
    if not isinstance(kind, Kind | PairKind):
        raise FormError(f"register_kind takes a Kind or PairKind, not {kind!r}.")
    wanted = set(kind.fields) if isinstance(kind, PairKind) else set()
    if not callable(energy) or set(combinations) != wanted or not all(map(callable, combinations.values())):
        raise FormError(
            f"the kind {kind.name!r} needs a function for its energy"
            f"{' and for the combination of each of ' + ', '.join(sorted(wanted)) if wanted else ''}; given were {energy!r} "
            f"and {sorted(combinations)}."
        )
    reserved = {*dir(ForceField), *ForceField.__dataclass_fields__, *inspect.signature(register_form).parameters}
    for name in (kind.name, *kind.all_fields):
        if name in reserved:
            raise FormError(f"the kind {kind.name!r}: {name!r} is a name of the package's own. Choose another name.")
    add_kind(kind)
    for name, form in list(FORMS.items()):
        energies, combined = {**form.energies, kind.name: energy}, {**form.combinations, **combinations}
        FORMS[name] = replace(form, energies=energies, combinations=combined)
