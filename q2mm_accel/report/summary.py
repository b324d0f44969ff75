"""The figures of a finished fit: frequencies, RMSD per molecule, parameters."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult

from q2mm_accel.objective import FusedObjective
from q2mm_accel.validation import Validation


@dataclass(frozen=True, eq=False)
class FitSummary:
    """What a fit of frequencies achieved.

    Attributes:
        molecules: name of each reference's molecule, m entries.
        modes: shape (m,), position of each mode in the sorted list of all 3N.
        reference: shape (m,) [cm⁻¹].
        start: shape (m,) [cm⁻¹], computed at the start.
        fitted: shape (m,) [cm⁻¹], computed at the end.
        labels: the names of all parameters of the force field.
        parameters_start: shape (n_parameters,), in the force field's units.
        parameters_fitted: shape (n_parameters,).
        result: SciPy's result.
        seconds: wall time of the optimization.
    """

    molecules: Sequence[str]
    modes: np.ndarray
    reference: np.ndarray
    start: np.ndarray
    fitted: np.ndarray
    labels: Sequence[str]
    parameters_start: np.ndarray
    parameters_fitted: np.ndarray
    result: OptimizeResult
    seconds: float

    def rmsd(self, computed: np.ndarray, molecule: str | None = None) -> float:
        """Root mean square deviation from the reference [cm⁻¹], of one molecule or of all."""
        chosen = np.array([molecule in (None, name) for name in self.molecules])
        return float(np.sqrt(np.mean((computed - self.reference)[chosen] ** 2)))


def summarise(objective: FusedObjective, result: OptimizeResult, seconds: float) -> FitSummary:
    """Collect the figures of a fit whose references are all frequencies.

    Args:
        objective: the objective.
        result: SciPy's result.
        seconds: wall time of the optimization.

    Returns:
        The summary.
    """
    names = _distinct([system.molecule.name for system in objective.systems])
    return FitSummary(
        molecules=[names[number] for number in objective.references.system.tolist()],
        modes=objective.references.indices[:, 0],
        reference=objective.references.value,
        start=objective.predictions(objective.x0),
        fitted=objective.predictions(result.x),
        labels=objective.space.forcefield.labels,
        parameters_start=objective.forcefield(objective.x0).parameters,
        parameters_fitted=objective.forcefield(result.x).parameters,
        result=result,
        seconds=seconds,
    )


def summarise_modes(
    objective: FusedObjective, result: OptimizeResult, seconds: float, before: Validation, after: Validation
) -> FitSummary:
    """Collect the figures of a fit to normal modes: all vibrations, sorted, at the QM geometries.

    Args:
        objective: the objective.
        result: the solver's result.
        seconds: wall time of it.
        before: of the force field to start from.
        after: of the fitted one.

    Returns:
        The summary; modes are counted from 0 without rigid motions.
    """
    names = _distinct([system.molecule.name for system in objective.systems])
    counts = [len(each.quantum) for each in after.molecules]
    return FitSummary(
        molecules=[name for name, count in zip(names, counts, strict=True) for _ in range(count)],
        modes=np.concatenate([np.arange(count) for count in counts]),
        reference=np.concatenate([each.quantum for each in after.molecules]),
        start=np.concatenate([each.at_qm for each in before.molecules]),
        fitted=np.concatenate([each.at_qm for each in after.molecules]),
        labels=objective.space.forcefield.labels,
        parameters_start=objective.forcefield(objective.x0).parameters,
        parameters_fitted=objective.forcefield(result.x).parameters,
        result=result,
        seconds=seconds,
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with the system's number behind those that occur more than once."""
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} (system {number})" for number, name in enumerate(names)]
