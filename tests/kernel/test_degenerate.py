"""Straight and closed angles, where an angle or its derivatives break down.

Covered: exactly linear molecules; angles from 179 degrees to within 1e-13 rad of linear, on both sides of the guard of
`kernel/coordinates.py`, for an equilibrium of 180 degrees and others, both forms; angles near 0; errors and warnings.
"""

import math
import warnings

import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import evaluate, evaluate_all
from oracles import exact
from oracles.cases import FORMS, bent_hcn, carbon_dioxide, rotation
from oracles.formulas import bond_angle, mp, mpf, term_energy

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import LinearAngleWarning, TopologyError
from q2mm_accel.model.topology import angles
from q2mm_accel.problem.internal import NEARLY_LINEAR, angle_pieces

ROUNDING = 2.220446049250313e-16
SUPPLEMENTS = np.sort(
    [
        *np.radians([1.0, 0.1, 0.01, 1e-4, 1e-7]),
        *(NEARLY_LINEAR * np.array([2.0, 1.01, 0.99, 0.1])),
        *(2e-6, 1e-6, 1e-7, 1e-9, 1e-11, 1e-12, 1e-13),
    ]
)[::-1]
"""[rad] 180 minus 179, 179.9, 179.99, 179.9999 degrees and nearer; both sides of the guard; down to the last digits."""
LINEAR = {"hcn": load_molecule("hcn"), "c2h2": load_molecule("c2h2"), "co2": carbon_dioxide()}


def linear_case(name, form):
    """A linear molecule with stretched bonds and angles of 180 degrees."""
    (system,), start = perceive_bare([LINEAR[name]], form=form, torsions=False)
    assert np.all(np.abs(start.angle_values - 180.0) <= 1e-12)
    values = {"bond_lengths": 0.95 * start.bond_lengths, "angle_values": np.full_like(start.angle_values, 180.0)}
    constants = {name: getattr(start, name) for name in ("bond_force_constants", "angle_force_constants")}
    return system, ForceField(form=form, **values, **constants)


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_angle_is_180_degrees_to_the_last_digit_in_any_orientation(name):
    molecule, rng = LINEAR[name], np.random.default_rng(1)
    triples = angles(perceive_bare([molecule], torsions=False)[0][0].bond_atoms)
    for turn in [np.eye(3), *(rotation(rng) for _ in range(50))]:
        points = (molecule.coordinates @ turn.T)[triples]
        supplement, first, second = angle_pieces(points)
        assert np.max(supplement) <= 1e-15
        assert np.all(np.isfinite(first)) and np.all(np.isfinite(second))
    assert np.max(angle_pieces(molecule.coordinates[triples])[0]) == 0.0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LINEAR)
def test_an_exactly_linear_molecule_is_exact(name, form):
    system, forcefield = linear_case(name, form)
    evaluation = evaluate(system, forcefield)
    gradient = exact.to_array(exact.gradient(system, forcefield)).reshape(-1, 3)
    hessian = exact.to_array(exact.hessian(system, forcefield))
    force_error = np.abs(evaluation.gradient - gradient).max() / np.abs(gradient).max()
    hessian_error = np.abs(evaluation.hessian - hessian).max() / np.abs(hessian).max()
    print(f"{name} {form}: force {force_error:.1e}, Hessian {hessian_error:.1e}")
    assert force_error <= tolerances.FORCE
    assert hessian_error <= tolerances.HESSIAN


@pytest.mark.parametrize("form", FORMS)
def test_across_a_linear_molecule_a_terminal_atom_is_as_stiff_as_2k_over_its_arm_squared(form):
    system, _ = linear_case("hcn", form)
    system = System(system.molecule, angle_atoms=system.angle_atoms, angle_types=system.angle_types)
    forcefield = ForceField(form=form, angle_force_constants=[41.0], angle_values=[180.0])
    hessian = evaluate(system, forcefield).hessian.reshape(3, 3, 3, 3)
    first, centre, last = system.angle_atoms[0]
    for atom in (first, last):
        arm = np.linalg.norm(system.molecule.coordinates[atom] - system.molecule.coordinates[centre])
        np.testing.assert_allclose(np.diag(hessian[atom, :, atom])[:2], 2.0 * 41.0 / arm**2, rtol=tolerances.CLOSED_FORM)
        assert abs(hessian[atom, 2, atom, 2]) <= tolerances.CLOSED_FORM * 41.0


def bent_systems(supplements, **terms):
    """HCN bent by each supplement, in random orientations."""
    rng = np.random.default_rng(2)
    molecules = [bent_hcn(supplement, rotation(rng)) for supplement in supplements]
    return [System(molecule, angle_atoms=[(0, 1, 2)], angle_types=[0], **terms) for molecule in molecules]


