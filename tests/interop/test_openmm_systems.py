"""A user's OpenMM System as terms of ours and back: the same energies, forces and Hessians on both ways.

Of several Systems one force field is made, so that all are evaluated by one program.
"""

import pickle
from dataclasses import replace

import numpy as np
import openmm
import openmm_systems as systems
import pytest
import tolerances
from helpers import evaluate_all
from openmm_systems import ALANINE, ETHANE

from q2mm_accel import FusedObjective, Molecule, ReferenceData, from_openmm, to_openmm, validate
from q2mm_accel.errors import InteropError
from q2mm_accel.interop.openmm_mechanics import OpenMMMechanics
from q2mm_accel.parameters.selection import selected
from q2mm_accel.stationary import relax_outside
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

ALL = ("bonds", "angles", "torsions", "impropers", "urey_bradley", "vdw", "charges")


def text(system):
    return openmm.XmlSerializer.serialize(system)


def assert_agree(model, forcefield, made, limits):
    """Energies, forces and Hessians of ours, backgrounds included, beside those of OpenMM Systems."""
    ours = evaluate_all([each.with_background(None) for each in model.systems], forcefield)
    for number, (system, own, engine) in enumerate(zip(model.systems, ours, made, strict=True)):
        theirs = OpenMMMechanics(engine, system.molecule.name)(system.molecule.coordinates)
        extra = (0.0, 0.0, 0.0)
        if system.background is not None:
            extra = (system.background.energy, system.background.gradient, system.background.hessian)
        found = (own.energy, own.gradient, own.hessian)
        for one, more, other, limit in zip(found, extra, theirs, limits, strict=True):
            size = max(1.0, np.abs(other).max()) if np.ndim(other) == 0 else np.abs(other).max()
            error = np.abs(one + more - other).max() / size
            assert error <= limit, f"System {number}: {error:.1e}"


def moved(model, seed=0):
    """The force field with every adjustable parameter changed."""
    forcefield = model.forcefield
    chosen = selected(model.active, forcefield, "active")
    factors = np.random.default_rng(seed).uniform(0.9, 1.1, chosen.sum())
    parameters = forcefield.parameters
    parameters[chosen] *= factors
    return forcefield.with_parameters(parameters)


@pytest.fixture(scope="module")
def both():
    """ff14SB of alanine dipeptide, and ethane with polynomials and odd exceptions, in one force field."""
    given = [systems.amber(), systems.ethane()]
    return given, from_openmm(given, [ALANINE, ETHANE], fit=ALL)


def test_what_was_read_is_openmms_and_so_is_what_was_written_back(both):
    given, model = both
    assert_agree(model, model.forcefield, given, tolerances.OPENMM_READ)
    amber, ethane = model.systems
    assert {kind: len(amber.terms(kind)[0]) for kind in amber.kinds} == {
        "bond": 21,
        "angle": 36,
        "torsion": 38,
        "improper": 4,
    }
    # nine torsions of five cosines, and three entries of one chain; without a barrier none
    assert len(ethane.torsion_atoms) == 9 * 5 + 3 and len(ethane.improper_atoms) == 1
    assert amber.background is None and {"special_vdw", "torsion"} <= set(ethane.kinds)
    assert ethane.background is not None  # the product of no charges, and the polynomials' constant
    changed = moved(model)
    assert_agree(model, changed, to_openmm(model.systems, changed), tolerances.OPENMM_WRITTEN)


def test_parameters_that_did_not_change_keep_every_bit(both):
    given, model = both
    assert [text(each) for each in to_openmm(model.systems, model.forcefield)] == [text(each) for each in given]
    copies = pickle.loads(pickle.dumps(model.systems))
    assert text(to_openmm(copies[0], model.forcefield)) == text(given[0])
    # one bond's length: its type's entries change, and no other
    lengths = model.forcefield.bond_lengths + np.where(np.arange(model.forcefield.n_types("bond")) == 0, 0.01, 0.0)
    before, after = (
        text(each).splitlines()
        for each in (given[0], to_openmm(model.systems[0], replace(model.forcefield, bond_lengths=lengths)))
    )
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == np.sum(model.systems[0].bond_types == 0) > 0 and all("<Bond d=" in line for line in changed)


@pytest.mark.exhaustive
def test_charmm_and_implicit_solvent_agree_with_openmm():
    given = [systems.charmm(), systems.amber("implicit/obc2.xml")]
    fit = tuple(name for name in ALL if name != "charges")
    model = from_openmm(given, [ALANINE, ALANINE], fit=fit)
    charmm = model.systems[0]
    assert {kind: len(charmm.terms(kind)[0]) for kind in charmm.kinds} == {
        "bond": 21,
        "angle": 36,
        "torsion": 23,
        "urey_bradley": 15,
        "harmonic_improper": 4,
    }
    assert all(each.background is not None for each in model.systems)
    assert_agree(model, model.forcefield, given, tolerances.OPENMM_READ)
    changed = moved(model)
    assert_agree(model, changed, to_openmm(model.systems, changed), tolerances.OPENMM_WRITTEN)


