"""Our own .npz files (those of `datasets` and the like), and Hessians in .npy files.

Headers are looked at before arrays are: nothing is unpickled, and no more memory is asked for than the file has bytes.
"""

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from q2mm_accel.errors import QMFileError
from q2mm_accel.readers.record import QMRecord, lower_triangle
from q2mm_accel.readers.text import LARGEST, known_file, read_bytes


def read_npz(path: Path) -> QMRecord:
    """A molecule of named arrays.

    They are `symbols`, `coordinates` [Å], `hessian` or `hessian_tril` (its lower triangle, row by row) [hartree/bohr²],
    `gradient` [hartree/bohr], `energy` [hartree], `charge`, `multiplicity`, `masses` [u], `frequencies` [cm⁻¹]. All but the
    first two may be left out; arrays of other names are.

    Raises:
        QMFileError: it is damaged, an array is missing, has the wrong size or holds Python objects.
    """
    fields = _archive(known_file(path))
    if "symbols" not in fields or "coordinates" not in fields:
        raise QMFileError(f"{path}: it has {sorted(fields)}, but must have 'symbols' and 'coordinates'.")
    if fields["symbols"].dtype.kind not in "USiu" or fields["symbols"].ndim != 1:
        raise QMFileError(f"{path}: symbols must be a list of element symbols, but has the dtype {fields['symbols'].dtype}.")
    symbols = fields["symbols"].astype(str).tolist()
    values = {
        name: _real(path, name, fields[name])
        for name in (
            "coordinates",
            "hessian",
            "hessian_tril",
            "gradient",
            "masses",
            "frequencies",
            "energy",
            "charge",
            "multiplicity",
        )
        if name in fields
    }
    return QMRecord(
        path=path,
        format="npz",
        symbols=tuple(symbols),
        coordinates=values["coordinates"],
        hessian=_hessian(path, values, len(symbols)),
        gradient=values.get("gradient"),
        energy=_scalar(path, values, "energy"),
        charge=_whole(path, values, "charge"),
        multiplicity=_whole(path, values, "multiplicity"),
        masses=values.get("masses"),
        frequencies=values.get("frequencies"),
    )


def read_npy(path: Path, n_atoms: int) -> np.ndarray:
    """A Hessian of N atoms, shape (3N, 3N) [hartree/bohr²], from an array of that shape or (N, N, 3, 3), as PySCF has it.

    Raises:
        QMFileError: it is damaged, or has another shape.
    """
    array = _real(path, "the Hessian", _array(path, "the Hessian", read_bytes(known_file(path))))
    size = 3 * n_atoms
    if array.shape == (n_atoms, n_atoms, 3, 3):
        return array.swapaxes(1, 2).reshape(size, size)
    if array.shape != (size, size):
        raise QMFileError(
            f"{path}: the Hessian has the shape {array.shape}, but the {n_atoms} atoms of the geometry make it "
            f"({size}, {size}) or ({n_atoms}, {n_atoms}, 3, 3)."
        )
    return array


def _archive(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename.removesuffix(".npy") for entry in entries]
            if len(set(names)) != len(names):
                raise QMFileError(f"{path}: an array is there twice.")
            if sum(entry.file_size for entry in entries) > LARGEST:
                raise QMFileError(f"{path}: unpacked it has more than {LARGEST / 2**30:.0f} GiB.")
            return {name: _array(path, name, archive.read(entry)) for name, entry in zip(names, entries, strict=True)}
    # RuntimeError: encrypted; NotImplementedError: an unknown compression
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, UnicodeError) as problem:
        raise QMFileError(f"{path}: it is no .npz file, or is damaged ({problem}).") from problem


def _array(path: Path, name: str, data: bytes) -> np.ndarray:
    """An array from the bytes of a .npy file, exactly as long as its header says."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read_header(stream)
    except KeyError as problem:
        raise QMFileError(f"{path}: {name} is in a version of NumPy's format that is not known.") from problem
    # NumPy parses the header as a Python literal, and says in many ways that it is none
    except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError) as problem:
        raise QMFileError(f"{path}: {name} is no array of NumPy's, or is damaged ({str(problem):.100}).") from problem
    if dtype.hasobject:
        raise QMFileError(f"{path}: {name} holds Python objects, which are not read. Save arrays of numbers or strings.")
    count = 1
    for length in shape:
        count *= length
    rest = data[stream.tell() :]
    if count < 0 or count * dtype.itemsize != len(rest):
        raise QMFileError(
            f"{path}: {name} should have {count * dtype.itemsize} bytes, but has {len(rest)}; the file was cut or joined."
        )
    return np.frombuffer(rest, dtype=dtype, count=count).reshape(shape, order="F" if fortran else "C")


def _real(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise QMFileError(f"{path}: {name} must be real numbers, but has the dtype {array.dtype}.")
    return np.array(array, dtype=np.float64)


def _hessian(path: Path, values: dict[str, np.ndarray], n_atoms: int) -> np.ndarray | None:
    if "hessian" in values and "hessian_tril" in values:
        raise QMFileError(f"{path}: it has both hessian and hessian_tril. Keep one.")
    if "hessian_tril" not in values:
        return values.get("hessian")
    matrix = lower_triangle(values["hessian_tril"].ravel().tolist(), n_atoms)
    if matrix is None:
        size = 3 * n_atoms
        raise QMFileError(
            f"{path}: hessian_tril has {values['hessian_tril'].size} values, but {n_atoms} atoms make them "
            f"{size * (size + 1) // 2}."
        )
    return matrix


def _scalar(path: Path, values: dict[str, np.ndarray], name: str) -> float | None:
    if name not in values:
        return None
    if values[name].size != 1:
        raise QMFileError(f"{path}: {name} must be one number, but has the shape {values[name].shape}.")
    return float(values[name].ravel()[0])


def _whole(path: Path, values: dict[str, np.ndarray], name: str) -> int | None:
    value = _scalar(path, values, name)
    if value is not None and not value.is_integer():
        raise QMFileError(f"{path}: {name} is {value}; it must be a whole number.")
    return None if value is None else int(value)
