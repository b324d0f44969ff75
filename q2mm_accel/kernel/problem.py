"""Systems, force field and references -> the `Problem` of arrays that compiled functions take."""

import warnings
from collections.abc import Sequence

import numpy as np

from q2mm_accel.errors import LinearAngleWarning, TopologyError, UnusedParameterWarning
from q2mm_accel.kernel.arrays import Expansion, Priors, Problem
from q2mm_accel.kernel.batching import build_stack
from q2mm_accel.kernel.coordinates import NEARLY_LINEAR
from q2mm_accel.kernel.layout import place_systems, plan_stacks, quantised, stack_of
from q2mm_accel.kernel.lookup import build_reads, build_references, outputs_of
from q2mm_accel.model.forcefield import BLOCKS, ForceField
from q2mm_accel.model.priors import NO_ROWS, PriorRows
from q2mm_accel.model.references import Reference
from q2mm_accel.model.space import ParameterSpace, parameter_space
from q2mm_accel.model.system import TERM_WIDTHS, System

_PARALLEL = 1e-3
"""Sine of an angle below which it counts as 0 degrees, or a torsion's inner angle as straight."""


def build_problem(
    systems: Sequence[System],
    forcefield: ForceField,
    references: Sequence[Reference],
    *,
    space: ParameterSpace | None = None,
    weights: np.ndarray | None = None,
    priors: PriorRows | None = None,
    loss: str = "linear",
    f_scale: float = 1.0,
    plan: Sequence[Sequence[int]] | None = None,
    n_devices: int = 1,
    batch_size: int | None = None,
    fill=0,
) -> Problem:
    """The arrays of a fitting problem.

    Args:
        systems: the molecules with their terms.
        forcefield: the force field.
        references: those with weight, checked.
        space: what the vector of the problem is; by default all parameters, in the force field's units.
        weights: shape (R,); the references' own by default.
        priors: further residuals; none by default.
        loss: name of the loss of references, one of `robust.NAMES`.
        f_scale: where it begins to count them less.
        plan: the systems of each bucket of a single batch; by default that of `plan_stacks`.
        n_devices: among how many devices the molecules are shared out.
        batch_size: how many molecules a device evaluates at the same time; all by default.
        fill: what padded floating-point entries hold; it never matters.

    Returns:
        The problem, of NumPy arrays.

    Raises:
        TopologyError: a type the force field does not have, or a term whose coordinate has no derivatives.
    """
    _check_types(systems, forcefield)
    for system in systems:
        _check_angles(system, forcefield.angle_values[system.angle_types])
        _check_torsions(system)
    space = parameter_space(forcefield) if space is None else space
    weights = np.array([reference.weight for reference in references]) if weights is None else weights
    sizes = [system.molecule.n_atoms for system in systems]
    stacks = plan_stacks(sizes, n_devices, batch_size) if plan is None else [stack_of(sizes, plan)]
    slots = place_systems(stacks)
    outputs = outputs_of(references, slots, stacks)
    reads, source = build_reads(references, slots, stacks, outputs)
    return Problem(
        batches=tuple(
            build_stack(stack, systems, forcefield, slots, *needs, fill)
            for stack, *needs in zip(stacks, outputs, reads, strict=True)
        ),
        references=build_references(references, weights, source, fill),
        expansion=Expansion(space.offset, space.columns, space.coefficients),
        priors=_padded(NO_ROWS if priors is None else priors, fill),
        f_scale=np.array(f_scale, dtype=np.float64),
        loss=loss,
        mesh=None,
    )


def _padded(rows: PriorRows, fill) -> Priors:
    count, padding = len(rows.weight), quantised(len(rows.weight)) - len(rows.weight)
    return Priors(
        present=np.arange(count + padding) < count,
        parameter=np.pad(rows.parameter, (0, padding)),
        center=np.pad(rows.center, (0, padding), constant_values=fill),
        weight=np.pad(rows.weight, (0, padding), constant_values=fill),
    )


