"""A system of ours as an OpenMM System, built anew: every form and kind of term that the package declares.

OpenMM's own forces serve where they are exact: `HarmonicBondForce`, `HarmonicAngleForce`, `PeriodicTorsionForce`, and
`NonbondedForce` for charges and Amber's Lennard-Jones pairs. Everything else is a custom force with the formula written out.
OpenMM counts in kJ/mol, nm and radian, and its springs are 1/2 k x², ours k x².
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from q2mm_accel.errors import InteropError, MissingPackageError, ParameterError
from q2mm_accel.kernel import potentials
from q2mm_accel.model.arguments import instance
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import Form, Kind, PairKind, form_named, kind_named
from q2mm_accel.model.system import System
from q2mm_accel.problem.checks import check_terms
from q2mm_accel.units import DEGREE, KCAL_TO_KJ

if TYPE_CHECKING:
    import openmm

NM = 0.1
"""nm per Å."""
IN_OPENMM = {
    "Å": NM,
    "degrees": DEGREE,
    "kcal/mol": KCAL_TO_KJ,
    "kcal/mol/Å²": KCAL_TO_KJ / NM**2,
    "kcal/mol/rad²": KCAL_TO_KJ,
    "kcal/mol/Å/rad": KCAL_TO_KJ / NM,
    "": 1.0,
}
"""Unit of a parameter or constant -> what its values are multiplied with for OpenMM."""
COULOMB = 1.602176634e-19**2 * 6.02214076e23 / (4.0 * math.pi * 8.8541878128e-12) * 1e6
"""[kJ/mol nm/e²] OpenMM's, from the constants of CODATA 2018; its documentation rounds it to 138.935456."""
CHARGE_SCALE = math.sqrt(potentials.COULOMB * KCAL_TO_KJ * NM / COULOMB)
"""Our Coulomb constant is smaller than OpenMM's by 1.1e-5 of it: charges multiplied with this count our energy."""
MINIMUM_TO_SIGMA = 2.0 / 2.0 ** (1.0 / 6.0)
"""From half the distance of a Lennard-Jones minimum to the distance at which the energy is 0."""

_STRETCH, _OTHER_STRETCH, _BEND = "(distance(p1, p2) - r1)", "(distance(p2, p3) - r2)", "(angle(p1, p2, p3) - theta0)"
_SINE = "sin(angle(p1, p2, p3))"
_STRETCH_BEND = f"k*({_STRETCH} + {_OTHER_STRETCH})*{_BEND}"
_BOND_BEND = f"k*{_STRETCH}*{_BEND}"
_TO, _FROM = math.sin(math.radians(5.0)), math.sin(math.radians(10.0))
_WALL = 184000.0 * math.exp(-12.0 * 0.34)


def _fading(energy: str, sine: str) -> str:
    """An energy times the weight of `potentials.faded`."""
    return f"w^2*(3 - 2*w)*{energy}; w = max(0, min(1, ({sine} - {_TO!r})/{_FROM - _TO!r}))"


@dataclass(frozen=True)
class Formula:
    """An energy as OpenMM writes it, and the names in it of the values of a term: its own, those it reads, its constants."""

    text: str
    names: tuple[str, ...]


_FORMULAS: Mapping[tuple[Callable, str], Formula] = {
    (potentials.harmonic, "dihedral"): Formula(
        f"k*min(d, {2.0 * math.pi!r} - d)^2; d = abs(theta - theta0)", ("k", "theta0")
    ),
    (potentials.mm3_bond, "distance"): Formula("k*d^2*(1 - 25.5*d + 7/12*(25.5*d)^2); d = r - r0", ("k", "r0")),
    (potentials.mm3_angle, "angle"): Formula(
        f"k*(D/{1.0 / DEGREE!r})^2*(1 - 0.014*D + 5.6e-5*D^2 - 7e-7*D^3 + 9e-10*D^4); D = {1.0 / DEGREE!r}*(theta - theta0)",
        ("k", "theta0"),
    ),
    (potentials.lennard_jones, "distance"): Formula(
        f"4*epsilon*(x^12 - x^6); x = {MINIMUM_TO_SIGMA!r}*radius/r", ("radius", "epsilon")
    ),
    (potentials.mm3_vdw, "distance"): Formula(
        f"epsilon*select(step(r - 0.34*radius), 184000*exp(-12*r/radius) - 2.25*(radius/r)^6, {_WALL!r}*(0.34*radius/r)^12)",
        ("radius", "epsilon"),
    ),
    (potentials.stretch_stretch, ""): Formula(f"k*{_STRETCH}*{_OTHER_STRETCH}", ("k", "r1", "r2")),
    (potentials.stretch_bend, ""): Formula(_STRETCH_BEND, ("k", "r1", "r2", "theta0")),
    (potentials.mm3_stretch_bend, ""): Formula(_fading(_STRETCH_BEND, _SINE), ("k", "r1", "r2", "theta0")),
    (potentials.bond_bend, ""): Formula(_BOND_BEND, ("k", "r1", "theta0")),
    (potentials.mm3_bond_bend, ""): Formula(_fading(_BOND_BEND, _SINE), ("k", "r1", "theta0")),
    (potentials.bend_bend, ""): Formula(f"k*{_BEND}*(angle(p3, p2, p4) - theta1)", ("k", "theta0", "theta1")),
    (potentials.Damped(potentials.cosine_torsion), ""): Formula(
        _fading("k*(1 + cos(n*dihedral(p1, p2, p3, p4) - phase))", f"min({_SINE}, sin(angle(p2, p3, p4)))"),
        ("k", "n", "phase"),
    ),
}
"""Energy, and its coordinate where it is a single one -> how OpenMM writes it, where it has no force of its own for it."""
_KINDS = frozenset(
    "bond angle torsion vdw urey_bradley harmonic_dihedral improper harmonic_improper stretch_stretch stretch_bend "
    "bond_bend bend_bend coulomb special_vdw".split()
)


