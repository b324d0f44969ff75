"""Force constants from Hessians: closed forms on synthetic Hessians, invariances, refusals."""

from dataclasses import replace

import numpy as np
import pytest
from bare import perceive_bare
from scipy.spatial.transform import Rotation
from tolerances import CLOSED_FORM

from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import EstimateWarning, HessianError, ParameterError, TopologyError
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.perceive import START_ANGLE, START_BOND, perceive
from q2mm_accel.model.seminario import ANGLE_FACTOR, BOND_FACTOR, estimate_force_constants
from q2mm_accel.model.system import System
from q2mm_accel.units import BOHR_TO_ANGSTROM, HARTREE_TO_KCALMOL

BOND_UNITS = 2e-5
"""Relative: q2mm's 15.569141 mdyn/Å per hartree/bohr² against 627.51 kcal/mol per hartree. Expected 1.3e-5."""
ANGLE_UNITS = 4e-4
"""Relative: MM3's 601.99392 (angles) against 602.214 and q2mm's rounded 4.3598. Expected 3.5e-4."""
ROTATED = 1e-9
"""Relative: eigenvectors of 3x3 blocks that are not symmetric, so not always well conditioned. Expected 1e-12."""


def bond_rows(coordinates: np.ndarray, i: int, j: int) -> np.ndarray:
    """Derivative of the distance between i and j, shape (3n,), from the textbook."""
    row = np.zeros_like(coordinates)
    direction = (coordinates[j] - coordinates[i]) / np.linalg.norm(coordinates[j] - coordinates[i])
    row[i], row[j] = -direction, direction
    return row.ravel()


def angle_rows(coordinates: np.ndarray, i: int, j: int, k: int) -> np.ndarray:
    """Derivative of the angle i-j-k, shape (3n,), from the textbook."""
    row = np.zeros_like(coordinates)
    first, second = coordinates[i] - coordinates[j], coordinates[k] - coordinates[j]
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    first, second = first / lengths[0], second / lengths[1]
    cosine, sine = first @ second, np.linalg.norm(np.cross(first, second))
    row[i] = (cosine * first - second) / (lengths[0] * sine)
    row[k] = (cosine * second - first) / (lengths[1] * sine)
    row[j] = -row[i] - row[k]
    return row.ravel()


def bent(first: float, second: float, degrees: float, bonds=(0.0, 0.0), angle=0.0, check=True) -> Molecule:
    """A triatomic H-O-H with given leg lengths [Å] and curvatures [hartree/bohr², hartree/rad²], askew in space."""
    radians = np.radians(degrees)
    plane = np.array([[first, 0, 0], [0, 0, 0], [second * np.cos(radians), second * np.sin(radians), 0]])
    coordinates = Rotation.random(rng=np.random.default_rng(3)).apply(plane)
    inner = coordinates / BOHR_TO_ANGSTROM
    terms = [
        (bonds[0], bond_rows(inner, 0, 1)),
        (bonds[1], bond_rows(inner, 1, 2)),
        (angle, angle_rows(inner, 0, 1, 2)),
    ]
    hessian = sum(curvature * np.outer(row, row) for curvature, row in terms)
    return Molecule("HOH", coordinates, hessian=hessian, check=check)


def diatomic(curvature: float, length: float = 1.1, check: bool = True) -> Molecule:
    """N-O with a given curvature [hartree/bohr²] and length [Å], askew in space."""
    coordinates = np.array([[0.3, -0.2, 0.1], [0.3, -0.2, 0.1]])
    coordinates[1] += length * np.array([2.0, -1.0, 2.0]) / 3.0
    row = bond_rows(coordinates, 0, 1)
    return Molecule(["N", "O"], coordinates, hessian=curvature * np.outer(row, row), check=check)


def estimated(molecules, **arguments) -> ForceField:
    """The unscaled estimates for the types of all molecules."""
    return estimate_force_constants(*perceive_bare(molecules, torsions=False), **{"scaling": 1.0, **arguments})


def test_a_harmonic_bond_gives_back_its_force_constant():
    k = 500.0  # E = k dr², so the curvature is 2 k
    curvature = 2.0 * k * BOHR_TO_ANGSTROM**2 / HARTREE_TO_KCALMOL
    forcefield = estimated([diatomic(curvature, length=1.17)])
    np.testing.assert_allclose(forcefield.bond_force_constants, [k], rtol=BOND_UNITS)
    np.testing.assert_allclose(forcefield.bond_force_constants, [BOND_FACTOR * curvature], rtol=CLOSED_FORM)
    np.testing.assert_allclose(forcefield.bond_lengths, [1.17], rtol=CLOSED_FORM)


