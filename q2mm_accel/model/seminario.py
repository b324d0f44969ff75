"""A first guess of bond and angle parameters from quantum-mechanical Hessians."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from q2mm_accel.errors import EstimateWarning, HessianError, ParameterError, TopologyError, warn_user
from q2mm_accel.model.arguments import as_tuple, instance, real_array, truth
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, SIGNED_BOUNDS
from q2mm_accel.model.perceive import type_means
from q2mm_accel.model.saddle import method_c
from q2mm_accel.model.system import System
from q2mm_accel.model.topology import angle_values, distances
from q2mm_accel.units import (
    AU_TO_MDYN_ANGLE,
    AU_TO_MDYNA,
    BOHR_TO_ANGSTROM,
    MDYNA_RAD2_TO_KCALMOLRAD2,
    MDYNA_TO_KCALMOLA2,
)

BOND_FACTOR = AU_TO_MDYNA * MDYNA_TO_KCALMOLA2
"""hartree/bohr² -> k of E = k (r - r0)² [kcal/mol/Å²], the factor 1/2 of the curvature included."""
ANGLE_FACTOR = AU_TO_MDYN_ANGLE * MDYNA_RAD2_TO_KCALMOLRAD2
"""hartree/rad² -> k of E = k (θ - θ0)² [kcal/mol/rad²]; q2mm's constants make it 0.04% smaller than 627.51/2."""

_NATURAL = ("D", "E")
"""Methods of `Molecule.as_minimum` that leave the Hessian's negative curvature as it is."""
_LINEAR_SINE = 1e-10
"""Sine of an angle below which its plane is undefined and any perpendicular direction serves (q2mm's limit)."""
_ZERO_STIFFNESS = 1e-10
"""[hartree/rad²] Below it one leg of an angle resists nothing, and the angle's estimate is 0 (q2mm's limit)."""


def estimate_force_constants(
    systems: Iterable[System],
    forcefield: ForceField,
    scaling: float = 0.963,
    transition_state: bool | Iterable[bool] = False,
) -> ForceField:
    """The force field with bond and angle parameters read off the QM Hessians (Seminario's FUERZA, as in q2mm).

    The 3x3 block -H_ij of a pair of atoms has eigenvalues λ and eigenvectors v; its stiffness along the unit vector u
    is Σ λ |v·u|. A bond's k is that along the bond, the mean of i -> j and j -> i. An angle's two legs, perpendicular
    to each bond in the angle's plane, act in series: 1/k = 1/(k_ij r_ij²) + 1/(k_kj r_kj²). Estimates are averaged over
    all terms of a type in all systems, and so are bond lengths and angles, which become the equilibrium values.
    Types without terms, equilibria that the force field pins and all other parameters keep their values. So does a force
    constant whose estimate is outside its bounds, as where a bond was perceived wrongly: a warning names it.

    Where -H_ij has two equal eigenvalues (a bond on a symmetry axis) their eigenvectors are arbitrary in their plane:
    noise or the orientation sets them, and with them the stiffness of an angle's leg, within a factor of √2.

    Args:
        systems: at least one; every molecule needs its QM Hessian.
        forcefield: the types; its other parameters are kept.
        scaling: factor on all force constants, for the error of the QM method; 0.963 is q2mm's for B3LYP/6-31G(d).
        transition_state: whether to turn transition states into minima first, one value for all systems or one for
            each. Method C: the most negative eigenvalue of the Cartesian Hessian, the reaction coordinate, becomes
            1 hartree/bohr², the other negative ones 0. Bonds and angles of the result may then be negative in fits, as far
            as q2mm's bounds allow, for the data still have the reaction coordinate. `Molecule.as_minimum` turns both.

    Returns:
        The new force field.

    Raises:
        HessianError: a molecule has no Hessian, or is no transition state though `transition_state` says so.
        TopologyError: no systems, or a term has a type that the force field lacks.
        ParameterError: no force field, the scaling is not positive, or `transition_state` has the wrong length.

    Warns:
        EstimateWarning: a force constant keeps its value, for its estimate is outside its bounds.

    Source: Seminario, Int. J. Quantum Chem. 1996, 60, 1271; angles: Farrugia et al., J. Chem. Theory Comput. 2026, 22,
    469; scaling: Scott and Radom, J. Phys. Chem. 1996, 100, 16502; method C: Limé and Norrby, J. Comput. Chem. 2015,
    36, 1130. q2mm 5.0.0a2 puts 9376 (1 hartree/bohr² in kJ/mol/Å²) for its 1; q2mm's commit 0c795729 has 1.
    """
    systems = as_tuple(systems, System, "systems", TopologyError)
    instance(forcefield, ForceField, "forcefield", ParameterError)
    scaling = float(real_array(scaling, "scaling", ParameterError, shape=()))
    turned = _one_for_each(transition_state, len(systems))
    _check(systems, forcefield, scaling)
    if any(turned) or any(system.molecule.turned in _NATURAL for system in systems):
        own = {field: bounds for field, bounds in SIGNED_BOUNDS.items() if field not in forcefield.limits}
        forcefield = forcefield.with_bounds(**own)
    estimated = _estimate(systems, forcefield, scaling, turned)
    hybrid = [system.molecule.turned == "E" for system in systems]
    if any(hybrid):
        estimated = _where_positive(estimated, _estimate(systems, forcefield, scaling, np.logical_or(turned, hybrid)))
    saddle = any(turned) or any(system.molecule.turned for system in systems)
    advice = "" if saddle else " A transition state needs Molecule.as_minimum, or transition_state=True."
    return _within_bounds(systems, forcefield, estimated, advice)