def bent_case(supplements, form, equilibrium):
    """Bent HCN with both bonds off equilibrium, and the force field."""
    systems = bent_systems(supplements, bond_atoms=[(0, 1), (1, 2)], bond_types=[0, 1])
    bonds = {"bond_force_constants": [400.0, 900.0], "bond_lengths": [1.0, 1.2]}
    return systems, ForceField(form=form, **bonds, angle_force_constants=[40.0], angle_values=[equilibrium])


def errors_of_bent(supplements, form, equilibrium):
    """Errors of the forces and of the Hessian at each supplement, relative to the molecule's largest."""
    systems, forcefield = bent_case(supplements, form, equilibrium)
    found = []
    for system, evaluation in zip(systems, evaluate_all(systems, forcefield), strict=True):
        gradient = exact.to_array(exact.gradient(system, forcefield)).reshape(-1, 3)
        hessian = exact.to_array(exact.hessian(system, forcefield))
        pairs = ((evaluation.gradient, gradient), (evaluation.hessian, hessian))
        found.append([np.abs(value - right).max() / np.abs(right).max() for value, right in pairs])
    for supplement, (force, stiffness) in zip(supplements, found, strict=True):
        print(f"{form} θ0 = {equilibrium:g}, π - θ = {supplement:.3g}: force {force:.1e}, Hessian {stiffness:.1e}")
    return np.array(found).T


@pytest.mark.parametrize("form", FORMS)
def test_towards_a_linear_angle_forces_and_hessian_stay_exact_for_an_equilibrium_of_180_degrees(form):
    forces, hessians = errors_of_bent(SUPPLEMENTS, form, 180.0)
    assert forces.max() <= tolerances.FORCE
    assert hessians.max() <= tolerances.HESSIAN
    # on either side of the guard both formulas are good to rounding, so there is no step in the error
    assert forces.max() <= tolerances.CLOSED_FORM
    assert hessians.max() <= tolerances.CLOSED_FORM


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("equilibrium", [120.0, 179.9])
def test_towards_a_linear_angle_other_equilibria_are_exact_to_the_direction_of_the_bend(form, equilibrium):
    # the direction of the bend comes from a cross product, whose terms cancel: it is known to ROUNDING / supplement
    above = SUPPLEMENTS[SUPPLEMENTS > NEARLY_LINEAR]
    forces, hessians = errors_of_bent(above, form, equilibrium)
    assert np.all(forces <= tolerances.FORCE + 4.0 * ROUNDING / above)
    assert np.all(hessians <= tolerances.HESSIAN + 4.0 * ROUNDING / above)


