"""What is read from files of quantum chemistry, as plain data: arrays in the package's units, nothing checked but shapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from q2mm_accel.errors import QMFileError


@dataclass(frozen=True, eq=False)
class QMRecord:
    """One calculation of one molecule of N atoms. What a file does not hold is None.

    Raises:
        QMFileError: an array of another size than the atoms make one expect, or a number that is not finite.
    """

    path: Path
    """The file, for messages."""
    format: str
    """A name of `formats.FORMATS`."""
    symbols: tuple[str, ...]
    """Element symbols or atomic numbers, as written there."""
    coordinates: np.ndarray
    """(N, 3) [Å]."""
    hessian: np.ndarray | None = None
    """(3N, 3N) [hartree/bohr²], in the frame of `coordinates`; as it is in the file, perhaps not quite symmetric."""
    gradient: np.ndarray | None = None
    """(N, 3) [hartree/bohr]."""
    energy: float | None = None
    """[hartree]"""
    charge: int | None = None
    """[e]"""
    multiplicity: int | None = None
    """2S + 1."""
    masses: np.ndarray | None = None
    """(N,) [u], with which the program computed its frequencies."""
    frequencies: np.ndarray | None = None
    """(K,) [cm⁻¹], as the program printed them, imaginary ones negative; with or without the rigid motions."""
    signed: bool = True
    """False where the program prints imaginary frequencies without a sign."""
    first_symbols: tuple[str, ...] = ()
    """Symbols in the geometry's own file, where the atoms above stand in that of the Hessian: they must mean the same."""

    def __post_init__(self) -> None:
        """Compare sizes with the number of atoms."""
        n_atoms = len(self.symbols)
        if not n_atoms:
            raise QMFileError(f"{self.path}: it has no atoms.")
        wanted = {"coordinates": (n_atoms, 3), "hessian": (3 * n_atoms, 3 * n_atoms), "gradient": (n_atoms, 3)}
        for item, shape in {**wanted, "masses": (n_atoms,), "energy": (), "frequencies": None}.items():
            if getattr(self, item) is not None:
                array = np.asarray(getattr(self, item), dtype=np.float64)
                if shape is not None and array.shape != shape:
                    raise QMFileError(
                        f"{self.path}: {item} has the shape {array.shape}, but {n_atoms} atoms make it {shape}. The "
                        "parts of this file do not belong together, or it is not whole."
                    )
                if not np.all(np.isfinite(array)):
                    place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
                    raise QMFileError(f"{self.path}: element {place} of {item} is {array[place]}; it must be finite.")


def lower_triangle(values: Sequence[float], n_atoms: int) -> np.ndarray | None:
    """The matrix, shape (3N, 3N), of its lower triangle, row by row; None where they are not as many."""
    size = 3 * n_atoms
    if len(values) != size * (size + 1) // 2:
        return None
    matrix = np.zeros((size, size))
    matrix[np.tril_indices(size)] = values
    return matrix + np.tril(matrix, -1).T
