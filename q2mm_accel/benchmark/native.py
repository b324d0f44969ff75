"""`python -m q2mm_accel.benchmark native`: `solve_native` beside SciPy's optimizers."""

import json
import subprocess
import sys

import numpy as np

from q2mm_accel.benchmark import fits, overhead, starts
from q2mm_accel.benchmark.cases import NATIVE_METHODS

PARTS = ("overhead", "curves", "quality", "throughput")
TIMES = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""When a curve is read [s]."""
GOALS = (50.0, 45.0, 42.7)
"""RMSD of frequencies [cm⁻¹]; the last is what q2mm 5.0.0a2 documents for Rh-enamide after 33,223 s."""
QUALITY = (("ch3f", "harmonic"), ("sn2_ts", "mm3"), ("small", "harmonic"))
_QUICK_CASES = ("native levenberg-marquardt", "SciPy L-BFGS-B")
_LIMITED = [method for method in NATIVE_METHODS if method != "projected-gradient"]


def run(results: dict, parts: list[str], rounds: int, limit: float, quick: bool) -> None:
    """Measure and print parts, and add the figures to the results.

    Args:
        results: part -> figures, of those that were measured.
        parts: of `PARTS`.
        rounds: evaluations from Python in "overhead".
        limit: time of each fit in "curves" [s].
        quick: whether to run only CH3F, and few methods.
    """
    name, form = ("ch3f", "mm3") if quick else ("rh-enamide", "mm3")
    if "overhead" in parts:
        results["overhead"] = overhead.measure(name, form, rounds)
        _print_overhead(results["overhead"])
    if "curves" in parts:
        results["curves"] = []
        print(f"\nRMSD of the frequencies of {name} ({form}) by seconds since the call, compilation included")
        print(f"  {'':38}" + "".join(f"{t:6.0f} s" for t in TIMES) + "   final" + "".join(f"  to {g:4.1f}" for g in GOALS))
        for case in _QUICK_CASES if quick else fits.CASES:
            results["curves"].append(curve(name, form, case, limit))
            _print_curve(results["curves"][-1])
    if "quality" in parts:
        results["quality"] = []
        for problem, references in _quality_problems(quick):
            methods: list[str] = ["lbfgsb", "levenberg-marquardt"] if quick else list(NATIVE_METHODS)
            results["quality"].append(starts.quality(*problem, references, methods))
            _print_fits(results["quality"][-1], f"{references}, tight tolerances")
    if "throughput" in parts:
        results["throughput"] = []
        for problem, count, some in [("ch3f", 20, 20)] if quick else [("ch3f", 256, 256), ("small", 256, 32)]:
            methods = ["lbfgsb", "levenberg-marquardt"] if quick else _LIMITED
            results["throughput"].append(starts.throughput(problem, "harmonic", methods, count, some))
            scaled = "" if some == count else f"; SciPy fitted {some}, its time and evaluations are scaled up"
            _print_fits(results["throughput"][-1], f"frequencies, tolerance 1e-9{scaled}")


def run_by_starts(results: dict) -> None:
    """Ever more starts, for machines with a GPU."""
    results["by_starts"] = []
    for name, form, counts in (("ch3f", "mm3", (1, 16, 256, 4096)), ("rh-enamide", "mm3", (1, 16, 128))):
        results["by_starts"] += starts.by_starts(name, form, counts, _LIMITED)
    print("\n  problem     method                starts  compile s  seconds  evaluations/s  times fun_and_jac  best loss")
    for row in results["by_starts"]:
        print(
            f"  {row['problem']:11} {row['method']:20} {row['starts']:7} {row['compile_s']:10.1f} {row['seconds']:8.2f} "
            f"{row['evaluations_per_s']:14.0f} {row['times one fun_and_jac at a time']:18.2f} {row['best_loss']:10.4g}"
        )


def _quality_problems(quick: bool) -> list[tuple[tuple[str, str], str]]:
    if quick:
        return [(QUALITY[0], "frequencies")]
    return [(problem, references) for problem in QUALITY for references in ("frequencies", "eigenmatrix")]


def curve(name: str, form: str, case: str, limit: float) -> dict:
    """A fit in a fresh process, with what is read from its curve."""
    command = [sys.executable, "-W", "ignore", "-m", "q2mm_accel.benchmark.fits", name, form, case, str(limit)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row = json.loads(finished.stdout.strip().splitlines()[-1])
    return {**row, **readings(np.array(row["seconds"]), np.array(row["rmsd"]))}


def readings(seconds: np.ndarray, rmsd: np.ndarray) -> dict:
    """What is read from a curve of k points: RMSD at `TIMES`, and seconds to `GOALS`, None for those not reached."""
    reached = [np.flatnonzero(rmsd <= goal) for goal in GOALS]
    return {
        "rmsd_at": {str(each): float(rmsd[seconds <= each][-1]) for each in TIMES},
        "seconds_to": {
            str(goal): float(seconds[found[0]]) if len(found) else None for goal, found in zip(GOALS, reached, strict=True)
        },
    }


def _print_overhead(row: dict) -> None:
    evaluation, by_scipy = 1e3 * row["evaluation_s"], 1e3 * row["scipy_evaluation_s"]
    print(
        f"\n{row['problem']} ({row['form']}), {row['parameters']} parameters: fun_and_jac {evaluation:.2f} ms, "
        f"its first call {row['first_fun_and_jac_s']:.1f} s; SciPy L-BFGS-B {by_scipy:.2f} ms per evaluation, "
        f"{row['scipy_evaluations_per_iteration']:.2f} evaluations per iteration; import {row['import_s']:.1f} s"
    )
    print(f"  {'':20} compile s  ms/iteration  evaluations/iteration  ms/evaluation  / fun_and_jac  / SciPy (at most 1.3)")
    for method, figures in row["methods"].items():
        loop, ratio = figures["loop_evaluation_s"], figures["loop_evaluation / fun_and_jac"]
        print(
            f"  {method:20} {row['compile_s'][method]:9.1f} {1e3 * figures['iteration_s']:13.2f} "
            f"{figures['evaluations_per_iteration']:22.2f} {_number(loop and 1e3 * loop):>14} {_number(ratio):>14} "
            f"{figures['iteration / (scipy_evaluation x evaluations_per_iteration)']:21.2f}"
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _print_curve(row: dict) -> None:
    reached = "".join(f"{'-' if value is None else f'{value:.1f} s':>9}" for value in row["seconds_to"].values())
    rmsd = "".join(f"{value:8.2f}" for value in row["rmsd_at"].values())
    print(
        f"  {row['case']:38}{rmsd}{row['rmsd'][-1]:8.2f}{reached}  {row['seconds'][-1]:.1f} s: {row['message']:.48}",
        flush=True,
    )


def _print_fits(row: dict, what: str) -> None:
    print(f"\n{row['problem']} ({row['form']}), {row['starts']} starts, {what}")
    print(
        f"  {'':20} as good  better   worse  or exact  converged  median loss     best loss  evaluations   seconds"
        "  compile s  SciPy's time / own"
    )
    for name, figures in {"SciPy L-BFGS-B": row["scipy"], **row["methods"]}.items():
        fractions = [_share(figures.get(key)) for key in ("as_good", "better", "worse", "as_good_or_exact")]
        compilation = f"{figures['compile_s']:.1f}" if "compile_s" in figures else ""
        print(
            f"  {name:20} {fractions[0]:>7} {fractions[1]:>7} {fractions[2]:>7} {fractions[3]:>9} "
            f"{figures['converged']:10.0%} {figures['median_loss']:12.6g} {figures['best_loss']:13.8g} "
            f"{figures['evaluations']:12} {figures['seconds']:9.2f} {compilation:>10} "
            f"{row['scipy']['seconds'] / figures['seconds']:19.2f}",
            flush=True,
        )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
