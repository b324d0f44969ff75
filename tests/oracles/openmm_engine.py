"""OpenMM (Reference platform, double precision) as an independent evaluator of what `build_openmm` makes of a system."""

import numpy as np
import openmm

from q2mm_accel.interop.openmm_build import NM, build_openmm
from q2mm_accel.units import KCAL_TO_KJ

ITEMS = ("Bond", "Angle", "Torsion", "Particle", "Exception")
"""What forces of OpenMM hold parameters of."""


class OpenMMEngine:
    """Energy, forces and Hessian of one system.

    Args:
        system: molecule and terms; no angle may be exactly linear (OpenMM takes an arccosine).
        forcefield: a force field of any form.
    """

    def __init__(self, system, forcefield):
        """Build the OpenMM system and its context."""
        self.system, self.model = system, build_openmm(system, forcefield)  # which owns its forces
        self.forces_by_kind = {force.getName(): force for force in self.model.getForces()}
        for group, force in enumerate(self.forces_by_kind.values()):
            force.setForceGroup(group)
        self.context = context_of(self.model, system.molecule.coordinates)

    @property
    def kinds(self):
        """Names of its forces."""
        return tuple(self.forces_by_kind)

    def set_positions(self, coordinates):
        """Move the atoms; coordinates (n_atoms, 3) [Å]."""
        self.context.setPositions(np.array(coordinates) * NM)

    def set_parameters(self, forcefield):
        """Change every parameter in place, without a new context."""
        model = build_openmm(self.system, forcefield)
        for new in model.getForces():
            force = self.forces_by_kind[new.getName()]
            for item in ITEMS:
                if not hasattr(new, f"getNum{item}s") or not hasattr(new, f"set{item}Parameters"):
                    continue
                for number in range(getattr(new, f"getNum{item}s")()):
                    parameters = getattr(new, f"get{item}Parameters")(number)
                    getattr(force, f"set{item}Parameters")(number, *parameters)
            force.updateParametersInContext(self.context)

    def _groups(self, kinds):
        return {self.kinds.index(kind) for kind in (self.kinds if kinds is None else kinds)}

    def energy(self, kinds=None):
        """Energy of the kinds of terms that are switched on, all by default [kcal/mol]."""
        return energy_of(self.context, self._groups(kinds))

    def forces(self, kinds=None):
        """Forces -dE/dx, shape (n_atoms, 3) [kcal/mol/Å]."""
        return forces_of(self.context, self._groups(kinds))

    def hessian(self, kinds=None):
        """Central differences of the forces, shape (3 n_atoms, 3 n_atoms) [kcal/mol/Å²]."""
        return hessian_of(self.context, self.system.molecule.coordinates, self._groups(kinds))


def context_of(model, coordinates):
    """A context of an OpenMM System at coordinates [Å]."""
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(model, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(np.array(coordinates) * NM)
    return context


def energy_of(context, groups=-1):
    """[kcal/mol]."""
    energy = context.getState(getEnergy=True, groups=groups).getPotentialEnergy()
    return energy.value_in_unit(openmm.unit.kilojoule_per_mole) / KCAL_TO_KJ


def forces_of(context, groups=-1):
    """Shape (n_atoms, 3) [kcal/mol/Å]."""
    forces = context.getState(getForces=True, groups=groups).getForces(asNumpy=True)
    unit = openmm.unit.kilojoule_per_mole / openmm.unit.nanometer
    return np.array(forces.value_in_unit(unit)) * NM / KCAL_TO_KJ


def hessian_of(context, coordinates, groups=-1, step=1e-4):
    """Central differences of the forces at coordinates [Å], shape (3 n_atoms, 3 n_atoms) [kcal/mol/Å²]; step [Å]."""
    here, columns = np.array(coordinates), []
    for coordinate in range(here.size):
        sides = []
        for sign in (1, -1):
            moved = here.copy()
            moved.flat[coordinate] += sign * step
            context.setPositions(moved * NM)
            sides.append(forces_of(context, groups).ravel())
        columns.append((sides[1] - sides[0]) / (2 * step))
    context.setPositions(here * NM)
    return np.array(columns).T
