"""How a force field does on molecules that it was not fitted to: fits that leave some out, all by one compiled program."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from q2mm_accel.errors import OptionError
from q2mm_accel.model.arguments import instance, integer
from q2mm_accel.problem.checks import used_parameters
from q2mm_accel.recipe import FitProblem
from q2mm_accel.validation import MoleculeValidation, validate


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A molecule in a fit without it.

    Attributes:
        fitted: what the force field does with the molecule when it is fitted to all.
        left_out: what it does when the molecule is left out.
        unknown: labels of the parameters that only the molecules left out have: they keep the values of the start.
    """

    fitted: MoleculeValidation
    left_out: MoleculeValidation
    unknown: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What fits do with the molecules that they leave out. Printing it gives a table.

    Attributes:
        molecules: one for each molecule that was left out, in the order of the folds.
    """

    molecules: tuple[LeftOut, ...]

    @property
    def frequency_rmsd(self) -> float:
        """Of the molecules left out, at the force fields' own minima [cm⁻¹]."""
        differences = [each.left_out.own - each.left_out.quantum for each in self.molecules]
        return float(np.sqrt(np.mean(np.concatenate(differences) ** 2)))

    @property
    def bond_deviations(self) -> np.ndarray:
        """Of all bond lengths of the molecules left out [Å]."""
        return np.concatenate([np.zeros(0), *(each.left_out.bonds.values for each in self.molecules)])

    @property
    def angle_deviations(self) -> np.ndarray:
        """Of all bond angles of the molecules left out [degrees]."""
        return np.concatenate([np.zeros(0), *(each.left_out.angles.values for each in self.molecules)])

    def __str__(self) -> str:
        """A line for each molecule, and what all have."""
        lines = [
            f"{'left out':<20}{'RMS freq., own minimum (cm⁻¹)':>32}{'largest deviation from QM':>32}{'parameters':>14}",
            f"{'':<20}{'fitted':>16}{'left out':>16}{'bond (Å)':>16}{'angle (°)':>16}{'of its own':>14}",
        ]
        for each in self.molecules:
            own, other = each.fitted, each.left_out
            lines.append(
                f"{other.name[:19]:<20}{own.frequency_rmsd:16.1f}{other.frequency_rmsd:16.1f}{other.bonds.largest:16.3f}"
                f"{other.angles.largest:16.1f}{len(each.unknown):14d}"
            )
        bond, angle = (float(np.max(np.abs(each), initial=0.0)) for each in (self.bond_deviations, self.angle_deviations))
        lines.append(f"left out, all: {self.frequency_rmsd:.1f} cm⁻¹; bonds within {bond:.3f} Å, angles within {angle:.1f}°")
        return "\n".join(lines)


def cross_validate(
    problem: FitProblem,
    folds: Iterable[Iterable[int]] | int | None = None,
    *,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> CrossValidation:
    """Fit without some of the molecules, and look what the force field does with these.

    Args:
        problem: what `prepare` gives, of at least two molecules.
        folds: groups of systems that are left out together; or how many groups to share the molecules out to at random. By
            default each molecule is left out alone. One group is a split into training and validation.
        seed: of the groups.
        progress: called with a line of text when a fit begins.

    Returns:
        The figures of each molecule that was left out, beside those of the fit to all.

    Raises:
        OptionError: groups that leave nothing to fit to, or name a system that does not exist or one twice.
        Q2MMAccelError: as the solvers and `validate` do.
    """
    instance(problem, FitProblem, "problem", OptionError)
    if integer(seed, "seed", OptionError) < 0:
        raise OptionError(f"seed is {seed}; give 0 or more.")
    if progress is not None and not callable(progress):
        raise OptionError(f"progress is {progress!r:.60}; give a function that takes a line of text, such as print.")
    groups = _groups(folds, len(problem.systems), seed)
    objective = problem.objective()
    every = validate(problem.systems, objective.forcefield(problem.solve(objective).x))
    found = []
    for number, group in enumerate(groups):
        if progress is not None:
            names = ", ".join(problem.systems[system].molecule.name for system in group)
            progress(f"fit {number + 1} of {len(groups)}, without {names}")
        kept = ~np.isin(objective.references.system, group)
        partly = objective.reweighted(np.where(kept, objective.inputs.weights, 0.0))
        forcefield = partly.forcefield(problem.solve(partly).x)
        left = [problem.systems[system] for system in group]
        others = [system for place, system in enumerate(problem.systems) if place not in group]
        only = used_parameters(left, forcefield) & ~used_parameters(others, forcefield)
        unknown = tuple(forcefield.labels[place] for place in np.flatnonzero(only))
        after = validate(problem.systems, forcefield)  # all of them, for shapes that are compiled
        found += [LeftOut(every.molecules[system], after.molecules[system], unknown) for system in group]
    return CrossValidation(tuple(found))


def _groups(folds: Iterable[Iterable[int]] | int | None, count: int, seed: int) -> list[list[int]]:
    if folds is None:
        groups = [[number] for number in range(count)]
    elif isinstance(folds, int) and not isinstance(folds, bool):
        if not 2 <= folds <= count:
            raise OptionError(f"folds is {folds}; {count} molecules can be shared out to 2 to {count} groups.")
        shuffled = np.random.default_rng(seed).permutation(count)
        groups = [sorted(group.tolist()) for group in np.array_split(shuffled, folds)]
    elif isinstance(folds, Iterable) and all(isinstance(each, Iterable) for each in folds):
        groups = [list(group) for group in folds]
    else:
        raise OptionError(f"folds is {folds!r:.60}; give groups of systems, such as [[0], [1, 2]], or how many groups.")
    named = [number for group in groups for number in group]
    if not all(isinstance(number, int | np.integer) and 0 <= number < count for number in named):
        raise OptionError(f"folds name systems that do not exist; there are {count}, counted from 0.")
    if len(set(named)) < len(named) or not all(0 < len(group) < count for group in groups):
        raise OptionError("each group of folds must name some of the systems, but not all, and no system may be in two.")
    return groups
