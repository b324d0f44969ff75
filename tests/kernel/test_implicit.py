"""Derivatives through relaxation where they are hard: soft modes, straight and nearly straight angles, saddle points.

Two kinds of terms and torsions only. Compared with differences of sixth order, whose own error is some 1e-10.
"""

from dataclasses import replace

import numpy as np
import pytest
import tolerances
from oracles.cases import at, bent_hcn, rotation

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System, relax_systems
from q2mm_accel.datasets import load_molecule
from q2mm_accel.model import topology

STENCIL = ((-3, -1.0), (-2, 9.0), (-1, -45.0), (1, 45.0), (2, -9.0), (3, 1.0))
SOFT = 5e-4
"""[kcal/mol] Of the torsion: its curvature is a millionth of that of the O-O bond."""

FORCEFIELD = ForceField(
    form="harmonic",
    bond_force_constants=[350.0, 480.0, 600.0, 20.0],
    bond_lengths=[1.46, 0.97, 1.15, 1.7],
    angle_force_constants=[60.0, 25.0, 25.0],
    angle_values=[100.0, 180.0, 179.5],
    torsion_force_constants=[SOFT, 1.3],
    torsion_periodicities=[1, 2],
    torsion_phases=[-45.0, 10.0],
)


def peroxide(torsion: int, coordinates=None) -> System:
    """H2O2 with a torsion of this type: O, O, H, H."""
    molecule = load_molecule("h2o2")
    if coordinates is not None:
        molecule = at(molecule, coordinates)
    return System(
        molecule,
        bond_atoms=[(0, 1), (0, 2), (1, 3), (1, 2)],  # the last one strains the others
        bond_types=[0, 1, 1, 3],
        angle_atoms=[(1, 0, 2), (0, 1, 3)],
        angle_types=[0, 0],
        torsion_atoms=[(2, 0, 1, 3)],
        torsion_types=[torsion],
    )


def nitrile(angle: int, bend: float, seed: int) -> System:
    """HCN with an angle of this type, bent at the start and turned."""
    points = bent_hcn(bend).coordinates @ rotation(np.random.default_rng(seed)).T
    molecule = Molecule("HCN", points, name=f"hcn {angle} {bend}")
    return System(molecule, bond_atoms=[(0, 1), (1, 2)], bond_types=[1, 2], angle_atoms=[(0, 1, 2)], angle_types=[angle])


SYSTEMS = [peroxide(0), peroxide(1), nitrile(1, 0.0, 1), nitrile(1, 0.2, 2), nitrile(2, 0.1, 3)]


def references_of(systems) -> list[Reference]:
    found = []
    for number, system in enumerate(systems):
        found += [Reference("bond_length", 1.2, 10.0, number, tuple(atoms)) for atoms in system.bond_atoms.tolist()]
        found += [Reference("bond_angle", 120.0, 1.0, number, tuple(atoms)) for atoms in system.angle_atoms.tolist()]
        found += [Reference("torsion_angle", -170.0, 1.0, number, tuple(atoms)) for atoms in system.torsion_atoms.tolist()]
        found += [Reference("relaxed_frequency", 1000.0, 0.1, number, 2)]
    return found


def assert_exact(objective):
    """The Jacobian of all residuals against differences."""
    x = objective.x0
    jacobian = objective.residuals_jac(x)
    gradient = objective.jac(x)
    expected = 2.0 * jacobian.T @ objective.residuals(x)
    assert np.abs(gradient - expected).max() <= tolerances.JAC * np.abs(expected).max()
    for number, label in enumerate(objective.labels):
        unit = SOFT if label.startswith("torsion 0") else objective.typical_scale[number]
        # wide enough that rounding, which soft modes make large, is little beside the difference
        step = unit * (0.1 if unit == SOFT else 1e-2)
        moved = ((factor, x + times * step * np.eye(len(x))[number]) for times, factor in STENCIL)
        differences = sum(factor * objective.residuals(each) for factor, each in moved) / (60.0 * step)
        # where nothing depends on the parameter, as an angle that the energy has at 180 degrees, by a tenth per unit
        scale = max(np.abs(jacobian[:, number]).max(), 0.1 / unit)
        error = np.abs(jacobian[:, number] - differences).max() / scale
        print(f"{label}: {error:.1e}")
        assert error <= tolerances.RELAXED_JAC_SOFT, label


@pytest.mark.exhaustive
def test_soft_modes_straight_angles_and_saddle_points_have_exact_derivatives():
    systems, upward = [*SYSTEMS, peroxide(1, PLANAR)], [*[0] * len(SYSTEMS), 1]
    points = relax_systems(systems, FORCEFIELD, n_maximized=upward)
    assert [(point.converged, point.n_negative) for point in points] == [(True, count) for count in upward]
    soft = np.linalg.eigvalsh(points[0].hessian)
    print(f"condition {soft[-1] / soft[6]:.1e}")
    assert soft[-1] / soft[6] > 5e5
    # an equilibrium of 180 degrees cannot be left to both sides
    active = [label for label in FORCEFIELD.labels if label != "angle 1 theta0"]
    assert_exact(FusedObjective(systems, FORCEFIELD, references_of(systems), active=active, n_maximized=upward))


PLANAR = np.array([[0.73, 0.0, 0.0], [-0.73, 0.0, 0.0], [0.95, 0.94, 0.1], [-0.95, -0.94, 0.0]])
"""H2O2, nearly trans, between its minima: O, O, H, H."""


def test_torsions_are_compared_across_180_degrees():
    """-177 beside 179 is 4 degrees off, and the derivative has the sign of these 4 degrees."""
    system = peroxide(0)
    pulled = replace(system, bond_atoms=[*system.bond_atoms.tolist(), (2, 3)], bond_types=[*system.bond_types.tolist(), 3])
    stiffness = (19.9, 20.0, 20.1)
    # torsions have their minimum at -179 degrees, hydrogens pull each other away from there
    fields = [replace(FORCEFIELD, torsion_phases=[1.0, 10.0], torsion_force_constants=[each, 1.3]) for each in stiffness]
    atoms = np.array([[2, 0, 1, 3]])
    before, dihedral, after = (
        float(topology.dihedral_values(relax_systems([pulled], each)[0].coordinates, atoms)[0]) for each in fields
    )
    assert -178.5 < dihedral < -176.0
    references = [Reference("torsion_angle", 179.0, 1.0, 0, (2, 0, 1, 3))]
    objective = FusedObjective([pulled], fields[1], references, active=["torsion 0 k", "bond 0 r0"])
    (residual,) = objective.residuals(objective.x0)
    assert residual == pytest.approx(179.0 - (dihedral + 360.0), abs=np.degrees(tolerances.RELAXED_DISTANCE))
    # stiffer torsions are nearer to their own minimum, and so to the reference
    by_stiffness = objective.jac(objective.x0)[objective.labels.index("torsion 0 k")]
    assert after < dihedral < before and by_stiffness < 0.0
    slope = (after - before) / (stiffness[2] - stiffness[0])
    assert by_stiffness == pytest.approx(-2.0 * residual * slope, rel=tolerances.COARSE_DIFFERENCE)
