r"""Outputs (.log, .out) of Gaussian, from the archive entry at the end of a frequency job.

Read here: neither qc-iodata 1.0 nor cclib 1.8 nor ASE 3.29 takes the Hessian out of a Gaussian output. It is in the
archive entry alone (unless IOp(7/33=1) prints it), with eight decimals: parts between \\, items between \, on Windows |
instead; lines of 70 characters that are joined as they are. The entry holds all that belongs together: charge, atoms in
the frame of the Hessian, energy, Hessian (lower triangle) and gradient. Masses and frequencies come from the printed
part of the same job.
"""

import re
from typing import NamedTuple

import numpy as np

from q2mm_accel.readers.record import QMRecord, lower_triangle
from q2mm_accel.readers.text import TextFile, atoms_of

_BEGIN = re.compile(r" ?1([\\|])1\1")
_FREQUENCIES = "Frequencies -- "
"""Those of freq=hpmodes, which have one dash more, are printed this way as well."""
_MASS = re.compile(r"\s*Atom\s+\d+ has atomic number\s+\d+ and mass\s+(\S+)")
_GHOST = re.compile(r"(?i:bq|x|.*-bq)$")


class _Job(NamedTuple):
    """A job of the output that has an archive entry."""

    start: int
    """First line of the job."""
    entry: int
    """First line of its archive entry."""
    parts: tuple[tuple[str, ...], ...]
    """Items of each part of the entry."""

    @property
    def hessian_part(self) -> int | None:
        """Which part is the Hessian: the one after NImag."""
        found = [number for number, part in enumerate(self.parts) if any(item.startswith("NImag=") for item in part)]
        return found[-1] + 1 if found else None


def read(file: TextFile) -> QMRecord:
    """The molecule of the one frequency job in an output; without one, the last job (geometry, energy).

    An optimization before it, or a single point after it, are other jobs and left out.

    Raises:
        QMFileError: no job ended with its archive entry, several frequency jobs, or an entry that is damaged or has a
            Z-matrix.
    """
    jobs = _jobs(file)
    with_hessian = [job for job in jobs if job.hessian_part is not None]
    if len(with_hessian) > 1:
        places = ", ".join(str(job.entry + 1) for job in with_hessian)
        raise file.wrong(f"it holds {len(with_hessian)} frequency jobs (archive entries in lines {places}). Keep one.")
    job = with_hessian[0] if with_hessian else jobs[-1]
    cut = next((line for line in file.find("Entering Link 1") if line > job.entry), None)
    if not with_hessian and (cut is not None or list(file.find(_FREQUENCIES))):
        raise file.wrong(
            "frequencies or a further job are there, but no archive entry with their Hessian: the job did not end."
        )
    charge, multiplicity, symbols, places = _atoms(file, job)
    n_atoms = len(symbols)
    frequencies = _frequencies(file, job)
    return QMRecord(
        path=file.path,
        format="gaussian-log",
        symbols=symbols,
        coordinates=np.array(places),
        hessian=_hessian(file, job, n_atoms),
        gradient=_gradient(file, job, n_atoms),
        energy=_energy(file, job),
        charge=charge,
        multiplicity=multiplicity,
        masses=_masses(file, job, n_atoms) if frequencies is not None else None,
        frequencies=frequencies,
    )


def _jobs(file: TextFile) -> list[_Job]:
    jobs, start = [], 0
    begins = [(line, found[1]) for line, text in enumerate(file.lines) if (found := _BEGIN.match(text))]
    for line, separator in begins:
        entry, stop = "", None
        for place in range(line, len(file.lines)):
            text = file.lines[place]
            entry += text[1:] if text.startswith(" ") else text
            if entry.endswith(f"{separator}@") or text.strip() in ("@", f"{separator}@", f"{separator * 2}@"):
                stop = place
                break
            if not text.strip() or len(text) > 80 or (place > line and _BEGIN.match(text)):
                break
        if stop is None:
            raise file.error(line, "the archive entry that begins here does not end with @; the output was cut.")
        parts = tuple(tuple(part.split(separator)) for part in entry.split(separator * 2))
        jobs.append(_Job(start, line, parts))
        start = stop + 1
    if not jobs:
        raise file.wrong(
            "it has no archive entry (1\\1\\...\\@): the job did not end, or was told to write none. Use the .fchk file."
        )
    return jobs


