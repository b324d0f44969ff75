"""q2mm's objective function -> ours. Duck-typed: q2mm itself is never imported here.

Two generations of q2mm are understood: the release 5.0.0a2 (harmonic form, bond constants in mdyn/Å, angle constants in
mdyn Å/rad²) and the development version of 2026-04-02, commit 0c795729 (kcal/mol, the form "mm3" too, torsions,
Urey-Bradley terms, references to Hessian elements).
"""

import operator
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds

from q2mm_accel.errors import InteropError, ReferenceDataError, UnmatchedTermWarning, warn_user
from q2mm_accel.interop.q2mm_model import (
    forcefield_from_q2mm,
    left_out_terms,
    molecule_from_q2mm,
    system_from_q2mm,
    terms_from_q2mm,
)
from q2mm_accel.model.arguments import bounds_between
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.reference_table import REFERENCE_KINDS
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.system import System

_GEOMETRY_KINDS = ("bond_length", "bond_angle", "torsion_angle")
_PENALTY_WORDS = ("regulari", "penalt", "prior", "l2")


@dataclass(frozen=True, eq=False)
class Q2MMProblem:
    """What an `ObjectiveFunction` of q2mm minimises, in our terms.

    Attributes:
        systems: one per molecule, with the terms that q2mm's engine evaluates.
        forcefield: at `x0`, in canonical units (kcal/mol).
        references: all references, in q2mm's order.
        x0: shape (n_parameters,), q2mm's parameter vector, in q2mm's units: the values that its force field holds now.
        bounds: q2mm's default bounds, in q2mm's units.
        parameter_scale: shape (n_parameters,); canonical parameters are `x * parameter_scale`.
    """

    systems: list[System]
    forcefield: ForceField
    references: ReferenceData
    x0: np.ndarray
    bounds: Bounds
    parameter_scale: np.ndarray


def problem_from_q2mm(objective_function: Any) -> Q2MMProblem:
    """Carry over an objective function of q2mm whose engine is a `JaxEngine`.

    Every molecule is matched to the force field afresh by q2mm's own `create_context`. It drops bonds, angles and
    torsions without parameters; they are dropped here too, so that the loss stays the same, and counted in a warning.
    QM Hessians are carried over as they are and unchecked: q2mm takes only the eigenvectors from them, and those of
    5.0.0a2's Jaguar reader are in kJ/mol/Å². Rescaling them would turn the eigenvectors of degenerate modes.

    Two faults of q2mm are not carried over. It has no force within 0.026 degrees of a linear angle. And 0c795729
    computes energies and Hessian elements of all molecules with equal terms at the geometry of the first one, if there
    are references to frequencies or eigenmatrices too.

    Args:
        objective_function: a `q2mm.optimizers.objective.ObjectiveFunction`, version 5.0.0a2 or later.

    Returns:
        The problem; these two faults apart, its loss at any x is `objective_function(x)`.

    Raises:
        InteropError: another engine, a reference to a relaxed geometry, or anything else that would change the loss.
        MoleculeError: an unknown element, or atoms on top of each other.
        ParameterError: a torsion whose periodicity is below 1.

    Warns:
        UnmatchedTermWarning: q2mm leaves out terms that have no parameter.

    Source: q2mm's optimizers/objective.py and backends/mm/jax_engine.py, 5.0.0a2 and commit 0c795729.
    """
    _check_objective(objective_function)
    engine, theirs = objective_function.engine, objective_function.forcefield
    molecules = list(objective_function.molecules)
    names = [f"molecule {number} ({molecule.name or 'unnamed'})" for number, molecule in enumerate(molecules)]
    bond_factor, angle_factor = _unit_factors(engine)
    handles = [_match(engine, theirs, molecule, name) for molecule, name in zip(molecules, names, strict=True)]
    systems = [
        system_from_q2mm(molecule_from_q2mm(molecule, name), terms_from_q2mm(handle, name))
        for molecule, handle, name in zip(molecules, handles, names, strict=True)
    ]
    form = getattr(handles[0], "functional_form", "harmonic")
    forcefield = forcefield_from_q2mm(theirs, form, bond_factor, angle_factor)
    x0 = np.array(theirs.get_param_vector(), dtype=np.float64)
    lower, upper = np.array(theirs.get_bounds(), dtype=np.float64).reshape(-1, 2).T
    if not len(x0) == len(lower) == forcefield.n_parameters:
        raise InteropError(
            f"q2mm's parameter vector has {len(x0)} entries and its bounds {len(lower)}, but its bond, angle, torsion, "
            f"van der Waals and Urey-Bradley types make {forcefield.n_parameters}: this version of q2mm has parameters "
            "that are unknown here. Keep q2mm's own objective for this problem."
        )
    scale = np.ones(len(x0))
    first_angle, first_torsion = 2 * len(theirs.bonds), 2 * (len(theirs.bonds) + len(theirs.angles))
    scale[:first_angle:2] = bond_factor
    scale[first_angle:first_torsion:2] = angle_factor
    _warn_left_out(theirs, molecules, handles, names)
    references = _references(objective_function.reference.values, systems)
    return Q2MMProblem(systems, forcefield, references, x0, bounds_between(lower, upper), scale)


