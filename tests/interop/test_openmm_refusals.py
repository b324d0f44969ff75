"""OpenMM Systems that are no molecule at rest, or not the one that is given: refused by name, with a remedy."""

import sys
from dataclasses import replace

import numpy as np
import openmm
import openmm_systems as systems
import pytest
from openmm_systems import ALANINE, ETHANE
from refusals import assert_refused, refusals

from q2mm_accel import Background, from_openmm, to_openmm, validate
from q2mm_accel.errors import InteropError, MissingPackageError, TopologyError
from q2mm_accel.model.origin import Origin


def spoiled(change, molecule=ETHANE, **options):
    """A call that reads ethane's System after a change of it."""

    def call():
        system = systems.ethane()
        change(system)
        return from_openmm(system, molecule, **options)

    return call


def force_of(system, kind):
    return next(force for force in system.getForces() if isinstance(force, kind))


def with_force(make):
    return lambda system: system.addForce(make(system))


def virtual(system):
    system.setVirtualSite(7, openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5))


def drude(system):
    force = openmm.DrudeForce()
    force.addParticle(7, 0, -1, -1, -1, -1.0, 0.001, 1.0, 1.0)
    return force


def periodic(system):
    force_of(system, openmm.HarmonicBondForce).setUsesPeriodicBoundaryConditions(True)


def method(name):
    def change(system):
        force_of(system, openmm.NonbondedForce).setNonbondedMethod(getattr(openmm.NonbondedForce, name))

    return change


def offset(system):
    force = force_of(system, openmm.NonbondedForce)
    force.addGlobalParameter("lambda", 1.0)
    force.addParticleParameterOffset("lambda", 0, 0.1, 0.0, 0.0)


def custom_cutoff(system):
    force = openmm.CustomNonbondedForce("1/r")
    for _ in range(system.getNumParticles()):
        force.addParticle([])
    force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffNonPeriodic)
    return force


def restraint(system):
    force = openmm.CustomExternalForce("100*x^2")
    force.addParticle(0, [])
    return force


def nonsense(system):
    force = openmm.CustomBondForce("k*(r - r0)^2")
    force.addBond(0, 1, [])
    return force


def solvent(system):
    force = openmm.GBSAOBCForce()
    for _ in range(system.getNumParticles()):
        force.addParticle(0.1, 0.15, 0.8)
    return force


def again(kind, add):
    def change(system):
        force = force_of(system, kind)
        read = getattr(force, add.replace("add", "get") + "Parameters")
        getattr(force, add)(*read(0))

    return change


def exchanged(first, second, molecule):
    """The molecule with two atoms in each other's place."""
    order = np.arange(molecule.n_atoms)
    order[[first, second]] = second, first
    symbols = [molecule.symbols[atom] for atom in order]
    return replace(molecule, symbols=symbols, coordinates=molecule.coordinates[order], hessian=None, masses=None)


FIRST, SECOND = systems.CARBONS
HYDROGEN, OTHER = systems.HYDROGENS[FIRST][0], systems.HYDROGENS[SECOND][0]
NOTHING = with_force(lambda system: openmm.CMMotionRemover())

