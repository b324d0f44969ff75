"""Which program wrote a file, and what to do with those that are not read."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from q2mm_accel.errors import QMFileError
from q2mm_accel.readers import arrays, gamess, gaussian_fchk, gaussian_log, jaguar, orca_hess, plain, qchem_log, qcschema
from q2mm_accel.readers.record import QMRecord
from q2mm_accel.readers.text import TextFile, known_file, read_text

TEXT: dict[str, Callable[[TextFile], QMRecord]] = {
    "gaussian-fchk": gaussian_fchk.read,
    "gaussian-log": gaussian_log.read,
    "orca-hess": orca_hess.read,
    "qchem-log": qchem_log.read,
    "gamess-dat": gamess.read,
    "jaguar-in": jaguar.read,
    "qcschema": qcschema.read,
    "molden": plain.read_molden,
    "xyz": plain.read_xyz,
    "coord": plain.read_coord,
    "xtb-hessian": plain.read_hessian_only,
}
FORMATS = (*TEXT, "npz", "npy")
"""Names of all formats that are read."""
GEOMETRIES = ("xyz", "coord", "molden")
"""Formats without a Hessian."""

_SUFFIXES = {".fchk": "gaussian-fchk", ".fch": "gaussian-fchk", ".fck": "gaussian-fchk", ".json": "qcschema"}
_SUFFIXES |= {".xyz": "xyz", ".molden": "molden", ".coord": "coord", ".npz": "npz", ".npy": "npy"}
_SIGNS = {
    "orca-hess": re.compile(r"\$orca_hessian_file", re.IGNORECASE),
    "molden": re.compile(r"\s*\[Molden Format\]", re.IGNORECASE),
    "coord": re.compile(r"\s*\$coord\b"),
    "xtb-hessian": re.compile(r"\s*\$hessian\b"),
    "gaussian-log": re.compile(r" Entering Gaussian System| Entering Link 1|.*Gaussian, Inc\."),
    "qchem-log": re.compile(r"\s*Welcome to Q-Chem"),
    "gamess-dat": re.compile(r" ?\$(DATA|VEC|GRAD|HESS)\b"),
    "jaguar-in": re.compile(r"\s*&(gen|zmat)\b"),
    "gaussian-fchk": re.compile(r"Number of atoms {20,}I "),
}
"""How a line begins that only files of a format have; sought in this order."""
_HEAD = 400
"""Lines in which the sign of a format stands."""
_OTHERS = {
    "* O   R   C   A *": "an ORCA output, which holds no Hessian; give the .hess file of the job",
    "GAMESS VERSION": "a GAMESS output; give the .dat file of the job",
    "Psi4: An Open-Source": "a Psi4 output; give its QCSchema JSON (psi4 --json, QCEngine)",
    "x T B": "an output of xtb; give xtbopt.xyz and hessian=, the file 'hessian' of the job",
    "Northwest Computational Chemistry Package": "an NWChem output; save symbols, coordinates and Hessian as .npz",
    "PROGRAM SYSTEM MOLPRO": "a Molpro output; save symbols, coordinates and Hessian as .npz",
    "Jaguar version": "a Jaguar output; give the restart file (.01.in) of the job",
}


def format_of(path: Path, file: TextFile | None) -> str:
    """The format of a file, by its name or else by what is in it.

    Args:
        path: its name.
        file: its content; None of binary files.

    Raises:
        QMFileError: none that is known.
    """
    name = path.name.lower()
    if name in ("coord", "molden.input"):
        return {"coord": "coord", "molden.input": "molden"}[name]
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    lines = () if file is None else file.lines[:_HEAD]
    other = next((advice for sign, advice in _OTHERS.items() if any(sign in line for line in lines)), None)
    if other:
        raise QMFileError(f"{path}: this is {other}.")
    for found, sign in _SIGNS.items():
        if any(sign.match(line) for line in lines):
            return found
    raise QMFileError(f"{path}: its format is not known. Say which it is by format=, out of {', '.join(FORMATS)}.")


def read_one(path: str | os.PathLike[str], format: str | None = None) -> QMRecord:
    """What is in one file.

    Args:
        path: the file.
        format: out of `FORMATS`, where name and content do not tell.

    Raises:
        QMFileError: it cannot be read, is damaged, or of no known format.
    """
    if format is not None and format not in FORMATS:
        raise QMFileError(f"format is {format!r:.60}; it is one of {', '.join(FORMATS)}.")
    place = known_file(path)
    if (format or place.suffix.lower()[1:]) in ("npz", "npy"):
        if (format or place.suffix.lower()[1:]) == "npz":
            return arrays.read_npz(place)
        raise QMFileError(f"{place}: it holds a Hessian at most, but no atoms. Give it as hessian= of a geometry.")
    file = read_text(place)
    return TEXT[format or format_of(place, file)](file)
