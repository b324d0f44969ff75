"""`fit`: from molecules to a validated force field with error bars, in one call made of the package's public parts."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult

from q2mm_accel.errors import OptionError, Q2MMAccelWarning, UncertaintyError, warn_user
from q2mm_accel.model.arguments import integer
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.model.system import System
from q2mm_accel.objective import FusedObjective
from q2mm_accel.recipe import AIMS, FitProblem, prepare, refined
from q2mm_accel.report.page import body_of
from q2mm_accel.report.record import record_of
from q2mm_accel.report.saving import save_fit
from q2mm_accel.uncertainty import Uncertainty
from q2mm_accel.validation import Validation, validate

_LINES = 25
"""How many lines a printed fit has at most."""
_NAMED = 3
"""How many parameters or combinations are named in a line."""


class Stage(NamedTuple):
    """A part of a fit that has been done."""

    name: str
    seconds: float
    loss: float | None
    rmsd: float | None
    """Root mean square deviation of frequencies at the own minima [cm⁻¹]."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A force field that was fitted, and all that says what it is worth. Printing it gives at most 25 lines.

    Attributes:
        problem: what was fitted to what, and the start.
        objective: its objective.
        result: of the solver; `result.x` is the fitted x.
        start: the force field before.
        forcefield: the fitted one.
        before: what the start did by itself.
        validation: what the fitted force field does by itself.
        uncertainty: how well the data determine its parameters; None where there are no more data than parameters.
        history: what was done, in order.
        notes: warnings that were given on the way.
    """

    problem: FitProblem
    objective: FusedObjective
    result: OptimizeResult
    start: ForceField
    forcefield: ForceField
    before: Validation
    validation: Validation
    uncertainty: Uncertainty | None
    history: tuple[Stage, ...]
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Wall time of all stages."""
        return sum(stage.seconds for stage in self.history)

    @cached_property
    def distrust(self) -> tuple[str, ...]:
        """What to distrust, in plain words, the worst first."""
        found = list(self.validation.warnings)
        if not self.result.success:
            found.insert(0, f"the solver did not converge: {self.result.message}")
        bars = self.uncertainty
        if bars is None:
            return (*found, "there are no more data than parameters, so nothing says how well they are known.")
        if bars.undetermined:
            lines = "; ".join(map(str, bars.undetermined[:_NAMED]))
            found.append(f"{len(bars.undetermined)} combinations of parameters that the data do not tell apart: {lines}.")
        if bars.vague:
            found.append(f"{len(bars.vague)} parameters known worse than a noticeable change: {_some(bars.vague)}.")
        return tuple(found)

    def record(self, command: str = "") -> dict:
        """Everything that reports tell, as plain values (report/record.py); `command` says how the fit was made."""
        return record_of(self, command)

    def save(self, folder: str | PathLike, command: str = "", report: bool = True) -> Path:
        """Write forcefield.json, fit.json (the record), frequencies.csv and report.html to a folder, as `save_fit` does."""
        return save_fit(self, folder, command, report)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return body_of(self.record())

    def __str__(self) -> str:
        """What was fitted, how well, and what to distrust."""
        parts = ", ".join(f"{stage.name} {stage.seconds:.1f} s" for stage in self.history)
        start, own = self.before, self.validation
        lines = [
            f"{self.forcefield.form}: {len(self.problem.systems)} molecules, {len(self.objective.labels)} parameters, "
            f"{len(self.objective.references)} data; loss {self.result.fun:.4g}. {parts}.",
            f"before the fit: {start.frequency_rmsd_at_qm:.1f} cm⁻¹ at the QM geometries, {start.frequency_rmsd:.1f} at the "
            "own minima",
        ]
        lines += [line for line in str(own).splitlines() if not line.startswith("!")]  # at most 18
        found, room = [f"! {line}" for line in self.distrust], _LINES - len(lines)
        if len(found) > room:
            found = [*found[: room - 1], f"! and {len(found) - room + 1} more (.distrust)"]
        return "\n".join([*lines, *found])


