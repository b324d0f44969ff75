"""Normal modes of a Hessian, free of rigid motions."""

from typing import NamedTuple

import numpy as np

from q2mm_accel.units import FREQUENCY_FACTOR

_LINEAR = 1e-4
"""A rotation that moves atoms by less than this part of what the largest one does is none: the molecule is linear."""


class NormalModes(NamedTuple):
    """The vibrations of a molecule of N atoms: K of them, 3N - 6, 3N - 5 if it is linear, none of a single atom."""

    eigenvalues: np.ndarray
    """(K,) of the mass-weighted Hessian, ascending [hartree/(bohr² u)]."""
    vectors: np.ndarray
    """(3N, K) orthonormal mass-weighted modes, components atom by atom."""

    @property
    def frequencies(self) -> np.ndarray:
        """Shape (K,) [cm⁻¹], ascending; imaginary ones are negative."""
        return FREQUENCY_FACTOR * np.sign(self.eigenvalues) * np.sqrt(np.abs(self.eigenvalues))


def rigid_motions(coordinates: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Translations and rotations of a molecule, as mass-weighted displacements.

    Args:
        coordinates: shape (N, 3) [Å].
        masses: shape (N,) [u].

    Returns:
        Shape (3N, R), orthonormal columns: R is 6, 5 for a linear molecule, 3 for a single atom.
    """
    centred = coordinates - masses @ coordinates / masses.sum()
    roots = np.sqrt(masses)[:, None]
    moves = [roots * axis for axis in np.eye(3)]
    turns = np.stack([(roots * np.cross(axis, centred)).ravel() for axis in np.eye(3)], axis=1)
    # about the principal axes, so that the one of a linear molecule shows
    vectors, sizes, _ = np.linalg.svd(turns, full_matrices=False)
    chosen = sizes > max(_LINEAR * sizes[0], np.finfo(float).tiny)
    translations = np.stack([move.ravel() for move in moves], axis=1) / np.sqrt(masses.sum())
    return np.concatenate([translations, vectors[:, chosen]], axis=1)


def normal_modes_of(hessian: np.ndarray, coordinates: np.ndarray, masses: np.ndarray) -> NormalModes:
    """Normal modes of a Hessian from which rigid motions have been projected out.

    Args:
        hessian: shape (3N, 3N) [hartree/bohr²].
        coordinates: shape (N, 3) [Å].
        masses: shape (N,) [u].

    Source: Wilson, Decius, Cross, Molecular Vibrations, 1955; the projection as in Miller, Handy, Adams, J. Chem. Phys.
    1980, 72, 99, without the gradient.
    """
    rigid = rigid_motions(coordinates, masses)
    basis = np.linalg.qr(rigid, mode="complete")[0][:, rigid.shape[1] :]
    weights = 1.0 / np.sqrt(np.repeat(masses, 3))
    values, vectors = np.linalg.eigh(basis.T @ (weights[:, None] * hessian * weights) @ basis)
    return NormalModes(values, basis @ vectors)