def _atoms(file: TextFile, job: _Job) -> tuple[int, int, tuple[str, ...], list[list[float]]]:
    """Charge, multiplicity, symbols and coordinates [Å]."""
    number = next((n for n, part in enumerate(job.parts) if n > 1 and re.fullmatch(r"-?\d+,\d+", part[0].strip())), None)
    if number is None:
        raise file.error(job.entry, "the archive entry has no charge, multiplicity and atoms.")
    charge, multiplicity = (int(word) for word in job.parts[number][0].split(","))
    rows = []
    for item in job.parts[number][1:]:
        words = [word.strip() for word in item.split(",")]
        # symbol, x, y, z; with a freeze code behind the symbol
        if len(words) == 5 and re.fullmatch(r"-?\d", words[1]):
            words.pop(1)
        if len(words) != 4 or not all("." in word for word in words[1:]):
            raise file.error(
                job.entry,
                f"the atom {item!r:.60} of the archive entry is not in Cartesian coordinates, but of a Z-matrix. Use the "
                ".fchk file, or run the job with Cartesian coordinates.",
            )
        if _GHOST.match(words[0]):
            raise file.error(job.entry, f"{words[0]} in the archive entry is a ghost or dummy atom. Leave it out.")
        rows.append((job.entry, words[0], (words[1], words[2], words[3])))
    symbols, places = atoms_of(file, rows)
    return charge, multiplicity, symbols, places


def _values(file: TextFile, job: _Job, part: int, what: str) -> list[float]:
    if part >= len(job.parts) or len(job.parts[part]) != 1 or not job.parts[part][0].strip():
        raise file.error(job.entry, f"the archive entry has no {what} after NImag.")
    return [file.number(word.strip(), job.entry, f"{what} in the archive entry") for word in job.parts[part][0].split(",")]


def _hessian(file: TextFile, job: _Job, n_atoms: int) -> np.ndarray | None:
    if job.hessian_part is None:
        return None
    values = _values(file, job, job.hessian_part, "Hessian")
    matrix = lower_triangle(values, n_atoms)
    if matrix is None:
        wanted = 3 * n_atoms * (3 * n_atoms + 1) // 2
        raise file.error(
            job.entry, f"the archive entry's Hessian has {len(values)} values, but {n_atoms} atoms make them {wanted}."
        )
    return matrix


def _gradient(file: TextFile, job: _Job, n_atoms: int) -> np.ndarray | None:
    if job.hessian_part is None:
        return None
    values = _values(file, job, job.hessian_part + 1, "gradient")
    if len(values) != 3 * n_atoms:
        raise file.error(job.entry, f"the archive entry's gradient has {len(values)} values, but there are {n_atoms} atoms.")
    return np.array(values).reshape(n_atoms, 3)


def _energy(file: TextFile, job: _Job) -> float | None:
    """That of the job's method, where the entry says which it is."""
    items = dict(item.split("=", 1) for part in job.parts for item in part if "=" in item)
    header = job.parts[0]
    method = re.sub(r"-(FC|FU|Full)$", "", re.sub(r"^(RO|R|U)", "", header[4] if len(header) > 4 else ""))
    known = [
        key for key in ("MP2", "MP3", "MP4SDQ", "MP4SDTQ", "CCSD", "CCSD(T)", "CISD", "QCISD", "QCISD(T)") if key in items
    ]
    key = method if method in items else "HF" if not known else None
    if key is None or key not in items:
        return None
    return file.number(items[key].strip(), job.entry, f"{key} in the archive entry")


def _frequencies(file: TextFile, job: _Job) -> np.ndarray | None:
    """The first list of the job; further ones are of other isotopes, or anharmonic."""
    lines = [line for line in file.find(_FREQUENCIES) if job.start <= line < job.entry]
    after = next((line for line in file.find("- Thermochemistry -") if job.start <= line < job.entry), job.entry)
    values = [
        file.number(word, line, "a frequency")
        for line in lines
        if line < after
        for word in file.lines[line].split("--")[1].split()
    ]
    return np.array(values) if values else None


def _masses(file: TextFile, job: _Job, n_atoms: int) -> np.ndarray | None:
    found = [(line, match[1]) for line in range(job.start, job.entry) if (match := _MASS.match(file.lines[line]))][:n_atoms]
    if not found:
        return None
    return np.array([file.number(word, line, "a mass") for line, word in found])
