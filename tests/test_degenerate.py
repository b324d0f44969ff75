"""Geometries at which a coordinate or its derivatives break down: straight and closed angles, planar torsions, no distance.

Covered: exactly linear molecules; angles from 179 degrees to within 1e-13 rad of linear, on both sides of the guard of
`kernel/coordinates.py`, for an equilibrium of 180 degrees and others, both forms; angles near 0; torsions at 0, 90 and
180 degrees and along nearly straight triples; errors and warnings; padded terms whose atoms coincide.
"""

import math
import warnings

import jax
import numpy as np
import pytest
import tolerances
from helpers import evaluate, evaluate_all, problem_of
from oracles import exact
from oracles.cases import FORMS, bent_hcn, carbon_dioxide, references_of_all_kinds, rotation, systems_with_all_terms
from oracles.draws import chain
from oracles.formulas import bond_angle, mp, mpf, term_energy

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import LinearAngleWarning, TopologyError
from q2mm_accel.kernel import residuals as kernel
from q2mm_accel.kernel.coordinates import NEARLY_LINEAR, angle_pieces
from q2mm_accel.model.perception import angles
from q2mm_accel.model.typing import perceive

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
    (system,), start = perceive([LINEAR[name]], form=form, torsions=False)
    assert np.all(np.abs(start.angle_values - 180.0) <= 1e-12)
    values = {"bond_lengths": 0.95 * start.bond_lengths, "angle_values": np.full_like(start.angle_values, 180.0)}
    constants = {name: getattr(start, name) for name in ("bond_force_constants", "angle_force_constants")}
    return system, ForceField(form=form, **values, **constants)


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_angle_is_180_degrees_to_the_last_digit_in_any_orientation(name):
    molecule, rng = LINEAR[name], np.random.default_rng(1)
    triples = angles(perceive([molecule], torsions=False)[0][0].bond_atoms)
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
    assert np.abs(evaluation.gradient - gradient).max() <= tolerances.FORCE * np.abs(gradient).max()
    assert np.abs(evaluation.hessian - hessian).max() <= tolerances.HESSIAN * np.abs(hessian).max()


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
    assert hessians.max() <= tolerances.HESSIAN


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


def torsion_systems(dihedrals, inner=(109.0, 115.0)):
    """H-C-C-H with dihedrals and inner angles in degrees, in random frames, each torsion with its own type."""
    rng = np.random.default_rng(3)
    points = [chain(rng, [1.1, 1.5, 1.2], list(np.radians(inner)), math.radians(dihedral)) for dihedral in dihedrals]
    molecules = [Molecule("HCCH", each, check=False) for each in points]
    return [
        System(molecule, torsion_atoms=[(0, 1, 2, 3)], torsion_types=[number]) for number, molecule in enumerate(molecules)
    ]


@pytest.mark.parametrize("straight", [0, 1])
@pytest.mark.parametrize("angle", [180.0, 179.95])
def test_a_torsion_through_a_straight_angle_is_an_error(angle, straight):
    inner = (angle, 110.0) if straight == 0 else (110.0, angle)
    forcefield = ForceField(form="harmonic", torsion_force_constants=[1.0])
    with pytest.raises(TopologyError, match=r"torsion 0 of the atoms \[0, 1, 2, 3\] passes through a straight angle"):
        FusedObjective(torsion_systems([60.0], inner), forcefield, [Reference("energy", 0.0)])


def assert_torsions_are_exact(systems, forcefield):
    """Energies, forces and Hessians of torsions."""
    for system, evaluation in zip(systems, evaluate_all(systems, forcefield), strict=True):
        gradient = exact.to_array(exact.gradient(system, forcefield)).reshape(-1, 3)
        hessian = exact.to_array(exact.hessian(system, forcefield))
        # at an extremum there is no force; its scale is that of the Hessian, here per Å
        scale = max(np.abs(gradient).max(), np.abs(hessian).max())
        energy = float(exact.energy(system, forcefield))
        assert abs(evaluation.energy - energy) <= tolerances.ENERGY * np.abs(forcefield.torsion_force_constants).max()
        assert np.abs(evaluation.gradient - gradient).max() <= tolerances.FORCE * scale
        assert np.abs(evaluation.hessian - hessian).max() <= tolerances.HESSIAN * np.abs(hessian).max()