def openmm_package() -> ModuleType:
    """OpenMM.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import openmm
    except ImportError as error:
        raise MissingPackageError("OpenMM is not installed; run: python -m pip install 'q2mm_accel[openmm]'") from error
    return openmm


def build_openmm(system: System, forcefield: ForceField) -> "openmm.System":
    """The OpenMM System of a molecule, without cutoffs; its energy is ours.

    Args:
        system: the molecule with its terms.
        forcefield: their parameters, of any form of the package or registered one that is made of the package's energies.

    Returns:
        One force for each kind of term, named after it; the masses are the molecule's. Where the form combines
        Lennard-Jones parameters as Amber does, van der Waals and Coulomb pairs are the one force "nonbonded".

    Raises:
        MissingPackageError: OpenMM is not installed.
        InteropError: a background, or a kind or form whose energy is not one of the package's.
        TopologyError: a term has no type or no coordinate with derivatives.
        ParameterError: a well depth is negative.
    """
    package = openmm_package()
    instance(system, System, "system", InteropError)
    instance(forcefield, ForceField, "forcefield", ParameterError)
    name = system.molecule.name
    if system.background is not None:
        raise InteropError(
            f"{name}: a background is numbers at one geometry, not a force that OpenMM could compute. For a system that "
            "came from from_openmm take to_openmm, which keeps the forces behind it; or leave it out: "
            "system.with_background(None)."
        )
    check_terms([system], forcefield)
    form = form_named(forcefield.form)
    made = package.System()
    for mass in system.molecule.masses:
        made.addParticle(float(mass))
    for kind in (*system.kinds, *system.pair_kinds):
        _check_known(name, kind_named(kind), form, forcefield.form)
    for kind in system.kinds.values():
        made.addForce(_force(package, system, forcefield, kind, form))
    for force in _pair_forces(package, system, forcefield, form):
        made.addForce(force)
    return made


def _check_known(name: str, kind: Kind | PairKind, form: Form, form_name: str) -> None:
    """Check that the energy of a kind is one that can be written here."""
    if kind.name not in _KINDS:
        raise InteropError(
            f"{name}: {kind.name!r} is a kind of your own, whose energy is known to JAX only. Add its force to an OpenMM "
            "System of the others: build_openmm of the system without its terms."
        )
    if not has_formula(kind, form):
        clipped = any(each.measure == "clipped_angle" for each in form.coordinates_of(kind)) if isinstance(kind, Kind) else 0
        remedy = "the form without clipping" if clipped else "a form that is made of the package's energies"
        raise InteropError(
            f"{name}: in the form {form_name!r} the energy of the kind {kind.name!r} has no OpenMM formula. Take {remedy}."
        )


def has_formula(kind: Kind | PairKind, form: Form) -> bool:
    """Whether the energy of a kind in a form is one that OpenMM can compute."""
    if kind.name not in _KINDS:
        return False
    if isinstance(kind, PairKind):
        known = form.energies[kind.name] in (potentials.coulomb, potentials.lennard_jones, potentials.mm3_vdw)
        return known and all(form.combinations[field] in _COMBINATIONS for field in kind.fields)
    return _standard(kind, form) is not None or formula_of(kind, form) is not None


def _measure(kind: Kind, form: Form) -> str:
    """The coordinate of a kind that has a single one of all its atoms in order; else nothing."""
    coordinates = form.coordinates_of(kind)
    return coordinates[0].measure if len(coordinates) == 1 else ""


def _standard(kind: Kind, form: Form) -> str | None:
    """Name of OpenMM's own force for a kind of term, if it has one."""
    return {
        (potentials.harmonic, "distance"): "HarmonicBondForce",
        (potentials.harmonic, "angle"): "HarmonicAngleForce",
        (potentials.cosine_torsion, "dihedral"): "PeriodicTorsionForce",
    }.get((form.energies[kind.name], _measure(kind, form)))


