"""A force field's own stationary points (`relax_systems`): against OpenMM, invariances, linear molecules, saddles, ends.

Five molecules with all kinds of terms of q2mm, away from equilibrium, in one program; and linear ones in another.
Not covered here: derivatives of relaxed quantities; the pieces at moving geometries (`kernel/test_coordinates.py`).
"""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import openmm
import pytest
import tolerances
from helpers import poisoned
from oracles.cases import at, bent_hcn, rotation, systems_with_all_terms
from oracles.openmm_engine import OpenMMEngine

from q2mm_accel import ForceField, Molecule, Reference, System, relax_systems
from q2mm_accel.errors import LinearAngleWarning, OptionError, TopologyError
from q2mm_accel.kernel.trust_region import Limits, Outcome
from q2mm_accel.model.plausibility import CHECKS
from q2mm_accel.model.system import Background
from q2mm_accel.objective import relaxed
from q2mm_accel.parameters.space import parameter_space
from q2mm_accel.problem.build import build_problem


@cache
def originals(form):
    """Of a seed with which no QM geometry lies beside a maximum: which basin is nearest is then no question."""
    return systems_with_all_terms(form, seed=9)


@cache
def points():
    """The five molecules' own minima."""
    return relax_systems(*originals("harmonic"))


def with_molecules(change):
    """The five systems with other molecules: function of a molecule."""
    systems, forcefield = originals("harmonic")
    return [replace(system, molecule=change(system.molecule)) for system in systems], forcefield


def distances(coordinates):
    return np.linalg.norm(coordinates[:, None] - coordinates[None], axis=2)


def assert_same_minimum(found, expected):
    """Equal energy and shape, however it is turned."""
    assert found.outcome == expected.outcome == Outcome.CONVERGED
    assert abs(found.energy - expected.energy) <= tolerances.RELAXED_ENERGY
    np.testing.assert_allclose(
        distances(found.coordinates), distances(expected.coordinates), rtol=0.0, atol=tolerances.RELAXED_DISTANCE
    )


def test_minima_are_those_of_openmm():
    for system, point in zip(originals("harmonic")[0], points(), strict=True):
        assert (point.outcome, point.n_negative) == (Outcome.CONVERGED, 0)
        assert point.largest_gradient <= tolerances.RELAXED_GRADIENT
        print(f"{system.molecule.name}: {point.steps} steps, {point.largest_gradient:.1e} kcal/mol/Å")
        if system.molecule.name == "hcn":
            continue  # OpenMM's exactly linear angle has no forces
        engine = OpenMMEngine(system, originals("harmonic")[1])
        openmm.LocalEnergyMinimizer.minimize(engine.context, 1e-6, 0)
        assert abs(engine.energy() - point.energy) <= tolerances.RELAXED_OPENMM
        engine.set_positions(point.coordinates)
        assert abs(engine.energy() - point.energy) <= tolerances.OPENMM_ENERGY * max(1.0, point.energy)
        assert np.abs(engine.forces() + point.gradient).max() <= tolerances.RELAXED_GRADIENT


def test_rotated_shifted_and_mirrored_molecules_relax_alike():
    turn = rotation(np.random.default_rng(5))
    systems, forcefield = with_molecules(lambda each: at(each, each.coordinates @ turn.T + [3.0, -2.0, 20.0]))
    for found, expected in zip(relax_systems(systems, forcefield), points(), strict=True):
        assert_same_minimum(found, expected)
        hessian = expected.hessian.reshape(-1, 3, len(expected.hessian))
        turned = np.einsum("ab,ibj->iaj", turn, hessian).reshape(len(expected.hessian), -1, 3)
        turned = np.einsum("ab,ijb->ija", turn, turned).reshape(expected.hessian.shape)
        np.testing.assert_allclose(found.hessian, turned, rtol=0.0, atol=tolerances.RELAXED_HESSIAN * np.abs(turned).max())
    mirrored = replace(forcefield, torsion_phases=-forcefield.torsion_phases)
    systems, _ = with_molecules(lambda each: at(each, each.coordinates * [1.0, 1.0, -1.0]))
    for found, expected in zip(relax_systems(systems, mirrored), points(), strict=True):
        assert_same_minimum(found, expected)