def springs_outside(custom):
    """Ethane with Urey-Bradley terms between the hydrogens of each carbon, which may be a force without terms of ours."""
    made = systems.ethane(pairs=False, torsions=False)
    force = openmm.CustomBondForce("0.5*k*(r - r0)^2") if custom else openmm.HarmonicBondForce()
    if custom:
        force.addPerBondParameter("r0")
        force.addPerBondParameter("k")
    for own in systems.HYDROGENS.values():
        for place, first in enumerate(own):
            for second in own[place + 1 :]:
                force.addBond(first, second, [0.185, 2000.0]) if custom else force.addBond(first, second, 0.185, 2000.0)
    torsions = openmm.PeriodicTorsionForce()
    first, second = systems.CARBONS
    for i in systems.HYDROGENS[first]:
        for j in systems.HYDROGENS[second]:
            torsions.addTorsion(i, first, second, j, 3, 0.0, 0.6)
    made.addForce(force)
    made.addForce(torsions)
    return made


def fitted(custom):
    """Ethane, its objective and the direct solve."""
    model = from_openmm(springs_outside(custom), ETHANE)
    references = ReferenceData()
    references.add_normal_modes(ETHANE)
    objective = FusedObjective(model.systems, model.forcefield, references, active=model.active)
    return model, objective, objective.solve_linear()


@pytest.fixture(scope="module")
def with_background():
    return fitted(custom=True)


def test_a_fit_beside_a_force_of_openmms_is_what_the_written_system_has(with_background):
    model, objective, solved = with_background
    (system,) = model.systems
    assert system.background is not None and "urey_bradley" not in system.kinds
    assert solved.success and solved.fun < 0.5 * objective.fun(objective.x0)
    written = to_openmm(system, objective.forcefield(solved.x))
    hessian = OpenMMMechanics(written, "ethane")(ETHANE.coordinates).hessian
    modes, roots = ETHANE.normal_modes, np.repeat(ETHANE.masses, 3) ** -0.5
    own = modes.vectors.T @ (KCALMOLA2_TO_HESSIAN_AU * hessian * np.outer(roots, roots)) @ modes.vectors
    floor = np.maximum(np.abs(modes.frequencies), 300.0)
    expected = modes.frequencies + (np.diag(own) - modes.eigenvalues) * FREQUENCY_FACTOR**2 / (2.0 * floor)
    diagonal = np.cumsum(np.arange(len(floor)) + 1) - 1
    computed = objective.predictions(solved.x)[diagonal]
    np.testing.assert_allclose(computed, expected, atol=tolerances.OPENMM_FREQUENCY)


def test_a_system_with_a_force_of_openmms_is_validated_through_it(with_background):
    model, objective, solved = with_background
    (system,), forcefield = model.systems, objective.forcefield(solved.x)
    (found,) = validate(model.systems, forcefield).molecules
    mechanics = OpenMMMechanics(to_openmm(system, forcefield), "ethane")
    point = relax_outside(ETHANE, mechanics)
    energy, gradient = mechanics.gradient(point.coordinates)
    assert np.abs(gradient).max() < tolerances.RELAXED_GRADIENT and point.n_negative == 0 and found.converged
    drop, forces = mechanics.gradient(ETHANE.coordinates)
    assert found.energy_drop == pytest.approx(drop - energy, abs=tolerances.RELAXED_ENERGY)
    assert found.largest_force == pytest.approx(np.abs(forces).max()) and found.held
    lengths = [
        np.linalg.norm(each[system.bond_atoms[:, 0]] - each[system.bond_atoms[:, 1]], axis=1)
        for each in (ETHANE.coordinates, point.coordinates)
    ]
    np.testing.assert_allclose(found.bonds.values, lengths[1] - lengths[0], atol=tolerances.RELAXED_DISTANCE)