def formula_of(kind: Kind, form: Form) -> Formula | None:
    """The formula of a kind in a form, if it needs one and has one."""
    return _FORMULAS.get((form.energies[kind.name], _measure(kind, form)))


def vdw_formula(form: Form) -> Formula:
    """The formula of van der Waals pairs, of their combined radius and depth."""
    return _FORMULAS[form.energies["vdw"], "distance"]


def term_values(system: System, forcefield: ForceField, kind: Kind) -> np.ndarray:
    """Values of all terms of a kind in our units, shape (n_terms, n): parameters, those that it reads, constants."""
    types = system.terms(kind.name)[1]
    own = [getattr(forcefield, field)[types] for field in kind.fields]
    read = [getattr(forcefield, each.field)[system.linked_types(kind.name, each)] for each in kind.reads]
    constants = [getattr(forcefield, each.field)[types] for each in kind.constants]
    return np.stack([*own, *read, *constants], axis=1)


def _units(kind: Kind) -> list[str]:
    """Of the values of `term_values`."""
    read = {"bond_lengths": "Å", "angle_values": "degrees"}
    own = [parameter.unit for parameter in kind.parameters]
    return [*own, *(read[each.field] for each in kind.reads), *(constant.unit for constant in kind.constants)]


def _force(package: Any, system: System, forcefield: ForceField, kind: Kind, form: Form) -> Any:
    """The force of all terms of a kind."""
    values = term_values(system, forcefield, kind) * [IN_OPENMM[unit] for unit in _units(kind)]
    standard = _standard(kind, form)
    if standard is not None:
        force, parameters = getattr(package, standard)(), _standard_parameters(standard, values)
        add = {"HarmonicBondForce": "addBond", "HarmonicAngleForce": "addAngle", "PeriodicTorsionForce": "addTorsion"}[
            standard
        ]
    else:
        force, add = _custom_force(package, kind, form)
        if _measure(kind, form) == "dihedral":
            values[:, 1] = np.pi - (np.pi - values[:, 1]) % (2.0 * np.pi)  # the formula wants it within ±π
        parameters = ([row] for row in values.tolist())
    force.setName(kind.name)
    for atoms, row in zip(system.terms(kind.name)[0].tolist(), parameters, strict=True):
        if add == "addBond" and isinstance(force, package.CustomCompoundBondForce):
            force.addBond(atoms, *row)
        else:
            getattr(force, add)(*atoms, *row)
    return force


def _standard_parameters(force: str, values: np.ndarray) -> Iterator[tuple]:
    """As one of OpenMM's own forces takes them."""
    for row in values.tolist():
        if force == "PeriodicTorsionForce":
            spring, periodicity, phase = row
            yield round(periodicity), phase, spring
        else:
            spring, equilibrium = row
            yield equilibrium, 2.0 * spring


def _custom_force(package: Any, kind: Kind, form: Form) -> tuple[Any, str]:
    """An empty force with the formula of a kind, and the name of the method that adds a term."""
    formula, measure = formula_of(kind, form), _measure(kind, form)
    assert formula is not None
    if not measure:
        force, add, each = package.CustomCompoundBondForce(kind.n_atoms, formula.text), "addBond", "addPerBondParameter"
    else:
        name = {"distance": "Bond", "angle": "Angle", "dihedral": "Torsion"}[measure]
        force, add, each = getattr(package, f"Custom{name}Force")(formula.text), f"add{name}", f"addPer{name}Parameter"
    for parameter in formula.names:
        getattr(force, each)(parameter)
    return force, add


_COMBINATIONS: Mapping[Callable, Callable] = {
    potentials.geometric_mean: lambda a, b: np.sqrt(a) * np.sqrt(b),
    potentials.geometric_mean_or_nothing: lambda a, b: np.sqrt(a) * np.sqrt(b),
    potentials.arithmetic_mean: lambda a, b: 0.5 * (a + b),
    potentials.total: lambda a, b: a + b,
    potentials.product: lambda a, b: a * b,
}
"""How pairs combine the parameters of their atoms, in NumPy."""


def pair_values(system: System, forcefield: ForceField, kind: PairKind) -> np.ndarray:
    """Combined parameters of the pairs of a kind in our units, shape (n_pairs, n); factors are not in them.

    Raises:
        InteropError, ParameterError: as `combined_values`.
    """
    atoms, types, _ = system.pairs(kind.name)
    return combined_values(system.molecule.name, forcefield, kind, types[atoms[:, 0]], types[atoms[:, 1]])


