"""ORCA's .hess files.

Read here: of qc-iodata 1.0, cclib 1.8, ASE 3.29 and qcelemental 0.51 none reads them, and ORCA's outputs do not hold
Hessians. The file has sections `$name`; a number of rows; the Hessian in blocks of five columns (ORCA 3: six), with
indices.
"""

from itertools import pairwise

import numpy as np

from q2mm_accel.readers.record import QMRecord
from q2mm_accel.readers.text import TextFile, atoms_of
from q2mm_accel.units import BOHR_TO_ANGSTROM


def read(file: TextFile) -> QMRecord:
    """A molecule of an ORCA .hess file; ORCA computes its frequencies with the masses in it.

    Raises:
        QMFileError: it is damaged or incomplete, or the Hessian is not finished.
    """
    file.must_end()
    sections = _sections(file)
    atoms = _rows(file, sections, "$atoms")
    rows = []
    for line in range(*atoms):
        words = file.lines[line].split()
        if len(words) != 5:
            raise file.error(
                line, f"an atom is {file.lines[line]!r:.60}; it must be a symbol, a mass and three coordinates."
            )
        rows.append((line, words))
    symbols, places = atoms_of(file, ((line, words[0], (words[2], words[3], words[4])) for line, words in rows))
    size = 3 * len(symbols)
    scale = _scalar(file, sections, "$frequency_scale_factor")
    frequencies = _frequencies(file, sections, size)
    return QMRecord(
        path=file.path,
        format="orca-hess",
        symbols=symbols,
        coordinates=np.array(places) * BOHR_TO_ANGSTROM,
        hessian=_matrix(file, sections, size),
        energy=_scalar(file, sections, "$act_energy") or None,
        charge=_whole(file, sections, "$charge"),
        multiplicity=_whole(file, sections, "$multiplicity"),
        masses=np.array([file.number(words[1], line, "a mass") for line, words in rows]),
        frequencies=frequencies if frequencies is None or not scale else frequencies / scale,
    )


def _sections(file: TextFile) -> dict[str, tuple[int, int]]:
    """Section -> its first line and that after its last."""
    heads = [line for line, text in enumerate(file.lines) if text.lstrip().startswith("$")]
    sections: dict[str, tuple[int, int]] = {}
    for line, stop in pairwise([*heads, len(file.lines)]):
        name = file.lines[line].split()[0].lower()
        if name in sections:
            raise file.error(line, f"{name} is there for the second time; the file holds two calculations. Keep one.")
        sections[name] = (line + 1, stop)
    if "$orca_hessian_file" not in sections:
        raise file.wrong("it does not begin with $orca_hessian_file; it is another program's.")
    if "$end" not in sections:
        raise file.wrong("it does not end with $end; it was cut. Copy it again.")
    for name in ("$hessian", "$atoms"):
        if name not in sections:
            raise file.wrong(f"it has no {name}: the calculation did not end, or the file was cut.")
    return sections


def _rows(file: TextFile, sections: dict[str, tuple[int, int]], name: str) -> tuple[int, int]:
    """First line and that after the last of a section that begins with their number."""
    start, stop = sections[name]
    if start == stop:
        raise file.error(start - 1, f"{name} is empty.")
    count = file.integer(file.lines[start].strip(), start, f"the size of {name}")
    while stop > start and (not file.lines[stop - 1].strip() or file.lines[stop - 1].lstrip().startswith("#")):
        stop -= 1
    if stop - start - 1 != count:
        raise file.error(start, f"{name} has {count} rows, but {stop - start - 1} lines follow; it was cut, or is damaged.")
    return start + 1, stop


def _matrix(file: TextFile, sections: dict[str, tuple[int, int]], size: int) -> np.ndarray:
    start, stop = sections["$hessian"]
    lines = [line for line in range(start, stop) if file.lines[line].strip()]
    if not lines:
        raise file.error(start - 1, "$hessian is empty.")
    if (count := file.integer(file.lines[lines[0]].strip(), lines[0], "the size of $hessian")) != size:
        raise file.error(start - 1, f"$hessian is of size {count}, but {size // 3} atoms make it {size}.")
    matrix, seen, column, place = np.zeros((size, size)), 0, 0, 1
    while place < len(lines):
        head = [file.integer(word, lines[place], "a column") for word in file.lines[lines[place]].split()]
        if head != list(range(column, column + len(head))) or column + len(head) > size:
            raise file.error(lines[place], f"columns {head} stand where column {column} is next.")
        block = lines[place + 1 : place + 1 + size]
        for row, line in enumerate(block):
            words = file.lines[line].split()
            if len(words) != len(head) + 1 or words[0] != str(row):
                raise file.error(
                    line, f"row {row} of $hessian must be its number and {len(head)} values; it is {file.lines[line]!r:.60}."
                )
            matrix[row, column : column + len(head)] = [
                file.number(word, line, f"row {row} of $hessian") for word in words[1:]
            ]
        seen += len(block) * len(head)
        column, place = column + len(head), place + 1 + size
    if seen != size * size:
        raise file.error(
            start - 1, f"$hessian has {seen} values instead of {size * size}; it was cut, or the calculation did not end."
        )
    return matrix


def _frequencies(file: TextFile, sections: dict[str, tuple[int, int]], size: int) -> np.ndarray | None:
    """All 3N, those of rigid motions as 0."""
    if "$vibrational_frequencies" not in sections:
        return None
    rows = range(*_rows(file, sections, "$vibrational_frequencies"))
    if len(rows) != size:
        raise file.error(
            rows.start - 1, f"$vibrational_frequencies has {len(rows)} rows, but {size // 3} atoms make them {size}."
        )
    return np.array([file.number((file.lines[line].split() or [""])[-1], line, "a frequency") for line in rows])


def _scalar(file: TextFile, sections: dict[str, tuple[int, int]], name: str) -> float | None:
    words = [(line, word) for line in range(*sections.get(name, (0, 0))) for word in file.lines[line].split("#")[0].split()]
    return file.number(words[0][1], words[0][0], name) if words else None


def _whole(file: TextFile, sections: dict[str, tuple[int, int]], name: str) -> int | None:
    value = _scalar(file, sections, name)
    if value is not None and not value.is_integer():
        raise file.error(sections[name][0], f"{name} is {value}, which is no whole number.")
    return None if value is None else int(value)
