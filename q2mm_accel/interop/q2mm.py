"""q2mm's objective function -> ours. Duck-typed: q2mm itself is never imported here.

Two generations of q2mm are understood: the release 5.0.0a2 (JaxEngine: harmonic; OpenMMEngine: MM3; bond constants in
mdyn/Å, angle constants in mdyn Å/rad²) and the development version of 2026-04-02, commit 0c795729 (kcal/mol, both forms in
both engines, torsions, Urey-Bradley terms, references to Hessian elements).
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds

from q2mm_accel.errors import BoundsWarning, InteropError, ReferenceDataError, UnmatchedTermWarning, warn_user
from q2mm_accel.interop.engines import conventions, engine_terms
from q2mm_accel.interop.q2mm_model import (
    forcefield_from_q2mm,
    left_out_terms,
    molecule_from_q2mm,
    system_from_q2mm,
)
from q2mm_accel.model.arguments import bounds_between
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import FORMS
from q2mm_accel.model.reference_table import REFERENCE_KINDS
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.system import System

_GEOMETRY_KINDS = {"bond_length": ("bonds", "ij"), "bond_angle": ("angles", "ijk"), "torsion_angle": ("torsions", "ijkl")}
"""Kinds of references to relaxed geometries, and the lists of q2mm's molecules that positions of the first two count in."""
_PENALTY_WORDS = ("regulari", "penalt", "prior", "l2")


@dataclass(frozen=True, eq=False)
class Q2MMProblem:
    """What an `ObjectiveFunction` of q2mm minimises, in our terms.

    Attributes:
        systems: one per molecule, with the terms that q2mm's engine evaluates.
        forcefield: at `x0`, in canonical units (kcal/mol).
        references: all references, in q2mm's order.
        x0: shape (n_parameters,), q2mm's parameter vector, in q2mm's units: the values that its force field holds now.
        bounds: q2mm's default bounds, in q2mm's units, widened where `x0` is outside.
        parameter_scale: shape (n_parameters,); canonical parameters are `x * parameter_scale`.
    """

    systems: list[System]
    forcefield: ForceField
    references: ReferenceData
    x0: np.ndarray
    bounds: Bounds
    parameter_scale: np.ndarray


def problem_from_q2mm(objective_function: Any, clipped_angles: bool = False, widen: bool = True) -> Q2MMProblem:
    """Carry over an objective function of q2mm whose engine is a `JaxEngine` or an `OpenMMEngine`.

    Every molecule is matched to the force field afresh by q2mm's own `create_context`. It drops bonds, angles and
    torsions without parameters; they are dropped here too, so that the loss stays the same, and counted in a warning.
    QM Hessians are carried over as they are and unchecked: q2mm takes only the eigenvectors from them, and those of
    5.0.0a2's Jaguar reader are in kJ/mol/Å². Rescaling them would turn the eigenvectors of degenerate modes.

    Bond lengths, angles and torsions are those where the force field has relaxed the molecule from its QM geometry. q2mm's
    minimizers stop early; ours do not. Residuals of torsions have the sign opposite to q2mm's, whose dihedrals do.

    Args:
        objective_function: a `q2mm.optimizers.objective.ObjectiveFunction`, version 5.0.0a2 or later.
        clipped_angles: whether angles within 0.026 degrees of 180 have no force and no stiffness, as in q2mm's JaxEngine.
        widen: whether q2mm's bounds are widened, with a warning, where they do not hold its start.

    Returns:
        The problem.

    Raises:
        InteropError: an engine whose terms are unknown, or anything else that would change the loss.
        MoleculeError: an unknown element, or atoms on top of each other.
        ParameterError: a torsion whose periodicity is below 1.

    Warns:
        UnmatchedTermWarning: q2mm leaves out terms that have no parameter.
        BoundsWarning: the start is outside q2mm's bounds.

    Source: q2mm's optimizers/objective.py, backends/mm/jax_engine.py and openmm.py, 5.0.0a2 and commit 0c795729.
    """
    check_objective(objective_function)
    engine, theirs = objective_function.engine, objective_function.forcefield
    units = conventions(engine)
    molecules = list(objective_function.molecules)
    names = names_of(objective_function)
    matched = [engine_terms(engine, theirs, molecule, name) for molecule, name in zip(molecules, names, strict=True)]
    systems = [
        system_from_q2mm(molecule_from_q2mm(molecule, name), each.terms)
        for molecule, each, name in zip(molecules, matched, names, strict=True)
    ]
    form = matched[0].form
    if clipped_angles:
        form = f"{form}-clipped"
        if form not in FORMS or type(engine).__name__ != "JaxEngine":
            raise InteropError(f"clipped_angles is for q2mm's JaxEngine; those of {type(engine).__name__} are not clipped.")
    forcefield = forcefield_from_q2mm(theirs, form, units)
    x0, bounds = _vector(theirs, forcefield, widen)
    scale = np.ones(len(x0))
    first_angle, first_torsion = 2 * len(theirs.bonds), 2 * (len(theirs.bonds) + len(theirs.angles))
    scale[:first_angle:2] = units.bond_factor
    scale[first_angle:first_torsion:2] = units.angle_factor
    _warn_left_out(theirs, molecules, [each.terms for each in matched], names)
    references = _references(objective_function.reference.values, systems, molecules)
    return Q2MMProblem(systems, forcefield, references, x0, bounds, scale)


