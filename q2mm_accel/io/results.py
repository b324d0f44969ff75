"""Force fields and results of fits as JSON and CSV files."""

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from q2mm_accel.errors import FormError, OutputError, ParameterError
from q2mm_accel.io.atomic import checked_path
from q2mm_accel.io.stored import read_json
from q2mm_accel.model.arguments import instance
from q2mm_accel.model.forcefield import ForceField, in_order
from q2mm_accel.model.kinds import KINDS
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.system import System

_FORMAT = "q2mm_accel force field 1"
_ABOUT = ("format", "units", "limits", "provenance")
"""Fields of a file that are no arrays and no labels."""
_PROGRAMS = ("q2mm_accel", "numpy", "scipy", "jax", "jaxlib")
_UNITS = "kcal/mol, Å, degrees; force constants for E = k (x - x0)²"


def forcefield_text(forcefield: ForceField, systems: Sequence[System] = ()) -> str:
    """A force field as JSON, with every number exact, and where it comes from.

    The same force field of the same molecules always gives the same text: it has no date.

    Args:
        forcefield: the force field.
        systems: the molecules that it belongs to; the file names them with a hash of their QM data.

    Raises:
        ParameterError: there is no force field to be written.
    """
    instance(forcefield, ForceField, "forcefield", ParameterError)
    content: dict[str, object] = {"format": _FORMAT, "units": _UNITS}
    content |= {"form": forcefield.form, **{field: values.tolist() for field, values in forcefield.arrays.items()}}
    content["labels"] = forcefield.labels
    if forcefield.limits:
        content["limits"] = {field: limits.tolist() for field, limits in forcefield.limits.items()}
    content["provenance"] = {
        "programs": {name: version(name) for name in _PROGRAMS},
        "molecules": [_provenance(system.molecule) for system in systems],
    }
    return _json(content)


def _provenance(molecule: Molecule) -> dict[str, object]:
    """Name and size of a molecule, and the SHA-256 of what quantum chemistry says about it."""
    data = [molecule.coordinates, molecule.hessian, molecule.gradient, molecule.energy]
    known = b"".join(b"-" if each is None else np.asarray(each, dtype="<f8").tobytes() for each in data)
    digest = hashlib.sha256(" ".join(molecule.symbols).encode() + known).hexdigest()
    return {"name": molecule.name, "atoms": molecule.n_atoms, "charge": molecule.charge, "qm_data": f"sha256:{digest}"}


def read_forcefield(path: str | os.PathLike) -> ForceField:
    """Read a force field that `writers.forcefields.write_forcefield` wrote as JSON.

    Raises:
        ParameterError: the file cannot be read or is none, or its content is inconsistent.
    """
    content = read_json(path, _FORMAT, "a force field of q2mm_accel", ParameterError, "Give the path of one.")
    arrays = {name: values for name, values in content.items() if name not in _ABOUT}
    begun = [kind.all_fields for kind in KINDS.values() if any(field in arrays for field in kind.all_fields)]
    missing = [name for name in ("form", *(field for fields in begun for field in fields), "labels") if name not in arrays]
    unknown = [name for name in arrays if name in ("arrays", "self")]
    if missing:
        raise ParameterError(f"{path} lacks {', '.join(missing)}.")
    if unknown:
        raise ParameterError(f"{path}: a force field has no field {', '.join(unknown)}.")
    try:
        return in_order(ForceField, arrays.pop("form"), arrays.pop("labels"), arrays, content.get("limits"))
    except (ParameterError, FormError) as error:
        raise ParameterError(f"{path}: {error}") from error


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Write a dictionary of plain values as JSON.

    Raises:
        OutputError: the path is none.
    """
    checked_path(path, OutputError).write_text(_json(content), encoding="utf-8")


def _json(content: dict) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def write_table(path: str | os.PathLike, header: list[str], rows: list[list]) -> None:
    """Write rows as CSV.

    Raises:
        OutputError: the path is none.
    """
    with checked_path(path, OutputError).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
