"""Figures of a report, drawn by matplotlib as SVG, in colours that can be told apart in print and by the colour-blind."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from q2mm_accel.errors import MissingPackageError

_QM, _START, _AT_QM, _OWN = "#000000", "#b0b0b0", "#0072b2", "#d55e00"
"""Okabe and Ito's colours."""
_SPECTRA = 12
"""How many molecules have a spectrum of their own in a figure."""
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "svg.fonttype": "none",
    "svg.hashsalt": "q2mm_accel",
    # fixed, and cut out at the end: matplotlib's own layouts take as long as drawing
    "figure.subplot.wspace": 0.5,
    "figure.subplot.hspace": 0.75,
}
_PARITY_UNITS = {
    "frequency": "cm⁻¹",
    "normal_mode": "cm⁻¹",
    "mode_displacement": "Å √u",
    "energy": "kcal/mol",
    "relative_energy": "kcal/mol",
    "force": "kcal/mol/Å",
    "bond_length": "Å",
}


def figures_of(record: dict) -> dict[str, str]:
    """The figures that a record has data for: title -> SVG as a data address.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    drawn = {
        "Vibrational frequencies": (_spectra, any(each["QM"] for each in record["molecules"])),
        "References": (_parity, bool(record["parity"])),
        "Deviations of the force field's own geometry": (_geometry, True),
        "Loss": (_loss, True),
    }
    return {title: _svg(draw, record) for title, (draw, wanted) in drawn.items() if wanted}


@contextmanager
def _pyplot() -> Iterator:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError(
            "matplotlib is not installed, which draws the figures; run: python -m pip install 'q2mm_accel[report]'"
        ) from error
    with matplotlib.rc_context(_STYLE):
        yield Figure


def _svg(draw: Callable, record: dict) -> str:
    with _pyplot() as new_figure:
        figure = draw(new_figure, record)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _array(values: list) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _spectra(new_figure, record: dict):
    """Sticks of QM above, of the force field below: before and after, at the QM geometry and at its own minimum."""
    worst = sorted(record["molecules"], key=lambda each: -_rms(each["fitted own"], each["QM"]))[:_SPECTRA]
    figure = new_figure(figsize=(7.2, 0.5 + 1.3 * len(worst)))
    rows = {
        "QM": ("QM", _QM),
        "start at QM": ("start, QM geometry", _START),
        "start own": ("start, own minimum", _START),
        "fitted at QM": ("fit, QM geometry", _AT_QM),
        "fitted own": ("fit, own minimum", _OWN),
    }
    for number, molecule in enumerate(worst):
        axes = figure.add_subplot(len(worst), 1, number + 1)
        for place, (name, (_, colour)) in enumerate(rows.items()):
            axes.vlines(_array(molecule[name]), -place - 0.4, -place + 0.4, color=colour, linewidth=1.2)
        axes.set_yticks(-np.arange(len(rows)), [title for title, _ in rows.values()])
        axes.tick_params(axis="y", length=0, labelsize=7)
        axes.set_title(molecule["name"])
    figure.axes[-1].set_xlabel("frequency (cm⁻¹)")
    return figure


def _rms(values: list, others: list) -> float:
    difference = _array(values) - _array(others)
    return float(np.sqrt(np.nanmean(difference**2))) if np.isfinite(difference).any() else 0.0


def _parity(new_figure, record: dict):
    """What the force field has at the QM geometry, or where it relaxes, against QM, for each kind of reference."""
    kinds = list(record["parity"])
    columns = min(3, len(kinds))
    rows = -(-len(kinds) // columns)
    figure = new_figure(figsize=(2.6 * columns, 2.6 * rows))
    for number, kind in enumerate(kinds):
        values = {name: _array(each) for name, each in record["parity"][kind].items()}
        axes = figure.add_subplot(rows, columns, number + 1)
        ends = [np.nanmin(values["QM"]), np.nanmax(values["QM"])]
        shown = {"start": _START, "fitted": _AT_QM}
        if ends[0] < ends[1]:
            for name, colour in shown.items():
                axes.plot(values["QM"], values[name], ".", color=colour, markersize=3, label=name)
            axes.plot(ends, ends, color=_QM, linewidth=0.6)
            axes.set_xlabel("QM")
            axes.set_ylabel("force field")
        else:
            axes.hist(list(map(values.get, shown)), bins=20, color=list(shown.values()), label=list(shown))
            axes.set_xlabel(f"force field (QM {ends[0]:g})")
            axes.set_ylabel("count")
            axes.locator_params(axis="x", nbins=4)
        unit = _PARITY_UNITS.get(kind, "")
        axes.set_title(kind.replace("_", " ") + (f" ({unit})" if unit else ""))
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def _geometry(new_figure, record: dict):
    """How far bonds, angles and torsions are from QM's once the force field has relaxed."""
    figure = new_figure(figsize=(7.2, 2.3))
    for number, (kind, unit) in enumerate((("bond", "Å"), ("angle", "°"), ("torsion", "°"))):
        axes = figure.add_subplot(1, 3, number + 1)
        values = np.concatenate([_array(molecule[kind]["values"]) for molecule in record["molecules"]])
        axes.stairs(*np.histogram(values[np.isfinite(values)], bins=30), fill=True, color=_OWN)
        axes.axvline(0.0, color=_QM, linewidth=0.6)
        axes.set_title(f"{kind}s ({unit})")
        axes.set_xlabel("force field less QM")
        axes.locator_params(axis="x", nbins=4)
    figure.axes[0].set_ylabel("count")
    return figure


def _loss(new_figure, record: dict):
    """The loss after each stage, against time."""
    stages = [stage for stage in record["stages"] if stage["loss"] is not None]
    ends = np.cumsum([stage["seconds"] for stage in record["stages"]])[len(record["stages"]) - len(stages) :]
    figure = new_figure(figsize=(7.2, 2.3))
    axes = figure.add_subplot(1, 2 if record["losses"] else 1, 1)
    axes.step(ends, [stage["loss"] for stage in stages], where="post", color=_AT_QM)
    axes.plot(ends, [stage["loss"] for stage in stages], "o", color=_AT_QM, markersize=3)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("loss")
    axes.set_yscale("log")
    if record["losses"]:
        axes = figure.add_subplot(1, 2, 2)
        axes.plot(np.arange(len(record["losses"])), record["losses"], color=_AT_QM)
        axes.set_xlabel("accepted steps")
        axes.set_yscale("log")
    return figure