def plain(objective_function: Any) -> Any:
    """The objective function of q2mm itself, where `accelerate` has made another one of it."""
    return getattr(objective_function, "original", objective_function)


def beside(x: np.ndarray, bounds: Bounds, factors: np.ndarray) -> np.ndarray:
    """A point some factors x 1 % from x, of parameters that are 0 some 0.01, within bounds."""
    return np.clip(x + 0.01 * factors * np.where(x == 0.0, 1.0, np.abs(x)), bounds.lb, bounds.ub)


def weighed(objective_function: Any) -> list[tuple[int, Any]]:
    """Number and `ReferenceValue` of each reference with a weight."""
    return [(number, value) for number, value in enumerate(objective_function.reference.values) if value.weight != 0.0]


def torsion_signs(values: Sequence[Any]) -> np.ndarray:
    """What our residuals and computed values are to be multiplied with to be q2mm's, whose torsion angles are not IUPAC's.

    Args:
        values: R `ReferenceValue`s of q2mm.

    Returns:
        Shape (R,), -1 for torsion angles and 1 for all else.
    """
    return np.array([-1.0 if value.kind == "torsion_angle" else 1.0 for value in values])


def names_of(objective_function: Any) -> list[str]:
    """Names of an objective function's molecules, for messages."""
    molecules = enumerate(objective_function.molecules)
    return [f"molecule {number} ({molecule.name or 'unnamed'})" for number, molecule in molecules]


def _vector(theirs: Any, forcefield: ForceField, widen: bool) -> tuple[np.ndarray, Bounds]:
    """q2mm's parameter vector and its bounds."""
    x0 = np.array(theirs.get_param_vector(), dtype=np.float64)
    lower, upper = np.array(theirs.get_bounds(), dtype=np.float64).reshape(-1, 2).T
    if not len(x0) == len(lower) == forcefield.n_parameters:
        raise InteropError(
            f"q2mm's parameter vector has {len(x0)} entries and its bounds {len(lower)}, but its bond, angle, torsion, "
            f"van der Waals and Urey-Bradley types make {forcefield.n_parameters}: this version of q2mm has parameters "
            "that are unknown here. EngineObjective(objective_function) takes it as it is."
        )
    bounds = bounds_between(lower, upper)
    return x0, widened(x0, bounds, forcefield.labels) if widen else bounds


def widened(x0: np.ndarray, bounds: Bounds, labels: Sequence[str]) -> Bounds:
    """q2mm's bounds, so wide that they hold its own start: q2mm evaluates outside too.

    Warns:
        BoundsWarning: they do not hold it as they are.
    """
    lower, upper = bounds.lb, bounds.ub
    excess = np.maximum(lower - x0, x0 - upper) / np.maximum(np.maximum(np.abs(lower), np.abs(upper)), 1.0)
    if np.any(excess > 0.0):
        worst, cause = int(np.argmax(excess)), "q2mm's bounds may be too narrow for this molecule"
        if labels[worst].endswith(" k") and x0[worst] < 0.0:
            cause = "negative force constants come from the reaction coordinate of a transition state"
        elif labels[worst].endswith(" k") and excess[worst] > 10.0:
            cause = (
                "force constants far too large come from a Hessian in other units, as 5.0.0a2's Jaguar reader gives it "
                "(kJ/mol/Å² where hartree/bohr² are meant)"
            )
        warn_user(
            f"{np.count_nonzero(excess > 0.0)} of q2mm's {len(x0)} parameters start outside its own bounds, most of all "
            f"{labels[worst]} at {x0[worst]:.6g} (bounds {lower[worst]:g} to {upper[worst]:g}); {cause}. The bounds are "
            "widened to hold the start, at which q2mm evaluates too; correct the start if it is wrong.",
            BoundsWarning,
        )
    return bounds_between(np.minimum(lower, x0), np.maximum(upper, x0))