def _check_objective(objective_function: Any) -> None:
    wanted = ("forcefield", "engine", "molecules", "reference")
    missing = [name for name in wanted if not hasattr(objective_function, name)]
    if missing:
        raise InteropError(
            f"a {type(objective_function).__name__} was given, which has no {' and no '.join(missing)}; "
            "pass a q2mm.optimizers.objective.ObjectiveFunction."
        )
    if not len(objective_function.molecules):
        raise InteropError("the ObjectiveFunction has no molecules; give it at least one.")
    for name, value in vars(objective_function).items():
        if any(word in name.lower() for word in _PENALTY_WORDS) and value is not None and np.any(value):
            raise InteropError(
                f"the ObjectiveFunction has {name} = {value!r}, a term of the loss that is unknown here; "
                "set it to zero, or keep q2mm's own objective."
            )


def _unit_factors(engine: Any) -> tuple[float, float]:
    """kcal/mol per unit of q2mm's bond and angle constants: 71.97 and 71.94 in 5.0.0a2, 1 later."""
    if type(engine).__name__ != "JaxEngine":
        raise InteropError(
            f"the ObjectiveFunction uses the engine {type(engine).__name__}, but only a JaxEngine can be carried over. "
            "Objectives on other engines keep their own function: minimise the ObjectiveFunction itself."
        )
    module = sys.modules[type(engine).__module__]
    missing = [name for name in ("_BOND_K_CONV", "_ANGLE_K_CONV") if not hasattr(module, name)]
    if missing:
        raise InteropError(
            f"{module.__name__} has no {' and no '.join(missing)}, so the units of this version of q2mm are unknown; "
            "install one that is known: python -m pip install 'q2mm==5.0.0a2'."
        )
    return float(module._BOND_K_CONV), float(module._ANGLE_K_CONV)


def _match(engine: Any, forcefield: Any, molecule: Any, name: str) -> Any:
    """A fresh context: those that the objective has cached may belong to another molecule (0c795729)."""
    try:
        return engine.create_context(molecule, forcefield)
    except ValueError as error:
        raise InteropError(f"{name}: q2mm cannot match it to the force field: {error}") from error


def _warn_left_out(forcefield: Any, molecules: Sequence[Any], handles: Sequence[Any], names: Sequence[str]) -> None:
    counts: dict[str, int] = {}
    first = ""
    for molecule, handle, name in zip(molecules, handles, names, strict=True):
        for kind, terms in left_out_terms(molecule, handle).items():
            counts[kind] = counts.get(kind, 0) + len(terms)
            if terms and not first:
                first = f"; the first is the {kind} {'-'.join(f'{molecule.symbols[i]}{i}' for i in terms[0])} of {name}"
    counts["improper torsion type"] = sum(getattr(torsion, "is_improper", False) for torsion in forcefield.torsions)
    counts["CMAP grid"] = len(getattr(forcefield, "cmaps", ()))
    listed = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count)
    if listed:
        warn_user(
            f"q2mm's engine leaves out {listed}{first}. They are left out here too, so that the loss is the same; add "
            "parameters for them to q2mm's force field if they should count.",
            UnmatchedTermWarning,
        )


def _references(values: Sequence[Any], systems: Sequence[System]) -> ReferenceData:
    references = ReferenceData()
    for number, value in enumerate(values):
        what = f"reference {number} ({value.label or value.kind})"
        if value.kind in _GEOMETRY_KINDS:
            raise InteropError(
                f"{what} is a {value.kind}, which q2mm compares after relaxing the geometry; objectives at fixed "
                "geometries have no such thing. Remove it, or keep q2mm's own objective."
            )
        if value.kind not in REFERENCE_KINDS:
            raise InteropError(f"{what} has the kind {value.kind!r}, which is unknown here. Remove it.")
        system = _position(value.molecule_idx, len(systems), f"{what}: molecule_idx")
        size = 3 * systems[system].molecule.n_atoms
        index = None
        if value.kind in ("frequency", "eig_diagonal"):
            index = _position(value.data_idx, size, f"{what}: data_idx")
        elif value.kind in ("eig_offdiagonal", "hessian_element"):
            if len(value.atom_indices or ()) < 2:
                raise InteropError(f"{what}: atom_indices is {value.atom_indices!r}; give (row, column).")
            index = tuple(_position(i, size, f"{what}: atom_indices") for i in value.atom_indices[:2])
        try:
            references.add(Reference(value.kind, float(value.value), float(value.weight), system, index, value.label))
        except ReferenceDataError as error:
            raise InteropError(f"{what} cannot be carried over: {error}") from error
    return references


def _position(index: Any, size: int, what: str) -> int:
    """The index as q2mm's lists and arrays read it: a negative one counts from the end."""
    position = operator.index(index)
    if not -size <= position < size:
        raise InteropError(f"{what} is {index}, but there are only {size} (0 to {size - 1}).")
    return position % size
