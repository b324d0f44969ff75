"""Data sets as problems of normal modes: no force at the QM geometries, and QM's vibrations there."""

import numpy as np
from scipy.optimize import OptimizeResult

from q2mm_accel.datasets.problems import PROBLEMS, TRANSITION_STATES, FitProblem
from q2mm_accel.datasets.rh_enamide import load_rh_enamide
from q2mm_accel.datasets.small import SMALL, load_molecule
from q2mm_accel.errors import DatasetError
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.perceive import perceive
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.model.seminario import estimate_force_constants
from q2mm_accel.objective import FusedObjective
from q2mm_accel.parameters.priors import Prior

DISPLACEMENT = 100.0
"""Weight of displacements along modes [1/(Å u^1/2)]: 0.01 Å u^1/2 count as much as 50 cm⁻¹."""
METAL_DISPLACEMENT = 300.0
"""The same for large sets with metals, whose types hold their molecules less tightly."""
CROWDED_DISPLACEMENT, STIFFNESS, CROWDED_STIFFNESS = 150.0, 0.5, 0.65
"""With van der Waals terms: their forces between many atoms are large and change soon, so that less force is asked away and
more stiffness wanted than otherwise."""
TORSION_WIDTH = 10.0
"""[kcal/mol] by which a torsion's or improper's constant is held near 0. Those of planar groups can cancel each other at the
QM geometry with constants of thousands, and let the molecule go as soon as it moves."""
COUPLINGS = ("stretch_stretch", "bond_bend", "bend_bend")
COUPLING_WIDTH = 100.0
"""The same for couplings [kcal/mol/Å² or /rad²]."""


def load_modes_problem(
    name: str, form: str = "harmonic", urey_bradley: bool = True, couplings: bool = False, vdw: bool = False
) -> FitProblem:
    """A problem: stay at the QM geometry and vibrate there as QM says, with all the terms that the geometry shows.

    The curvature of transition states is turned (`Molecule.as_minimum`), so that the force field holds them as minima.

    Args:
        name: one of `PROBLEMS`. "rh-enamide" is fetched at the first call.
        form: functional form.
        urey_bradley: whether outer atoms of angles get distance terms.
        couplings: whether bonds and angles that share atoms are coupled.
        vdw: whether atoms more than two bonds apart have van der Waals terms, with UFF's parameters; these are not fitted.

    Returns:
        The problem, for `FusedObjective.solve_linear` in the form "harmonic".

    Raises:
        DatasetError: unknown name, or data that could not be fetched.
        MissingPackageError: "rh-enamide" without q2mm, whose readers it needs.
    """
    molecules = [molecule.as_minimum() if turned else molecule for molecule, turned in _molecules(name)]
    systems, start = perceive(
        molecules,
        form=form,
        bond_tolerance=1.5 if name in TRANSITION_STATES else 1.3,
        urey_bradley="all" if urey_bradley and name == "rh-enamide" else urey_bradley,
        stretch_stretch=couplings,
        stretch_bend=couplings,
        bend_bend=couplings,
        vdw=vdw,
    )
    weight = METAL_DISPLACEMENT if name == "rh-enamide" else DISPLACEMENT
    references = ReferenceData()
    for number, molecule in enumerate(molecules):
        references.add_normal_modes(molecule, system=number, weight_displacement=CROWDED_DISPLACEMENT if vdw else weight)
    active = np.ones(start.n_parameters, dtype=bool)
    active[start.positions("vdw")] = False
    return FitProblem(systems, estimate_force_constants(systems, start), references, priors=_priors(start), active=active)


def _priors(forcefield: ForceField) -> tuple[Prior, ...]:
    widths = {**dict.fromkeys(("torsion", "improper"), TORSION_WIDTH), **dict.fromkeys(COUPLINGS, COUPLING_WIDTH)}
    return tuple(Prior(f"{kind}_force_constants", width) for kind, width in widths.items() if forcefield.n_types(kind))


def _molecules(name: str) -> list[tuple[Molecule, bool]]:
    """The molecules of a problem, and whether each is a transition state."""
    if name not in PROBLEMS:
        raise DatasetError(f"there is no problem {name!r}; choose one of {', '.join(PROBLEMS)}.")
    if name == "rh-enamide":
        return [(system.molecule, True) for system in load_rh_enamide("harmonic").systems]
    names = [each for each in SMALL if each not in TRANSITION_STATES] if name == "small" else [name]
    return [(load_molecule(each), each in TRANSITION_STATES) for each in names]


def objective_of(problem: FitProblem) -> FusedObjective:
    """The objective of a problem, in units of typical changes."""
    return FusedObjective(
        problem.systems,
        problem.forcefield,
        problem.references,
        parameter_scale="typical",
        active=problem.active,
        priors=problem.priors,
    )


def solved(objective: FusedObjective, maxiter: int = 1000) -> OptimizeResult:
    """The direct solve; a form that is not harmonic starts from the harmonic one's, with the same terms, and goes on.

    Args:
        objective: as `objective_of` makes it of `load_modes_problem`.
        maxiter: largest number of steps of Levenberg and Marquardt's method after the direct solve.

    Returns:
        As `FusedObjective.solve_linear`, or as `FusedObjective.solve_native`.
    """
    forcefield, inputs = objective.space.forcefield, objective.inputs
    stiffness = CROWDED_STIFFNESS if forcefield.n_types("vdw") else STIFFNESS
    if forcefield.form == "harmonic":
        return objective.solve_linear(stiffness)
    arrays = {**forcefield.arrays, "labels": forcefield.labels, "limits": forcefield.limits}
    harmonic = FusedObjective(
        inputs.systems,
        ForceField(form="harmonic", **arrays),
        inputs.references,
        parameter_scale=inputs.space.scale,
        active=np.isin(np.arange(forcefield.n_parameters), inputs.space.free),
        priors=_priors(forcefield),
    )
    return objective.solve_native("levenberg-marquardt", x0=harmonic.solve_linear(stiffness).x, maxiter=maxiter)