def fit(
    molecules: Molecule | Iterable[Molecule] | System | Iterable[System] | FitProblem | FusedObjective,
    form: str | None = None,
    *,
    refine: str | None = None,
    maxiter: int = 1000,
    progress: Callable[[str], None] | None = None,
    checkpoint: str | PathLike | None = None,
    resume: str | PathLike | None = None,
    **options,
) -> Fit:
    """Fit a force field to QM Hessians, so that it holds its molecules and vibrates like them, and say what it is worth.

    Terms and types are perceived, force constants estimated, all harmonic parameters found by one direct solve (other forms
    go on by Levenberg and Marquardt's method), the result relaxed and compared with QM, and its parameters given error bars.

    Args:
        molecules: with Hessians; or, with `forcefield=`, systems; or what `prepare` gives; or an objective, whose loss is
            then minimized by `FusedObjective.solve_native`.
        form: functional form, "harmonic" by default.
        refine: whether to go on from the solution with references that only count near one: "frequencies" or "geometry", as
            `refined` says.
        maxiter: largest number of steps where the form is not harmonic.
        progress: called with a line of text when a stage begins; `print` will do.
        checkpoint: a file to save the state of these steps to, as for `FusedObjective.solve_native`.
        resume: a checkpoint to go on from.
        options: of `prepare`: forcefield, active, priors, displacement, stiffness, couplings, urey_bradley, vdw, ...

    Returns:
        The fit; `print(fit)` tells about it.

    Raises:
        Q2MMAccelError: as `prepare`, `FusedObjective`, its solvers and `validate` do.
    """
    _check(refine, maxiter, progress, checkpoint, resume)
    watch = _Watch(progress)
    with _noted() as notes:
        with watch.stage("perceive"):
            problem, objective = posed(molecules, form, options)
        with watch.stage("build and compile"):
            objective = problem.objective() if objective is None else objective
            watch.loss = objective.fun(objective.x0)
        start = objective.forcefield(objective.x0)
        with watch.stage("solve"):
            steps = {"maxiter": maxiter, "checkpoint": checkpoint, "resume": resume, "callback": watch.step}
            if isinstance(molecules, FusedObjective):
                result = objective.solve_native(**steps)
            else:
                result = problem.solve(objective, **({"maxiter": maxiter} if refine else steps))
            watch.loss = float(result.fun)
        if refine is not None:
            with watch.stage(f"refine {refine}"):
                problem = refined(problem, objective.forcefield(result.x), refine)
                objective = problem.objective()
                result = objective.solve_native("levenberg-marquardt", **steps)
                watch.loss = float(result.fun)
        forcefield = objective.forcefield(result.x)
        with watch.stage("validate"):
            before, after = (validate(problem.systems, each) for each in (start, forcefield))
            watch.rmsd = after.frequency_rmsd
        with watch.stage("error bars"):
            bars = _uncertainty(objective, result.x)
    return Fit(problem, objective, result, start, forcefield, before, after, bars, tuple(watch.stages), tuple(notes))


def _check(refine, maxiter, progress, checkpoint, resume) -> None:
    """Refuse what would only be noticed after the solve."""
    if refine not in (None, *AIMS):
        raise OptionError(f"refine is {refine!r:.60}; it is {', '.join(map(repr, AIMS))} or None.")
    if integer(maxiter, "maxiter", OptionError) < 1:
        raise OptionError(f"maxiter is {maxiter}; give 1 or more.")
    if progress is not None and not callable(progress):
        raise OptionError(f"progress is {progress!r:.60}; give a function that takes a line of text, such as print.")
    for name, path in (("checkpoint", checkpoint), ("resume", resume)):
        if path is not None and not isinstance(path, str | PathLike):
            raise OptionError(f"{name} is {path!r:.60}; give the path of a file.")


def posed(given, form: str | None, options: dict) -> tuple[FitProblem, FusedObjective | None]:
    """The problem that `fit` is given, and its objective where there is one already."""
    if not isinstance(given, FitProblem | FusedObjective):
        return prepare(given, form, **options), None
    if form is not None or options:
        names = ", ".join([*(["form"] if form else []), *options])
        raise OptionError(f"{names}: a problem that has been prepared says that itself. Give it to `prepare`.")
    if isinstance(given, FitProblem):
        return given, None
    return FitProblem(list(given.systems), given.forcefield(given.x0), ReferenceData(given.references)), given


def _uncertainty(objective: FusedObjective, x: np.ndarray) -> Uncertainty | None:
    try:
        return objective.uncertainty(x)
    except UncertaintyError:
        return None


class _Watch:
    """What has been done so far, and how long it took."""

    def __init__(self, progress: Callable[[str], None] | None) -> None:
        self.stages: list[Stage] = []
        self.loss: float | None = None
        self.rmsd: float | None = None
        self._progress = progress
        self._name, self._began, self._steps = "", 0.0, 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._name, self._began, self._steps = name, time.perf_counter(), 0
        self._say(name if self.loss is None else f"{name} (loss {self.loss:.4g})")
        yield
        self.stages.append(Stage(name, time.perf_counter() - self._began, self.loss, self.rmsd))

    def step(self, intermediate_result: OptimizeResult) -> None:
        """What a solver calls every ten steps."""
        self._steps += 1
        seconds = time.perf_counter() - self._began
        self._say(f"{self._name}: {10 * self._steps} steps, loss {intermediate_result.fun:.4g}, {seconds:.0f} s")

    def _say(self, line: str) -> None:
        if self._progress is not None:
            self._progress(line)


@contextmanager
def _noted() -> Iterator[list[str]]:
    """The package's warnings as lines, each once; they are given to the caller too, when all is done."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    for each in caught:
        if not issubclass(each.category, Q2MMAccelWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        elif str(each.message) not in notes:
            notes.append(str(each.message))
            warn_user(str(each.message), each.category)


def _some(labels: tuple[str, ...]) -> str:
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return ", ".join(labels[:_NAMED]) + more