def check_objective(objective_function: Any) -> None:
    """Check that this is an objective function of q2mm, and a sum of squares over its references alone.

    Raises:
        InteropError: it is not.
    """
    wanted = ("forcefield", "engine", "molecules", "reference")
    missing = [name for name in wanted if not hasattr(objective_function, name)]
    if missing:
        raise InteropError(
            f"a {type(objective_function).__name__} was given, which has no {' and no '.join(missing)}; pass a "
            "q2mm.optimizers.objective.ObjectiveFunction of q2mm 5.0.0a2 (python -m pip install 'q2mm==5.0.0a2') or of its "
            "development version of 2026-04-02, commit 0c795729: plans and executors of later versions are not understood."
        )
    if not len(objective_function.molecules):
        raise InteropError("the ObjectiveFunction has no molecules; give it at least one.")
    for name, value in vars(objective_function).items():
        if any(word in name.lower() for word in _PENALTY_WORDS) and value is not None and np.any(value):
            raise InteropError(
                f"the ObjectiveFunction has {name} = {value!r}, a term of the loss that is unknown here; "
                "set it to zero, or keep q2mm's own objective."
            )


def _warn_left_out(
    forcefield: Any, molecules: Sequence[Any], of_each: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> None:
    counts: dict[str, int] = {}
    first = ""
    for molecule, matched, name in zip(molecules, of_each, names, strict=True):
        for kind, terms in left_out_terms(molecule, matched).items():
            counts[kind] = counts.get(kind, 0) + len(terms)
            if terms and not first:
                first = f"; the first is the {kind} {'-'.join(f'{molecule.symbols[i]}{i}' for i in terms[0])} of {name}"
    used = set(np.concatenate([np.asarray(matched["torsion_types"], dtype=np.int64) for matched in of_each]).tolist())
    impropers = {number for number, torsion in enumerate(forcefield.torsions) if getattr(torsion, "is_improper", False)}
    counts["improper torsion type"] = len(impropers - used)
    counts["CMAP grid"] = len(getattr(forcefield, "cmaps", ()))
    listed = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count)
    if listed:
        warn_user(
            f"q2mm's engine leaves out {listed}{first}. They are left out here too, so that the loss is the same; add "
            "parameters for them to q2mm's force field if they should count.",
            UnmatchedTermWarning,
        )


def _references(values: Sequence[Any], systems: Sequence[System], molecules: Sequence[Any]) -> ReferenceData:
    references, detected = ReferenceData(), {}
    for number, value in enumerate(values):
        what = f"reference {number} ({value.label or value.kind})"
        if value.kind not in REFERENCE_KINDS:
            raise InteropError(f"{what} has the kind {value.kind!r}, which is unknown here. Remove it.")
        system = _position(value.molecule_idx, len(systems), f"{what}: molecule_idx")
        size, index = 3 * systems[system].molecule.n_atoms, None
        if value.kind in ("frequency", "eig_diagonal"):
            index = _position(value.data_idx, size, f"{what}: data_idx")
        elif value.kind in ("eig_offdiagonal", "hessian_element"):
            if len(value.atom_indices or ()) < 2:
                raise InteropError(f"{what}: atom_indices is {value.atom_indices!r}; give (row, column).")
            index = tuple(_position(i, size, f"{what}: atom_indices") for i in value.atom_indices[:2])
        elif value.kind in _GEOMETRY_KINDS:
            if system not in detected:
                detected[system] = _detected(molecules[system])
            index = _atoms(value, detected[system], size // 3, what)
        target = float(torsion_signs([value])[0]) * float(value.value)
        try:
            references.add(Reference(value.kind, target, float(value.weight), system, index, value.label))
        except ReferenceDataError as error:
            raise InteropError(f"{what} cannot be carried over: {error}") from error
    return references


def _detected(molecule: Any) -> Any:
    """The molecule as q2mm makes it again after relaxing, with bonds found by distance: here at its QM geometry."""
    options = {"name": molecule.name, "atom_types": list(molecule.atom_types), "bond_tolerance": molecule.bond_tolerance}
    return type(molecule)(symbols=molecule.symbols, geometry=molecule.geometry, **options)


def _atoms(value: Any, detected: Any, n_atoms: int, what: str) -> tuple[int, ...]:
    """The atoms of a bond, angle or torsion, given as such or, of bonds and angles, by position among those detected."""
    field, letters = _GEOMETRY_KINDS[value.kind]
    if value.atom_indices is not None:
        if len(value.atom_indices) < len(letters):
            raise InteropError(f"{what}: atom_indices is {value.atom_indices!r}; give {len(letters)} atoms.")
        given = value.atom_indices[: len(letters)]
        return tuple(_position(atom, n_atoms, f"{what}: atom_indices") for atom in given)
    if value.kind == "torsion_angle":
        raise InteropError(f"{what} has no atom_indices; give its 4 atoms.")
    terms = getattr(detected, field)
    term = terms[_position(value.data_idx, len(terms), f"{what}: data_idx")]
    return tuple(int(getattr(term, f"atom_{letter}")) for letter in letters)


def _position(index: Any, size: int, what: str) -> int:
    """The index as q2mm's lists and arrays read it: a negative one counts from the end."""
    position = operator.index(index)
    if not -size <= position < size:
        raise InteropError(f"{what} is {index}, but there are only {size} (0 to {size - 1}).")
    return position % size
