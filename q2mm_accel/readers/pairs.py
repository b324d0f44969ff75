"""A geometry in one file and its Hessian in another."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from q2mm_accel.errors import QMFileError
from q2mm_accel.readers.arrays import read_npy
from q2mm_accel.readers.formats import GEOMETRIES, format_of, read_one
from q2mm_accel.readers.gamess import read_with
from q2mm_accel.readers.plain import read_xtb_hessian
from q2mm_accel.readers.record import QMRecord
from q2mm_accel.readers.text import known_file, read_text

_SAME_PLACE = 1e-4
"""[Å] by which coordinates of one atom in two files may differ: more than the digits of any format leave."""


def read_file(
    path: str | os.PathLike[str], format: str | None = None, hessian: str | os.PathLike[str] | bool | None = None
) -> QMRecord:
    """What is in a file, with the Hessian of another one where it has none.

    Args:
        path: the file.
        format: out of `formats.FORMATS`; by default what its name or content say.
        hessian: the file with the Hessian: .npy, xtb's `hessian`, or any other file that is read, whose atoms must then be
            the same. None takes what lies beside `path` by xtb's own naming: `NAME.hessian` beside `NAME.xyz`, `NAME.coord`
            or `NAME.xtbopt.xyz`; `hessian` beside `xtbopt.xyz`, `xtbopt.coord`, or what is the folder's only geometry.
            False takes none.

    Raises:
        QMFileError: a file cannot be read, or the two do not belong together.
        MissingPackageError: a package that reads such files is not installed.
    """
    if hessian is not None and hessian is not False and not isinstance(hessian, str | os.PathLike):
        raise QMFileError(f"hessian is {hessian!r:.60}; give the path of the file that holds it, False or None.")
    record = read_one(path, format)
    if hessian is None and record.format in GEOMETRIES and record.hessian is None:
        hessian = _beside(record.path)
    if hessian is None or isinstance(hessian, bool):
        return record
    if record.hessian is not None:
        raise QMFileError(f"{record.path}: it has a Hessian, and hessian={str(hessian)!r} is another. Leave one out.")
    return _joined(record, hessian)


def _beside(path: Path) -> Path | None:
    """The Hessian that xtb wrote beside a geometry."""
    base = path.name.removesuffix(".xyz").removesuffix(".coord")
    own = path.with_name(f"{base.removesuffix('.xtbopt')}.hessian")
    if own.is_file():
        return own
    common = path.with_name("hessian")
    if not common.is_file():
        return None
    geometries = {each.name for pattern in ("*.xyz", "coord", "*.coord") for each in path.parent.glob(pattern)} - {path.name}
    if base != "xtbopt" and geometries:
        raise QMFileError(
            f"{path}: 'hessian' lies beside it, and {', '.join(sorted(geometries)[:3])} too, so that it is not clear of "
            "which geometry it is. Pass hessian= with its path, or hessian=False."
        )
    return common


def _joined(record: QMRecord, hessian: str | os.PathLike[str]) -> QMRecord:
    place = known_file(hessian)
    n_atoms = len(record.symbols)
    if place.suffix.lower() == ".npy":
        return replace(record, hessian=read_npy(place, n_atoms))
    file = None if place.suffix.lower() == ".npz" else read_text(place)
    kind = "npz" if file is None else format_of(place, file)
    if file is not None and kind == "xtb-hessian":
        return replace(record, hessian=read_xtb_hessian(file, n_atoms))
    if file is not None and kind == "gamess-dat":
        other = read_with(file, record.symbols, record.coordinates)
    else:
        other = read_one(place)
    if other.hessian is None:
        raise QMFileError(f"{place}: it has no Hessian.")
    _check_same(record, other)
    fields = ("gradient", "energy", "charge", "multiplicity", "masses", "frequencies")
    own = {name: getattr(record, name) for name in fields if getattr(record, name) is not None}
    return replace(other, path=record.path, format=record.format, first_symbols=record.symbols, **own)


def _check_same(record: QMRecord, other: QMRecord) -> None:
    names = f"{record.path} and {other.path}"
    if len(record.symbols) != len(other.symbols):
        raise QMFileError(
            f"{names}: they have {len(record.symbols)} and {len(other.symbols)} atoms, and are of two molecules."
        )
    distances = np.linalg.norm(record.coordinates - other.coordinates, axis=1)
    atom = int(np.argmax(distances))
    if distances[atom] > _SAME_PLACE:
        raise QMFileError(
            f"{names}: atom {atom} ({record.symbols[atom]}, {other.symbols[atom]}) is at "
            f"{record.coordinates[atom].round(4).tolist()} and {other.coordinates[atom].round(4).tolist()} Å: another "
            "geometry, orientation or order of atoms. The Hessian must be of the geometry as it stands in the first file."
        )
