"""References to the force field's own geometries and frequencies there, beside those at the QM geometries.

Three molecules with all kinds of terms of q2mm, one of them linear, in one program: values against `relax_systems`, exact
derivatives against high-order differences, company, errors.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from oracles.cases import at, rotation, systems_with_all_terms

from q2mm_accel import FusedObjective, Molecule, Reference, ReferenceData, System, relax_systems
from q2mm_accel.errors import (
    OptionError,
    PrecisionError,
    ReferenceDataError,
    RelaxationError,
    TopologyError,
)
from q2mm_accel.model import topology
from q2mm_accel.model.system import Background
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")


@cache
def originals():
    """Exactly linear, planar, chiral."""
    return systems_with_all_terms("harmonic", ("hcn", "formaldehyde", "h2o2"))


STENCIL = ((-3, -1.0), (-2, 9.0), (-1, -45.0), (1, 45.0), (2, -9.0), (3, 1.0))
"""Of a first derivative to sixth order, by 60 times the step."""


def references_of(systems) -> ReferenceData:
    """Geometry and two frequencies at the own minima; frequencies and energies at the QM geometries."""
    references = ReferenceData()
    for number, system in enumerate(systems):
        references.add_geometry(system.molecule, system=number, torsions=system.torsion_atoms[:4])
        for mode in (0, 1):
            references.add(Reference("relaxed_frequency", 900.0, 0.01, number, mode))
        references.add_energy(3.0, weight=0.05, system=number)
    references.add_frequencies(systems[2].molecule.frequencies()[8:], range(8, 12), weight=0.01, system=2)
    return references


@cache
def objective():
    systems, forcefield = originals()
    return FusedObjective(systems, forcefield, references_of(systems))


def of_kind(kind):
    return objective().references.is_kind(kind)


def test_values_are_those_of_the_own_minima():
    systems, forcefield = originals()
    references = objective().references
    found = references.value - objective().residuals(objective().x0) / references.weight
    points = relax_systems(systems, forcefield)
    functions = {
        "bond_length": (topology.distances, 2),
        "bond_angle": (topology.angle_values, 3),
        "torsion_angle": (topology.dihedral_values, 4),
    }
    for kind, (measure, width) in functions.items():
        rows = np.flatnonzero(of_kind(kind))
        assert len(rows)
        for row in rows:
            reference = references[row]
            coordinates = points[reference.system].coordinates
            expected = measure(coordinates, references.indices[row : row + 1, :width])[0]
            turns = np.round((found[row] - expected) / 360.0) if kind == "torsion_angle" else 0.0
            assert abs(found[row] - 360.0 * turns - expected) <= np.degrees(tolerances.RELAXED_DISTANCE), reference
            if kind == "torsion_angle":
                assert abs(found[row] - reference.value) <= 180.0
    for row in np.flatnonzero(of_kind("relaxed_frequency")):
        reference = references[row]
        point, molecule = points[reference.system], systems[reference.system].molecule
        scale = 1.0 / np.sqrt(np.repeat(molecule.masses, 3))
        values = np.linalg.eigvalsh(point.hessian * KCALMOLA2_TO_HESSIAN_AU * np.outer(scale, scale))
        rigid = 5 if molecule.name == "hcn" else 6
        assert (np.abs(values[:rigid]) < 1e-9).all()
        assert found[row] == pytest.approx(FREQUENCY_FACTOR * np.sqrt(values[rigid + reference.index]), abs=1e-5)


@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_derivatives_are_exact(every):
    """Of all residuals by every parameter or some of them, and so of the loss; second ones in `test_relaxed_pairs` too."""
    own = objective()
    x, jacobian, residuals = own.x0, own.residuals_jac(own.x0), own.residuals(own.x0)
    gradient = own.jac(x)
    assert np.abs(2.0 * jacobian.T @ residuals - gradient).max() <= tolerances.JAC * np.abs(gradient).max()
    if every == 1:
        assert np.abs(own.hess(x) - 2.0 * jacobian.T @ jacobian).max() <= tolerances.JAC * np.abs(own.hess(x)).max()
    worst = 0.0
    for number, step in [*enumerate(3e-3 * own.typical_scale)][::every]:
        moved = [(factor, x + times * step * np.eye(len(x))[number]) for times, factor in STENCIL]
        expected = sum(factor * own.residuals(each) for factor, each in moved) / (60.0 * step)
        scale = np.abs(jacobian[:, number]).max()
        if scale > 0.0:
            worst = max(worst, np.abs(jacobian[:, number] - expected).max() / scale)
    print(f"derivatives of {len(residuals)} residuals by {len(x)} parameters: {worst:.1e}")
    assert worst <= tolerances.RELAXED_JAC


@pytest.mark.exhaustive
def test_nothing_but_the_molecules_themselves_counts():
    """Their orientation, batches that take turns, repetition."""
    systems, forcefield = originals()
    own, x = objective(), objective().x0
    value, gradient = own.fun_and_jac(x)
    turned = [
        replace(system, molecule=at(system.molecule, system.molecule.coordinates @ turn.T + 5.0))
        for system, turn in zip(systems, map(rotation, map(np.random.default_rng, range(9))), strict=False)
    ]
    geometry = own.references.take(own.references.is_relaxed())
    alone = FusedObjective(systems, forcefield, geometry, batch_size=2)
    other = FusedObjective(turned, forcefield, geometry, batch_size=2)
    for found in (other.residuals(x), own.residuals(x)[own.references.is_relaxed()]):
        np.testing.assert_allclose(found, alone.residuals(x), rtol=0.0, atol=tolerances.RELAXED_RESIDUAL)
    np.testing.assert_allclose(
        other.jac(x), alone.jac(x), rtol=0.0, atol=tolerances.RELAXED_JAC * np.abs(alone.jac(x)).max()
    )
    again = FusedObjective(systems, forcefield, own.references)
    assert again.fun(x) == value
    np.testing.assert_array_equal(again.jac(x), gradient)


def test_a_molecule_that_is_not_held_is_an_error_that_names_it():
    own = objective()
    labels = np.array(own.labels)
    bonds = np.char.startswith(labels, "bond") & np.char.endswith(labels, " k")
    bad = np.where(bonds, -1.0, 1.0) * own.x0
    value = own.fun(own.x0)
    for function in (own.fun, own.jac, own.residuals, own.residuals_jac, own.hess):
        with pytest.raises(
            RelaxationError, match=r"does not hold 3 molecule.*hcn: .*kcal/mol/Å.*formaldehyde: .*Best loss so far"
        ):
            function(bad)
    assert own.best is not None
    assert own.best.fun <= value


def test_parameters_that_make_no_sense_are_named():
    """Depths below 0; those of 0 make sense."""
    own = objective()
    labels = np.array(own.labels)

    def changed(ending, value):
        return np.where(np.char.endswith(labels, ending), value, own.x0)

    with pytest.raises(RelaxationError, match=r"formaldehyde: .*not finite.*bounds: vdw H epsilon = -0\.1"):
        own.fun(changed("epsilon", -0.1))
    assert np.isfinite(own.fun(changed("epsilon", 0.0)))


def test_references_that_cannot_be_are_refused():
    systems, forcefield = originals()

    def refused(error, words, reference, systems=systems, **options):
        with pytest.raises(error, match=words):
            FusedObjective(systems, forcefield, [reference], **options)

    bond = Reference("bond_length", 1.1, system=2, index=(0, 1))
    refused(ReferenceDataError, r"\(h2o2\): index \(0, 9\)", replace(bond, index=(0, 9)))
    refused(ReferenceDataError, r"different atoms", replace(bond, index=(1, 1)))
    refused(ReferenceDataError, r"no system 7", replace(bond, system=7))
    refused(
        ReferenceDataError,
        r"\(h2o2\): index 6 is out of range; 4 atoms have 6 vib",
        Reference("relaxed_frequency", 1.0, 1.0, 2, 6),
    )
    refused(
        ReferenceDataError,
        r"\(hcn\): index 4 is out of range; 3 atoms have 4 vib",
        Reference("relaxed_frequency", 1.0, 1.0, 0, 4),
    )
    refused(PrecisionError, r"relaxed in float64 only.*'mixed'", bond, precision="mixed")
    n = systems[2].molecule.n_atoms
    fixed = systems[2].with_background(Background(0.0, np.zeros((n, 3)), np.zeros((3 * n, 3 * n))))
    refused(TopologyError, r"h2o2: it has a background", bond, [*systems[:2], fixed, *systems[3:]])
    refused(
        ReferenceDataError,
        r"\(hcn\): the angle of the atoms \[1, 0, 2\] is 0 degrees",
        Reference("bond_angle", 5.0, 1.0, 0, (1, 0, 2)),
    )
    line = Molecule("HCCH", [[0.0, 0.0, z] for z in (-1.66, -0.6, 0.6, 1.66)], name="c2h2")
    straight = Reference("torsion_angle", 180.0, index=(0, 1, 2, 3))
    refused(ReferenceDataError, r"c2h2\): the torsion.*straight angle", straight, [System(line)])
    references = ReferenceData()
    for words, options in (
        (r"h2o2: bonds name the atoms \[0, 9\]", {"bonds": [[0, 9]]}),
        (r"h2o2: angles must be integers of shape \(n, 3\)", {"angles": [[0, 1]]}),
    ):
        with pytest.raises(ReferenceDataError, match=words):
            references.add_geometry(systems[2].molecule, **options)


def test_frozen_terms_move_with_their_molecules():
    """They are constants at the QM geometry, but not where a molecule relaxes."""
    systems, forcefield = originals()
    references = references_of(systems)
    some = FusedObjective(systems, forcefield, references, active=["bond *"])
    np.testing.assert_allclose(
        some.residuals(some.x0), objective().residuals(objective().x0), rtol=0.0, atol=tolerances.RELAXED_RESIDUAL
    )


def test_with_a_penalty_a_molecule_that_falls_apart_counts_by_its_forces():
    systems, forcefield = originals()
    system = systems[2]
    references = ReferenceData()
    references.add_geometry(system.molecule, torsions=[])
    objective = FusedObjective([system], forcefield, references, unrelaxed_penalty=0.01, active=["bond *", "angle *"])
    labels = np.array(objective.labels)
    bonds = np.char.startswith(labels, "bond") & np.char.endswith(labels, " k")
    bad = np.where(bonds, -1.0, 1.0) * objective.x0
    assert objective.fun(bad) > 100.0 * objective.fun(objective.x0)
    # smooth, and downhill where forces become smaller
    gradient, direction = objective.jac(bad), objective.typical_scale
    moved = ((factor, bad + 1e-3 * times * direction) for times, factor in STENCIL)
    slope = sum(factor * objective.fun(each) for factor, each in moved) / (60.0 * 1e-3)
    assert slope == pytest.approx(gradient @ direction, rel=tolerances.STENCIL)
    assert np.abs(gradient).max() > 0.0
    with pytest.raises(OptionError, match="unrelaxed_penalty is -1"):
        FusedObjective([system], forcefield, references, unrelaxed_penalty=-1.0)
