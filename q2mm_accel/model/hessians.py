"""Hessians in the shapes that programs write, as square matrices."""

import numpy as np
from numpy.typing import ArrayLike

from q2mm_accel.errors import MoleculeError
from q2mm_accel.model.arguments import real_array

_SYMMETRIC = 1e-2
"""Largest |H - Hᵀ| relative to max |H| of a matrix that is a Hessian."""


def square_hessian(given: ArrayLike, n_atoms: int, name: str) -> np.ndarray:
    """A Hessian as a matrix, components atom by atom.

    Args:
        given: shape (3N, 3N), also with zeros above the diagonal; (3N (3N + 1) / 2,), the lower triangle row by row;
            (N, 3, N, 3), or (N, N, 3, 3). For three atoms the last two look alike, and the one that is symmetric counts.
        n_atoms: N.
        name: the molecule's, for messages.

    Returns:
        Shape (3N, 3N), float64, read-only.

    Raises:
        MoleculeError: another shape, not real numbers, or not finite.
    """
    size = 3 * n_atoms
    array = real_array(given, f"{name}: hessian", MoleculeError)
    if array.shape == (size * (size + 1) // 2,) and array.shape != (size, size):
        matrix = np.zeros((size, size))
        matrix[np.tril_indices(size)] = array
        matrix = _mirrored(matrix)
    elif array.shape == (size, size):
        matrix = _mirrored(array) if size > 1 and not np.any(np.triu(array, 1)) else array
    elif array.shape in ((n_atoms, 3, n_atoms, 3), (n_atoms, n_atoms, 3, 3)):
        matrix = _of_blocks(array, n_atoms, name)
    else:
        raise MoleculeError(_misshapen(array.shape, n_atoms, name))
    matrix.flags.writeable = False
    return matrix


def _mirrored(lower: np.ndarray) -> np.ndarray:
    return lower + np.tril(lower, -1).T


def _of_blocks(array: np.ndarray, n_atoms: int, name: str) -> np.ndarray:
    ways = {(n_atoms, 3, n_atoms, 3): array, (n_atoms, n_atoms, 3, 3): array.swapaxes(1, 2)}
    matrices = [way.reshape(3 * n_atoms, 3 * n_atoms) for shape, way in ways.items() if shape == array.shape]
    if n_atoms == 3:
        matrices = [each.reshape(9, 9) for each in (array, array.swapaxes(1, 2))]
        limit = _SYMMETRIC * float(np.max(np.abs(array)))
        matrices = [each for each in matrices if np.max(np.abs(each - each.T)) <= limit]
        if not matrices or (len(matrices) == 2 and not np.array_equal(*matrices)):
            raise MoleculeError(
                f"{name}: hessian has the shape (3, 3, 3, 3), which can be read in two ways, of which "
                f"{'both' if matrices else 'none'} make a symmetric matrix. Give it the shape (9, 9), atom by atom."
            )
    return np.array(matrices[0])


def _misshapen(shape: tuple[int, ...], n_atoms: int, name: str) -> str:
    size = 3 * n_atoms
    wanted = f"{name}: hessian must be real numbers of shape ({size}, {size}), but has the shape {shape}"
    if len(shape) == 2 and shape[0] == shape[1] < size and shape[0] % 3 == 0:
        return (
            f"{wanted}, that of {shape[0] // 3} of its {n_atoms} atoms: a partial Hessian. Compute it for all atoms, or "
            "make a Molecule of those that it is for."
        )
    return f"{wanted}. Its lower triangle, row by row, ({size * (size + 1) // 2},), or blocks of atoms will do, too."
