"""A fit's summary as tables in a terminal."""

import numpy as np
from rich.console import Console
from rich.table import Table

from q2mm_accel.report.summary import FitSummary

_ROWS = 60
"""Longest table of frequencies and of parameters that is printed whole."""
_WORST = 15
"""How many of the worst rows a longer table shows."""


def print_summary(console: Console, summary: FitSummary) -> None:
    """Print frequencies, RMSD per molecule, parameters, and how the optimization went."""
    console.print(_frequencies(summary))
    console.print(_molecules(summary))
    console.print(_parameters(summary))
    result = summary.result
    evaluations = "" if "nfev" not in result else f", {result.nfev} evaluations"
    console.print(f"{result.nit} iterations{evaluations}, {summary.seconds:.1f} s. Loss {result.fun:.6g}. {result.message}")


def _chosen(size: np.ndarray) -> list[int]:
    """All rows in order, or of a long table the largest ones, largest first."""
    return list(range(len(size))) if len(size) <= _ROWS else np.argsort(-size)[:_WORST].tolist()


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=number > 0, overflow="fold")
    return table


def _title(what: str, shown: int, total: int) -> str:
    return what if shown == total else f"{what}: {shown} of {total}, the largest change or deviation first"


def _frequencies(summary: FitSummary) -> Table:
    deviation = summary.fitted - summary.reference
    rows = _chosen(np.abs(deviation))
    table = _table(
        _title("Frequencies (cm⁻¹)", len(rows), len(deviation)), ["molecule", "mode", "QM", "start", "fitted", "fitted - QM"]
    )
    for i in rows:
        values = (summary.reference[i], summary.start[i], summary.fitted[i], deviation[i])
        table.add_row(summary.molecules[i], str(summary.modes[i]), *(f"{value:.1f}" for value in values))
    return table


def _molecules(summary: FitSummary) -> Table:
    table = _table("RMSD of the frequencies (cm⁻¹)", ["molecule", "frequencies", "start", "fitted"])
    for name in [*dict.fromkeys(summary.molecules), None]:
        count = len(summary.molecules) if name is None else list(summary.molecules).count(name)
        values = (summary.rmsd(summary.start, name), summary.rmsd(summary.fitted, name))
        table.add_row(
            name or "all", str(count), *(f"{value:.2f}" for value in values), style="bold" if name is None else None
        )
    return table


def _parameters(summary: FitSummary) -> Table:
    start, fitted = summary.parameters_start, summary.parameters_fitted
    change = np.abs(fitted - start) / np.maximum(np.abs(start), 1e-3)
    rows = _chosen(change)
    table = _table(
        _title("Parameters (kcal/mol, Å, degrees)", len(rows), len(change)), ["parameter", "start", "fitted", "change"]
    )
    for i in rows:
        table.add_row(summary.labels[i], f"{start[i]:.4f}", f"{fitted[i]:.4f}", f"{fitted[i] - start[i]:+.4f}")
    return table
