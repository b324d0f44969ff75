"""The recipe of a fit: from molecules to terms, a start, references, priors, and the way to solve for them.

Its figures are those that held molecules best (benchmark/README.md): no force at the QM geometry, QM's normal modes there,
torsions held near 0, and no direction softer than half of QM's stiffness.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import OptimizeResult

from q2mm_accel.errors import OptionError, ParameterError, ReferenceDataError, SaddleWarning, TopologyError, warn_user
from q2mm_accel.model.arguments import as_tuple, instance, real_array, truth
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS, Kind
from q2mm_accel.model.matching import match_frequencies
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.perceive import perceive
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.seminario import estimate_force_constants
from q2mm_accel.model.system import System
from q2mm_accel.objective import FusedObjective
from q2mm_accel.parameters.priors import Prior
from q2mm_accel.parameters.selection import selected
from q2mm_accel.solvers.linear import checked_stiffness
from q2mm_accel.spectra import frequencies

DISPLACEMENT = 100.0
"""Weight of displacements along modes [1/(Å u^1/2)]: 0.01 Å u^1/2 count as much as 50 cm⁻¹."""
FREQUENCY = 0.02
"""Weight of frequencies [1/cm⁻¹]: 50 cm⁻¹ count as 1."""
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
SADDLE_TOLERANCE = 1.5
"""`bond_tolerance` where there is a transition state: bonds that form or break are longer."""
AIMS = ("frequencies", "geometry")
"""What a fit can go on to from its solution."""
_IMAGINARY = -50.0
"""[cm⁻¹] A mode below it makes a molecule a transition state; above, a turning group has not quite been optimized."""
_LINEAR_FORMS = ("harmonic", "amber")
"""Those in which `FusedObjective.solve_linear` finds the minimum."""


@dataclass(frozen=True, eq=False)
class FitProblem:
    """What is to be fitted: systems, a force field to start from, references, and what is known beforehand.

    Attributes:
        systems: the molecules with their terms.
        forcefield: the start.
        references: what to reproduce.
        left_out: kind of term -> how many have no parameter in the force field.
        priors: what is known of parameters beforehand.
        active: which of all parameters are fitted, shape (n_parameters,); by default all.
        stiffness: no direction of a molecule may be softer than this part of what QM has (`solve_linear`).
    """

    systems: list[System]
    forcefield: ForceField
    references: ReferenceData
    left_out: dict[str, int] = field(default_factory=dict)
    priors: tuple[Prior, ...] = ()
    active: np.ndarray | None = None
    stiffness: float | None = STIFFNESS

    def objective(self, forcefield: ForceField | None = None) -> FusedObjective:
        """The objective, in units of typical changes; of another force field with the same types, if one is given."""
        return FusedObjective(
            self.systems,
            self.forcefield if forcefield is None else forcefield,
            self.references,
            parameter_scale="typical",
            active=self.active,
            priors=self.priors,
        )

    def solve(self, objective: FusedObjective, maxiter: int = 1000, **options) -> OptimizeResult:
        """The direct solve; a form that is not harmonic starts from the harmonic one's, with the same terms, and goes on.

        Args:
            objective: this problem's.
            maxiter: largest number of steps of Levenberg and Marquardt's method after the direct solve.
            options: further ones of `FusedObjective.solve_native` (checkpoint, time_limit, callback, ...), for these steps.

        Returns:
            As `FusedObjective.solve_linear`, or as `FusedObjective.solve_native`.
        """
        start = self.forcefield
        if start.form in _LINEAR_FORMS:
            return objective.solve_linear(self.stiffness)
        arrays = {**start.arrays, "labels": start.labels, "limits": start.limits}
        harmonic = ForceField(form="harmonic", **arrays)
        first = self.objective(harmonic).reweighted(objective.inputs.weights).solve_linear(self.stiffness)
        return objective.solve_native("levenberg-marquardt", x0=first.x, maxiter=maxiter, **options)


def prepare(
    molecules: Molecule | Iterable[Molecule] | System | Iterable[System],
    form: str | None = None,
    *,
    forcefield: ForceField | None = None,
    active: str | Iterable[str] | ArrayLike | None = None,
    priors: Prior | Iterable[Prior] | None = None,
    displacement: float | None = None,
    stiffness: float | None = None,
    couplings: bool = False,
    **perception,
) -> FitProblem:
    """Everything that a fit to forces and normal modes starts from.

    Transition states, of which a mode is below -50 cm⁻¹, are turned into minima first (`Molecule.as_minimum`), unless this
    has been done.

    Args:
        molecules: at least one, each with a Hessian: terms and types are perceived. Or, with `forcefield`, systems.
        form: functional form, "harmonic" by default.
        forcefield: the start; by default one is estimated.
        active: the parameters that are fitted, as for `FusedObjective`; by default all but those of pairs (van der Waals
            and charges).
        priors: what is known of parameters; by default torsions, impropers and couplings are held near 0.
        displacement: weight of displacements along modes [1/(Å u^1/2)]; 100 by default, 150 with van der Waals terms.
            More for large sets with metals.
        stiffness: see `FusedObjective.solve_linear`; 0.5 by default, 0.65 with van der Waals terms.
        couplings: whether bonds and angles that share atoms are coupled.
        perception: further options of `perceive`; urey_bradley is True by default.

    Returns:
        The problem.

    Raises:
        OptionError: options for perceiving terms beside a force field; a stiffness that it cannot have.
        ReferenceDataError: fewer data than parameters.
        TopologyError: no parameter at all.
        Q2MMAccelError: as for `perceive`, `estimate_force_constants` and `ReferenceData.add_normal_modes`.

    Warns:
        SaddleWarning: a transition state was turned.
    """
    truth(couplings, "couplings", OptionError)
    if displacement is not None:
        real_array(displacement, "displacement", OptionError, shape=())
    if stiffness is not None:
        checked_stiffness(stiffness)
    if forcefield is None:
        terms = dict.fromkeys(("stretch_stretch", "stretch_bend", "bend_bend"), couplings)
        systems, start = _perceived(molecules, "harmonic" if form is None else form, terms | perception)
    else:
        systems, start = _given(molecules, forcefield, [*perception, *(["form"] if form is not None else [])])
    crowded = bool(start.n_types("vdw"))
    weight = (CROWDED_DISPLACEMENT if crowded else DISPLACEMENT) if displacement is None else displacement
    references = ReferenceData()
    for number, system in enumerate(systems):
        references.add_normal_modes(system.molecule, system=number, weight_displacement=weight)
    moving = _bonded(start) if active is None else selected(active, start, "active")
    if not moving.any():
        names = ", ".join(dict.fromkeys(system.molecule.name for system in systems))
        raise TopologyError(
            f"{names}: no parameter is to be fitted, for no atoms are bonded, or active names none. Longer bonds count with "
            "bond_tolerance= (1.3 by default; above 1.5 for those that form)."
        )
    known = _priors(start) if priors is None else as_tuple(priors, Prior, "priors", ParameterError)
    if len(references) < int(moving.sum()) and not known:
        raise ReferenceDataError(
            f"{int(moving.sum())} parameters are to be fitted to {len(references)} data. Share types (by='element'), leave "
            "terms out, freeze parameters (active=), or give priors."
        )
    least = (CROWDED_STIFFNESS if crowded else STIFFNESS) if stiffness is None else stiffness
    return FitProblem(systems, start, references, priors=known, active=moving, stiffness=least)


def refined(problem: FitProblem, forcefield: ForceField, aim: str) -> FitProblem:
    """The same problem with references that only count near a solution, to go on from it.

    Args:
        problem: what was solved.
        forcefield: its solution.
        aim: "frequencies": QM's, each of the mode that has its place now, with the displacements of the problem kept.
            "geometry": QM's bonds, angles and torsions at the force field's own minimum, and the frequencies there.

    Returns:
        The problem, with the solution as its start.

    Raises:
        OptionError: an aim that is none of `AIMS`.
    """
    references = ReferenceData()
    if aim == "frequencies":
        references = ReferenceData([each for each in problem.references if each.kind == "mode_displacement"])
        computed = frequencies(problem.systems, forcefield)
        for number, system in enumerate(problem.systems):
            values, modes = match_frequencies(system.molecule, computed[number])
            references.add_frequencies(values, modes, weight=FREQUENCY, system=number)
    elif aim == "geometry":
        for number, system in enumerate(problem.systems):
            references.add_geometry(system.molecule, number)
            for mode, value in enumerate(system.molecule.normal_modes.frequencies):
                references.add(Reference("relaxed_frequency", float(value), FREQUENCY, number, mode))
    else:
        raise OptionError(f"aim is {aim!r:.60}; it is {' or '.join(map(repr, AIMS))}.")
    return replace(problem, forcefield=forcefield, references=references)


def outline(problem: FitProblem, objective: FusedObjective) -> dict:
    """What would be fitted, without fitting: counts, data against parameters, bounds, memory.

    Args:
        problem: the problem.
        objective: its objective.

    Returns:
        Names and values, to be printed or written as JSON.
    """
    forcefield, bounds = problem.forcefield, objective.bounds
    kinds = [name for name in KINDS if forcefield.n_types(name)]
    near = (objective.x0 <= bounds.lb) | (objective.x0 >= bounds.ub)
    parameters, data = len(objective.labels), len(objective.references)
    return {
        "form": forcefield.form,
        "molecules": [f"{each.molecule.name} ({each.molecule.n_atoms} atoms)" for each in problem.systems],
        "transition states": [each.molecule.name for each in problem.systems if each.molecule.turned],
        "terms": [f"{_terms(problem.systems, name)} {name} of {forcefield.n_types(name)} types" for name in kinds],
        "parameters": parameters,
        "frozen parameters": forcefield.n_parameters - parameters,
        "data": data,
        "data per parameter": round(data / max(parameters, 1), 1),
        "at a bound from the start": [label for label, there in zip(objective.labels, near, strict=True) if there],
        "memory (MB)": round(objective.memory_estimate.total / 2**20, 1),
    }


def _terms(systems: Iterable[System], kind: str) -> int:
    chosen = [system for system in systems if kind in (*system.kinds, *system.pair_kinds)]
    return sum(len(each.terms(kind)[0] if isinstance(KINDS[kind], Kind) else each.pairs(kind).atoms) for each in chosen)


def _perceived(molecules, form: str, options: dict) -> tuple[list[System], ForceField]:
    chosen = as_tuple(molecules, Molecule, "molecules", TopologyError)
    turned = [_as_minimum(molecule) for molecule in chosen]
    if any(now is not before for now, before in zip(turned, chosen, strict=True)):
        options.setdefault("bond_tolerance", SADDLE_TOLERANCE)
    systems, start = perceive(turned, **{"form": form, "urey_bradley": True, **options})
    return systems, estimate_force_constants(systems, start)


def _given(systems, forcefield: ForceField, perception: list[str]) -> tuple[list[System], ForceField]:
    if perception:
        raise OptionError(
            f"{', '.join(sorted(perception))}: a force field is given, so no terms are perceived. Leave that out, or the "
            "force field."
        )
    instance(forcefield, ForceField, "forcefield", ParameterError)
    chosen = as_tuple(systems, System, "systems, for a force field is given", TopologyError)
    return [_with_minimum(system) for system in chosen], forcefield


def _with_minimum(system: System) -> System:
    turned = _as_minimum(system.molecule)
    return system if turned is system.molecule else replace(system, molecule=turned)


def _bonded(forcefield: ForceField) -> np.ndarray:
    """Which parameters do not belong to pairs, (n_parameters,)."""
    chosen = np.ones(forcefield.n_parameters, dtype=bool)
    for kind in ("vdw", "coulomb", "special_vdw"):
        chosen[forcefield.positions(kind)] = False
    return chosen


def _as_minimum(molecule: Molecule) -> Molecule:
    lowest = molecule.normal_modes.frequencies.min(initial=0.0)
    if molecule.turned or lowest > _IMAGINARY:
        return molecule
    warn_user(
        f"{molecule.name}: a transition state, whose mode of {lowest:.0f} cm⁻¹ was made a real one of the same size.",
        SaddleWarning,
    )
    return molecule.as_minimum()


def _priors(forcefield: ForceField) -> tuple[Prior, ...]:
    widths = {**dict.fromkeys(("torsion", "improper"), TORSION_WIDTH), **dict.fromkeys(COUPLINGS, COUPLING_WIDTH)}
    return tuple(Prior(f"{kind}_force_constants", width) for kind, width in widths.items() if forcefield.n_types(kind))
