"""The Amber form evaluated by OpenMM (Reference platform), with one force per kind of term.

Pairs are a `NonbondedForce`, whose exceptions hold 1-4 pairs with their factors and switch all pairs off that are not
given. OpenMM's Coulomb constant is 138.935458 kJ/mol nm/e², ours 332.06 kcal/mol Å/e², which is smaller by 1.1e-5 of it:
charges are rescaled, so that both count the same energy.
"""

from itertools import combinations

import numpy as np
import openmm

from oracles.openmm_engine import NM, OpenMMEngine, parameters_of
from q2mm_accel.units import KCAL_TO_KJ

KINDS = (
    "bond",
    "angle",
    "torsion",
    "urey_bradley",
    "harmonic_dihedral",
    "improper",
    "harmonic_improper",
    "stretch_stretch",
    "stretch_bend",
    "bond_bend",
    "bend_bend",
    "pairs",
)
COULOMB = 1.602176634e-19**2 * 6.02214076e23 / (4.0 * np.pi * 8.8541878128e-12) * 1e6
"""[kJ/mol nm/e²] OpenMM's, from the constants of CODATA 2018; its documentation rounds it to 138.935456."""
CHARGE_SCALE = np.sqrt(332.06 * KCAL_TO_KJ * NM / COULOMB)
_WRAPPED = "k * min(d, 6.283185307179586 - d)^2; d = abs(theta - theta0)"
_COUPLINGS = {
    "stretch_stretch": (3, "k * (distance(p1, p2) - a) * (distance(p2, p3) - b)"),
    "stretch_bend": (3, "k * (distance(p1, p2) - a + distance(p2, p3) - b) * (angle(p1, p2, p3) - c)"),
    "bond_bend": (3, "k * (distance(p1, p2) - a) * (angle(p1, p2, p3) - b)"),
    "bend_bend": (4, "k * (angle(p1, p2, p3) - a) * (angle(p3, p2, p4) - b)"),
}


class AmberEngine(OpenMMEngine):
    """Energy, forces and Hessian of one system.

    Args:
        system: molecule and terms; van der Waals and Coulomb pairs are the same.
        forcefield: a force field of the form "amber".
    """

    def __init__(self, system, forcefield):
        """Build the OpenMM system and its context."""
        self.system = system
        engine = openmm.System()
        for mass in system.molecule.masses:
            engine.addParticle(float(mass))
        for group, kind in enumerate(KINDS):
            force = _pairs(system, forcefield) if kind == "pairs" else _force(kind, system, forcefield)
            force.setForceGroup(group)
            engine.addForce(force)
        platform = openmm.Platform.getPlatformByName("Reference")
        self.context = openmm.Context(engine, openmm.VerletIntegrator(0.001), platform)
        self.set_positions(system.molecule.coordinates)

    def set_parameters(self, forcefield):
        """Change every parameter in place, without a new context."""
        for group, kind in enumerate(KINDS):
            made = _pairs(self.system, forcefield) if kind == "pairs" else _force(kind, self.system, forcefield)
            force = self.context.getSystem().getForce(group)
            for item in ("Bond", "Angle", "Torsion", "Particle", "Exception"):
                if not hasattr(made, f"getNum{item}s") or not hasattr(made, f"set{item}Parameters"):
                    continue
                for number in range(getattr(made, f"getNum{item}s")()):
                    parameters = getattr(made, f"get{item}Parameters")(number)
                    getattr(force, f"set{item}Parameters")(number, *parameters)
            force.updateParametersInContext(self.context)

    def _state(self, kinds, **wanted):
        return self.context.getState(groups={KINDS.index(kind) for kind in kinds}, **wanted)


