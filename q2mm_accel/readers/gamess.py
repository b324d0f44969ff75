"""Punch files (.dat) of GAMESS (US), PC GAMESS and Firefly.

Read here: qc-iodata 1.0 knows those of PC GAMESS only ("$DATA" without a blank before it) and leaves zeros where $HESS
is cut; cclib 1.8 takes $HESS for something else and stops, and the Hessian that it reads of GAMESS's outputs has its
elements in another order. $HESS has rows of five numbers of 15 characters, without blanks between them, behind their
row and line (I2, I3).
"""

import re

import numpy as np

from q2mm_accel.readers.record import QMRecord
from q2mm_accel.readers.text import TextFile, atoms_of

_UPDATED = "COORDINATES OF SYMMETRY UNIQUE ATOMS (ANGS)"
_MODE = re.compile(r"\s*MODE\s+\d+\s+FREQUENCY=\s*(\S+?)\s*(I?)\s*\(CM\*\*-1\)")
_Rows = list[tuple[int, str, tuple[str, str, str]]]


def read(file: TextFile) -> QMRecord:
    """A molecule of a punch file with $HESS; with symmetry C1, since others list symmetry-unique atoms only.

    Charge and multiplicity are not in it. An optimizer's Hessian ("APPROXIMATE") is left out.

    Raises:
        QMFileError: it is damaged or incomplete, holds two Hessians, ghost atoms, or a part of the atoms.
    """
    symbols, places = atoms_of(file, _atoms(file, _exact_hessian(file)))
    return read_with(file, symbols, np.array(places))


def read_with(file: TextFile, symbols: tuple[str, ...], coordinates: np.ndarray) -> QMRecord:
    """The same with atoms known from elsewhere, as where the file lists symmetry-unique ones.

    Args:
        file: the punch file.
        symbols: of all N atoms, in its order.
        coordinates: shape (N, 3) [Å], in its frame.

    Raises:
        QMFileError: it is damaged or incomplete, holds two Hessians, or one of another number of atoms.
    """
    head = _exact_hessian(file)
    energy = re.match(r"\s*ENERGY IS\s+(\S+)", file.lines[head + 1])
    if not energy:
        raise file.error(head + 1, "the line after $HESS must say ENERGY IS.")
    frequencies = [(line, found) for line, text in enumerate(file.lines) if (found := _MODE.match(text))]
    value = file.number(energy[1], head + 1, "the energy")
    printed = [file.number(found[1], line, "a frequency") for line, found in frequencies]
    return QMRecord(
        path=file.path,
        format="gamess-dat",
        symbols=symbols,
        coordinates=coordinates,
        hessian=_matrix(file, head + 2, _closed(file, head), 3 * len(symbols)),
        gradient=_gradient(file, value, len(symbols)),
        energy=value,
        masses=_masses(file, len(symbols)),
        frequencies=np.array(printed) if printed else None,
        signed=False,
    )


def _exact_hessian(file: TextFile) -> int:
    groups = [line for line in file.find("$HESS") if "APPROXIMATE HESSIAN" not in file.lines[max(0, line - 1)]]
    if groups and groups[0] + 2 >= len(file.lines):
        raise file.error(groups[0], "the file ends after $HESS; it was cut.")
    if not groups:
        raise file.wrong("it has no $HESS (but perhaps an optimizer's estimate): run RUNTYP=HESSIAN, or the file was cut.")
    if len(groups) > 1:
        places = ", ".join(str(line + 1) for line in groups)
        raise file.wrong(f"$HESS is there {len(groups)} times, in lines {places}: several calculations. Keep one.")
    return groups[0]


def _closed(file: TextFile, head: int) -> int:
    """The line of the $END of a group."""
    for line in range(head + 1, len(file.lines)):
        if file.lines[line].strip() == "$END":
            return line
        if file.lines[line].lstrip().startswith("$"):
            break
    raise file.error(head, f"{file.lines[head].strip()} is not closed by $END; the file was cut.")


