"""Formatted checkpoint files (.fchk, .fch) of Gaussian, Q-Chem and others that write them.

Read here: qc-iodata 1.0 reads the arrays right, but stops where a file has no orbitals, or a method of two words
("RB3LYP TD-FC"), leaves out the printed frequencies, and asks for as much memory as a header says; cclib 1.8 stops at
files of Gaussian 94 and takes the energy of the SCF where there is a later one. Both take an optimizer's estimate for a
Hessian. The format is a list of fields: name, type and value, or the number of values that follow, a fixed number per
line.
"""

from typing import NamedTuple

import numpy as np

from q2mm_accel.readers.record import QMRecord, lower_triangle
from q2mm_accel.readers.text import TextFile
from q2mm_accel.units import BOHR_TO_ANGSTROM

_PER_LINE = {"I": 6, "R": 5, "C": 5, "H": 9, "L": 72}
_HESSIAN, _MODES = "Cartesian Force Constants", "Vib-E2"
_ATOMS, _PLACES = "Atomic numbers", "Current cartesian coordinates"
_ONCE = (_HESSIAN, _MODES, _ATOMS, _PLACES, "Number of atoms", "Charge", "Multiplicity", "Nuclear charges", "Total Energy")
_ONCE += ("Real atomic weights", "Cartesian Gradient")


class _Field(NamedTuple):
    line: int
    """Of its header."""
    kind: str
    value: str
    """Of a scalar."""
    size: int | None
    """Of an array: its number of values."""


def read(file: TextFile) -> QMRecord:
    """A molecule of a formatted checkpoint file.

    Raises:
        QMFileError: it is damaged or incomplete, has ghost atoms, or a Hessian that may be an optimizer's estimate.
    """
    file.must_end()
    fields = _fields(file)
    for name in (_ATOMS, _PLACES):
        if name not in fields or fields[name].size is None:
            raise file.wrong(f"it has no {name!r}; it is no formatted checkpoint file, or was cut.")
    n_atoms = fields[_ATOMS].size or 0
    _check_sizes(file, fields, n_atoms)
    _check_job(file, fields)
    numbers, hessian = _numbers(file, fields, _ATOMS), _numbers(file, fields, _HESSIAN)
    _check_ghosts(file, numbers, _numbers(file, fields, "Nuclear charges"))
    places, gradient = _numbers(file, fields, _PLACES), _numbers(file, fields, "Cartesian Gradient")
    return QMRecord(
        path=file.path,
        format="gaussian-fchk",
        symbols=tuple(str(int(number)) for number in numbers or ()),
        coordinates=np.reshape(places or (), (n_atoms, 3)) * BOHR_TO_ANGSTROM,
        hessian=None if hessian is None else lower_triangle(hessian, n_atoms),
        gradient=None if gradient is None else np.reshape(gradient, (n_atoms, 3)),
        energy=_scalar(file, fields, "Total Energy"),
        charge=_integer(file, fields, "Charge"),
        multiplicity=_integer(file, fields, "Multiplicity"),
        masses=_array(_numbers(file, fields, "Real atomic weights")),
        frequencies=_array(_printed(file, fields)),
    )


def _fields(file: TextFile) -> dict[str, _Field]:
    """Every field, whose array is as long as its header says."""
    stop = len(file.lines)
    while stop > 2 and not file.lines[stop - 1].strip():
        stop -= 1
    fields: dict[str, _Field] = {}
    line = 2
    while line < stop:
        text = file.lines[line]
        name, kind, rest = text[:40].strip(), text[40:47].strip(), text[47:].split()
        if kind not in _PER_LINE or not name or not rest:
            raise file.error(
                line, f"{text!r:.60} is no field's header: the array before it is longer or shorter than its header says."
            )
        count = file.integer(rest[-1], line, name) if rest[0] == "N=" and len(rest) == 2 else None
        if name in fields and name in _ONCE:
            raise file.error(line, f"{name!r} is there for the second time: several geometries or calculations. Keep one.")
        fields[name] = _Field(line, kind, rest[0], count)
        line += 1
        if count is not None:
            line = _after_array(file, name, line, count, kind, stop)
    return fields