def _estimate(
    systems: Sequence[System], forcefield: ForceField, scaling: float, turned: Sequence[bool] | np.ndarray
) -> ForceField:
    """Bonds and angles of all types with terms; `turned` says which Hessians method C turns first."""
    hessians = [_hessian(system, turn) for system, turn in zip(systems, turned, strict=True)]
    geometries = [system.molecule.coordinates for system in systems]
    measured = {
        "bond": (_bond_estimates, BOND_FACTOR, distances),
        "angle": (_angle_estimates, ANGLE_FACTOR, angle_values),
    }
    changes = {}
    for kind, (estimate, factor, measure) in measured.items():
        atoms, types = zip(*(system.terms(kind) for system in systems), strict=True)
        stiffness = [factor * scaling * estimate(*arguments) for arguments in zip(hessians, geometries, atoms, strict=True)]
        equilibria = [measure(*arguments) for arguments in zip(geometries, atoms, strict=True)]
        for name, values in zip(KINDS[kind].fields, (stiffness, equilibria), strict=True):
            changes[name] = type_means(types, values, getattr(forcefield, name))
    return replace(forcefield, **changes)


def _where_positive(natural: ForceField, turned: ForceField) -> ForceField:
    """Method E: what method D estimates, but force constants of method C where those are not above 0."""
    fields = ("bond_force_constants", "angle_force_constants")
    kept = {field: getattr(natural, field) for field in fields}
    return replace(natural, **{field: np.where(own > 0.0, own, getattr(turned, field)) for field, own in kept.items()})


