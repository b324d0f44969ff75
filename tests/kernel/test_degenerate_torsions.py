"""Dihedrals at special values and along nearly straight triples, and padded terms whose atoms coincide.

Covered: 0, +-90 and 180 degrees and the jump from 180 to -180, periodicities 1 to 6, three phases; inner angles up to
179.9 degrees, and the error beyond; loss and gradient with three fillings of the padding.
"""

import math

import jax
import numpy as np
import pytest
import tolerances
from helpers import evaluate_all, problem_of
from oracles import exact
from oracles.cases import references_of_all_kinds, systems_with_all_terms
from oracles.draws import chain

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System
from q2mm_accel.errors import TopologyError
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.model.plausibility import CHECKS


def torsion_systems(dihedrals, inner=(109.0, 115.0)):
    """H-C-C-H with dihedrals and inner angles in degrees, in random frames, each torsion with its own type."""
    rng = np.random.default_rng(3)
    points = [chain(rng, [1.1, 1.5, 1.2], list(np.radians(inner)), math.radians(dihedral)) for dihedral in dihedrals]
    molecules = [Molecule("HCCH", each, waived=CHECKS) for each in points]
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
    found = []
    for system, evaluation in zip(systems, evaluate_all(systems, forcefield), strict=True):
        gradient = exact.to_array(exact.gradient(system, forcefield)).reshape(-1, 3)
        hessian = exact.to_array(exact.hessian(system, forcefield))
        # at an extremum there is no force; its scale is that of the Hessian, here per Å
        scale = max(np.abs(gradient).max(), np.abs(hessian).max())
        energy = float(exact.energy(system, forcefield))
        found.append(
            (
                abs(evaluation.energy - energy) / np.abs(forcefield.torsion_force_constants).max(),
                np.abs(evaluation.gradient - gradient).max() / scale,
                np.abs(evaluation.hessian - hessian).max() / np.abs(hessian).max(),
            )
        )
    worst = np.max(found, axis=0)
    print("torsions: energy {:.1e}, force {:.1e}, Hessian {:.1e}".format(*worst))
    assert np.all(worst <= [tolerances.ENERGY, tolerances.FORCE, tolerances.HESSIAN])


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
    return System(Molecule("HCCH", points, waived=CHECKS), torsion_atoms=[(0, 1, 2, 3)], torsion_types=[0])


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
    assert any(not np.all(terms.present) for terms in problem.stacks[0].terms.values()), "no term is padded"
    assert any(
        np.any((bucket.geometry.distance == 0.0) & ~bucket.pairs["vdw"].present) for bucket in problem.stacks[0].buckets
    )
    assert np.isfinite(results[0][0])
    for loss, gradient in results[1:]:
        assert float(loss) == float(results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])