def _force(kind, system, forcefield):
    if kind in _COUPLINGS:
        return _coupling(kind, system, forcefield)
    if kind in ("harmonic_dihedral", "harmonic_improper"):
        force = openmm.CustomTorsionForce(_WRAPPED)
        for name in ("k", "theta0"):
            force.addPerTorsionParameter(name)
        springs, values = (getattr(forcefield, f"{kind}_{name}") for name in ("force_constants", "values"))
        for atoms, row in zip(*system.terms(kind), strict=True):
            force.addTorsion(*atoms.tolist(), [springs[row] * KCAL_TO_KJ, np.deg2rad(values[row])])
        return force
    if kind == "improper":
        force = openmm.PeriodicTorsionForce()
        for atoms, row in zip(*system.terms(kind), strict=True):
            phase, spring = np.deg2rad(forcefield.improper_phases[row]), forcefield.improper_force_constants[row]
            force.addTorsion(*atoms.tolist(), int(forcefield.improper_periodicities[row]), phase, spring * KCAL_TO_KJ)
        return force
    force = {"angle": openmm.HarmonicAngleForce, "torsion": openmm.PeriodicTorsionForce}.get(
        kind, openmm.HarmonicBondForce
    )()
    add = getattr(force, {"angle": "addAngle", "torsion": "addTorsion"}.get(kind, "addBond"))
    for atoms, row in zip(*system.terms(kind), strict=True):
        add(*atoms.tolist(), *parameters_of(kind, forcefield, row))
    return force


def _coupling(kind, system, forcefield):
    n_atoms, formula = _COUPLINGS[kind]
    force = openmm.CustomCompoundBondForce(n_atoms, formula)
    for name in ("k", *(name for name in "abc" if f"- {name}" in formula)):
        force.addPerBondParameter(name)
    lengths = _by_atoms(system, "bond", forcefield.bond_lengths * NM)
    angles = _by_atoms(system, "angle", np.deg2rad(forcefield.angle_values))
    for atoms, row in zip(*system.terms(kind), strict=True):
        i, j, k, *last = atoms.tolist()
        bonds, bend = [lengths[i, j], lengths[j, k]], angles[i, j, k]
        read = {"stretch_stretch": bonds, "stretch_bend": [*bonds, bend], "bond_bend": [bonds[0], bend]}.get(kind)
        read = [bend, angles[k, j, last[0]]] if read is None else read
        unit = {"stretch_stretch": NM**2, "stretch_bend": NM, "bond_bend": NM, "bend_bend": 1.0}[kind]
        spring = getattr(forcefield, f"{kind}_force_constants")[row] * KCAL_TO_KJ / unit
        force.addBond(atoms.tolist(), [spring, *read])
    return force


def _by_atoms(system, kind, values):
    found = {tuple(atoms.tolist()): values[row] for atoms, row in zip(*system.terms(kind), strict=True)}
    return found | {atoms[::-1]: value for atoms, value in found.items()}


def _pairs(system, forcefield):
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.NoCutoff)
    vdw, coulomb = system.pairs("vdw"), system.pairs("coulomb")
    assert vdw.atoms.tolist() == coulomb.atoms.tolist()
    charges = forcefield.coulomb_charges[coulomb.types] * CHARGE_SCALE
    sigmas = 2.0 * forcefield.vdw_radii[vdw.types] / 2.0 ** (1.0 / 6.0) * NM
    epsilons = forcefield.vdw_epsilons[vdw.types] * KCAL_TO_KJ
    for particle in zip(charges, sigmas, epsilons, strict=True):
        force.addParticle(*particle)
    factors = {tuple(pair): each for pair, *each in zip(vdw.atoms.tolist(), vdw.factors, coulomb.factors, strict=True)}
    for i, j in combinations(range(len(charges)), 2):
        for_vdw, for_coulomb = factors.get((i, j), (0.0, 0.0))
        if (for_vdw, for_coulomb) != (1.0, 1.0):
            depth = for_vdw * np.sqrt(epsilons[i] * epsilons[j])
            force.addException(i, j, for_coulomb * charges[i] * charges[j], 0.5 * (sigmas[i] + sigmas[j]), depth)
    return force