def combined_values(name: str, forcefield: ForceField, kind: PairKind, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Combined parameters of types of a kind of pairs in our units, shape (n, n_parameters).

    Args:
        name: of the molecule, for messages.
        forcefield: the parameters and the form that combines them.
        kind: of the pairs.
        first: types, shape (n,).
        second: the types that each is combined with, shape (n,).

    Raises:
        InteropError: the form combines parameters in a way of its own.
        ParameterError: a well depth of an atom is negative.
    """
    form, columns = form_named(forcefield.form), []
    for parameter in kind.parameters:
        values, combine = getattr(forcefield, parameter.field), form.combinations[parameter.field]
        used = np.union1d(first, second)
        if parameter.sign != "any" and np.any(values[used] < 0.0):
            wrong = int(used[np.argmax(values[used] < 0.0)])
            raise ParameterError(
                f"{name}: {parameter.field}[{wrong}] is {values[wrong]:g} {parameter.unit}; it must not be below 0, or "
                "pairs have no combined value."
            )
        if combine not in _COMBINATIONS:
            raise InteropError(
                f"{name}: the form {forcefield.form!r} combines {parameter.field} in a way of its own, which cannot be told "
                "to other programs. Take one of the package's forms."
            )
        columns.append(_COMBINATIONS[combine](values[first], values[second]))
    return np.stack(columns, axis=1)


def lorentz_berthelot(form: Form) -> bool:
    """Whether van der Waals pairs are Lennard-Jones ones with arithmetic radii and geometric depths, as in Amber."""
    depths = (potentials.geometric_mean, potentials.geometric_mean_or_nothing)
    return (
        form.energies["vdw"] is potentials.lennard_jones
        and form.combinations["vdw_radii"] is potentials.arithmetic_mean
        and form.combinations["vdw_epsilons"] in depths
    )


def _pair_forces(package: Any, system: System, forcefield: ForceField, form: Form) -> Iterator[Any]:
    """A `NonbondedForce` of what it can hold, and pair by pair what it cannot."""
    held = [kind for kind in system.pair_kinds if kind == "coulomb" or lorentz_berthelot(form)]
    if held:
        yield _nonbonded(package, system, forcefield, held)
    if "vdw" in system.pair_kinds and "vdw" not in held:
        yield _listed_pairs(package, system, forcefield, form)


def _nonbonded(package: Any, system: System, forcefield: ForceField, held: list[str]) -> Any:
    """A `NonbondedForce` whose exceptions hold scaled pairs, and switch off those that are not given."""
    size, force = system.molecule.n_atoms, package.NonbondedForce()
    force.setName("nonbonded")
    force.setNonbondedMethod(package.NonbondedForce.NoCutoff)
    charges, sigmas, depths = np.zeros(size), np.full(size, NM), np.zeros(size)
    factors = {"coulomb": np.zeros((size, size)), "vdw": np.zeros((size, size))}
    for kind in held:
        atoms, types, scaled = system.pairs(kind)
        factors[kind][atoms[:, 0], atoms[:, 1]] = factors[kind][atoms[:, 1], atoms[:, 0]] = scaled
        if kind == "coulomb":
            charges = forcefield.coulomb_charges[types] * CHARGE_SCALE
        else:
            pair_values(system, forcefield, _pair_kind(kind))  # refuses negative depths
            sigmas = MINIMUM_TO_SIGMA * forcefield.vdw_radii[types] * NM
            depths = forcefield.vdw_epsilons[types] * KCAL_TO_KJ
    for atom in range(size):
        force.addParticle(float(charges[atom]), float(sigmas[atom]), float(depths[atom]))
    for i, j in combinations(range(size), 2):
        charge, depth = charges[i] * charges[j], np.sqrt(depths[i] * depths[j])
        scaled = factors["coulomb"][i, j] * charge, factors["vdw"][i, j] * depth
        if scaled != (charge, depth):
            force.addException(i, j, float(scaled[0]), float(0.5 * (sigmas[i] + sigmas[j])), float(scaled[1]))
    return force


def _listed_pairs(package: Any, system: System, forcefield: ForceField, form: Form) -> Any:
    """A custom force between the given pairs, for other energies and combinations than Amber's."""
    formula, factors = vdw_formula(form), system.pairs("vdw").factors
    force = package.CustomBondForce(formula.text)
    force.setName("vdw")
    for name in formula.names:
        force.addPerBondParameter(name)
    values = pair_values(system, forcefield, _pair_kind("vdw")) * [NM, KCAL_TO_KJ]
    values[:, 1] *= factors
    for (i, j), row in zip(system.pairs("vdw").atoms.tolist(), values.tolist(), strict=True):
        force.addBond(i, j, row)
    return force


def _pair_kind(name: str) -> PairKind:
    kind = kind_named(name)
    assert isinstance(kind, PairKind)
    return kind