def _check_types(systems: Sequence[System], forcefield: ForceField) -> None:
    for system in systems:
        kinds = {kind: system.terms(kind)[1] for kind in TERM_WIDTHS}
        if len(system.vdw_pairs):
            kinds["vdw"] = system.vdw_types
        for kind, types in kinds.items():
            count = forcefield.n_types(kind)
            if len(types) and types.max() >= count:
                term = int(np.argmax(types >= count))
                raise TopologyError(
                    f"{system.molecule.name}: {kind} {term} has the type {types[term]}, but the force field has {count} "
                    f"{kind} types, from 0. Add the type or correct {kind}_types."
                )


def warn_unused(systems: Sequence[System], space: ParameterSpace) -> None:
    """Warn of free parameters that no term uses, nor anything tied to them: a fit leaves them where they are.

    Warns:
        UnusedParameterWarning: there are some; the message names the first.
    """
    depends = _used(systems, space.forcefield)[:, None] & (space.coefficients != 0.0)
    used = np.zeros(len(space.free), dtype=bool)
    used[space.columns[depends]] = True
    unused = [label for label, real in zip(space.labels, used, strict=True) if not real]
    if unused:
        warnings.warn(
            f"{len(unused)} of {len(used)} parameters occur in no term, so the references do not depend on them: "
            f"{', '.join(unused[:6])}{' ...' if len(unused) > 6 else ''}.",
            UnusedParameterWarning,
            stacklevel=3,
        )


def _used(systems: Sequence[System], forcefield: ForceField) -> np.ndarray:
    """Whether a term uses the parameter, (n_parameters,)."""
    found = []
    for kind, names in BLOCKS.items():
        used = np.zeros(forcefield.n_types(kind), dtype=bool)
        for system in systems:
            types = system.vdw_types[np.unique(system.vdw_pairs)] if kind == "vdw" else system.terms(kind)[1]
            used[types] = True
        found.append(np.repeat(used, len(names)))
    return np.concatenate(found)


def _check_angles(system: System, equilibria: np.ndarray) -> None:
    points = system.molecule.coordinates[system.angle_atoms]
    sine, cosine = _sine_and_cosine(points[:, 0] - points[:, 1], points[:, 2] - points[:, 1])
    for term in np.flatnonzero((sine < _PARALLEL) & (cosine > 0.0)):
        raise TopologyError(
            f"{system.molecule.name}: angle {term} of the atoms {system.angle_atoms[term].tolist()} is 0 degrees, where "
            "it has no derivative. Remove the term or check the coordinates."
        )
    for term in np.flatnonzero((sine < NEARLY_LINEAR) & (cosine < 0.0) & (180.0 - equilibria > np.degrees(NEARLY_LINEAR))):
        warnings.warn(
            f"{system.molecule.name}: angle {term} of the atoms {system.angle_atoms[term].tolist()} is linear but its "
            f"equilibrium is {equilibria[term]:g} degrees: the energy has a kink there, and its derivative is taken as 0. "
            "Set the equilibrium to 180 degrees.",
            LinearAngleWarning,
            stacklevel=4,
        )


def _check_torsions(system: System) -> None:
    first, axis, last = np.diff(system.molecule.coordinates[system.torsion_atoms], axis=1).transpose(1, 0, 2)
    sine = np.minimum(_sine_and_cosine(first, axis)[0], _sine_and_cosine(axis, last)[0])
    for term in np.flatnonzero(sine < _PARALLEL):
        raise TopologyError(
            f"{system.molecule.name}: torsion {term} of the atoms {system.torsion_atoms[term].tolist()} passes through a "
            "straight angle, where a dihedral is undefined. Remove the term."
        )


def _sine_and_cosine(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the angles between vectors, shape (n, 3) each."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.linalg.norm(np.cross(first, second), axis=1) / lengths, (first * second).sum(axis=1) / lengths
