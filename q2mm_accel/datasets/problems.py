"""Fitting problems by name: the ones that `q2mm-accel fit` and the benchmark run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from q2mm_accel.datasets.rh_enamide import load_rh_enamide
from q2mm_accel.datasets.small import SMALL, load_molecule
from q2mm_accel.errors import DatasetError
from q2mm_accel.interop.pairing import match_as_q2mm
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import SIGNED_BOUNDS
from q2mm_accel.model.matching import match_frequencies
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.perceive import perceive
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.model.seminario import estimate_force_constants
from q2mm_accel.model.system import System
from q2mm_accel.parameters.priors import Prior
from q2mm_accel.spectra import frequencies

TRANSITION_STATES = {"sn2_ts"}
"""Small data sets that are transition states: longer bonds, and one curvature that Seminario's estimate inverts."""

FREQUENCY_WEIGHT = 0.001
"""Weight of a frequency [1/cm⁻¹], as in q2mm's benchmarks."""

DISPLACEMENT = 100.0
"""Weight of displacements along modes [1/(Å u^1/2)]: 0.01 Å u^1/2 count as much as 50 cm⁻¹."""
METAL_DISPLACEMENT = 300.0
"""The same for large sets with metals, whose types hold their molecules less tightly."""
TORSION_WIDTH = 10.0
"""[kcal/mol] by which a torsion's or improper's constant is held near 0. Those of planar groups can cancel each other at the
QM geometry with constants of thousands, and let the molecule go as soon as it moves."""
COUPLINGS = ("stretch_stretch", "bond_bend", "bend_bend")
COUPLING_WIDTH = 100.0
"""The same for couplings [kcal/mol/Å² or /rad²]."""

PROBLEMS = (*SMALL, "small", "rh-enamide")
"""Names of the problems; "small" is all small minima together."""


@dataclass(frozen=True, eq=False)
class FitProblem:
    """Systems, force field to start from, and references."""

    systems: list[System]
    forcefield: ForceField
    references: ReferenceData
    left_out: dict[str, int] = field(default_factory=dict)
    """Kind of term -> how many have no parameter in the force field."""
    priors: tuple[Prior, ...] = ()
    """What is known of parameters beforehand."""


def load_problem(name: str, form: str = "mm3") -> FitProblem:
    """A problem: fit the QM frequencies above 50 cm⁻¹, from Seminario's estimate of the force constants.

    Args:
        name: one of `PROBLEMS`. "rh-enamide" is fetched at the first call.
        form: functional form, "mm3" or "harmonic".

    Returns:
        The problem.

    Raises:
        DatasetError: unknown name, or data that could not be fetched.
        MissingPackageError: "rh-enamide" without q2mm, whose readers it needs.
    """
    if name not in PROBLEMS:
        raise DatasetError(f"there is no problem {name!r}; choose one of {', '.join(PROBLEMS)}.")
    if name == "rh-enamide":
        data = load_rh_enamide(form)
        references = frequency_references(data.systems, data.forcefield, align="lowest")
        return FitProblem(data.systems, data.forcefield, references, data.left_out)
    names = [n for n in SMALL if n not in TRANSITION_STATES] if name == "small" else [name]
    transition_state = name in TRANSITION_STATES
    molecules = [load_molecule(each) for each in names]
    systems, start = perceive(
        molecules,
        form=form,
        by="environment" if len(molecules) > 1 else "element",
        bond_tolerance=1.5 if transition_state else 1.3,
        impropers=False,
        angle_gap=None,
        bond_gap=None,
        margins=None,
    )
    start = estimate_force_constants(systems, start.with_bounds(**SIGNED_BOUNDS), transition_state=transition_state)
    return FitProblem(systems, start, frequency_references(systems, start, align="highest"))


def load_modes_problem(name: str, form: str = "harmonic", urey_bradley: bool = True, couplings: bool = False) -> FitProblem:
    """A problem: stay at the QM geometry and vibrate there as QM says, with all the terms that the geometry shows.

    The curvature of transition states is turned (`Molecule.as_minimum`), so that the force field holds them as minima.

    Args:
        name: one of `PROBLEMS`. "rh-enamide" is fetched at the first call.
        form: functional form.
        urey_bradley: whether outer atoms of angles get distance terms.
        couplings: whether bonds and angles that share atoms are coupled.

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
    )
    references = ReferenceData()
    for number, molecule in enumerate(molecules):
        weight = METAL_DISPLACEMENT if name == "rh-enamide" else DISPLACEMENT
        references.add_normal_modes(molecule, system=number, weight_displacement=weight)
    widths = {**dict.fromkeys(("torsion", "improper"), TORSION_WIDTH), **dict.fromkeys(COUPLINGS, COUPLING_WIDTH)}
    priors = tuple(Prior(f"{kind}_force_constants", width) for kind, width in widths.items() if start.n_types(kind))
    return FitProblem(systems, estimate_force_constants(systems, start), references, priors=priors)


def _molecules(name: str) -> list[tuple[Molecule, bool]]:
    """The molecules of a problem, and whether each is a transition state."""
    if name not in PROBLEMS:
        raise DatasetError(f"there is no problem {name!r}; choose one of {', '.join(PROBLEMS)}.")
    if name == "rh-enamide":
        return [(system.molecule, True) for system in load_rh_enamide("harmonic").systems]
    names = [each for each in SMALL if each not in TRANSITION_STATES] if name == "small" else [name]
    return [(load_molecule(each), each in TRANSITION_STATES) for each in names]


def frequency_references(systems: Sequence[System], forcefield: ForceField, align: str) -> ReferenceData:
    """The molecules' QM frequencies above 50 cm⁻¹, each with its computed mode: "lowest" as in q2mm, or "highest"."""
    references = ReferenceData()
    for number, (system, computed) in enumerate(zip(systems, frequencies(systems, forcefield), strict=True)):
        if align == "lowest":
            values, modes = match_as_q2mm(system.molecule.frequencies(), computed)
        else:
            values, modes = match_frequencies(system.molecule, computed, threshold=50.0)
        references.add_frequencies(values, modes, weight=FREQUENCY_WEIGHT, system=number)
    return references
