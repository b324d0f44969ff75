"""`python -m q2mm_accel.benchmark [PART] [--quick] [--json FILE]`: times and ratios, measured side by side."""

import argparse
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from q2mm_accel.benchmark import devices, hold, jacobians, native, precision, relaxed, scaling, speed
from q2mm_accel.benchmark.timing import print_times
from q2mm_accel.io.results import write_json

_TABLES = {
    "speed": (),
    "jacobians": (),
    "hold": (),
    "relaxed": (),
    "native": native.PARTS,
    "precision": precision.PARTS,
    "devices": devices.PARTS,
}
"""What can be measured, and the tables of each that can be chosen."""


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write JSON if asked to; options are those of the process by default."""
    options = parsed(arguments)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # fresh processes need a GPU's memory as well
    results = {"machine": _machine()}
    print(", ".join(f"{key} {value}" for key, value in results["machine"].items()))
    measure = {
        "speed": lambda: _speed(results, options.rounds, options.quick),
        "jacobians": lambda: jacobians.run(results, options.rounds, options.quick),
        "hold": lambda: hold.run(results, options.quick),
        "relaxed": lambda: relaxed.run(results, options.rounds, options.quick),
        "native": lambda: native.run(results, options.only, options.rounds, options.limit, options.quick),
        "precision": lambda: precision.run(results, options.only, options.rounds, options.quick),
        "devices": lambda: devices.run(results, options.only, options.rounds, options.quick),
    }
    if options.starts:
        native.run_by_starts(results)
    else:
        measure[options.what]()
    if options.json:
        write_json(options.json, results)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """What to measure, from the command line or other arguments; ends the process where they make no sense."""
    parser = _parser()
    options = parser.parse_args(arguments)
    tables = _TABLES[options.what]
    options.only = tables if options.only is None else options.only
    for name in options.only:
        if name not in tables:
            parser.error(f"{options.what} has no table {name!r}; choose of {', '.join(tables) or 'none'}")
    if options.starts and options.what != "native":
        parser.error("--starts belongs to native")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m q2mm_accel.benchmark", description="Times of the fused objective.")
    subjects = (
        "evaluations; Jacobians; direct solves; relaxations; fits; digits and times of float32; or memory, several devices "
        "and start"
    )
    parser.add_argument("what", nargs="?", choices=_TABLES, default="speed", help=subjects)
    parser.add_argument("--quick", action="store_true", help="only CH3F, small molecules or few tables: a minute or so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    parser.add_argument("--rounds", type=int, default=30, help="calls of each function; the median counts (default: 30)")
    tables = "; ".join(f"{what}: {', '.join(names)}" for what, names in _TABLES.items() if names)
    parser.add_argument("--only", nargs="+", metavar="TABLE", help=f"the tables to make ({tables})")
    fits = parser.add_argument_group("native")
    fits.add_argument("--limit", type=float, default=60.0, help="time of each fit whose curve is shown (default: 60 s)")
    fits.add_argument("--starts", action="store_true", help="instead: ever more starts, up to 4096, for GPUs")
    return parser


def _speed(results: dict, rounds: int, quick: bool) -> None:
    results["speed"] = []
    for name, form in speed.problems(quick):
        results["speed"].append(speed.measure(name, form, rounds, with_baseline=True))
        _print_speed(results["speed"][-1])
    results["q2mm"] = [] if quick else speed.against_q2mm(rounds)
    for row in results["q2mm"]:
        _print_q2mm(row)
    counts, carbons = ((1, 8, 64), (1, 6, 22)) if quick else (scaling.MOLECULES, scaling.CARBONS)
    results["by_molecules"] = scaling.by_molecules(rounds, counts)
    results["by_atoms"] = scaling.by_atoms(rounds, carbons)
    _print_scaling("by the number of molecules (C12H26)", results["by_molecules"])
    _print_scaling("by the number of atoms (4 alkanes)", results["by_atoms"])


def _machine() -> dict[str, str]:
    packages = {name: version(name) for name in ("jax", "jaxlib", "numpy", "scipy")}
    return {"python": platform.python_version(), **packages, "cores": str(os.cpu_count()), "device": str(jax.devices()[0])}


def _print_speed(row: dict) -> None:
    cold = row["cold"]
    print(
        f"\n{row['problem']} ({row['form']}): {row['molecules']} molecules, {row['parameters']} parameters, "
        f"{row['references']} frequencies"
    )
    print(
        f"  fresh process: built in {cold['build_s']:.2f} s, first call {cold['first_call_s']:.2f} s, "
        f"together {cold['total_s']:.2f} s; peak memory {cold['peak_MB']:.0f} MB"
    )
    print_times(row)
    print(f"  against the baseline: {row['agreement_with_baseline']}")


def _print_q2mm(row: dict) -> None:
    print(f"\n{row['problem']} as q2mm has it (harmonic): losses differ by {row['loss_difference']:.1e}")
    for name, seconds in row["median_s"].items():
        print(f"  {name:30} {1e3 * seconds:10.3f} ms    first call {row['first_call_s'][name]:7.2f} s")
    print(f"  {'q2mm, finite differences':30} {1e3 * row['q2mm_gradient_s']:10.3f} ms")
    for name, ratio in row["ratios"].items():
        print(f"  {name:50} {ratio:8.2f}")


def _print_scaling(title: str, rows: list[dict]) -> None:
    print(f"\nfun_and_jac {title}\n  atoms molecules       ms   ms/molecule  first call s")
    for row in rows:
        print(
            f"  {row['atoms']:5} {row['molecules']:9} {1e3 * row['fun_and_jac_s']:8.2f} {1e3 * row['per_molecule_s']:13.4f} "
            f"{row['first_call_s']:13.2f}"
        )


if __name__ == "__main__":
    main()
