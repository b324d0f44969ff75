"""Entries of OpenMM's forces as values of our kinds of terms, and back: the one place where their units and factors meet.

OpenMM counts in kJ/mol, nm and radian with springs 1/2 k x²; ours are k x² in kcal/mol, Å and degrees. What is read is
compared with what is to be written before anything is, so that entries whose parameters did not change keep every bit.
"""

from typing import Any, NamedTuple

import numpy as np

from q2mm_accel.interop.openmm_build import CHARGE_SCALE, IN_OPENMM, MINIMUM_TO_SIGMA, NM
from q2mm_accel.units import KCAL_TO_KJ

_SPRING = 2.0 * IN_OPENMM["kcal/mol/Å²"]
_BEND = 2.0 * IN_OPENMM["kcal/mol/rad²"]
_DEGREE = IN_OPENMM["degrees"]
_POWERS = np.array(
    [
        [0, 1, 0, -3, 0, 5],
        [0, 0, 2, 0, -8, 0],
        [0, 0, 0, 4, 0, -20],
        [0, 0, 0, 0, 8, 0],
        [0, 0, 0, 0, 0, 16],
    ],
    dtype=np.float64,
)
"""Row for row of cos x to cos⁵ x what cos(n x), n = 0 to 5, has of it: Chebyshev polynomials without constants."""
_CONSTANTS = np.array([1.0, 0.0, -1.0, 0.0, 1.0, 0.0])
"""Their constants."""
_ROUNDING = 1e-14
"""Part of an entry's largest cosine up to which another is rounding of a 0."""
PLAIN_IMPROPER = "k*(theta-theta0)^2"
"""The energy of CHARMM's impropers as OpenMM writes it: ours where no deviation can be beyond half a turn."""


class Entry(NamedTuple):
    """An entry of a force, as a term."""

    atoms: tuple[int, ...]
    values: tuple[float, ...]
    """In our units, in the order of the kind's parameters."""
    constants: tuple[float, ...]
    place: tuple[int, int]
    """Numbers of the force in the System and of the entry in the force."""


class Particle(NamedTuple):
    """What a `NonbondedForce` says of an atom."""

    charge: float
    """[e], so that our Coulomb constant gives OpenMM's energy."""
    radius: float
    """[Å] Half the distance of the minimum."""
    depth: float
    """[kcal/mol]."""


def plain(quantity: Any) -> float:
    """A value in OpenMM's units of kJ/mol, nm, radian and e, in which its methods return all quantities."""
    return float(getattr(quantity, "_value", quantity))


def bond(force: Any, number: int, place: int) -> Entry:
    """An entry of a `HarmonicBondForce`: (k, r0)."""
    i, j, length, spring = force.getBondParameters(number)
    return Entry((i, j), (plain(spring) / _SPRING, plain(length) / NM), (), (place, number))


def write_bond(force: Any, number: int, values: np.ndarray) -> None:
    """Change an entry of a `HarmonicBondForce`."""
    i, j, *_ = force.getBondParameters(number)
    force.setBondParameters(number, i, j, values[1] * NM, values[0] * _SPRING)


def angle(force: Any, number: int, place: int) -> Entry:
    """An entry of a `HarmonicAngleForce`: (k, θ0)."""
    i, j, k, value, spring = force.getAngleParameters(number)
    return Entry((i, j, k), (plain(spring) / _BEND, plain(value) / _DEGREE), (), (place, number))


def write_angle(force: Any, number: int, values: np.ndarray) -> None:
    """Change an entry of a `HarmonicAngleForce`."""
    i, j, k, *_ = force.getAngleParameters(number)
    force.setAngleParameters(number, i, j, k, values[1] * _DEGREE, values[0] * _BEND)


def torsion(force: Any, number: int, place: int) -> Entry:
    """An entry of a `PeriodicTorsionForce`: (k), with periodicity and phase."""
    *atoms, periodicity, phase, barrier = force.getTorsionParameters(number)
    constants = (float(periodicity), plain(phase) / _DEGREE)
    return Entry(tuple(atoms), (plain(barrier) / KCAL_TO_KJ,), constants, (place, number))


def write_torsion(force: Any, number: int, values: np.ndarray) -> None:
    """Change an entry of a `PeriodicTorsionForce`."""
    *rest, _ = force.getTorsionParameters(number)
    force.setTorsionParameters(number, *rest, values[0] * KCAL_TO_KJ)


