"""Energy, gradient and Hessian of an OpenMM System in double precision, on its Reference platform."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from q2mm_accel.errors import InteropError
from q2mm_accel.interop.openmm_build import NM, openmm_package
from q2mm_accel.units import KCAL_TO_KJ

if TYPE_CHECKING:
    import openmm

_STEP = 1e-3
"""[Å] Of differences, of fourth order with those of half of it: what they lack of Hessians is 1e-12 of the largest."""


class Derivatives(NamedTuple):
    """What OpenMM computes at a geometry."""

    energy: float
    """[kcal/mol]."""
    gradient: np.ndarray
    """(n_atoms, 3) [kcal/mol/Å]."""
    hessian: np.ndarray
    """(3 n_atoms, 3 n_atoms) [kcal/mol/Å²]."""


class OpenMMMechanics:
    """An OpenMM System that can be evaluated at any geometry.

    Args:
        system: an `openmm.System`; of its global parameters the default values count.
        name: of the molecule, for messages.

    Raises:
        MissingPackageError: OpenMM is not installed.
        InteropError: OpenMM refuses the System.
    """

    def __init__(self, system: "openmm.System", name: str) -> None:
        """Make a context."""
        package = openmm_package()
        self.name, self._error = name, package.OpenMMException
        try:
            platform = package.Platform.getPlatformByName("Reference")
            self._context = package.Context(system, package.VerletIntegrator(0.001), platform)
        except self._error as error:
            raise InteropError(f"{name}: OpenMM refuses its System: {error}. Correct it.") from error

    def gradient(self, coordinates: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy [kcal/mol] and gradient (n_atoms, 3) [kcal/mol/Å] at coordinates (n_atoms, 3) [Å].

        Raises:
            InteropError: OpenMM cannot compute them.
        """
        try:
            self._context.setPositions(np.asarray(coordinates, dtype=np.float64) * NM)
            state = self._context.getState(getEnergy=True, getForces=True)
        except self._error as error:
            raise InteropError(f"{self.name}: OpenMM cannot compute its forces: {error}. Correct the System.") from error
        energy = state.getPotentialEnergy()._value / KCAL_TO_KJ
        return energy, -np.array(state.getForces(asNumpy=True)._value) * (NM / KCAL_TO_KJ)

    def __call__(self, coordinates: np.ndarray) -> Derivatives:
        """Energy, gradient, and the Hessian by differences of gradients of fourth order.

        Raises:
            InteropError: OpenMM cannot compute them.
        """
        here = np.array(coordinates, dtype=np.float64)
        energy, gradient = self.gradient(here)
        hessian = np.empty((here.size, here.size))
        for component in range(here.size):
            slopes = {}
            for steps in (-2, -1, 1, 2):
                moved = here.copy()
                moved.flat[component] += 0.5 * steps * _STEP
                slopes[steps] = self.gradient(moved)[1].ravel()
            near, far = slopes[1] - slopes[-1], slopes[2] - slopes[-2]
            hessian[component] = (8.0 * near - far) / (6.0 * _STEP)
        return Derivatives(energy, gradient, 0.5 * (hessian + hessian.T))
