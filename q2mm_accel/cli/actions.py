"""What the words of the command do. Answers go to stdout, progress and notes to stderr."""

import contextlib
import importlib
import json
import os
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from q2mm_accel.cli.codes import HELD, INTERRUPTED, NOT_HELD
from q2mm_accel.cli.configuration import Request, request_of
from q2mm_accel.comparison import compare
from q2mm_accel.datasets.modes import load_modes_problem
from q2mm_accel.datasets.problems import PROBLEMS
from q2mm_accel.datasets.small import MOLECULES, load_molecule
from q2mm_accel.errors import InteropError, OptionError, OutputError, Q2MMAccelWarning
from q2mm_accel.fitting import fit, posed
from q2mm_accel.io.atomic import replace_file
from q2mm_accel.io.results import read_forcefield
from q2mm_accel.model.adopting import adopt
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.reading import read_molecules
from q2mm_accel.objective import FusedObjective
from q2mm_accel.parameters.priors import Prior
from q2mm_accel.recipe import FitProblem, outline, prepare
from q2mm_accel.report.page import html_of, markdown_of
from q2mm_accel.report.record import read_record
from q2mm_accel.solvers.lane import Status
from q2mm_accel.validation import Validation, validate
from q2mm_accel.writers.forcefields import write_forcefield

_GO_ON = "Interrupted: go on from the best point so far with the same command and --resume."


def fit_inputs(words: Sequence[str], options: dict[str, Any], as_json: bool) -> int:
    """Fit, print, save."""
    request = request_of(words, options)
    folder = Path(request.options.get("output") or Path("q2mm-accel-fit") / request.name)
    with _progress() as report:
        given = _posed(request)
        suffixes = [f".{each.lstrip('.')}" for each in request.options.get("export", ())]
        _check_exports(given, suffixes)
        _make(folder)
        state = folder / "checkpoint"
        resumed = state if request.options.get("resume") else None
        try:
            found = fit(given, **_steps(request), progress=report, checkpoint=state, resume=resumed)
        except KeyboardInterrupt:
            if state.exists():
                _say(_GO_ON)
            raise
    found.save(folder, command=shlex.join(["q2mm-accel", *sys.argv[1:]]))
    written = ["forcefield.json", "fit.json", "frequencies.csv", "report.html"]
    for suffix in suffixes:
        written.append(f"forcefield{suffix}")
        write_forcefield(folder / written[-1], found.forcefield, found.problem.systems)
    _answer(found.record() if as_json else None, str(found))
    _say(f"Written to {folder}: {', '.join(written)}")
    if found.result.get("status") == Status.INTERRUPTED:
        _say(_GO_ON)
        return INTERRUPTED
    state.unlink(missing_ok=True)
    return HELD if found.validation.held and found.result.success else NOT_HELD


def check_inputs(words: Sequence[str], options: dict[str, Any], as_json: bool) -> int:
    """Say what would be fitted."""
    with _progress():
        problem, objective = posed(_posed(request_of(words, options)), None, {})
        objective = problem.objective() if objective is None else objective
    plan = outline(problem, objective)
    _answer(plan if as_json else None, "\n".join(f"{name}: {_words(value)}" for name, value in plan.items()))
    return HELD


def validate_inputs(forcefield: str, words: Sequence[str], options: dict[str, Any], as_json: bool) -> int:
    """Relax molecules by a force field."""
    request, chosen = request_of(words, options), read_forcefield(forcefield)
    with _progress() as report:
        found = _problem(replace(request, options={**request.options, "form": chosen.form}))
        report("validate")
        result = validate(adopt(found.systems, found.forcefield, chosen), chosen)
    _answer(_figures(result) if as_json else None, str(result))
    return HELD if result.held else NOT_HELD


def compare_objective(name: str, points: int) -> int:
    """Compare an objective of q2mm with the fused one."""
    with _progress():
        objective = _objective_of_q2mm(name)
        found = compare(objective, _fused(objective), points)
    print(found)
    return HELD if found.agrees else NOT_HELD


def write_report(folder: str, output: str | None) -> int:
    """Write a report again."""
    path = Path(output) if output else Path(folder) / "report.html"
    record = read_record(Path(folder) / "fit.json")
    text = (markdown_of if path.suffix == ".md" else html_of)(record, f"Force field in {folder}")
    replace_file(path, text.encode())
    _say(f"Written: {path}")
    return HELD