def test_the_order_of_atoms_does_not_matter():
    systems, forcefield = originals("harmonic")
    turned = [reversed_atoms(system) for system in systems]
    for found, expected in zip(relax_systems(turned, forcefield), points(), strict=True):
        assert_same_minimum(replace(found, coordinates=found.coordinates[::-1]), expected)


def reversed_atoms(system):
    """The system with its atoms in the opposite order."""
    last = system.molecule.n_atoms - 1
    molecule = replace(
        system.molecule,
        symbols=system.molecule.symbols[::-1],
        coordinates=system.molecule.coordinates[::-1],
        masses=system.molecule.masses[::-1],
        hessian=None,
    )
    arrays = dict(system.arrays)
    for field, values in arrays.items():
        if field.endswith(("_atoms", "_pairs")):
            arrays[field] = last - values
        elif field == "vdw_types":
            arrays[field] = values[::-1]
    return System(molecule, arrays=arrays)


def test_molecules_relax_alike_in_other_company():
    systems, forcefield = originals("harmonic")
    for found, expected in zip(relax_systems(systems, forcefield, batch_size=2), points(), strict=True):
        assert_same_minimum(found, expected)
        assert found.steps == expected.steps


def test_repeated_and_poisoned_relaxations_have_the_same_bits():
    systems, forcefield = originals("harmonic")
    references = [Reference("energy", 0.0, system=number) for number in range(len(systems))]
    problem = build_problem(systems, parameter_space(forcefield), references, moving=True)
    limits = Limits(np.float64(1e-8), 200, np.float64(3.0))
    results = []
    for fill in (0.0, 0.0, 1e30, np.nan):
        batch = jax.tree.map(lambda leaf: leaf[0], poisoned(problem, fill).stacks[0])
        up = [np.zeros(len(bucket.component_present), np.int32) for bucket in batch.buckets]
        results.append(jax.tree.map(np.asarray, relaxed(batch, forcefield.parameters, limits, up)))
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, results[0])
    for _ in range(9):
        again = relax_systems(systems, forcefield)
        for found, expected in zip(again, points(), strict=True):
            np.testing.assert_array_equal(found.coordinates, expected.coordinates)
            np.testing.assert_array_equal(found.hessian, expected.hessian)


def test_no_net_force_no_torque_and_no_stiffness_against_a_shift_wherever_molecules_are():
    """On the way, where forces are large, and at the end of it."""
    systems, forcefield = originals("harmonic")
    for point in (*relax_systems(systems, forcefield, max_steps=2), *points()):
        centred, size = point.coordinates - point.coordinates.mean(axis=0), np.abs(point.hessian).max()
        assert np.abs(point.gradient.sum(axis=0)).max() <= tolerances.NET_FORCE
        assert np.abs(np.cross(centred, point.gradient).sum(axis=0)).max() <= tolerances.NET_FORCE
        rows = point.hessian.reshape(len(point.hessian), -1, 3).sum(axis=1)
        assert np.abs(rows).max() <= tolerances.NET_HESSIAN * size
        for axis in np.eye(3):  # a turn of the whole molecule turns the forces along
            displacement = np.cross(axis, centred).ravel()
            expected = np.cross(axis, point.gradient).ravel()
            assert np.abs(point.hessian @ displacement - expected).max() <= tolerances.NET_HESSIAN * size


def test_saddle_points_have_as_many_negative_curvatures_as_asked_for():
    systems, forcefield = originals("harmonic")
    number = [system.molecule.name for system in systems].index("h2o2")
    flat = replace(systems[number], molecule=at(systems[number].molecule, PLANAR))
    changed = [*systems[:number], flat, *systems[number + 1 :]]
    upward = [int(each is flat) for each in changed]
    found = relax_systems(changed, forcefield, n_maximized=upward)
    for point, expected, n_negative in zip(found, points(), upward, strict=True):
        assert (point.outcome, point.n_negative) == (Outcome.CONVERGED, n_negative)
        if not n_negative:
            assert_same_minimum(point, expected)
    saddle = found[number]
    assert (np.linalg.eigvalsh(saddle.hessian) < -1e-3).sum() == 1
    assert saddle.energy > points()[number].energy + 0.1
    engine = OpenMMEngine(flat, forcefield)
    engine.set_positions(saddle.coordinates)
    assert np.abs(engine.forces()).max() <= tolerances.RELAXED_GRADIENT


