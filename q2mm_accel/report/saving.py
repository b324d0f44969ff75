"""A fit's folder: force field, record, frequencies and report."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from q2mm_accel.errors import OutputError
from q2mm_accel.io.atomic import checked_path, replace_file
from q2mm_accel.io.results import write_json, write_table
from q2mm_accel.report.page import html_of
from q2mm_accel.report.record import record_of
from q2mm_accel.writers.forcefields import write_forcefield

if TYPE_CHECKING:
    from q2mm_accel.fitting import Fit

_COLUMNS = ("QM", "start at QM", "start own", "fitted at QM", "fitted own")


def save_fit(fit: "Fit", folder: str | PathLike, command: str = "", report: bool = True) -> Path:
    """Write forcefield.json, fit.json, frequencies.csv and report.html.

    Args:
        fit: the fit.
        folder: made if it does not exist; files of these names are replaced.
        command: how the fit was made.
        report: whether to write report.html, which needs jinja2 and matplotlib.

    Returns:
        The folder.

    Raises:
        OutputError: the folder cannot be made or written.
        MissingPackageError: a package that the report needs is not installed.
    """
    path, record = checked_path(folder, OutputError), record_of(fit, command)
    names = ", ".join(dict.fromkeys(each["name"] for each in record["molecules"]))
    page = html_of(record, f"Force field of {names}"[:80]) if report else None
    rows = [
        [each["name"], mode, *values]
        for each in record["molecules"]
        for mode, values in enumerate(zip(*(each[name] for name in _COLUMNS), strict=True))
    ]
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_forcefield(path / "forcefield.json", fit.forcefield, fit.problem.systems)
        write_json(path / "fit.json", record)
        write_table(path / "frequencies.csv", ["molecule", "mode", *(f"{name} (cm-1)" for name in _COLUMNS)], rows)
        if page is not None:
            replace_file(path / "report.html", page.encode())
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}. Choose another folder.") from error
    return path
