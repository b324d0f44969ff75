"""What a force field does by itself: figures against plain arithmetic, and what is said where it does not hold."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import evaluate
from tolerances import FREQUENCY

from q2mm_accel import (
    ForceField,
    FusedObjective,
    Molecule,
    ReferenceData,
    System,
    estimate_force_constants,
    perceive,
    validate,
)
from q2mm_accel.datasets import load_molecule
from q2mm_accel.problem.checks import used_parameters
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU


@pytest.fixture(scope="module")
def water():
    molecule = load_molecule("water")
    systems, forcefield = perceive([molecule])
    return systems, estimate_force_constants(systems, forcefield)


def test_a_force_field_at_rest_is_where_it_was(water):
    systems, forcefield = water
    found = validate(systems, forcefield)
    (molecule,) = found.molecules
    assert found.converged and found.held and found.n_imaginary == 0 and not molecule.broken
    assert np.abs(found.bond_deviations).max() < 1e-9 and np.abs(found.angle_deviations).max() < 1e-7
    assert found.rmsd[0] < 1e-9 and abs(found.energy_drop[0]) < 1e-12 and found.largest_force[0] < 1e-9
    scale = 1.0 / np.sqrt(np.repeat(systems[0].molecule.masses, 3))
    own = KCALMOLA2_TO_HESSIAN_AU * scale[:, None] * evaluate(systems[0], forcefield).hessian * scale
    frequencies = FREQUENCY_FACTOR * np.sqrt(np.linalg.eigvalsh(own)[6:])
    np.testing.assert_allclose(molecule.own, frequencies, atol=FREQUENCY)
    np.testing.assert_allclose(molecule.at_qm, frequencies, atol=FREQUENCY)
    deviation = np.sqrt(np.mean((frequencies - systems[0].molecule.normal_modes.frequencies) ** 2))
    assert found.frequency_rmsd == pytest.approx(deviation) == found.frequency_rmsd_at_qm
    assert molecule.matched.tolist() == [0, 1, 2] and found.n_data == 9 and found.n_parameters == 4


def test_other_equilibria_move_the_molecule_there(water):
    systems, forcefield = water
    k, r0, bend, theta0 = forcefield.parameters
    found = validate(systems, forcefield.with_parameters([k, r0 + 0.03, bend, theta0 - 10.0]))
    (molecule,) = found.molecules
    np.testing.assert_allclose(found.bond_deviations, 0.03, atol=1e-9)
    np.testing.assert_allclose(found.angle_deviations, -10.0, atol=1e-7)
    drop = 2.0 * k * 0.03**2 + bend * np.radians(10.0) ** 2
    assert found.energy_drop[0] == pytest.approx(drop) and not found.held and molecule.converged
    assert any("does not hold" in line and "H" in line for line in found.warnings)


def test_what_to_distrust_is_said_in_plain_words(water):
    systems, forcefield = water
    bounds = forcefield.with_bounds(bond_force_constants=(0.0, forcefield.bond_force_constants[0]))
    assert any("at a bound: bond" in line for line in validate(systems, bounds).warnings)
    _, r0, bend, theta0 = forcefield.parameters
    text = str(validate(systems, forcefield.with_parameters([-300.0, r0, bend, theta0])))
    assert "below 0" in text and ("stationary point" in text or "imaginary" in text or "broken" in text)


def test_what_has_no_effect_is_named(water):
    """Equilibria whose force constants are 0, and parameters of types that no term has."""
    systems, forcefield = water
    k, r0, _, theta0 = forcefield.parameters
    (free,) = (label for label in forcefield.labels if label.endswith("theta0"))
    found = validate(systems, forcefield.with_parameters([k, r0, 0.0, theta0]))
    assert found.idle == (free,) and found.unused == ()
    assert any(f"without effect, for force constants are 0: {free}" in line for line in found.warnings)
    assert validate(systems, forcefield).idle == ()
    # a coupling of 0 reads equilibria, but they have no effect by it either
    coupled, start = perceive([systems[0].molecule], stretch_bend=True)
    assert coupled[0].kinds["bond_bend"].reads and not start.bond_bend_force_constants.any()
    for coupling in (0.0, 5.0):
        loose = replace(start, **{f"{kind}_force_constants": [0.0] for kind in ("bond", "angle")})
        loose = replace(loose, bond_bend_force_constants=np.full(start.n_types("bond_bend"), coupling))
        acting = used_parameters(coupled, loose, only_with_effect=True)
        assert used_parameters(coupled, loose).all()
        assert acting.tolist() == [label.endswith(" k") or coupling != 0.0 for label in start.labels]


def test_bonds_that_break_or_form_are_named():
    """The hydrogens of H2O2, of which nothing but two bonds and a spring between them holds anything else."""
    molecule = load_molecule("h2o2")
    assert molecule.symbols == ("O", "O", "H", "H")
    bonds = {"bond_atoms": [(0, 1), (0, 2), (1, 3)], "bond_types": [0, 1, 1]}
    system = System(molecule, **bonds, urey_bradley_atoms=[(2, 3)], urey_bradley_types=[0])
    forcefield = ForceField(
        form="harmonic",
        bond_force_constants=[350.0, 480.0],
        bond_lengths=[1.46, 0.97],
        urey_bradley_force_constants=[400.0],
        urey_bradley_lengths=[0.7],
    )
    (met,) = validate([system], forcefield).molecules
    assert met.converged and met.formed == ("H2-H3",) and met.broken == () and not met.held
    assert any("changes its bonds: H2-H3 formed." in line for line in met.warnings())
    longer = forcefield.with_parameters([350.0, 1.46, 480.0, 1.6, 0.0, 1.0])
    (torn,) = validate([system], longer).molecules
    assert torn.formed == () and torn.broken == ("O0-H2", "O1-H3")
    assert any("changes its bonds: O0-H2, O1-H3 broken." in line for line in torn.warnings())


def test_printing_takes_25_lines_at_most():
    molecules = [load_molecule("water")] * 40
    systems, forcefield = perceive(molecules)
    forcefield = estimate_force_constants(systems, forcefield)
    lines = str(validate(systems, forcefield)).splitlines()
    assert len(lines) <= 25 and any("14 of 40" in line for line in lines)


def test_a_molecule_that_becomes_straight_is_told_of(water):
    systems, forcefield = water
    k, r0, bend, _ = forcefield.parameters
    (molecule,) = validate(systems, forcefield.with_parameters([k, r0, bend, 180.0])).molecules
    assert molecule.angles.largest > 70.0 and not molecule.held and len(molecule.own) == 3


def test_frequencies_that_only_hold_at_the_qm_geometry_are_told_of(water):
    (molecule,) = validate(*water).molecules
    off = replace(molecule, at_qm=molecule.quantum + 20.0, own=molecule.quantum + 100.0)
    assert [line for line in off.warnings() if "100 cm⁻¹ off at its own minimum, 20 at the QM geometry" in line]
    assert not list(replace(off, own=molecule.quantum + 35.0).warnings())


def test_molecules_without_hessian_have_no_frequencies():
    water = load_molecule("water")
    systems, forcefield = perceive([Molecule(water.symbols, water.coordinates)])
    found = validate(systems, forcefield)
    assert found.converged and np.isnan(found.frequency_rmsd) and len(found.molecules[0].quantum) == 0
    assert "-" in str(found)


def test_an_atom_has_nothing_to_compare():
    helium = Molecule(["He"], np.zeros((1, 3)), np.zeros((3, 3)))
    found = validate(*perceive([helium]))
    assert found.converged and found.held and found.n_data == 0 and "nan" not in str(found)


def test_forces_of_frames_are_data(water):
    """Without Hessian, three of a water's nine forces are none of rigid motions."""
    systems, forcefield = water
    molecule = systems[0].molecule
    frame = Molecule(molecule.symbols, molecule.coordinates, gradient=np.zeros((3, 3)))
    found = validate([replace(systems[0], molecule=frame)] * 2, forcefield)
    assert found.n_data == 6 and not any("QM data" in line for line in found.warnings)


def test_huge_figures_keep_columns_apart(water):
    systems, forcefield = water
    found = validate(systems, forcefield)
    wild = replace(found.molecules[0], own=np.full(3, 1.5e12))
    assert str(replace(found, molecules=(wild,))).splitlines()[2].split()[2] == "1e+12"


def test_a_direct_solve_holds_ethane_that_a_fit_of_frequencies_lets_go():
    molecule = load_molecule("ethane")
    systems, forcefield = perceive([molecule])
    forcefield = estimate_force_constants(systems, forcefield)
    references = ReferenceData()
    references.add_normal_modes(molecule)
    objective = FusedObjective(systems, forcefield, references)
    found = validate(systems, objective.forcefield(objective.solve_linear().x))
    assert found.held and not found.negative and found.frequency_rmsd < 60.0
