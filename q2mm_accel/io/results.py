"""Force fields and results of fits as JSON and CSV files."""

import csv
import json
import os

from q2mm_accel.errors import FormError, OutputError, ParameterError
from q2mm_accel.io.atomic import checked_path
from q2mm_accel.model.arguments import instance
from q2mm_accel.model.forcefield import ForceField, in_order
from q2mm_accel.model.kinds import KINDS

_FORMAT = "q2mm_accel force field 1"
_UNITS = "kcal/mol, Å, degrees; force constants for E = k (x - x0)²"


def write_forcefield(path: str | os.PathLike, forcefield: ForceField) -> None:
    """Write a force field as JSON, with every number exact.

    Raises:
        ParameterError: there is no force field to be written.
        OutputError: the path is none.
    """
    instance(forcefield, ForceField, "forcefield", ParameterError)
    content: dict[str, object] = {"format": _FORMAT, "units": _UNITS}
    content |= {"form": forcefield.form, **{field: values.tolist() for field, values in forcefield.arrays.items()}}
    content["labels"] = forcefield.labels
    if forcefield.limits:
        content["limits"] = {field: limits.tolist() for field, limits in forcefield.limits.items()}
    write_json(path, content)


def read_forcefield(path: str | os.PathLike) -> ForceField:
    """Read a force field that `write_forcefield` wrote.

    Raises:
        ParameterError: the file cannot be read or is none, or its content is inconsistent.
    """
    try:
        content = json.loads(checked_path(path, ParameterError).read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"{path} cannot be read: {error.strerror or error}. Give the path of a force field.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ParameterError(f"{path} is not a force field of q2mm_accel: its format must be {_FORMAT!r}.")
    arrays = {name: values for name, values in content.items() if name not in ("format", "units", "limits")}
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
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    checked_path(path, OutputError).write_text(text, encoding="utf-8")


def write_table(path: str | os.PathLike, header: list[str], rows: list[list]) -> None:
    """Write rows as CSV.

    Raises:
        OutputError: the path is none.
    """
    with checked_path(path, OutputError).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
