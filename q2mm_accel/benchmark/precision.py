"""`python -m q2mm_accel.benchmark precision`: what float32 costs in digits and saves in time, beside float64."""

import time
import warnings
from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from q2mm_accel.benchmark import eigh
from q2mm_accel.benchmark.baseline import with_spectra
from q2mm_accel.benchmark.cases import objectives
from q2mm_accel.benchmark.timing import first_call, interleaved, nearby
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import Q2MMAccelWarning
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.objective import FusedObjective, predictions
from q2mm_accel.parameters.space import parameter_space
from q2mm_accel.problem.arrays import Problem
from q2mm_accel.problem.build import build_problem
from q2mm_accel.problem.precision import in_precision
from q2mm_accel.runtime import PRECISIONS, exclusive_eigh

PARTS = ("accuracy", "polish", "eigh")
PEERS = "jax.hessian in float32"
STIFF = 50.0
"""Frequency above which a mode is neither a rigid motion nor almost one [cm⁻¹]. All reference values lie above it; where
the force field's own frequency is far below, its derivative by the eigenvalue, and so the gradient, loses digits."""
_TIGHT = {"tol": 1e-12, "gtol": 1e-12}
_FITS = {
    "float64": {},
    "float32": {"precision": "float32"},
    "float32, then polished": {"precision": "float32", "polish": True},
}
_METHOD = "levenberg-marquardt"
_POLISHED = {"ch3f": None, "small": None, "rh-enamide": "* k"}
"""Problems whose fits are compared, and what may change: of force constants alone even the large set has one minimum."""

Evaluation = tuple[np.ndarray, float, np.ndarray]
"""Frequencies of all modes of all molecules, (sum of all 3N,) [cm⁻¹]; loss; gradient (n,)."""


def run(results: dict, parts: list[str], rounds: int, quick: bool) -> None:
    """Measure and print parts, and add the figures to the results.

    Args:
        results: part -> figures, of those that were measured.
        parts: of `PARTS`.
        rounds: calls of each function that is timed; the median counts.
        quick: whether to run only CH3F and small molecules, in one form.
    """
    if "accuracy" in parts:
        results["accuracy"] = []
        for name, form in problems(quick):
            results["accuracy"].append(accuracy(name, form, rounds))
            _print_accuracy(results["accuracy"][-1])
        worst = {way: f"{value:.2g}" for way, value in worst_errors(results["accuracy"]).items()}
        print(f"\nWorst error of a mode above {STIFF:g} cm⁻¹ [cm⁻¹]: {', '.join(map(' '.join, worst.items()))}")
    if "polish" in parts:
        results["polish"] = []
        print(f"\nFits of eigenmatrices in mm3 ({_METHOD}) from the same start; losses beside that of the fit in float64")
        print(f"  {'problem':22} {'precision':22}  compile s  seconds  iterations           loss  difference  ended")
        for name in ["ch3f"] if quick else _POLISHED:
            results["polish"].append(polish(name, "mm3"))
            _print_polish(results["polish"][-1])
    if "eigh" in parts:
        results["eigh"] = eigh.run(rounds, quick)


def problems(quick: bool) -> list[tuple[str, str]]:
    """Names and forms of the problems in "accuracy"."""
    names, forms = (("ch3f", "small"), ("harmonic",)) if quick else (("ch3f", "small", "rh-enamide"), ("harmonic", "mm3"))
    return [(name, form) for name in names for form in forms]