def list_datasets(as_json: bool) -> int:
    """The data sets by name."""
    found = {}
    for name in PROBLEMS:
        molecule = load_molecule(name) if name in MOLECULES else None
        found[name] = {"small": "all small minima together", "rh-enamide": "nine transition states, fetched"}.get(
            name, "" if molecule is None else f"{molecule.n_atoms} atoms"
        )
    _answer(found if as_json else None, "\n".join(f"{name:20}{text}" for name, text in found.items()))
    return HELD


def _steps(request: Request) -> dict[str, Any]:
    """Options of `fit` itself."""
    return {name: request.options[name] for name in ("refine", "maxiter") if name in request.options}


def _objective_of_q2mm(name: str) -> Any:
    """What a module of the user's own calls so."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"{name}: {error}. Give MODULE:OBJECTIVE, a Python module and q2mm's objective in it.") from error


def _posed(request: Request) -> FitProblem | FusedObjective:
    name = request.options.get("q2mm")
    return _problem(request) if name is None else _fused(_objective_of_q2mm(name))


def _fused(objective: Any) -> FusedObjective:
    made = FusedObjective.from_q2mm(objective)
    if not isinstance(made, FusedObjective):
        raise InteropError(
            f"its engine is a {type(objective.engine).__name__}, whose terms are not known here: there is no fused program. "
            "In a script, EngineObjective takes it as it is."
        )
    return made


def _problem(request: Request) -> FitProblem:
    priors = request.options.get("priors")
    known: dict[str, Any] = {} if priors is None else {"priors": [Prior(name, width) for name, width in priors.items()]}
    if len(request.inputs) == 1 and request.inputs[0] in PROBLEMS and not Path(request.inputs[0]).exists():
        return load_modes_problem(request.inputs[0], **request.for_prepare, **known)
    return prepare(_molecules(request), **request.for_prepare, **known)


def _molecules(request: Request) -> list[Molecule]:
    names = [each for each in request.inputs if each in MOLECULES and not Path(each).exists()]
    others = [each for each in request.inputs if each not in names]
    for word in others:
        near = get_close_matches(word, PROBLEMS, n=1)
        if near and not Path(word).suffix and not Path(word).exists():
            raise OptionError(f"there is no file or data set {word!r}; the nearest data set is {near[0]!r}.")
    files = [_pair(each) for each in others]
    return [*map(load_molecule, names), *(read_molecules(files) if files else [])]


def _check_exports(given: FitProblem | FusedObjective, suffixes: Sequence[str]) -> None:
    """Refuse before the fit what a format could not hold after it."""
    forcefield = given.forcefield if isinstance(given, FitProblem) else given.forcefield(given.x0)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in suffixes:
            write_forcefield(Path(folder) / f"forcefield{suffix}", forcefield, given.systems)


def _pair(word: str) -> str | tuple[str, str]:
    """A file, or GEOMETRY+HESSIAN."""
    geometry, plus, hessian = word.partition("+")
    return (geometry, hessian) if plus and not Path(word).exists() else word


def _make(folder: Path) -> None:
    """The folder, made before anything is computed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "no permission to write there")
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be used: {error.strerror or error}. Choose another folder with --output."
        ) from error


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Says what is being done: one line that changes in a terminal, lines else; then notes, each once."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    status = console.status("perceive") if console.is_terminal else None
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True, category=Q2MMAccelWarning) as caught:
            warnings.simplefilter("always", Q2MMAccelWarning)
            with status or contextlib.nullcontext():
                yield status.update if status else lambda line: console.print(f"{line} ...")
    finally:  # what failed is often explained by them
        for message in dict.fromkeys(str(warning.message) for warning in caught):
            console.print(f"Note: {message}")


def _answer(content: dict | None, text: str) -> None:
    print(text if content is None else json.dumps(content, indent=1, ensure_ascii=False))


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _figures(found: Validation) -> dict:
    """Of all molecules and of each."""
    return {
        "held": found.held,
        "rmsd_at_qm": found.frequency_rmsd_at_qm,
        "rmsd_own": found.frequency_rmsd,
        "imaginary": found.n_imaginary,
        "bond": float(np.max(np.abs(found.bond_deviations), initial=0.0)),
        "angle": float(np.max(np.abs(found.angle_deviations), initial=0.0)),
        "warnings": list(found.warnings),
        "molecules": {each.name: {"rmsd_own": each.frequency_rmsd, "held": each.held} for each in found.molecules},
    }
