"""Geometries: .xyz files, Turbomole's and xtb's `coord`, the atoms of Molden files. And xtb's `hessian`.

Read here, because each library tried takes some of these files for something else without a word: qc-iodata 1.0 reads
"CA" (Cα of a protein) as calcium, only the first of several frames, and no Molden file of xtb ([Atoms] AU, without
parentheses) or without orbitals; ASE 3.29 takes `$coord angs` for bohr; cclib 1.8 has a reader of xtb's Hessian that
cannot work (numpy.reshape with two integers).
"""

import re

import numpy as np

from q2mm_accel.errors import QMFileError
from q2mm_accel.readers.record import QMRecord
from q2mm_accel.readers.text import TextFile, atoms_of
from q2mm_accel.units import BOHR_TO_ANGSTROM


def read_xyz(file: TextFile) -> QMRecord:
    """The one frame of an .xyz file [Å]; further columns are left out.

    Raises:
        QMFileError: it is damaged or incomplete, or has several frames.
    """
    n_atoms = file.integer(file.lines[0].strip(), 0, "the number of atoms")
    stop = 2 + n_atoms
    if n_atoms < 1 or len(file.lines) < stop:
        raise file.error(
            0, f"{n_atoms} atoms, but {max(0, len(file.lines) - 2)} lines follow the comment; the file was cut."
        )
    rest = next((line for line in range(stop, len(file.lines)) if file.lines[line].strip()), None)
    if rest is not None:
        raise file.error(
            rest, f"there is more after {n_atoms} atoms: {file.lines[rest]!r:.40}. Of a trajectory, give one frame."
        )
    rows = []
    for line in range(2, stop):
        words = file.lines[line].split()
        if len(words) < 4:
            raise file.error(line, f"an atom is {file.lines[line]!r:.60}; it must be a symbol and three coordinates.")
        rows.append((line, words[0], (words[1], words[2], words[3])))
    if not file.ends:
        _check_cut(file, [row[2][2] for row in rows])
    symbols, places = atoms_of(file, rows)
    return QMRecord(file.path, "xyz", symbols, np.array(places))


def _check_cut(file: TextFile, words: list[str]) -> None:
    """Hand-made files often have no newline at the end; a number that was cut has fewer digits than the one before it."""
    digits = [len(word.partition(".")[2]) for word in words[-2:]]
    if len(words) < 2 or digits[-1] < digits[0]:
        file.must_end()


def read_coord(file: TextFile) -> QMRecord:
    """The atoms of a `coord` file, in bohr unless it says `$coord angs`.

    Raises:
        QMFileError: it is damaged, incomplete or periodic.
    """
    head = file.only("$coord", "it is no coord file.")
    unit = {(): BOHR_TO_ANGSTROM, ("angs",): 1.0, ("bohr",): BOHR_TO_ANGSTROM}.get(tuple(file.lines[head].split()[1:]))
    if unit is None or list(file.find("$periodic")):
        raise file.error(
            head, f"{file.lines[head].strip()!r}: only $coord and $coord angs of a molecule are read, without $periodic."
        )
    stop = next((line for line in file.find("$") if line > head), None)
    if stop is None:
        raise file.wrong("$coord is not closed by $end or another group; the file was cut.")
    rows = []
    for line in range(head + 1, stop):
        words = file.lines[line].split("#")[0].split()
        if words:
            if len(words) not in (4, 5):
                raise file.error(line, f"an atom is {file.lines[line]!r:.60}; it must be three coordinates and a symbol.")
            rows.append((line, words[3].capitalize(), (words[0], words[1], words[2])))
    symbols, places = atoms_of(file, rows)
    return QMRecord(file.path, "coord", symbols, np.array(places).reshape(-1, 3) * unit)


def read_molden(file: TextFile) -> QMRecord:
    """The atoms of a Molden file; its frequencies are left out, since it does not say with which masses they were computed.

    Raises:
        QMFileError: it is damaged or incomplete, or has ghost atoms.
    """
    file.must_end()
    head, stop = _molden_section(file, "[Atoms]", "[FR-COORD]")
    in_bohr = "[fr-coord]" in file.lines[head].lower() or re.search(r"\bAU\b", file.lines[head], re.IGNORECASE)
    if not in_bohr and not re.search(r"\bangs", file.lines[head], re.IGNORECASE):
        raise file.error(head, f"{file.lines[head].strip()!r} does not say AU or Angs.")
    rows = [_molden_atom(file, line, "[fr-coord]" in file.lines[head].lower()) for line in range(head + 1, stop)]
    symbols, places = atoms_of(file, [row for row in rows if row])
    unit = BOHR_TO_ANGSTROM if in_bohr else 1.0
    return QMRecord(file.path, "molden", symbols, np.array(places).reshape(-1, 3) * unit)


def _molden_atom(file: TextFile, line: int, bare: bool) -> tuple[int, str, tuple[str, str, str]] | None:
    words = file.lines[line].split()
    if not words:
        return None
    if len(words) != (4 if bare else 6):
        raise file.error(
            line, f"an atom is {file.lines[line]!r:.60}; it must be symbol{'' if bare else ', number, Z'} and x, y, z."
        )
    if not bare and file.integer(words[2], line, "an atomic number") < 1:
        raise file.error(line, f"{words[0]} has the atomic number {words[2]}: a ghost or dummy atom. Leave it out.")
    return line, words[0] if bare else words[2], (words[-3], words[-2], words[-1])


def _headed(file: TextFile, *names: str):
    return (
        line
        for line, text in enumerate(file.lines)
        if text.strip().lower().startswith(tuple(name.lower() for name in names))
    )


def _molden_section(file: TextFile, *names: str) -> tuple[int, int]:
    """Line of the header of the first section that is there, and that after its last line."""
    for name in names:
        heads = list(_headed(file, name))
        if len(heads) > 1:
            raise file.error(heads[1], f"{name} is there for the second time. Keep the one that counts.")
        if heads:
            stop = next((line for line in _headed(file, "[") if line > heads[0]), None)
            if stop is None:
                raise file.error(heads[0], f"nothing follows {name}, so that it may have been cut.")
            return heads[0], stop
    raise file.wrong(f"it has no {' or '.join(names)}.")


def read_xtb_hessian(file: TextFile, n_atoms: int) -> np.ndarray:
    """The Hessian of xtb's `hessian`, shape (3N, 3N) [hartree/bohr²], which does not say of which atoms it is.

    Raises:
        QMFileError: it is damaged, or has another number of values than these atoms make.
    """
    file.must_end()
    head = file.only("$hessian", "it is not xtb's hessian.")
    stop = next((line for line in file.find("$") if line > head), len(file.lines))
    values = file.numbers(head + 1, stop, "an element of the Hessian")
    size = 3 * n_atoms
    if len(values) != size * size:
        raise file.error(
            head,
            f"$hessian has {len(values)} values, but the {n_atoms} atoms of the geometry make them {size * size}. It is of "
            "another molecule, or was cut.",
        )
    return np.array(values).reshape(size, size)


def read_hessian_only(file: TextFile) -> QMRecord:
    """What happens where xtb's `hessian` is given as a molecule.

    Raises:
        QMFileError: always: it has no atoms.
    """
    raise QMFileError(
        f"{file.path}: it holds a Hessian but no atoms. Give the geometry first: "
        f"Molecule.read('xtbopt.xyz', hessian={str(file.path)!r})."
    )