PLANAR = np.array([[0.73, 0.0, 0.0], [-0.73, 0.0, 0.0], [0.95, 0.94, 0.0], [-0.95, -0.94, 0.0]])
"""H2O2, trans, between its minima: O, O, H, H."""


def test_every_end_has_its_name():
    systems, forcefield = originals("harmonic")
    assert {point.outcome for point in relax_systems(systems, forcefield, max_steps=2)} == {Outcome.STEP_LIMIT}
    assert {point.outcome for point in relax_systems(systems, forcefield, farthest=1e-3)} == {Outcome.FELL_APART}
    broken = replace(forcefield, vdw_epsilons=-forcefield.vdw_epsilons)
    for system, point in zip(systems, relax_systems(systems, broken), strict=True):
        concerned = len(system.vdw_pairs) > 0
        assert point.outcome == (Outcome.NOT_FINITE if concerned else Outcome.CONVERGED), system.molecule.name
        assert np.isfinite(point.coordinates).all()
    # bonds without a minimum: atoms leave, or meet where the energy has a singularity
    pulled = replace(forcefield, bond_force_constants=-forcefield.bond_force_constants)
    assert {point.outcome for point in relax_systems(systems, pulled)} == {Outcome.FELL_APART, Outcome.STUCK}


def test_what_cannot_relax_is_refused():
    systems, forcefield = originals("harmonic")
    n = systems[2].molecule.n_atoms
    fixed = systems[2].with_background(Background(0.0, np.zeros((n, 3)), np.zeros((3 * n, 3 * n))))
    with pytest.raises(TopologyError, match=r"h2o2: it has a background.*Leave the background out"):
        relax_systems([fixed], forcefield)
    for options, words in (
        ({"n_maximized": [0]}, "1 entries for 5"),
        ({"n_maximized": -1}, "hcn: n_maximized is -1"),
        ({"max_steps": -1}, "max_steps is -1"),
        ({"largest_gradient": 0.0}, "largest_gradient is 0"),
        ({"farthest": np.nan}, "farthest"),
    ):
        with pytest.raises(OptionError, match=words):
            relax_systems(systems, forcefield, **options)
    assert relax_systems([], forcefield) == []


CHAIN = ForceField(
    form="harmonic",
    bond_force_constants=[500.0, 400.0],
    bond_lengths=[1.15, 1.08],
    angle_force_constants=[40.0, 50.0],
    angle_values=[180.0, 109.5],
)


def chain(symbols, coordinates, bonds, angles, name):
    """Heavy atoms of bond type 0, hydrogen of 1; angles with hydrogen at their first atom have type 1."""
    molecule = Molecule(symbols, coordinates, name=name, waived=CHECKS)
    types = [int("H" in (symbols[a], symbols[b])) for a, b in bonds]
    straight = [int(symbols[a] == "H" and len(symbols) > 3) for a, _, _ in angles]
    return System(molecule, bond_atoms=bonds, bond_types=types, angle_atoms=angles, angle_types=straight)


def linear_systems():
    """HCN, CO2 and acetonitrile, exactly linear, bent by a millionth and by a lot."""
    result = []
    rng = np.random.default_rng(8)
    hydrogens = [[-1.5, 1.03 * np.cos(each), 1.03 * np.sin(each)] for each in 2.0 * np.pi / 3.0 * np.arange(3)]
    for bend in (0.0, 1e-6, 1e-3, 0.2, 0.6):
        result.append(chain("HCN", bent_hcn(bend).coordinates, [(0, 1), (1, 2)], [(0, 1, 2)], f"hcn {bend}"))
        end = [1.2 * np.cos(bend), 1.2 * np.sin(bend), 0.0]
        bonds, angles = [(0, 1), (1, 2)], [(0, 1, 2)]
        turn = rotation(rng)
        carbonic = np.array([[-1.17, 0.0, 0.0], [0.0, 0.0, 0.0], end]) @ turn.T
        result.append(chain("OCO", carbonic, bonds, angles, f"co2 {bend}"))
        nitrile = np.array([[-1.2, 0.0, 0.0], [0.0, 0.0, 0.0], end, *hydrogens]) @ turn.T
        bonds = [*bonds, *((0, h) for h in (3, 4, 5))]
        angles = [*angles, *((h, 0, 1) for h in (3, 4, 5)), (3, 0, 4), (4, 0, 5), (3, 0, 5)]
        result.append(chain("CCNHHH", nitrile, bonds, angles, f"acetonitrile {bend}"))
    return result


