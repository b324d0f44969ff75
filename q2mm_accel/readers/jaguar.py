"""Restart files (.01.in) of Jaguar's frequency jobs, which hold the Hessian; its outputs do not.

Read here: of qc-iodata 1.0, cclib 1.8 and ASE 3.29 none reads them; q2mm does, without a check of what is missing. Sections
&name end with &; &hess has the lower triangle in blocks of five columns, each behind the number of its first column.
"""

import numpy as np

from q2mm_accel.readers.record import QMRecord
from q2mm_accel.readers.text import TextFile, atoms_of


def read(file: TextFile) -> QMRecord:
    """A molecule of a restart file, with its Hessian where the job was one of frequencies (ifreq=1).

    Raises:
        QMFileError: it is damaged or incomplete, has a Z-matrix, or a Hessian that may be an optimizer's estimate.
    """
    file.must_end()
    options = _options(file)
    rows = []
    for line in range(*_section(file, "&zmat")):
        words = file.lines[line].split()
        if len(words) != 4 or not all("." in word for word in words[1:]):
            raise file.error(line, f"an atom is {file.lines[line]!r:.60}; it must be a name and Cartesian coordinates [Å].")
        rows.append((line, words[0], (words[1], words[2], words[3])))
    symbols, places = atoms_of(file, rows)
    has_hessian = bool(list(file.find("&hess")))
    if options.get("ifreq") == "1" and not has_hessian:
        raise file.wrong("it has ifreq=1 in &gen, but no &hess: the job has not ended, or the file was cut.")
    if has_hessian and options.get("ifreq") != "1":
        raise file.wrong("it has &hess, but not ifreq=1 in &gen: it may be an optimizer's estimate. Run a frequency job.")
    return QMRecord(
        path=file.path,
        format="jaguar-in",
        symbols=symbols,
        coordinates=np.array(places).reshape(-1, 3),
        hessian=_matrix(file, 3 * len(symbols)) if has_hessian else None,
        charge=_whole(file, options, "molchg", 0),
        multiplicity=_whole(file, options, "multip", 1),
    )


def _section(file: TextFile, name: str) -> tuple[int, int]:
    """The line after the head of a section, and its end."""
    head = file.only(name, "it is no restart file of Jaguar's, or was cut.")
    stop = next((line for line in file.find("&") if line > head), None)
    if stop is None or file.lines[stop].strip() != "&":
        raise file.error(head, f"{name} is not closed by &; the file was cut.")
    return head + 1, stop


def _options(file: TextFile) -> dict[str, str]:
    items = [item.split("=", 1) for line in range(*_section(file, "&gen")) for item in file.lines[line].split()]
    return {item[0].lower(): item[1] for item in items if len(item) == 2}


def _whole(file: TextFile, options: dict[str, str], name: str, default: int) -> int:
    return file.integer(options[name], file.only("&gen", "") + 1, name) if name in options else default


def _matrix(file: TextFile, size: int) -> np.ndarray:
    start, stop = _section(file, "&hess")
    matrix, line = np.zeros((size, size)), start
    for column in range(0, size, 5):
        if line >= stop or file.lines[line].split() != [str(column + 1)]:
            raise file.error(
                min(line, stop), f"&hess must go on with column {column + 1} of {size}; it was cut or is damaged."
            )
        for row in range(column, size):
            line += 1
            words = file.lines[line].split() if line < stop else []
            count = min(row - column + 1, 5)
            if len(words) != count + 1 or words[0] != str(row + 1):
                raise file.error(min(line, stop), f"row {row + 1} of &hess must be its number and {count} values.")
            values = [file.number(word, line, f"row {row + 1} of &hess") for word in words[1:]]
            matrix[row, column : column + count] = values
        line += 1
    if line != stop:
        raise file.error(line, f"&hess is longer than {size // 3} atoms make it.")
    return matrix + np.tril(matrix, -1).T
