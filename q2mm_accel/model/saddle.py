"""Transition states made into minima: what becomes of the curvature along the reaction coordinate."""

import numpy as np

from q2mm_accel.errors import HessianError, SaddleWarning, warn_user
from q2mm_accel.model.vibrations import NormalModes

TURNS = ("inverted", "C", "D", "E")
"""Ways to treat the reaction coordinate."""

REACTION_EIGENVALUE = 1.0
"""[hartree/bohr²] What method C puts in place of the reaction coordinate's eigenvalue."""
_LARGEST_FLAT_EIGENVALUE = 1e-4
"""[hartree/bohr²] A lowest eigenvalue above minus this is a translation or rotation with round-off."""


def inverted(hessian: np.ndarray, modes: NormalModes, masses: np.ndarray, name: str) -> np.ndarray:
    """The Hessian whose imaginary frequencies have become real ones of the same size; all other modes stay as they are.

    H + 2 |λ| M^½ v vᵀ M^½ for the eigenpair λ, v of the mass-weighted Hessian: v has no part in rigid motions, and so the
    result is as invariant to them as H.

    Args:
        hessian: shape (3N, 3N) [hartree/bohr²].
        modes: its vibrations.
        masses: shape (N,) [u].
        name: the molecule's, for messages.

    Raises:
        HessianError: there is no imaginary frequency.

    Warns:
        SaddleWarning: there are several; all are turned.
    """
    imaginary = np.flatnonzero(modes.eigenvalues < 0.0)
    if not len(imaginary):
        lowest = f"the lowest frequency is {modes.frequencies[0]:.0f} cm⁻¹" if len(modes.eigenvalues) else "nothing vibrates"
        raise HessianError(f"{name}: {lowest}, so it is a minimum and no transition state. Use it as it is.")
    if len(imaginary) > 1:
        listed = ", ".join(f"{value:.0f}" for value in modes.frequencies[imaginary][:6])
        warn_user(
            f"{name}: it has {len(imaginary)} imaginary frequencies ({listed} cm⁻¹); a transition state has one. All are "
            "turned. Check the geometry.",
            SaddleWarning,
        )
    vectors = modes.vectors[:, imaginary] * np.sqrt(np.repeat(masses, 3))[:, None]
    return hessian - (vectors * (2.0 * modes.eigenvalues[imaginary])) @ vectors.T


def method_c(hessian: np.ndarray, name: str) -> np.ndarray:
    """The Cartesian Hessian whose most negative eigenvalue has become 1 hartree/bohr², and other negative ones 0.

    Args:
        hessian: shape (3N, 3N) [hartree/bohr²].
        name: the molecule's, for messages.

    Raises:
        HessianError: it has no negative eigenvalue.

    Source: Limé and Norrby, J. Comput. Chem. 2015, 36, 1130. q2mm 5.0.0a2 puts 9376 (1 hartree/bohr² in kJ/mol/Å²) for
    its 1; q2mm's commit 0c795729 has 1.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(hessian)
    check_saddle(eigenvalues, name)
    turned = np.maximum(eigenvalues, 0.0)
    turned[0] = REACTION_EIGENVALUE
    return (eigenvectors * turned) @ eigenvectors.T


def check_saddle(eigenvalues: np.ndarray, name: str) -> None:
    """Check that a Cartesian Hessian with these ascending eigenvalues [hartree/bohr²] is that of a transition state.

    Raises:
        HessianError: it is that of a minimum.
    """
    if eigenvalues[0] > -_LARGEST_FLAT_EIGENVALUE:
        raise HessianError(
            f"{name}: the lowest eigenvalue of its Hessian is {eigenvalues[0]:.2g} hartree/bohr², so it is a "
            "minimum and not a transition state; pass transition_state=False, or one value for each system."
        )
