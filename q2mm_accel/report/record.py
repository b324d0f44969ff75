"""A fit as plain values: what is saved as fit.json, and all that reports are made of."""

import os
import platform
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from q2mm_accel.errors import ResultError
from q2mm_accel.io.stored import read_json
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import term_kinds
from q2mm_accel.model.reference_table import REFERENCE_KINDS
from q2mm_accel.model.system import System
from q2mm_accel.validation import Deviations, MoleculeValidation

if TYPE_CHECKING:
    from q2mm_accel.fitting import Fit

_FORMAT = "q2mm_accel fit 1"
_POINTS = 1500
"""How many references of a kind are kept for parity plots."""
_MEMBERS = 6
"""How many terms of a type are named."""
_PACKAGES = ("q2mm_accel", "jax", "jaxlib", "numpy", "scipy", "jaxopt")

Record = dict
"""Of strings, numbers, lists and dictionaries; numbers that do not exist are None."""


def record_of(fit: "Fit", command: str = "") -> Record:
    """Everything that a report tells about a fit.

    Args:
        fit: the fit.
        command: how it was made.

    Returns:
        The record, for `write_record` and the reports.
    """
    objective, result = fit.objective, fit.result
    bars = fit.uncertainty
    return {
        "format": _FORMAT,
        "provenance": _provenance(objective.fingerprint, command),
        "form": fit.forcefield.form,
        "n_parameters": len(objective.labels),
        "n_data": len(objective.references),
        "loss": float(result.fun),
        "success": bool(result.success),
        "message": str(result.message),
        "held": fit.validation.held,
        "rmsd": {
            "start at QM": _number(fit.before.frequency_rmsd_at_qm),
            "start own": _number(fit.before.frequency_rmsd),
            "fitted at QM": _number(fit.validation.frequency_rmsd_at_qm),
            "fitted own": _number(fit.validation.frequency_rmsd),
        },
        "stages": [dict(stage._asdict()) for stage in fit.history],
        "losses": _numbers(result.history["fun"] if "history" in result else []),
        "molecules": [
            _molecule(system, start, end)
            for system, start, end in zip(fit.problem.systems, fit.before.molecules, fit.validation.molecules, strict=True)
        ],
        "parity": _parity(fit),
        "parameters": _parameters(fit),
        "determined": None
        if bars is None
        else {
            "directions": bars.n_determined,
            "reduced_chi2": bars.reduced_chi2,
            "degrees_of_freedom": bars.degrees_of_freedom,
            "singular_values": _numbers(bars.singular_values),
            "undetermined": [str(each) for each in bars.undetermined],
            "vague": list(bars.vague),
            "idle": list(bars.idle),
            "correlated": [[first, second, value] for first, second, value in bars.correlated],
        },
        "distrust": list(fit.distrust),
        "notes": list(fit.notes),
    }


def read_record(path: str | os.PathLike) -> Record:
    """A record that was saved.

    Raises:
        ResultError: the file cannot be read, or is no record of a fit.
    """
    record = read_json(path, _FORMAT, "a fit of this version", ResultError, "Fit again, or give the folder of a saved fit.")
    missing = [name for name in _ENTRIES if name not in record]
    if missing:
        raise ResultError(f"{path} is damaged: it lacks {', '.join(missing)}. Fit again.")
    return record


_ENTRIES = (
    *("provenance", "form", "n_parameters", "n_data", "loss", "success", "message", "held", "rmsd", "stages", "losses"),
    *("molecules", "parity", "parameters", "determined", "distrust", "notes"),
)


def _provenance(fingerprint: str, command: str) -> dict:
    return {
        "command": command,
        "packages": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "problem": fingerprint,
    }


def _molecule(system: System, start: MoleculeValidation, end: MoleculeValidation) -> dict:
    return {
        "name": end.name,
        "n_atoms": system.molecule.n_atoms,
        "held": end.held,
        "outcome": end.outcome,
        "rmsd": end.rmsd,
        "energy_drop": _number(end.energy_drop),
        "largest_force": _number(end.largest_force),
        "imaginary": end.n_imaginary,
        "turned": system.molecule.turned,
        "QM": _numbers(end.quantum),
        "start at QM": _numbers(start.at_qm),
        "start own": _numbers(start.own),
        "fitted at QM": _numbers(end.at_qm),
        "fitted own": _numbers(end.own),
        **{each.kind: _deviations(each) for each in (end.bonds, end.angles, end.torsions)},
    }


def _deviations(found: Deviations) -> dict:
    return {"names": list(found.names), "values": _numbers(found.values)}


def _parity(fit: "Fit") -> dict:
    """Of each kind of reference its values and what start and fit have for them; of many the worst and some others."""
    objective, references = fit.objective, fit.objective.references
    computed = {name: objective.predictions(x) for name, x in (("start", objective.x0), ("fitted", fit.result.x))}
    found = {}
    for code in np.unique(references.kind):
        rows = np.flatnonzero(references.kind == code)
        if len(rows) > _POINTS:
            worst = np.argsort(-np.abs(computed["fitted"][rows] - references.value[rows]), kind="stable")
            rows = np.sort(rows[np.concatenate([worst[: _POINTS // 3], worst[_POINTS // 3 :: 1 + len(rows) // _POINTS]])])
        found[REFERENCE_KINDS[code]] = {
            "QM": _numbers(references.value[rows]),
            **{name: _numbers(values[rows]) for name, values in computed.items()},
        }
    return found


def _parameters(fit: "Fit") -> list[dict]:
    objective, start, end, bars = fit.objective, fit.start, fit.forcefield, fit.uncertainty
    free = {number: place for place, number in enumerate(objective.space.free.tolist())}
    units, members = end.each(lambda parameter: parameter.unit), _members(fit.problem.systems, end)
    lower, upper = end.bounds.lb, end.bounds.ub
    errors = [np.full(len(free), np.nan)] * 2 if bars is None else [bars.standard_errors, bars.robust_errors]
    held = set() if bars is None else set(bars.at_bounds)
    return [
        {
            "label": label,
            "unit": units[number],
            "start": float(start.parameters[number]),
            "fitted": float(end.parameters[number]),
            "error": _number(errors[0][free[number]]) if number in free else None,
            "robust": _number(errors[1][free[number]]) if number in free else None,
            "lower": _number(lower[number]),
            "upper": _number(upper[number]),
            "state": "fixed" if number not in free else "at a bound" if label in held else "free",
            "members": members.get(number, []),
        }
        for number, label in enumerate(end.labels)
    ]


def _members(systems: Sequence[System], forcefield: ForceField) -> dict[int, list[str]]:
    """Of each parameter some of the terms whose type it belongs to, and how many there are."""
    found: dict[int, list[str]] = defaultdict(list)
    for name in term_kinds():
        positions = forcefield.positions(name)
        for system in systems:
            if name not in system.kinds:
                continue
            symbols = system.molecule.symbols
            for atoms, row in zip(*system.terms(name), strict=True):
                term = "-".join(f"{symbols[atom]}{atom}" for atom in atoms.tolist())
                for number in positions[row].tolist():
                    found[number].append(f"{system.molecule.name} {term}")
    return {
        number: [*names[:_MEMBERS], *([f"and {len(names) - _MEMBERS} more"] if len(names) > _MEMBERS else [])]
        for number, names in found.items()
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(values) -> list[float | None]:
    return [_number(value) for value in np.asarray(values, dtype=float).ravel()]