DIHEDRALS = (0.0, 90.0, -90.0, 180.0, -180.0, 179.9999999999, -179.9999999999, 1e-10, -1e-10, 60.0)


@pytest.mark.parametrize("phase", [0.0, 180.0, 37.0])
def test_torsions_are_exact_at_special_dihedrals_and_all_periodicities(phase):
    cases = [(dihedral, periodicity) for periodicity in range(1, 7) for dihedral in DIHEDRALS]
    dihedrals, periodicities = zip(*cases, strict=True)
    forcefield = ForceField(
        form="harmonic",
        torsion_force_constants=np.full(len(cases), 1.7),
        torsion_periodicities=periodicities,
        torsion_phases=np.full(len(cases), phase),
    )
    assert_torsions_are_exact(torsion_systems(dihedrals), forcefield)


def test_torsions_are_exact_along_nearly_straight_triples():
    for inner in (170.0, 175.0, 179.0, 179.9):
        forcefield = ForceField(form="harmonic", torsion_force_constants=[1.7] * 3, torsion_periodicities=[1, 2, 3])
        assert_torsions_are_exact(torsion_systems([-170.0, 20.0, 100.0], (inner, 112.0)), forcefield)


def planar_chain(offset):
    """H-C-C-H in the xy plane, trans, the last atom `offset` [Å] above it."""
    points = [[-0.5, 1.0, 0.0], [0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [2.0, -1.0, offset]]
    return System(Molecule("HCCH", points, check=False), torsion_atoms=[(0, 1, 2, 3)], torsion_types=[0])


@pytest.mark.parametrize("periodicity", range(1, 7))
def test_energy_force_and_hessian_are_continuous_where_the_dihedral_jumps_from_180_to_minus_180(periodicity):
    forcefield = ForceField(
        form="harmonic",
        torsion_force_constants=[1.7],
        torsion_periodicities=[periodicity],
        torsion_phases=[40.0],
    )
    tiny = 1e-15
    below, above = evaluate_all([planar_chain(-tiny), planar_chain(tiny)], forcefield)
    scale = np.abs(below.hessian).max()
    # derivatives of n times the energy's grow as n per Å of displacement
    assert abs(below.energy - above.energy) <= 10.0 * periodicity * scale * tiny
    assert np.abs(below.gradient - above.gradient).max() <= 10.0 * periodicity * scale * tiny
    assert np.abs(below.hessian - above.hessian).max() <= 100.0 * periodicity * scale * tiny


def test_padded_terms_and_pairs_without_any_distance_leave_no_trace():
    systems, forcefield = systems_with_all_terms("mm3")
    references = list(references_of_all_kinds(systems))
    systems = [*systems, *[systems[0]] * 12]
    plan = [[0, *range(5, 17)], [1, 2, 3, 4]]
    evaluation = jax.jit(jax.value_and_grad(kernel.loss, argnums=1))
    results = [
        evaluation(problem_of(systems, forcefield, references, plan=plan, fill=fill), forcefield.parameters)
        for fill in (0.0, 1e30, np.nan)
    ]
    problem = problem_of(systems, forcefield, references, plan=plan, fill=0.0)
    assert any(not np.all(terms.present) for terms in problem.terms.values()), "no term is padded"
    assert any(np.any((bucket.pairs.distance == 0.0) & ~bucket.pairs.present) for bucket in problem.buckets)
    assert np.isfinite(results[0][0])
    for loss, gradient in results[1:]:
        assert float(loss) == float(results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])