def polynomial(force: Any, number: int, place: int) -> tuple[list[Entry], float]:
    """An entry of an `RBTorsionForce`, Σ C_n cosⁿ(φ - 180°), as five cosines and a constant [kcal/mol].

    The cosines are k (1 + cos(n φ - γ)) with γ = 0 of odd n and 180° of even n, as OPLS has them: all are 0 where atoms are
    trans, and so the constant is Σ C_n, which is 0 in OPLS.
    """
    *atoms, coefficients = _polynomial(force, number)
    powers = np.array(coefficients) / KCAL_TO_KJ
    cosines = -np.linalg.solve(_POWERS[:, 1:], powers[1:])
    entries = [
        Entry(tuple(atoms), (float(barrier),), (float(n), 0.0 if n % 2 else 180.0), (place, number))
        for n, barrier in enumerate(cosines, start=1)
        if abs(barrier) > _ROUNDING * np.abs(cosines).max()
    ]
    return entries, float(powers.sum())


def _polynomial(force: Any, number: int) -> tuple:
    i, j, k, l, *coefficients = force.getTorsionParameters(number)  # noqa: E741
    return i, j, k, l, [plain(each) for each in coefficients]


def write_polynomial(force: Any, number: int, changes: np.ndarray) -> None:
    """Change the five cosines of an `RBTorsionForce`'s entry by (5,) [kcal/mol]."""
    *atoms, coefficients = _polynomial(force, number)
    cosines = np.concatenate([[changes.sum()], -changes])  # k (1 - cos(n (φ - 180°)))
    powers = np.concatenate([[_CONSTANTS @ cosines], _POWERS @ cosines])
    force.setTorsionParameters(number, *atoms, *(np.array(coefficients) + powers * KCAL_TO_KJ).tolist())


def plain_improper(force: Any, number: int, place: int) -> Entry:
    """An entry of a `CustomTorsionForce` of the energy `PLAIN_IMPROPER`: (k, φ0)."""
    *atoms, values = force.getTorsionParameters(number)
    spring, value = (values[each] for each in _order(force))
    return Entry(tuple(atoms), (spring / KCAL_TO_KJ, value / _DEGREE), (), (place, number))


def write_plain_improper(force: Any, number: int, values: np.ndarray) -> None:
    """Change such an entry."""
    *atoms, parameters = force.getTorsionParameters(number)
    changed = list(parameters)
    for place, value in zip(_order(force), (values[0] * KCAL_TO_KJ, values[1] * _DEGREE), strict=True):
        changed[place] = float(value)
    force.setTorsionParameters(number, *atoms, changed)


def _order(force: Any) -> tuple[int, int]:
    """Where k and φ0 stand among the parameters."""
    names = [force.getPerTorsionParameterName(each) for each in range(force.getNumPerTorsionParameters())]
    return names.index("k"), names.index("theta0")


def particle(force: Any, number: int) -> Particle:
    """A particle of a `NonbondedForce`."""
    charge, sigma, depth = map(plain, force.getParticleParameters(number))
    return Particle(charge / CHARGE_SCALE, sigma / (MINIMUM_TO_SIGMA * NM), depth / KCAL_TO_KJ)


def write_particle(force: Any, number: int, old: Particle, new: Particle) -> None:
    """Change what differs of a particle of a `NonbondedForce`."""
    kept = [plain(each) for each in force.getParticleParameters(number)]
    values = (new.charge * CHARGE_SCALE, new.radius * MINIMUM_TO_SIGMA * NM, new.depth * KCAL_TO_KJ)
    chosen = [now if a != b else was for was, now, a, b in zip(kept, values, old, new, strict=True)]
    force.setParticleParameters(number, *map(float, chosen))


class Exception14(NamedTuple):
    """An exception of a `NonbondedForce`: a pair of its own."""

    atoms: tuple[int, int]
    charges: float
    """Product of charges [e²], in the charges of `Particle`."""
    radius: float
    """[Å] Half the distance of the minimum."""
    depth: float
    """[kcal/mol]."""


def exception(force: Any, number: int) -> Exception14:
    """An exception of a `NonbondedForce`."""
    i, j, *values = force.getExceptionParameters(number)
    charges, sigma, depth = map(plain, values)
    return Exception14((i, j), charges / CHARGE_SCALE**2, sigma / (MINIMUM_TO_SIGMA * NM), depth / KCAL_TO_KJ)


def write_exception(force: Any, number: int, old: Exception14, new: Exception14) -> None:
    """Change what differs of an exception of a `NonbondedForce`."""
    i, j, *given = force.getExceptionParameters(number)
    kept = [plain(each) for each in given]
    values = (new.charges * CHARGE_SCALE**2, new.radius * MINIMUM_TO_SIGMA * NM, new.depth * KCAL_TO_KJ)
    chosen = [now if a != b else was for was, now, a, b in zip(kept, values, old[1:], new[1:], strict=True)]
    force.setExceptionParameters(number, i, j, *map(float, chosen))