def _bond_estimates(hessian: np.ndarray, coordinates: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Stiffness of each bond, shape (n_bonds,) [hartree/bohr²]."""
    along = _unit(coordinates[pairs[:, 1]] - coordinates[pairs[:, 0]])
    return 0.5 * (_stiffness(hessian, pairs, along) + _stiffness(hessian, pairs[:, ::-1], along))


def _angle_estimates(hessian: np.ndarray, coordinates: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """Stiffness of each angle, shape (n_angles,) [hartree/rad²]."""
    outer, centre = triples[:, [0, 2]], triples[:, 1]
    legs = (coordinates[outer] - coordinates[centre][:, None]) / BOHR_TO_ANGSTROM
    first, second = _unit(legs[:, 0]), _unit(legs[:, 1])
    normal = np.cross(first, second)
    linear = np.linalg.norm(normal, axis=1) < _LINEAR_SINE
    axis = np.where(np.abs(first[:, :1]) > 0.9, np.eye(3)[1], np.eye(3)[0])
    normal = _unit(np.where(linear[:, None], np.cross(first, axis), normal))
    resistances = np.zeros(len(triples))
    free = np.zeros(len(triples), dtype=bool)
    for leg, direction in enumerate((first, second)):
        across = _unit(np.cross(normal, direction))
        stiffness = _stiffness(hessian, np.stack([outer[:, leg], centre], axis=1), across)
        stiffness = stiffness * np.sum(legs[:, leg] ** 2, axis=1)
        free |= np.abs(stiffness) < _ZERO_STIFFNESS
        resistances += 1.0 / np.where(np.abs(stiffness) < _ZERO_STIFFNESS, 1.0, stiffness)
    return np.where(free, 0.0, 1.0 / np.where(free, 1.0, resistances))


def _stiffness(hessian: np.ndarray, pairs: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Σ λ |v·u| over the eigenpairs of -H_ij; these blocks are not symmetric, so pairs may be complex conjugates."""
    n_atoms = len(hessian) // 3
    blocks = -hessian.reshape(n_atoms, 3, n_atoms, 3)[pairs[:, 0], :, pairs[:, 1], :]
    eigenvalues, eigenvectors = np.linalg.eig(blocks)
    overlaps = np.abs(np.einsum("nij,ni->nj", eigenvectors, directions))
    return np.sum(eigenvalues * overlaps, axis=1).real


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _hessian(system: System, transition_state: bool) -> np.ndarray:
    molecule = system.molecule
    if molecule.hessian is None:
        raise HessianError(
            f"{molecule.name}: it has no Hessian, so there is nothing to estimate force constants from; pass hessian= "
            "when creating the Molecule, or leave it out here."
        )
    return method_c(molecule.hessian, molecule.name) if transition_state else molecule.hessian


def _one_for_each(transition_state: bool | Iterable[bool], n_systems: int) -> list[bool]:
    if not isinstance(transition_state, Iterable):
        return [truth(transition_state, "transition_state", ParameterError)] * n_systems
    turned = [truth(one, f"transition_state[{i}]", ParameterError) for i, one in enumerate(transition_state)]
    if len(turned) != n_systems:
        raise ParameterError(f"transition_state has {len(turned)} values for {n_systems} systems; give one for each.")
    return turned


def _check(systems: Sequence[System], forcefield: ForceField, scaling: float) -> None:
    if not systems:
        raise TopologyError("estimate_force_constants needs at least one System; make them with perceive.")
    if scaling <= 0.0:
        raise ParameterError(f"scaling is {scaling}; it must be positive (1.0 for none).")
    for system in systems:
        for kind in ("bond", "angle"):
            _, types = system.terms(kind)
            if types.size and types.max() >= forcefield.n_types(kind):
                raise TopologyError(
                    f"{system.molecule.name}: a term has the {kind} type {types.max()}, but the force field has "
                    f"{forcefield.n_types(kind)} (from 0); use systems and a force field that were made together."
                )


def _within_bounds(systems: Sequence[System], old: ForceField, estimated: ForceField, advice: str) -> ForceField:
    """The estimate, but for force constants from which no fit could start and for pinned equilibria."""
    values, bounds = estimated.parameters, old.bounds  # negative estimates would widen their own
    values[old.pinned] = old.parameters[old.pinned]
    for kind in ("bond", "angle"):
        field = KINDS[kind].fields[0]
        for number in np.unique(np.concatenate([system.terms(kind)[1] for system in systems])):
            place = estimated.positions(kind)[number, 0]
            if bounds.lb[place] <= values[place] <= bounds.ub[place]:
                continue
            warn_user(
                f"{estimated.labels[place]} is estimated as {values[place]:.6g}, outside {bounds.lb[place]:g} to "
                f"{bounds.ub[place]:g}; it keeps {old.parameters[place]:.6g}. Its terms: "
                f"{_named_terms(systems, kind, int(number))}. If one of them is none, name its bond in perceive(exclude=), "
                f"or widen its bounds: with_bounds({field}=).{advice}",
                EstimateWarning,
            )
            values[place] = old.parameters[place]
    return estimated.with_parameters(values)


def _named_terms(systems: Sequence[System], kind: str, number: int) -> str:
    """The first terms of a type, with their molecules."""
    found = [
        f"{'-'.join(f'{system.molecule.symbols[i]}{i}' for i in row)} of {system.molecule.name}"
        for system in systems
        for atoms, types in [system.terms(kind)]
        for row in atoms[types == number].tolist()
    ]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
