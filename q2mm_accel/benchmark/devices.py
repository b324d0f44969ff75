"""`python -m q2mm_accel.benchmark devices`: memory of many molecules, sharing among devices, and start with a cache."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax

PARTS = ("memory", "sharing", "start")
MOLECULES = (1, 10, 100, 1000)
CARBONS = (1, 6, 20, 66)
"""5 to 200 atoms."""
VIRTUAL = (1, 2, 4)
_BATCH_SIZE = 32
_PATIENCE = 600.0
"""Seconds that processes on one machine may take together."""


def run(results: dict, parts: list[str], rounds: int, quick: bool) -> None:
    """Measure and print parts, and add the figures to the results.

    Args:
        results: part -> figures, of those that were measured.
        parts: of `PARTS`.
        rounds: calls of each function that is timed; the median counts.
        quick: whether to run only few and small molecules.
    """
    if "memory" in parts:
        results["memory"] = memory(rounds, quick)
    if "sharing" in parts:
        results["sharing"] = sharing(rounds, quick)
    if "start" in parts:
        results["start"] = start(*(("ch3f", "mm3") if quick else ("rh-enamide", "mm3")))


def problems(quick: bool) -> list[tuple[str, str]]:
    """Names and forms of the problems in "sharing"."""
    return [("small", "harmonic")] if quick else [("small", "harmonic"), ("rh-enamide", "mm3")]


def memory(rounds: int, quick: bool) -> list[dict]:
    """Time and memory of alkanes, each row in a fresh process: ever more of 62 atoms, and 16 of ever more atoms."""
    cases = [(20, count) for count in (MOLECULES[:2] if quick else MOLECULES)]
    cases += [(carbons, 16) for carbons in (CARBONS[:2] if quick else CARBONS)]
    print(
        f"\nfun_and_jac of alkanes in batches of {_BATCH_SIZE}; memory in MiB, of the process without and with an objective"
    )
    print("  atoms molecules  compile s        ms  ms/molecule  estimate  compiled   without  with, peak  device, peak")
    rows = []
    for carbons, count in cases:
        arguments = {"carbons": carbons, "count": count, "batch_size": _BATCH_SIZE, "rounds": rounds}
        rows.append(fresh("evaluations", arguments))
        _print_memory(rows[-1])
    return rows


def sharing(rounds: int, quick: bool) -> list[dict]:
    """`fun_and_jac` shared out beside one device: to virtual devices, to two processes, and to real devices if several."""
    print("\nfun_and_jac shared out, beside one device without a mesh, called in turn in the same process")
    print(f"  {'problem':22} {'devices':32} alone ms  shared ms   ratio  loss differs  gradient differs")
    rows, present = [], len(jax.devices())
    for name, form in problems(quick):
        arguments = {"name": name, "form": form, "rounds": rounds}
        for count in VIRTUAL[:2] if quick else VIRTUAL:
            rows.append(fresh("sharing", {**arguments, "devices": count}, virtual(count)))
            _print_sharing(f"{name} ({form})", f"{count} virtual of one CPU", rows[-1])
        rows.append(together({**arguments, "count": 2}))
        _print_sharing(f"{name} ({form})", "2 processes, one CPU each", rows[-1])
        for count in [2**power for power in range(present.bit_length())] if present > 1 else []:
            rows.append(fresh("sharing", {**arguments, "devices": count}))
            _print_sharing(f"{name} ({form})", f"{count} of {rows[-1]['device']}", rows[-1])
    return rows


def start(name: str, form: str) -> dict:
    """Seconds of two processes, one after the other, that keep compiled programs in a folder that was empty at first."""
    print(f"\nA fresh process on {name} ({form}) with keep_compiled, seconds since its start")
    row: dict[str, Any] = {"problem": name, "form": form}
    with tempfile.TemporaryDirectory() as folder:
        for label in ("first", "second"):
            row[label] = fresh("start", {"name": name, "form": form, "folder": folder, "begun": time.time()})
            seconds = row[label]
            print(
                f"  {label:6}  built {seconds['built_s']:6.2f}   first fun {seconds['first_fun_s']:6.2f}   "
                f"first step of a fit {seconds['first_fit_s']:6.2f}",
                flush=True,
            )
    row["ratios"] = {key: row["first"][key] / row["second"][key] for key in row["first"]}
    compiling = [row[label]["first_fit_s"] - row[label]["built_s"] for label in ("first", "second")]
    row["ratios"]["compiling"] = compiling[0] / compiling[1]
    print(f"  first / second: {row['ratios']['first_fit_s']:.2f}, from the objective on {row['ratios']['compiling']:.2f}")
    return row


def virtual(count: int) -> dict[str, str]:
    """Variables of the environment that make several devices of one CPU."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}".strip()
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def fresh(what: str, arguments: dict, environment: dict[str, str] | None = None) -> dict:
    """What one of `fresh.MEASUREMENTS` finds in a fresh process with further variables in its environment."""
    finished = subprocess.run(_command(what, arguments), **_settings(environment or {}), check=True)
    return _read(finished.stdout)


def together(arguments: dict) -> dict:
    """What the first of several processes finds that share molecules out, one CPU device each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings, begun = _settings(virtual(1)), []
    try:
        for number in range(arguments["count"]):
            command = _command("processes", {**arguments, "number": number, "port": port})
            begun.append(subprocess.Popen(command, **settings))
        outputs = [process.communicate(timeout=_PATIENCE)[0] for process in begun]
    finally:
        for process in begun:
            process.kill()
            process.wait()
    for process in begun:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return _read(outputs[0])


def _command(what: str, arguments: dict) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "q2mm_accel.benchmark.fresh", what, json.dumps(arguments)]


def _settings(environment: dict[str, str]) -> dict:
    """For `subprocess`: its standard output is read; XLA's remarks on kept programs and connections are left out."""
    return {"stdout": subprocess.PIPE, "text": True, "env": {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}}


def _read(output: str) -> dict:
    return json.loads(output.strip().splitlines()[-1])


def _print_memory(row: dict) -> None:
    on_device = "-" if row["device_peak_MB"] is None else f"{row['device_peak_MB']:.0f}"
    print(
        f"  {row['atoms']:5} {row['molecules']:9} {row['compile_s']:10.1f} {1e3 * row['fun_and_jac_s']:9.2f} "
        f"{1e3 * row['fun_and_jac_s'] / row['molecules']:12.3f} {row['estimate_MB']:9.1f} {row['compiled_MB']:9.1f} "
        f"{row['loaded_MB']:9.0f} {row['peak_MB']:11.0f} {on_device:>13}",
        flush=True,
    )


def _print_sharing(problem: str, what: str, row: dict) -> None:
    print(
        f"  {problem:22} {what:32} {1e3 * row['alone_s']:8.2f} {1e3 * row['shared_s']:10.2f} "
        f"{row['shared_s'] / row['alone_s']:7.2f} {row['loss_difference']:13.1e} {row['gradient_difference']:17.1e}",
        flush=True,
    )