def accuracy(name: str, form: str, rounds: int) -> dict:
    """Errors of frequencies, loss and gradient at three parameter sets, and times of `fun_and_jac`, by precision.

    Args:
        name: of `PROBLEMS`.
        form: functional form.
        rounds: calls of each function.

    Returns:
        Errors as `errors` gives them for each parameter set and way, and median times [s] by precision.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)
        problem = load_problem(name, form)
        inputs = (problem.systems, problem.forcefield, problem.references)
        fused = {precision: FusedObjective(*inputs, precision=precision) for precision in PRECISIONS}
        exact = fused["float64"]
        modes = _all_modes(exact)
    ways: dict[str, Callable[[np.ndarray], Evaluation]] = {
        precision: partial(_evaluation, objective, in_precision(modes, precision)) for precision, objective in fused.items()
    }
    ways[PEERS] = with_spectra(exact.systems, problem.forcefield, exact.references, np.float32)
    sets = [{"parameters": label, **_at(exact, ways, x)} for label, x in parameter_sets(exact).items()]
    points = nearby(exact.x0, rounds * len(fused))
    times = interleaved({precision: each.fun_and_jac for precision, each in fused.items()}, points, rounds)
    return {
        "problem": name,
        "form": form,
        "molecules": len(exact.systems),
        "modes": sum(3 * system.molecule.n_atoms for system in exact.systems),
        "device": jax.devices()[0].device_kind,
        "sets": sets,
        "median_s": {precision: float(np.median(seconds)) for precision, seconds in times.items()},
    }


def parameter_sets(objective: FusedObjective) -> dict[str, np.ndarray]:
    """The start, a fit of at most 50 steps, and the start perturbed by 20 % within the bounds, (n,) each."""
    x, limits = objective.x0, objective.bounds
    noise = 0.2 * np.random.default_rng(0).standard_normal(len(x))
    fitted = objective.solve_native(_METHOD, maxiter=50).x
    return {"start": x, "fitted": fitted, "perturbed": np.clip(x * (1.0 + noise), limits.lb, limits.ub)}


def _all_modes(objective: FusedObjective) -> Problem:
    """A problem, of NumPy arrays, whose predictions are the frequencies of all modes, rigid motions included."""
    references = ReferenceData()
    for number, system in enumerate(objective.systems):
        references.add_frequencies(np.zeros(3 * system.molecule.n_atoms), system=number)
    return build_problem(objective.systems, parameter_space(objective.space.forcefield), references)


def _evaluation(objective: FusedObjective, modes: Problem, x: np.ndarray) -> Evaluation:
    with exclusive_eigh():
        frequencies = np.array(predictions(modes, x), dtype=np.float64)[np.asarray(modes.references.present)]
    return frequencies, *objective.fun_and_jac(x)


def _at(objective: FusedObjective, ways: dict[str, Callable[[np.ndarray], Evaluation]], x: np.ndarray) -> dict:
    found = {way: evaluate(x) for way, evaluate in ways.items()}
    exact = found.pop("float64")
    return {
        "stiff_modes": int((np.abs(exact[0]) > STIFF).sum()),
        "soft_references": int((np.abs(objective.predictions(x)) <= STIFF).sum()),
        "loss": float(exact[1]),
        "gradient_norm": float(np.linalg.norm(exact[2])),
        "errors": {way: errors(values, exact) for way, values in found.items()},
    }


def errors(found: Evaluation, exact: Evaluation) -> dict:
    """Largest and mean error of all modes and of those above `STIFF` [cm⁻¹], relative ones of loss and gradient.

    Modes that are not finite are counted and left out; a relative error that is not finite is None.
    """
    difference = np.abs(found[0] - exact[0])
    finite = np.isfinite(difference)
    stiff = finite & (np.abs(exact[0]) > STIFF)
    loss, gradient = (float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(found[1:], exact[1:], strict=True))
    return {
        **{"largest": float(difference[finite].max()), "mean": float(difference[finite].mean())},
        **{"largest_stiff": float(difference[stiff].max()), "mean_stiff": float(difference[stiff].mean())},
        "not_finite": int((~finite).sum()),
        "loss": loss if np.isfinite(loss) else None,
        "gradient": gradient if np.isfinite(gradient) else None,
    }


def worst_errors(rows: list[dict]) -> dict[str, float]:
    """Way -> largest error of a mode above `STIFF` in all problems and parameter sets [cm⁻¹]."""
    found = [each["errors"] for row in rows for each in row["sets"]]
    return {way: max(each[way]["largest_stiff"] for each in found) for way in found[0]}


def polish(name: str, form: str) -> dict:
    """Fits of eigenmatrices in float64, in float32, and in float32 with a polish in float64.

    Args:
        name: of `_POLISHED`.
        form: functional form.

    Returns:
        Loss, seconds and iterations of each fit, and the relative difference of its loss to that of float64.
    """
    objective = objectives(name, form, "eigenmatrix", _POLISHED[name])[0]
    row = {"problem": name, "form": form, "parameters": len(objective.x0), "fits": {}}
    for label, options in _FITS.items():
        solve = partial(objective.solve_native, _METHOD, **_TIGHT, **options)
        compilation = first_call(partial(solve, maxiter=0))
        begin = time.perf_counter()
        result = solve()
        seconds, first = time.perf_counter() - begin, row["fits"].get("float64", {"loss": result.fun})["loss"]
        row["fits"][label] = {
            **{"compile_s": compilation, "seconds": seconds, "iterations": int(result.nit), "loss": float(result.fun)},
            **{"difference": (result.fun - first) / first, "message": result.message},
        }
    return row


def _print_accuracy(row: dict) -> None:
    print(f"\n{row['problem']} ({row['form']}): {row['molecules']} molecules, {row['modes']} modes; errors against float64")
    print(f"  {'':24}   all modes [cm⁻¹]    above {STIFF:g} cm⁻¹ [cm⁻¹]          relative\n  {'':24}", end="")
    print(f"{'largest':>9}{'mean':>10}{'largest':>13}{'mean':>10}{'loss':>12}{'gradient':>10}")
    for each in row["sets"]:
        print(
            f"  {each['parameters']}: {each['stiff_modes']} modes above {STIFF:g} cm⁻¹, loss {each['loss']:.3g}, "
            f"norm of the gradient {each['gradient_norm']:.2g}, {each['soft_references']} references of modes that are below"
        )
        for way, found in each["errors"].items():
            relative = [f"{found[key]:10.1e}" if found[key] is not None else f"{'-':>10}" for key in ("loss", "gradient")]
            print(
                f"    {way:22}{found['largest']:9.2g}{found['mean']:10.2g}{found['largest_stiff']:13.2g}"
                f"{found['mean_stiff']:10.2g}  {''.join(relative)}"
                + (f"  {found['not_finite']} modes not finite" if found["not_finite"] else "")
            )
    times = ", ".join(f"{precision} {1e3 * seconds:.3f} ms" for precision, seconds in row["median_s"].items())
    print(f"  fun_and_jac on {row['device']}: {times}", flush=True)


def _print_polish(row: dict) -> None:
    for label, fit in row["fits"].items():
        print(
            f"  {row['problem'] + ' (' + row['form'] + ')':22} {label:22} {fit['compile_s']:10.1f} {fit['seconds']:8.2f} "
            f"{fit['iterations']:11} {fit['loss']:14.8g} {fit['difference']:11.1e}  {fit['message']:.40}",
            flush=True,
        )