SYSTEMS = {
    "a virtual site": (spoiled(virtual), InteropError, ["particle 7", "TwoParticleAverageSite", "without extra points"]),
    "Drude particles": (spoiled(with_force(drude)), InteropError, ["ethane", "DrudeForce", "without Drude"]),
    "another number of atoms": (
        spoiled(lambda system: system.addParticle(1.008)),
        TopologyError,
        ["ethane", "9 particles", "8 atoms", "without water"],
    ),
    "a constraint": (
        spoiled(lambda system: system.addConstraint(0, 2, 0.109)),
        InteropError,
        ["1 constraints", "atoms 0 and 2", "1.09 Å", "constraints=None"],
    ),
    "a barostat": (
        spoiled(with_force(lambda system: openmm.MonteCarloBarostat(1.0, 300.0))),
        InteropError,
        ["MonteCarloBarostat", "Remove it"],
    ),
    "periodic bonds": (spoiled(periodic), InteropError, ["HarmonicBondForce", "is periodic", "NoCutoff"]),
    "a cutoff": (spoiled(method("CutoffNonPeriodic")), InteropError, ["NonbondedForce", "cutoff", "NoCutoff"]),
    "Ewald sums": (spoiled(method("PME")), InteropError, ["NonbondedForce", "periodic", "NoCutoff"]),
    "a custom cutoff": (spoiled(with_force(custom_cutoff)), InteropError, ["CustomNonbondedForce", "cutoff", "NoCutoff"]),
    "offsets of parameters": (spoiled(offset), InteropError, ["1 offsets", "end state"]),
    "no mass": (
        spoiled(lambda system: system.setParticleMass(3, 0.0)),
        InteropError,
        ["particle 3", "no mass", "setParticleMass"],
    ),
    "another element by mass": (
        spoiled(lambda system: system.setParticleMass(FIRST, 15.999)),
        TopologyError,
        [f"atom {FIRST} is C", "16 u", "of O", "order"],
    ),
    "masses that hydrogens do not explain": (
        spoiled(lambda system: system.setParticleMass(HYDROGEN, 6.0)),
        TopologyError,
        [f"atom {min(FIRST, HYDROGEN)}", "do not explain it"],
    ),
    "a bond twice": (
        spoiled(again(openmm.HarmonicBondForce, "addBond")),
        TopologyError,
        ["bond of the atoms", "twice", "entry 0 of force 0", "entry 7 of force 0", "sum"],
    ),
    "a periodicity of 0": (
        spoiled(lambda system: force_of(system, openmm.PeriodicTorsionForce).addTorsion(2, 0, 1, 5, 0, 0.0, 1.0)),
        InteropError,
        ["entry 5 of the PeriodicTorsionForce", "periodicity 0", "Remove it"],
    ),
    "an angle twice": (
        spoiled(again(openmm.HarmonicAngleForce, "addAngle")),
        TopologyError,
        ["angle of the atoms", "twice", "entry 12 of force 1"],
    ),
    "two forces of pairs": (
        spoiled(lambda system: system.addForce(openmm.XmlSerializer.clone(force_of(system, openmm.NonbondedForce)))),
        InteropError,
        ["2 NonbondedForces", "into one"],
    ),
    "a restraint in space": (
        spoiled(with_force(restraint)),
        InteropError,
        ["CustomExternalForce", "the molecule as a whole", "hold it in its place by 0.48", "remove"],
    ),
    "an expression with names that nothing defines": (
        spoiled(with_force(nonsense)),
        InteropError,
        ["ethane", "OpenMM refuses", "Correct"],
    ),
    "charges of implicit solvent": (
        spoiled(with_force(solvent), fit="charges"),
        InteropError,
        ["GBSAOBCForce", "charges of its own", "Leave 'charges' out"],
    ),
}
ARGUMENTS = {
    "no System": (lambda: from_openmm("ethane.xml", ETHANE), InteropError, ["'ethane.xml'", "openmm.System"]),
    "no Molecule": (lambda: from_openmm(systems.ethane(), "ethane"), InteropError, ["molecules", "Molecule"]),
    "no molecules": (lambda: from_openmm(systems.ethane(), []), InteropError, ["molecules are empty"]),
    "another number of molecules": (
        lambda: from_openmm([systems.ethane()], [ETHANE, ETHANE]),
        InteropError,
        ["1 Systems", "of each"],
    ),
    "another molecule as conformer": (
        lambda: from_openmm(systems.ethane(), [ETHANE, ALANINE]),
        InteropError,
        ["alanine dipeptide is no conformer of ethane", "atom order"],
    ),
    "something unknown to fit": (spoiled(NOTHING, fit="bond"), InteropError, ["'bond'", "'bonds', 'angles'"]),
    "nothing to fit": (
        spoiled(NOTHING, fit=("urey_bradley",)),
        InteropError,
        ["nothing of what is to be fitted (urey_bradley)", "bonds, angles, torsions, impropers, vdw, charges"],
    ),
    "an unknown rule for types": (spoiled(NOTHING, types="element"), InteropError, ["'element'", "'parameters', 'term'"]),
    "too few labels": (spoiled(NOTHING, types=["C", "H"]), InteropError, ["ethane", "8 labels"]),
    "labels of something else": (spoiled(NOTHING, types=[1] * 8), InteropError, ["ethane: types"]),
    "labels that join other parameters": (
        lambda: from_openmm(systems.amber(), ALANINE, types=ALANINE.symbols),
        InteropError,
        ["labels C-N join bond terms", "C4-N6", "490", "N6-C8", "337", "labels that differ", "types='parameters'"],
    ),
    "a topology of other elements": (
        lambda: from_openmm(systems.amber(), exchanged(4, 6, ALANINE), systems.topology()),
        TopologyError,
        ["atom 4 is C in the topology, but N in the molecule", "order"],
    ),
    "a topology of another molecule": (
        lambda: from_openmm(systems.ethane(), ETHANE, systems.topology()),
        TopologyError,
        ["22 atoms", "molecule has 8"],
    ),
    "no topology": (lambda: from_openmm(systems.ethane(), ETHANE, "ethane.pdb"), InteropError, ["'ethane.pdb'", "Topology"]),
    "atoms of the same element in another order": (
        spoiled(NOTHING, exchanged(HYDROGEN, OTHER, ETHANE)),
        TopologyError,
        ["joins the atoms", "Å apart", "1.09 Å in the force field", "order"],
    ),
}


