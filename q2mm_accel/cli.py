"""The command q2mm-accel."""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from q2mm_accel.datasets.modes import load_modes_problem, objective_of, solved
from q2mm_accel.datasets.problems import PROBLEMS, FitProblem, load_problem
from q2mm_accel.errors import MissingPackageError, NonFiniteError, OutputError, Q2MMAccelError, Q2MMAccelWarning
from q2mm_accel.io.results import write_json, write_table
from q2mm_accel.objective import FusedObjective
from q2mm_accel.report.summary import FitSummary, summarise, summarise_modes
from q2mm_accel.validation import Validation, validate
from q2mm_accel.writers.forcefields import write_forcefield


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: command-line words; those of the process by default.

    Returns:
        The exit status: 0, or 1 when something was wrong with the input, which is then said on one line.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.objective == "frequencies" and options.couplings:
        parser.error("--couplings belongs to --objective modes")
    try:
        _fit(options)
    except Q2MMAccelError as error:
        print(f"q2mm-accel: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="q2mm-accel", description="Fit force fields to quantum chemistry.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fit = commands.add_parser("fit", help="fit a force field to the QM Hessians of a data set, and validate it")
    fit.add_argument("problem", choices=PROBLEMS, metavar="PROBLEM", help=f"one of {', '.join(PROBLEMS)}")
    objectives = "modes: forces and normal modes by one direct solve (default); frequencies: q2mm's objective, step by step"
    fit.add_argument("--objective", choices=("modes", "frequencies"), default="modes", help=objectives)
    forms = "functional form (default: harmonic; mm3 for frequencies)"
    fit.add_argument("--form", choices=("mm3", "harmonic"), help=forms)
    outer = "distance terms between outer atoms of angles (default: yes; modes only)"
    fit.add_argument("--urey-bradley", action=argparse.BooleanOptionalAction, default=True, help=outer)
    fit.add_argument("--couplings", action="store_true", help="couple bonds and angles that share atoms (modes only)")
    fit.add_argument("--maxiter", type=_positive, default=1000, help="largest number of iterations (default: 1000)")
    fit.add_argument("--maxtime", type=float, default=np.inf, help="stop after this many seconds (default: no limit)")
    fit.add_argument("--output", type=Path, help="folder for the results (default: q2mm-accel-fit/PROBLEM)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but is {value}")
    return value


def _fit(options: argparse.Namespace) -> None:
    console = _console()
    folder = _folder(options.output or Path("q2mm-accel-fit") / options.problem)
    with warnings.catch_warnings(record=True, category=Q2MMAccelWarning) as caught:
        warnings.simplefilter("always", Q2MMAccelWarning)
        problem = _problem(options)
        start = time.perf_counter()
        objective = objective_of(problem)
        objective.fun(objective.x0)
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        console.print(f"Note: {message}")
    for kind, count in problem.left_out.items():
        console.print(f"Note: {count} {kind} terms have no parameter in this force field and are left out, as in q2mm.")
    compared = "frequencies" if options.objective == "frequencies" else "elements of normal modes and displacements"
    console.print(
        f"{options.problem} ({problem.forcefield.form}): {len(problem.systems)} molecules, {len(objective.labels)} "
        f"parameters, {len(objective.references)} {compared}; built and compiled in {time.perf_counter() - start:.1f} s"
    )
    if options.objective == "frequencies":
        console.print("Objective: frequencies at the QM geometries, as in q2mm; what holds the molecules is not fitted.")
        summary, found = _optimize(console, objective, options.maxiter, options.maxtime)
    else:
        console.print("Objective: no force at the QM geometries, and QM's normal modes there.")
        summary, found = _solve(console, objective, options.maxiter)
    _print(console, summary)
    console.print("What the force field does by itself:")
    console.print(str(found))
    if not found.held:
        console.print("WARNING: this force field does not hold its molecules. Do not use it for anything that moves.")
    try:
        _write(folder, objective, summary, found)
    except OSError as error:
        raise OutputError(
            f"the results cannot be written to {folder}: {error}. Choose another folder with --output."
        ) from error
    console.print(f"Written to {folder}: forcefield.json, result.json, frequencies.csv")


def _problem(options: argparse.Namespace) -> FitProblem:
    if options.objective == "frequencies":
        return load_problem(options.problem, options.form or "mm3")
    return load_modes_problem(options.problem, options.form or "harmonic", options.urey_bradley, options.couplings)


def _solve(console, objective: FusedObjective, maxiter: int) -> tuple[FitSummary, Validation]:
    begin = time.perf_counter()
    with console.status("solving"):
        result = solved(objective, maxiter)
    seconds = time.perf_counter() - begin
    before, after = (_validated(console, objective, x) for x in (objective.x0, result.x))
    return summarise_modes(objective, result, seconds, before, after), after


def _folder(folder: Path) -> Path:
    """The folder, made before anything is computed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error}. Choose another folder with --output.") from error
    return folder


def _console():
    try:
        from rich.console import Console
    except ImportError as error:
        raise MissingPackageError("rich is not installed; run: python -m pip install 'q2mm_accel[cli]'") from error
    return Console(soft_wrap=True, markup=False)


def _print(console, summary: FitSummary) -> None:
    from q2mm_accel.report.tables import print_summary

    print_summary(console, summary)


def _optimize(console, objective: FusedObjective, maxiter: int, maxtime: float) -> tuple[FitSummary, Validation]:
    weight = np.sum(objective.references.weight**2)
    begin = time.perf_counter()
    with console.status("fitting") as status:

        def report(intermediate_result: OptimizeResult) -> None:
            seconds = time.perf_counter() - begin
            rmsd = np.sqrt(intermediate_result.fun / weight)
            status.update(f"fitting: {seconds:.0f} s, {objective.kernel_runs} evaluations, RMSD {rmsd:.2f} cm⁻¹")
            if seconds > maxtime:
                raise StopIteration

        try:
            result = minimize(
                objective.fun,
                objective.x0,
                jac=objective.jac,
                method="L-BFGS-B",
                bounds=objective.bounds,
                callback=report,
                options={"maxiter": maxiter, "maxfun": 10 * maxiter, "maxcor": 30, "ftol": 1e-9, "gtol": 1e-9},
            )
        except (NonFiniteError, KeyboardInterrupt) as error:
            result = _stopped(objective, error)
    if time.perf_counter() - begin > maxtime and not result.success:
        result.message = f"Stopped after --maxtime {maxtime:g} s."
    summary = summarise(objective, result, time.perf_counter() - begin)
    return summary, _validated(console, objective, result.x)


def _validated(console, objective: FusedObjective, x: np.ndarray) -> Validation:
    with warnings.catch_warnings(record=True, category=Q2MMAccelWarning) as caught, console.status("validating"):
        warnings.simplefilter("always", Q2MMAccelWarning)
        found = validate(objective.systems, objective.forcefield(x))
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        console.print(f"Note: {message}")
    return found


def _stopped(objective: FusedObjective, error: BaseException) -> OptimizeResult:
    """The best point of a fit that an error or Ctrl-C ended."""
    if objective.best is None:
        raise error
    return OptimizeResult(
        x=objective.best.x,
        fun=objective.best.fun,
        success=False,
        status=99,
        message=f"Stopped early, the best point is kept: {str(error) or 'interrupted'}",
        nit=0,
        nfev=objective.kernel_runs,
    )


def _write(folder: Path, objective: FusedObjective, summary: FitSummary, found: Validation) -> None:
    result = summary.result
    write_forcefield(folder / "forcefield.json", objective.forcefield(result.x))
    write_json(
        folder / "result.json",
        {
            "success": bool(result.success),
            "status": int(result.status),
            "message": str(result.message),
            "loss": float(result.fun),
            "iterations": int(result.nit),
            "evaluations": int(result.get("nfev", objective.kernel_runs)),
            "seconds": summary.seconds,
            "rmsd_start": summary.rmsd(summary.start),
            "rmsd_fitted": summary.rmsd(summary.fitted),
            "rmsd_own_minimum": found.frequency_rmsd,
            "held": found.held,
            "largest_bond_deviation": float(np.max(np.abs(found.bond_deviations), initial=0.0)),
            "largest_angle_deviation": float(np.max(np.abs(found.angle_deviations), initial=0.0)),
            "imaginary_modes": found.n_imaginary,
            "warnings": list(found.warnings),
            "parameters": dict(zip(summary.labels, summary.parameters_fitted.tolist(), strict=True)),
        },
    )
    rows = zip(summary.molecules, summary.modes, summary.reference, summary.start, summary.fitted, strict=True)
    write_table(
        folder / "frequencies.csv",
        ["molecule", "mode", "reference_cm-1", "start_cm-1", "fitted_cm-1"],
        [[name, int(mode), *map(float, values)] for name, mode, *values in rows],
    )


if __name__ == "__main__":
    sys.exit(main())