@pytest.mark.exhaustive
def test_fit_and_validation_are_the_same_with_terms_as_with_a_force_of_openmms(with_background):
    outside, _, beside = with_background
    inside, objective, solved = fitted(custom=False)
    assert inside.systems[0].background is None and len(inside.systems[0].urey_bradley_atoms) == 6
    np.testing.assert_allclose(solved.x, beside.x, rtol=tolerances.DIFFERENCES)
    forcefield = objective.forcefield(solved.x)
    (own,) = validate(inside.systems, forcefield).molecules
    frozen = {"bond_force_constants", "bond_lengths", "angle_force_constants", "angle_values"}
    same = replace(outside.forcefield, **{field: getattr(forcefield, field) for field in frozen})
    (other,) = validate(outside.systems, same).molecules
    for name in ("own", "at_qm"):
        np.testing.assert_allclose(getattr(own, name), getattr(other, name), atol=tolerances.OPENMM_FREQUENCY)
    np.testing.assert_allclose(own.bonds.values, other.bonds.values, atol=tolerances.RELAXED_DISTANCE)


def test_types_are_shared_as_asked():
    system = systems.amber()
    by_value = from_openmm(system, ALANINE).forcefield
    each = from_openmm(system, ALANINE, types="term").forcefield
    assert (
        each.n_types("bond") == 21 and each.n_types("angle") == 36 and each.n_types("torsion") == by_value.n_types("torsion")
    )
    labelled = from_openmm(system, ALANINE, types=systems.TYPES).forcefield
    assert by_value.n_types("bond") < labelled.n_types("bond") < 21
    assert "bond C-O k" in labelled.labels and "angle C-N-H theta0" in labelled.labels
    # conformers share the types of their System
    other = replace(ALANINE, coordinates=1.001 * ALANINE.coordinates, name="another")
    two = from_openmm(system, [ALANINE, other], types="term")
    assert len(two.systems) == 2 and two.forcefield.n_types("bond") == 21
    assert two.systems[0].bond_types.tolist() == two.systems[1].bond_types.tolist()


def test_only_what_fit_names_moves_and_its_bounds_hold_what_is_there():
    model = from_openmm(systems.amber(), ALANINE, fit=("angles", "torsions"))
    assert model.active == ("angle_force_constants", "angle_values", "torsion_force_constants")
    forcefield = model.forcefield
    chosen = selected(model.active, forcefield, "active")
    assert np.array_equal(forcefield.pinned, ~chosen)
    values, bounds = forcefield.parameters, forcefield.bounds
    assert np.all((bounds.lb[chosen] < values[chosen]) & (values[chosen] < bounds.ub[chosen]))
    assert np.all((bounds.lb <= values) & (values <= bounds.ub))


def test_masses_moved_to_hydrogens_are_those_of_the_same_atoms():
    system, molecule = systems.ethane(), ETHANE
    for carbon, hydrogens in systems.HYDROGENS.items():
        for hydrogen in hydrogens:
            system.setParticleMass(hydrogen, 3.024)
        system.setParticleMass(carbon, 12.011 - 3 * 2.016)
    model = from_openmm(system, molecule)
    assert model.systems[0].molecule.masses.tolist() == molecule.masses.tolist()


def test_three_membered_rings_have_bonds_and_springs_of_one_pair():
    ring = [(0.0, 0.867, 0.0), (0.751, -0.434, 0.0), (-0.751, -0.434, 0.0)]
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for number in range(3):
        system.addParticle(15.999)
        bonds.addBond(number, (number + 1) % 3, 0.15, 2e5)
        angles.addAngle((number + 2) % 3, number, (number + 1) % 3, 1.05, 300.0)
    bonds.addBond(0, 1, 0.151, 1e4)
    system.addForce(bonds)
    system.addForce(angles)
    (found,) = from_openmm(system, Molecule("OOO", ring)).systems
    assert found.bond_atoms.tolist() == [[0, 1], [1, 2], [2, 0]] and found.urey_bradley_atoms.tolist() == [[0, 1]]


def test_types_by_smarts():
    patterns = {
        "[#6]": "C*",
        "[#6X3]": "C",
        "[#1]": "H*",
        "[#1:1][#7]": "H",
        "[#7]": "N",
        "[#8]": "O",
        "[CX4](N)(C=O)": "CX",
    }
    patterns |= {"[#1][CX4][#7]": "H1"}
    model = from_openmm(systems.amber(), ALANINE, types=patterns)
    words = {label.split()[1] for label in model.forcefield.labels if label.startswith("bond ") and label.endswith(" k")}
    assert words == {"C*-H*", "C-C*", "C-O", "C-N", "H-N", "CX-N", "CX-H1", "C*-CX", "C-CX", "C*-N", "C*-H1"}
    for wrong, message in (({"[#6": "C"}, "types: '[#6' is no SMARTS"), ({"[#6]": "C"}, "no SMARTS matches atom 0 (H)")):
        with pytest.raises(InteropError) as caught:
            from_openmm(systems.amber(), ALANINE, types=wrong)
        assert message in str(caught.value)