def _atoms(file: TextFile, before: int) -> _Rows:
    """The last atoms that are listed before a line."""
    heads = [line for line, text in enumerate(file.lines[:before]) if text.strip() == _UPDATED]
    data = [line for line in file.find("$DATA") if line < before]
    if heads:
        rows, line = [], heads[-1] + 3
        while line < before and (row := _atom(file, line, indented=True)):
            rows.append(row)
            line += 1
        return rows
    if not data:
        raise file.wrong("no $DATA before $HESS: the atoms are not in it.")
    return [row for line in range(data[-1] + 3, _closed(file, data[-1])) if (row := _atom(file, line))]


def _atom(file: TextFile, line: int, indented: bool = False) -> tuple[int, str, tuple[str, str, str]] | None:
    """An atom's line: name, nuclear charge, coordinates; in $DATA those of its basis set are indented, and it is not."""
    text, words = file.lines[line], file.lines[line].split()
    if len(words) != 5 or (text[0] == " ") != indented or words[0].startswith("$"):
        return None
    charge = file.number(words[1], line, f"the charge of {words[0]}")
    if charge < 1 or not charge.is_integer():
        raise file.error(line, f"{words[0]} has the nuclear charge {charge:g}: a ghost or dummy atom. Leave it out.")
    return line, str(int(charge)), (words[2], words[3], words[4])


def _matrix(file: TextFile, start: int, stop: int, size: int) -> np.ndarray:
    rows: list[list[float]] = []
    for line in range(start, stop):
        text = file.lines[line]
        if not rows or text[:2] != file.lines[line - 1][:2]:
            rows.append([])
        if text[:2].strip() != str(len(rows) % 100):
            raise file.error(line, f"row {len(rows)} of $HESS should begin here, but it is {text!r:.30}: lines are missing.")
        words = [text[place : place + 15].strip() for place in range(5, len(text.rstrip()), 15)]
        rows[-1] += [file.number(word, line, f"row {len(rows)} of $HESS") for word in words]
    lengths = {len(row) for row in rows}
    if lengths == {len(rows)} and len(rows) != size:
        raise file.error(
            start - 2,
            f"$HESS is of {len(rows) / 3:g} atoms, but there are {size // 3}. Where the file lists symmetry-unique atoms "
            "only, run the job with C1, or give all atoms: Molecule.read('molecule.xyz', hessian='molecule.dat').",
        )
    if lengths != {size} or len(rows) != size:
        raise file.error(
            start - 2,
            f"$HESS should have {size} rows of {size} values; it has {len(rows)} of {sorted(lengths)}. It was cut.",
        )
    return np.array(rows)


def _gradient(file: TextFile, energy: float, n_atoms: int) -> np.ndarray | None:
    """That of $GRAD whose energy is the Hessian's; others are of displaced geometries."""
    for head in file.find("$GRAD"):
        stop = _closed(file, head)
        first = re.match(r"\s*E=\s*(\S+)", file.lines[head + 1])
        if first and file.number(first[1], head + 1, "the energy of $GRAD") == energy:
            rows = [file.lines[line].split()[2:] for line in range(head + 2, stop)]
            if len(rows) != n_atoms or any(len(row) != 3 for row in rows):
                raise file.error(head, f"$GRAD must have {n_atoms} atoms with three numbers each.")
            return np.array([[file.number(word, head + 2 + atom, "$GRAD") for word in row] for atom, row in enumerate(rows)])
    return None


def _masses(file: TextFile, n_atoms: int) -> np.ndarray | None:
    heads = list(file.find("ATOMIC MASSES"))
    if not heads:
        file.must_end()
        if list(file.find("----- START OF NORMAL MODES")):
            raise file.wrong("normal modes begin, but ATOMIC MASSES do not follow: the file was cut.")
        return None
    stop = next((line for line in file.find("MODE") if line > heads[-1]), None)
    if stop is None:
        raise file.error(heads[-1], "no MODE follows the masses: the file was cut.")
    masses = file.numbers(heads[-1] + 1, stop, "a mass")
    if len(masses) != n_atoms:
        raise file.error(heads[-1], f"there are {len(masses)} masses, but {n_atoms} atoms.")
    return np.array(masses)
