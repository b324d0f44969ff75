"""Force fields and results of fits as JSON and CSV files."""

import csv
import json
from pathlib import Path

from q2mm_accel.errors import ParameterError
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS

_FORMAT = "q2mm_accel force field 1"
_UNITS = "kcal/mol, Å, degrees; force constants for E = k (x - x0)²"


def write_forcefield(path: Path, forcefield: ForceField) -> None:
    """Write a force field as JSON, with every number exact."""
    content = {"format": _FORMAT, "units": _UNITS}
    content |= {"form": forcefield.form, **{field: values.tolist() for field, values in forcefield.arrays.items()}}
    content["labels"] = forcefield.labels
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_forcefield(path: Path) -> ForceField:
    """Read a force field that `write_forcefield` wrote.

    Raises:
        ParameterError: the file is not one, or its content is inconsistent.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ParameterError(f"{path} is not a force field of q2mm_accel: its format must be {_FORMAT!r}.")
    arrays = {name: values for name, values in content.items() if name not in ("format", "units")}
    begun = [kind.fields for kind in KINDS.values() if any(field in arrays for field in kind.fields)]
    missing = [name for name in ("form", *(field for fields in begun for field in fields), "labels") if name not in arrays]
    if missing:
        raise ParameterError(f"{path} lacks {', '.join(missing)}.")
    try:
        return ForceField(**arrays)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from error


def write_json(path: Path, content: dict) -> None:
    """Write a dictionary of plain values as JSON."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_table(path: Path, header: list[str], rows: list[list]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