def test_linear_molecules_become_linear():
    systems = linear_systems()
    for system, point in zip(systems, relax_systems(systems, CHAIN), strict=True):
        assert (point.outcome, point.n_negative) == (Outcome.CONVERGED, 0), (system.molecule.name, point)
        a, b, c = point.coordinates[system.angle_atoms[0]]
        sine = np.linalg.norm(np.cross(a - b, c - b)) / (np.linalg.norm(a - b) * np.linalg.norm(c - b))
        assert sine <= tolerances.RELAXED_DISTANCE, system.molecule.name
        print(f"{system.molecule.name}: {point.steps} steps, {point.largest_gradient:.0e}, sine {sine:.0e}")
        eigenvalues = np.linalg.eigvalsh(point.hessian)
        rigid = 5 if system.molecule.n_atoms == 3 else 6
        assert (np.abs(eigenvalues) < 1e-6).sum() == rigid


def test_angles_near_linear_keep_their_equilibrium():
    """Beyond a twentieth of a degree an angle is not taken for linear, so that it relaxes to its own value."""
    values = 180.0 - np.array([0.1, 1.0, 10.0])
    base = linear_systems()[9]  # HCN, bent by a lot
    for value in values:
        (point,) = relax_systems([base], replace(CHAIN, angle_values=[value, 109.5]))
        a, b, c = point.coordinates
        found = np.degrees(np.arctan2(np.linalg.norm(np.cross(a - b, c - b)), (a - b) @ (c - b)))
        assert point.outcome == Outcome.CONVERGED
        assert abs(found - value) <= np.degrees(tolerances.RELAXED_DISTANCE), value


def test_a_kink_is_told_of():
    """A straight angle whose equilibrium is elsewhere stays where it is, with a warning that says so."""
    straight = chain("HCN", bent_hcn(0.0).coordinates, [(0, 1), (1, 2)], [(0, 1, 2)], "straight")
    with pytest.warns(LinearAngleWarning, match="straight: angle 0"):
        (point,) = relax_systems([straight], replace(CHAIN, angle_values=[170.0, 109.5]))
    assert point.outcome == Outcome.CONVERGED


def test_molecules_of_one_and_two_atoms_relax_too():
    atom = System(Molecule(["He"], [[1.0, 2.0, 3.0]]))
    pair = System(Molecule(["H", "F"], [[0.0, 0.0, 0.0], [0.3, 0.5, 0.8]]), bond_atoms=[(0, 1)], bond_types=[0])
    forcefield = ForceField(form="mm3", bond_force_constants=[600.0], bond_lengths=[0.93])
    alone, bound = relax_systems([atom, pair], forcefield)
    assert (alone.outcome, alone.energy, alone.steps) == (Outcome.CONVERGED, 0.0, 0)
    np.testing.assert_array_equal(alone.coordinates, atom.molecule.coordinates)
    assert bound.outcome == Outcome.CONVERGED
    assert distances(bound.coordinates)[0, 1] == pytest.approx(0.93, abs=tolerances.RELAXED_DISTANCE)
    # it goes along the bond, without turning
    direction = np.cross(np.diff(bound.coordinates, axis=0), np.diff(pair.molecule.coordinates, axis=0))
    np.testing.assert_allclose(direction, 0.0, atol=tolerances.RELAXED_DISTANCE)
    np.testing.assert_allclose(bound.gradient.sum(axis=0), 0.0, atol=tolerances.NET_FORCE)