def test_the_angle_factor_turns_curvature_into_k_without_one_half():
    np.testing.assert_allclose(ANGLE_FACTOR, HARTREE_TO_KCALMOL / 2.0, rtol=ANGLE_UNITS)


def test_bonds_alone_leave_nothing_for_the_angle():
    forcefield = estimated([bent(0.97, 0.97, 104.5, bonds=(0.5, 0.5))])
    np.testing.assert_allclose(forcefield.bond_force_constants, [BOND_FACTOR * 0.5], rtol=CLOSED_FORM)
    assert forcefield.angle_force_constants.tolist() == [0.0]


@pytest.mark.parametrize("degrees", [60.0, 90.0, 104.5, 120.0, 175.0])
def test_an_angle_between_equal_legs_is_estimated_as_its_k_times_half_of_one_minus_cosine(degrees):
    system = System(bent(1.0, 1.0, degrees, angle=0.2), angle_atoms=[[0, 1, 2]], angle_types=[0])
    forcefield = ForceField(form="harmonic", angle_force_constants=[1.0], angle_values=[100.0])
    forcefield = estimate_force_constants([system], forcefield, scaling=1.0)
    share = 0.5 * (1.0 - np.cos(np.radians(degrees)))
    np.testing.assert_allclose(forcefield.angle_force_constants, [ANGLE_FACTOR * 0.2 * share], rtol=CLOSED_FORM)
    np.testing.assert_allclose(forcefield.angle_values, [degrees], rtol=CLOSED_FORM)


def test_water_has_the_estimate_of_the_formula_for_triangular_blocks():
    """In the basis (bond, across) -H_ij is [[b, 0], [s, t]] and -H_ji its transpose: both are solved by hand."""
    b, a, degrees, (first, second) = 0.5, 0.2, 104.5, (0.9, 1.2)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    bonds, legs = [], []
    for own, other in ((first, second), (second, first)):
        own, other = own / BOHR_TO_ANGSTROM, other / BOHR_TO_ANGSTROM
        t = a * (1.0 / own**2 - cosine / (own * other))
        s = a * sine / (own * other)
        slope, other_slope = s / (b - t), s / (t - b)
        down = b / np.hypot(1.0, slope)
        up = b + t * abs(other_slope) / np.hypot(1.0, other_slope)
        bonds.append(0.5 * (down + up))
        legs.append((b * abs(slope) / np.hypot(1.0, slope) + t) * own**2)
    forcefield = estimated([bent(first, second, degrees, bonds=(b, b), angle=a)])
    np.testing.assert_allclose(forcefield.bond_force_constants, [BOND_FACTOR * np.mean(bonds)], rtol=CLOSED_FORM)
    series = 1.0 / (1.0 / legs[0] + 1.0 / legs[1])
    np.testing.assert_allclose(forcefield.angle_force_constants, [ANGLE_FACTOR * series], rtol=CLOSED_FORM)


def test_a_linear_angle_gives_back_its_bending_constant():
    coordinates = np.array([[0.0, 0.0, -1.16], [0.0, 0.0, 0.0], [0.0, 0.0, 1.16]])
    leg = 1.16 / BOHR_TO_ANGSTROM
    bends = [np.concatenate([axis, -2.0 * axis, axis]) / leg for axis in np.eye(3)[:2]]
    stretches = [bond_rows(coordinates, 0, 1), bond_rows(coordinates, 1, 2)]
    hessian = sum(0.2 * np.outer(row, row) for row in bends) + sum(np.outer(row, row) for row in stretches)
    forcefield = estimated([Molecule("OCO", coordinates, hessian=hessian)])
    np.testing.assert_allclose(forcefield.angle_force_constants, [ANGLE_FACTOR * 0.2], rtol=CLOSED_FORM)
    np.testing.assert_allclose(forcefield.bond_force_constants, [BOND_FACTOR], rtol=CLOSED_FORM)


@pytest.mark.parametrize("name", ["water", "methanol", "h2o2"])
def test_orientation_and_atom_order_do_not_change_the_estimates(name):
    molecule = load_molecule(name)
    order = np.random.default_rng(5).permutation(molecule.n_atoms)
    rotation = Rotation.random(rng=np.random.default_rng(6)).as_matrix()
    turned = np.kron(np.eye(molecule.n_atoms)[order], rotation)
    moved = Molecule(
        [molecule.symbols[atom] for atom in order],
        molecule.coordinates[order] @ rotation.T,
        hessian=turned @ molecule.hessian @ turned.T,
    )
    ours, theirs = estimated([molecule]), estimated([moved])
    expected = dict(zip(ours.labels, ours.parameters, strict=True))
    np.testing.assert_allclose(theirs.parameters, [expected[label] for label in theirs.labels], rtol=ROTATED)