def _after_array(file: TextFile, name: str, start: int, count: int, kind: str, end: int) -> int:
    stop = start - (-count // _PER_LINE[kind])
    if count < 0 or stop > end:
        raise file.error(
            start - 1, f"{name!r} has {count} values, but the file ends before them; it was cut. Copy it again."
        )
    if kind in "IR":
        found = sum(len(text.split()) for text in file.lines[start:stop])
        if found != count:
            raise file.error(
                start - 1, f"{name!r} has {count} values, but {found} words follow; some are missing or run together."
            )
    return stop


def _check_sizes(file: TextFile, fields: dict[str, _Field], n_atoms: int) -> None:
    if (said := _integer(file, fields, "Number of atoms")) not in (None, n_atoms):
        raise file.error(fields["Number of atoms"].line, f"there are {said} atoms, but {n_atoms} atomic numbers.")
    sizes = {"Nuclear charges": n_atoms, "Real atomic weights": n_atoms, _PLACES: 3 * n_atoms}
    sizes |= {"Cartesian Gradient": 3 * n_atoms, _HESSIAN: 3 * n_atoms * (3 * n_atoms + 1) // 2}
    for name, size in sizes.items():
        if name in fields and fields[name].size != size:
            raise file.error(
                fields[name].line, f"{name!r} has {fields[name].size} values, but {n_atoms} atoms make them {size}."
            )


def _check_job(file: TextFile, fields: dict[str, _Field]) -> None:
    """Optimizations leave their estimate of the Hessian where frequency jobs leave the Hessian."""
    job = file.lines[1][:10].strip()
    if _HESSIAN in fields and _MODES not in fields and job.lower() != "freq":
        raise file.error(
            1, f"the job is {job!r}, of which {_HESSIAN!r} may be an optimizer's estimate. Run a frequency job."
        )
    if job.lower() == "freq" and _HESSIAN not in fields:
        raise file.error(1, f"the job is {job!r}, but {_HESSIAN!r} is not there; the file was cut, or the job failed.")


def _check_ghosts(file: TextFile, numbers: list[float] | None, charges: list[float] | None) -> None:
    for atom, number in enumerate(numbers or ()):
        charge = number if charges is None else charges[atom]
        if number < 1 or charge == 0:
            raise file.wrong(
                f"atom {atom} (atomic number {number:g}, nuclear charge {charge:g}) is a ghost or dummy; leave it out."
            )


def _scalar(file: TextFile, fields: dict[str, _Field], name: str) -> float | None:
    return file.number(fields[name].value, fields[name].line, name) if name in fields else None


def _integer(file: TextFile, fields: dict[str, _Field], name: str) -> int | None:
    return file.integer(fields[name].value, fields[name].line, name) if name in fields else None


def _numbers(file: TextFile, fields: dict[str, _Field], name: str) -> list[float] | None:
    if name not in fields:
        return None
    field = fields[name]
    if field.size is None:
        raise file.error(field.line, f"{name!r} should be an array, and is none.")
    return file.numbers(field.line + 1, field.line + 1 - (-field.size // _PER_LINE[field.kind]), name)


def _array(values: list[float] | None) -> np.ndarray | None:
    return None if values is None else np.array(values)


def _printed(file: TextFile, fields: dict[str, _Field]) -> list[float] | None:
    """Frequencies, the first numbers of `Vib-E2`."""
    values, count = _numbers(file, fields, _MODES), _integer(file, fields, "Number of Normal Modes")
    if values is None or count is None:
        return None
    if not 0 <= count <= len(values):
        raise file.wrong(f"it has {count} normal modes, but {_MODES!r} has {len(values)} values.")
    return values[:count]
