"""The harmonic form evaluated by OpenMM (Reference platform, double precision), with one force per kind of term.

OpenMM's springs are 1/2 k x², ours are k x²; it counts in kJ, nm and radian.
"""

import numpy as np
import openmm

from q2mm_accel.units import KCAL_TO_KJ

KINDS = ("bond", "angle", "torsion", "vdw", "urey_bradley")
NM = 0.1
"""nm per Å."""
TWELVE_SIX = "4 * epsilon * ((sigma / r)^12 - (sigma / r)^6)"


class OpenMMEngine:
    """Energy, forces and Hessian of one system.

    Args:
        system: molecule and terms; no angle may be exactly linear (OpenMM takes an arccosine).
        forcefield: a force field of the harmonic form.
    """

    def __init__(self, system, forcefield):
        """Build the OpenMM system and its context."""
        if forcefield.form != "harmonic":
            raise ValueError(f"the OpenMM oracle knows the harmonic form, not {forcefield.form!r}")
        self.system = system
        self.forces_by_kind = {
            "bond": openmm.HarmonicBondForce(),
            "angle": openmm.HarmonicAngleForce(),
            "torsion": openmm.PeriodicTorsionForce(),
            "vdw": openmm.CustomBondForce(TWELVE_SIX),
            "urey_bradley": openmm.HarmonicBondForce(),
        }
        for name in ("sigma", "epsilon"):
            self.forces_by_kind["vdw"].addPerBondParameter(name)
        engine = openmm.System()
        for mass in system.molecule.masses:
            engine.addParticle(float(mass))
        for group, kind in enumerate(KINDS):
            force = self.forces_by_kind[kind]
            force.setForceGroup(group)
            add = {"angle": "addAngle", "torsion": "addTorsion"}.get(kind, "addBond")
            for atoms, parameters in _terms(kind, system, forcefield):
                getattr(force, add)(*atoms, *parameters)
            engine.addForce(force)
        platform = openmm.Platform.getPlatformByName("Reference")
        self.context = openmm.Context(engine, openmm.VerletIntegrator(0.001), platform)
        self.set_positions(system.molecule.coordinates)

    def set_positions(self, coordinates):
        """Move the atoms; coordinates (n_atoms, 3) [Å]."""
        self.context.setPositions([openmm.Vec3(*(float(x) * NM for x in row)) for row in coordinates])

    def set_parameters(self, forcefield):
        """Change every parameter in place, without a new context."""
        for kind in KINDS:
            force = self.forces_by_kind[kind]
            change = {"angle": "setAngleParameters", "torsion": "setTorsionParameters"}.get(kind, "setBondParameters")
            for term, (atoms, parameters) in enumerate(_terms(kind, self.system, forcefield)):
                getattr(force, change)(term, *atoms, *parameters)
            force.updateParametersInContext(self.context)

    def _state(self, kinds, **wanted):
        return self.context.getState(groups={KINDS.index(kind) for kind in kinds}, **wanted)

    def energy(self, kinds=KINDS):
        """Energy of the kinds of terms that are switched on [kcal/mol]."""
        energy = self._state(kinds, getEnergy=True).getPotentialEnergy()
        return energy.value_in_unit(openmm.unit.kilojoule_per_mole) / KCAL_TO_KJ

    def forces(self, kinds=KINDS):
        """Forces -dE/dx, shape (n_atoms, 3) [kcal/mol/Å]."""
        forces = self._state(kinds, getForces=True).getForces(asNumpy=True)
        unit = openmm.unit.kilojoule_per_mole / openmm.unit.nanometer
        return np.array(forces.value_in_unit(unit)) * NM / KCAL_TO_KJ

    def hessian(self, kinds=KINDS, step=1e-4):
        """Central differences of the forces, shape (3 n_atoms, 3 n_atoms) [kcal/mol/Å²]; step [Å]."""
        here = np.array(self.system.molecule.coordinates)
        columns = []
        for coordinate in range(here.size):
            sides = []
            for sign in (1, -1):
                moved = here.copy()
                moved.flat[coordinate] += sign * step
                self.set_positions(moved)
                sides.append(self.forces(kinds).ravel())
            columns.append((sides[1] - sides[0]) / (2 * step))
        self.set_positions(here)
        return np.array(columns).T


def _terms(kind, system, forcefield):
    """Atoms and OpenMM parameters of every term of a kind."""
    if kind == "vdw":
        for pair in system.vdw_pairs:
            types = system.vdw_types[pair]
            sigma = np.sqrt(np.prod(2.0 * forcefield.vdw_radii[types] / 2.0 ** (1.0 / 6.0)))
            epsilon = np.sqrt(np.prod(forcefield.vdw_epsilons[types]))
            yield pair.tolist(), ([sigma * NM, epsilon * KCAL_TO_KJ],)
        return
    for atoms, row in zip(*system.terms(kind), strict=True):
        yield atoms.tolist(), parameters_of(kind, forcefield, row)


def parameters_of(kind, forcefield, row):
    if kind == "bond":
        spring, rest = forcefield.bond_force_constants[row], forcefield.bond_lengths[row]
        return rest * NM, 2.0 * spring * KCAL_TO_KJ / NM**2
    if kind == "urey_bradley":
        spring, rest = forcefield.urey_bradley_force_constants[row], forcefield.urey_bradley_lengths[row]
        return rest * NM, 2.0 * spring * KCAL_TO_KJ / NM**2
    if kind == "angle":
        return np.deg2rad(forcefield.angle_values[row]), 2.0 * forcefield.angle_force_constants[row] * KCAL_TO_KJ
    periodicity, phase = int(forcefield.torsion_periodicities[row]), np.deg2rad(forcefield.torsion_phases[row])
    return periodicity, phase, forcefield.torsion_force_constants[row] * KCAL_TO_KJ