def test_estimates_are_means_over_systems_and_scale_with_the_factor():
    forcefield = estimated([diatomic(0.4, 1.1), diatomic(0.8, 1.2)], scaling=0.9)
    np.testing.assert_allclose(forcefield.bond_force_constants, [0.9 * 0.6 * BOND_FACTOR], rtol=CLOSED_FORM)
    np.testing.assert_allclose(forcefield.bond_lengths, [1.15], rtol=CLOSED_FORM)


def test_everything_but_bonds_and_angles_with_terms_keeps_its_value():
    molecule = load_molecule("h2o2")
    systems, forcefield = perceive_bare([molecule], vdw=True, urey_bradley=True)
    n_bonds, n_angles = forcefield.n_types("bond"), forcefield.n_types("angle")
    more = {
        "bond_force_constants": [*forcefield.bond_force_constants, 5000.0],
        "bond_lengths": [*forcefield.bond_lengths, 1.5],
        "angle_force_constants": [*forcefield.angle_force_constants, 55.0],
        "angle_values": [*forcefield.angle_values, 99.0],
        "torsion_force_constants": [1.5, 2.5, 3.5],
    }
    wider = ForceField("harmonic", arrays={**forcefield.arrays, **more})
    ours = estimate_force_constants(systems, wider)
    assert (ours.bond_force_constants[n_bonds], ours.bond_lengths[n_bonds]) == (5000.0, 1.5)
    assert (ours.angle_force_constants[n_angles], ours.angle_values[n_angles]) == (55.0, 99.0)
    start = 2 * (n_bonds + 1) + 2 * (n_angles + 1)
    assert ours.parameters[start:].tolist() == wider.parameters[start:].tolist()
    assert ours.labels == wider.labels
    assert not np.allclose(ours.bond_force_constants[:n_bonds], wider.bond_force_constants[:n_bonds], rtol=CLOSED_FORM)


def test_a_molecule_without_hessian_is_named():
    molecule = load_molecule("water")
    systems, forcefield = perceive_bare([Molecule(molecule.symbols, molecule.coordinates, name="bare water")])
    with pytest.raises(HessianError, match="bare water: it has no Hessian"):
        estimate_force_constants(systems, forcefield)


def test_a_minimum_is_not_accepted_as_a_transition_state():
    with pytest.raises(HessianError, match="minimum and not a transition state"):
        estimated([load_molecule("water")], transition_state=True)


def test_a_force_constant_that_cannot_be_estimated_keeps_its_value_and_its_terms_are_named():
    with pytest.warns(EstimateWarning, match=r"bond N-O k is estimated as 4481\.\d+, outside -3600 to 3600.*N0-O1 of NO"):
        assert estimated([diatomic(4.0, check=False)]).bond_force_constants.tolist() == [START_BOND]
    with pytest.warns(EstimateWarning, match=r"angle H-O-H k is estimated as \d+\.\d+, outside -720 to 720.*H0-O1-H2"):
        found = estimated([bent(1.0, 1.0, 100.0, angle=9.0, check=False)])
    assert found.angle_force_constants.tolist() == [START_ANGLE]
    assert not np.any(found.bond_force_constants == START_BOND)  # the estimate of everything else goes on


def test_an_equilibrium_that_is_pinned_stays_where_it_is():
    systems, forcefield = perceive([load_molecule("hcn")], torsions=False)
    forcefield = replace(forcefield, bond_lengths=[1.0, 1.0]).with_bounds(bond_lengths=[(0.5, 3.0), (1.0, 1.0)])
    found = estimate_force_constants(systems, forcefield)
    assert found.angle_values.tolist() == [180.0] and found.bond_lengths[1] == 1.0 != found.bond_lengths[0]
    assert np.all(found.bond_force_constants != START_BOND)


def test_a_transition_state_estimated_as_it_is_may_have_negative_force_constants():
    systems, forcefield = perceive([load_molecule("sn2_ts")], bond_tolerance=1.5)
    assert forcefield.bounds.lb[0] == 0.0
    assert estimate_force_constants(systems, forcefield, transition_state=True).bounds.lb[0] == -3600.0


def test_bad_arguments_are_refused_with_a_remedy():
    systems, forcefield = perceive_bare([diatomic(0.5)])
    with pytest.raises(TopologyError, match="at least one System"):
        estimate_force_constants([], forcefield)
    with pytest.raises(ParameterError, match="scaling is -1"):
        estimate_force_constants(systems, forcefield, scaling=-1.0)
    with pytest.raises(ParameterError, match="2 values for 1 systems"):
        estimate_force_constants(systems, forcefield, transition_state=[True, False])
    with pytest.raises(TopologyError, match="the bond type 0, but the force field has 0"):
        estimate_force_constants(systems, ForceField(form="harmonic"))