def read():
    return from_openmm(systems.ethane(), ETHANE)


def form(name):
    model = read()
    return model.systems, replace(model.forcefield, form=name)


def elsewhere():
    """A system whose bonds are said to be entries of other bonds."""
    model = read()
    (system,) = model.systems
    entries = dict(system.origin.entries) | {"bond": system.origin.entries["bond"][::-1]}
    return replace(system, origin=Origin(system.origin.xml, entries)), model.forcefield


def beyond():
    """A system whose bonds are said to be entries that there are not."""
    model = read()
    (system,) = model.systems
    entries = dict(system.origin.entries) | {"bond": system.origin.entries["bond"] + 100}
    return replace(system, origin=Origin(system.origin.xml, entries)), model.forcefield


def garbled():
    model = read()
    (system,) = model.systems
    return replace(system, origin=Origin("<System", system.origin.entries)), model.forcefield


def fewer_bonds():
    (system,) = read().systems
    return replace(system, bond_atoms=system.bond_atoms[1:], bond_types=system.bond_types[1:])


def unknown_background():
    """The same as from anywhere else, with a background of which nobody knows where it comes from."""
    model = read()
    nothing = Background(1.0, np.zeros((8, 3)), np.eye(24))
    return [replace(each, background=nothing, origin=None) for each in model.systems], model.forcefield


WRITING = {
    "a form of other energies": (
        lambda: to_openmm(*form("mm3")),
        InteropError,
        ["ethane", "'mm3'", "'amber'", "origin=None"],
    ),
    "entries of other atoms": (lambda: to_openmm(*elsewhere()), InteropError, ["the bond of the atoms", "but that is of"]),
    "entries that do not exist": (lambda: to_openmm(*beyond()), InteropError, ["does not have", "from_openmm again"]),
    "no text": (lambda: to_openmm(*garbled()), InteropError, ["ethane", "no serialized", "from_openmm again"]),
    "no system": (lambda: to_openmm(ETHANE, read().forcefield), InteropError, ["systems"]),
    "no force field": (lambda: to_openmm(read().systems, [1.0]), InteropError, ["forcefield", "ForceField"]),
    "other terms than the origin's": (fewer_bonds, TopologyError, ["7 terms of the kind 'bond'", "are 6", "origin=None"]),
    "an origin of something else": (
        lambda: replace(read().systems[0], origin="ethane.xml"),
        TopologyError,
        ["origin is a str", "Origin"],
    ),
    "a background that nobody knows": (
        lambda: validate(*unknown_background()),
        TopologyError,
        ["ethane", "background", "cannot be relaxed"],
    ),
}


@refusals(SYSTEMS, ARGUMENTS, WRITING)
def test_it_is_refused(call, error, words):
    assert_refused(call, error, words)


def test_without_openmm_the_command_that_installs_it_is_named(monkeypatch):
    system = systems.ethane()
    monkeypatch.setitem(sys.modules, "openmm", None)
    assert_refused(lambda: from_openmm(system, ETHANE), MissingPackageError, ["pip install", "openmm"])


def test_a_system_with_other_terms_or_another_background_has_no_origin():
    (system,) = read().systems
    assert system.origin is not None and replace(system, molecule=ETHANE).origin is system.origin
    first = np.arange(7) == 0
    assert system.without({"bond": first}).origin is None and system.with_background(None).origin is None
    again = to_openmm(system.with_background(None), read().forcefield)
    assert "nonbonded" in {force.getName() for force in again.getForces()}


def test_forces_without_energy_are_left_where_they_are():
    system = systems.ethane()
    system.addForce(openmm.AndersenThermostat(300.0, 1.0))
    model = from_openmm(system, ETHANE)
    text = openmm.XmlSerializer.serialize(to_openmm(model.systems[0], model.forcefield))
    assert "AndersenThermostat" in text and "CMMotionRemover" in text
    assert model.systems[0].background is not None and model.systems[0].background.energy == pytest.approx(
        from_openmm(systems.ethane(), ETHANE).systems[0].background.energy
    )
