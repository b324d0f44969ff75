"""Fitting problems by name: the ones that `q2mm-accel fit` and the benchmark run."""

from collections.abc import Sequence

from q2mm_accel.datasets.rh_enamide import load_rh_enamide
from q2mm_accel.datasets.small import LARGER, SMALL, load_molecule
from q2mm_accel.errors import DatasetError
from q2mm_accel.interop.pairing import match_as_q2mm
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import SIGNED_BOUNDS
from q2mm_accel.model.matching import match_frequencies
from q2mm_accel.model.perceive import perceive
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.model.seminario import estimate_force_constants
from q2mm_accel.model.system import System
from q2mm_accel.recipe import FitProblem
from q2mm_accel.spectra import frequencies

TRANSITION_STATES = {"sn2_ts"}
"""Small data sets that are transition states: longer bonds, and one curvature that Seminario's estimate inverts."""

FREQUENCY_WEIGHT = 0.001
"""Weight of a frequency [1/cm⁻¹], as in q2mm's benchmarks."""

PROBLEMS = (*SMALL, *LARGER, "small", "rh-enamide")
"""Names of the problems; "small" is the eight small minima together."""


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