def hessian_without_kink(points, form, parameters):
    """Gradient and Hessian of an angle's energy less its slope at 180 degrees times (θ - π), in 150 digits."""
    step, flat = mpf(10) ** -36, [mpf(float(x)) for point in points for x in point]

    def bent_by(angle):
        arm = [mp.cos(angle), mp.sin(angle), mpf(0)]
        return term_energy("angle", form, [[mpf(-1), mpf(0), mpf(0)], [mpf(0)] * 3, arm], parameters)

    slope = (bent_by(step) - bent_by(mpf(0))) / step

    def energy(*moved):
        places = list(flat)
        for coordinate in moved:
            places[coordinate] += step
        rows = [places[start : start + 3] for start in range(0, 9, 3)]
        return term_energy("angle", form, rows, parameters) - slope * (mp.pi - bond_angle(*rows))

    here, once = energy(), [energy(i) for i in range(9)]
    gradient = np.array([float((value - here) / step) for value in once])
    rows = [[float((energy(i, j) - once[i] - once[j] + here) / step**2) for j in range(9)] for i in range(9)]
    return gradient.reshape(3, 3), np.array(rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("equilibrium", [109.5, 175.0, 179.9])
@pytest.mark.filterwarnings("ignore::q2mm_accel.errors.LinearAngleWarning")
def test_below_the_guard_an_angle_bends_as_if_its_energy_had_no_kink(form, equilibrium):
    below = SUPPLEMENTS[SUPPLEMENTS < NEARLY_LINEAR]
    systems = bent_systems(below)
    forcefield = ForceField(form=form, angle_force_constants=[40.0], angle_values=[equilibrium])
    for supplement, system, evaluation in zip(below, systems, evaluate_all(systems, forcefield), strict=True):
        parameters = (mpf(40), mpf(equilibrium))
        gradient, hessian = hessian_without_kink(system.molecule.coordinates, form, parameters)
        error = np.abs(evaluation.hessian - hessian).max() / np.abs(hessian).max()
        print(f"{form} θ0 = {equilibrium:g}, π - θ = {supplement:.3g}: Hessian {error:.1e}")
        assert np.abs(evaluation.gradient - gradient).max() <= tolerances.FORCE * 40.0
        assert error <= tolerances.HESSIAN


@pytest.mark.parametrize("equilibrium", [180.0, 175.0])
@pytest.mark.filterwarnings("ignore::q2mm_accel.errors.LinearAngleWarning")
def test_below_the_guard_the_gradient_of_the_loss_does_not_feel_the_bend(equilibrium):
    # along the bend and across it the stiffness differs by O(u), and so do loss and gradient from those of a straight angle
    points = np.array([[-1.07, 0.0, 0.0], [0.0, 0.0, 0.0]])
    forcefield = ForceField(form="mm3", angle_force_constants=[40.0], angle_values=[equilibrium])
    references = [Reference("hessian_element", 0.01 * (row + 1), 1.0, 0, (row, row)) for row in range(9)]
    found = {}
    for supplement in [0.0, *SUPPLEMENTS[SUPPLEMENTS < NEARLY_LINEAR]]:
        nitrogen = 1.15 * np.array([np.cos(supplement), 0.6 * np.sin(supplement), 0.8 * np.sin(supplement)])
        molecule = Molecule("HCN", np.vstack([points, nitrogen]))
        system = System(molecule, angle_atoms=[(0, 1, 2)], angle_types=[0])
        found[supplement] = FusedObjective([system], forcefield, references).jac(forcefield.parameters)
    straight = found.pop(0.0)
    for supplement, gradient in found.items():
        error = np.abs(gradient / straight - 1.0).max()
        print(f"θ0 = {equilibrium:g}, π - θ = {supplement:.3g}: gradient {error:.1e}")
        assert error <= tolerances.JAC + 20.0 * supplement


def test_a_linear_angle_with_another_equilibrium_warns_and_has_no_force():
    molecule = bent_hcn(0.0)
    system = System(molecule, angle_atoms=[(0, 1, 2)], angle_types=[0])
    forcefield = ForceField(form="mm3", angle_force_constants=[40.0], angle_values=[109.5])
    references = [Reference("energy", 1.0), *(Reference("frequency", 500.0, 1.0, 0, mode) for mode in range(9))]
    with pytest.warns(LinearAngleWarning, match=r"angle 0 of the atoms \[0, 1, 2\] is linear but .* 109\.5 degrees"):
        objective = FusedObjective([system], forcefield, references)
    loss, gradient = objective.fun_and_jac(objective.x0)
    assert math.isfinite(loss)
    assert np.all(np.isfinite(gradient))
    with pytest.warns(LinearAngleWarning):
        evaluation = evaluate(system, forcefield)
    np.testing.assert_array_equal(evaluation.gradient, 0.0)
    assert np.all(np.isfinite(evaluation.hessian))


def test_a_linear_angle_with_an_equilibrium_of_180_degrees_does_not_warn():
    system, forcefield = linear_case("hcn", "mm3")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FusedObjective([system], forcefield, [Reference("energy", 0.0)])


def closed_angle(degrees):
    """H and F on the same side of C."""
    outer = 2.3 * np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), 0.0])
    molecule = Molecule("HCF", [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], outer], check=False)
    return System(molecule, angle_atoms=[(0, 1, 2)], angle_types=[0])


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 0.05])
def test_an_angle_of_0_degrees_is_an_error(degrees):
    forcefield = ForceField(form="harmonic", angle_force_constants=[40.0], angle_values=[60.0])
    with pytest.raises(TopologyError, match=r"angle 0 of the atoms \[0, 1, 2\] is 0 degrees"):
        FusedObjective([closed_angle(degrees)], forcefield, [Reference("energy", 0.0)])


@pytest.mark.parametrize("form", FORMS)
def test_angles_near_0_degrees_are_exact(form):
    forcefield = ForceField(form=form, angle_force_constants=[40.0], angle_values=[60.0])
    for degrees in (0.06, 0.1, 1.0, 10.0):
        system = closed_angle(degrees)
        evaluation = evaluate(system, forcefield)
        hessian = exact.to_array(exact.hessian(system, forcefield))
        allowed = tolerances.HESSIAN + 4.0 * ROUNDING / math.radians(degrees)
        assert np.abs(evaluation.hessian - hessian).max() <= allowed * np.abs(hessian).max()
