"""The direct solve: the global minimum within bounds, recovery of known force fields, stiffness, and what is not linear."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import evaluate
from kinds_cases import forgotten_after
from tolerances import LINEAR_MINIMUM, RECOVERED

from q2mm_accel import (
    Coordinate,
    ForceField,
    FusedObjective,
    Kind,
    Molecule,
    Parameter,
    Prior,
    Reference,
    ReferenceData,
    System,
    Tie,
    estimate_force_constants,
    perceive,
    register_kind,
)
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import LinearityError, OptionError, SolverError
from q2mm_accel.model.kinds import SIGNED_BOUNDS
from q2mm_accel.solvers.linear import SOFTEST
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU


def problem(name: str, **options):
    """Systems, force field and references to the normal modes of one molecule."""
    molecule = load_molecule(name)
    systems, forcefield = perceive([molecule], **options)
    references = ReferenceData()
    references.add_normal_modes(molecule)
    return systems, estimate_force_constants(systems, forcefield), references


@pytest.fixture(scope="module")
def ethane():
    """With priors, a tie and a frozen parameter: all that an objective may have."""
    systems, forcefield, references = problem("ethane")
    (torsion,) = (label for label in forcefield.labels if label.endswith("n=1 k"))
    active = [label for label in forcefield.labels if label != torsion]
    ties = Tie("angle H(C)-C(CHHH)-H(C) k", {"angle C(CHHH)-C(CHHH)-H(C) k": 0.8})
    priors = Prior("torsion_force_constants", width=10.0)
    return FusedObjective(systems, forcefield, references, active=active, ties=ties, priors=priors, balance="count")


@pytest.fixture(scope="module")
def water():
    return FusedObjective(*problem("water"))


def test_no_fit_from_any_start_is_better(ethane):
    found = ethane.solve_linear(stiffness=None)
    fits = ethane.solve_native("levenberg-marquardt", n_starts=8, spread=0.3, tol=1e-14, gtol=1e-12)
    assert found.fun <= fits.fun * (1.0 + LINEAR_MINIMUM)
    assert found.fun == pytest.approx(ethane.fun(found.x), rel=1e-14) and found.success
    assert np.all((ethane.bounds.lb <= found.x) & (found.x <= ethane.bounds.ub))


def test_force_constants_that_would_be_below_0_are_held_there_and_named(water):
    """Where bounds go on below, as those of q2mm do: the message says what the minimum is not."""
    soft = [replace(each, value=1.0) if each.index == (0, 0) else each for each in water.references]
    signed = water.space.forcefield.with_bounds(**SIGNED_BOUNDS)
    found = FusedObjective(water.systems, signed, soft).solve_linear(stiffness=None)
    bend = water.labels[2]
    assert abs(found.x[2]) <= RECOVERED and bend in found.at_bounds
    assert (
        f"Held at 0, for their equilibria are free, although the objective's bounds go on below: '{bend}'" in found.message
    )
    assert "Held at 0" not in water.solve_linear().message


def test_the_start_does_not_matter(water):
    first = water.solve_linear()
    x0 = water.bounds.lb + 0.3 * (water.bounds.ub - water.bounds.lb)
    other = FusedObjective(water.systems, water.space.forcefield, water.references, x0=x0).solve_linear()
    np.testing.assert_allclose(other.x, first.x, rtol=RECOVERED)


def test_a_scaled_vector_has_the_same_minimum(water):
    scaled = FusedObjective(water.systems, water.space.forcefield, water.references, parameter_scale="typical")
    np.testing.assert_allclose(
        scaled.forcefield(scaled.solve_linear().x).parameters,
        water.forcefield(water.solve_linear().x).parameters,
        rtol=RECOVERED,
    )


def test_a_known_force_field_is_recovered():
    """QM data that a harmonic force field at its own minimum made: constants and equilibria come back."""
    molecule = load_molecule("water")
    (system,), start = perceive([molecule])
    truth = start.with_parameters([550.0, start.bond_lengths[0], 60.0, start.angle_values[0]])
    hessian = evaluate(system, truth).hessian * KCALMOLA2_TO_HESSIAN_AU
    made = Molecule(molecule.symbols, molecule.coordinates, hessian)
    systems, start = perceive([made])
    references = ReferenceData()
    references.add_normal_modes(made)
    objective = FusedObjective(systems, start, references)
    found = objective.solve_linear()
    np.testing.assert_allclose(objective.forcefield(found.x).parameters, truth.parameters, rtol=RECOVERED)
    assert found.success


def test_forces_may_weigh_far_more_than_curvatures():
    """Force constants are told from products with equilibria although columns of k and k q0 are parallel to 1e-7."""
    objective = FusedObjective(*problem("water"), balance={"normal_mode": 20.0, "mode_displacement": 0.01})
    found = objective.solve_linear()
    assert found.success and found.optimality < 1e-12


def test_bounds_are_kept_and_named(water):
    forcefield = water.space.forcefield
    k = water.solve_linear().x[0]
    tight = FusedObjective(
        water.systems,
        forcefield.with_bounds(bond_force_constants=(0.0, 0.9 * k)),
        water.references,
        x0=np.concatenate([[0.5 * k], water.x0[1:]]),
    )
    found = tight.solve_linear()
    assert found.x[0] == pytest.approx(0.9 * k, rel=1e-9) and found.at_bounds == (water.labels[0],)
    fit = tight.solve_native("lbfgsb", tol=1e-14, gtol=1e-10)
    assert found.fun <= fit.fun * (1.0 + LINEAR_MINIMUM)


def stiffness_of(objective, x) -> float:
    """The least part of QM's stiffness that any direction has, from the force field's own Hessian."""
    (system,), modes = objective.systems, objective.systems[0].molecule.normal_modes
    scale = 1.0 / np.sqrt(np.repeat(system.molecule.masses, 3))
    own = KCALMOLA2_TO_HESSIAN_AU * scale[:, None] * evaluate(system, objective.forcefield(x)).hessian * scale
    root = 1.0 / np.sqrt(np.maximum(modes.eigenvalues, (SOFTEST / FREQUENCY_FACTOR) ** 2))
    return float(np.linalg.eigvalsh(root[:, None] * (modes.vectors.T @ own @ modes.vectors) * root)[0])


def test_no_direction_is_softer_than_asked_for():
    objective = FusedObjective(*problem("ethane"), priors=Prior("torsion_force_constants", width=0.1))
    free = objective.solve_linear(stiffness=None)
    assert stiffness_of(objective, free.x) < 0.85 and free.cuts == ()
    held = objective.solve_linear(stiffness=0.9)
    assert stiffness_of(objective, held.x) == pytest.approx(0.9, abs=2e-3) and held.fun > free.fun
    cut = held.cuts[0]
    assert (cut.system, cut.molecule) == (0, "ethane")
    assert cut.frequency == objective.systems[0].molecule.normal_modes.frequencies[cut.mode]


def test_a_stiffness_that_nothing_can_give_is_refused():
    systems, forcefield, references = problem("ethane")
    bent = forcefield.positions("angle")[:, 0]
    loose = np.where(np.isin(np.arange(forcefield.n_parameters), bent), 0.0, forcefield.parameters)
    objective = FusedObjective(systems, forcefield.with_parameters(loose), references, active="bond * k")
    with pytest.raises(SolverError, match="no point"):
        objective.solve_linear(stiffness=0.9)


def test_couplings_read_the_equilibria_that_come_out():
    objective = FusedObjective(
        *problem("water", stretch_stretch=True, stretch_bend=True), priors=Prior("bond_bend_force_constants", width=100.0)
    )
    found = objective.solve_linear()
    fit = objective.solve_native("levenberg-marquardt", x0=found.x, tol=1e-14)
    assert found.fun <= fit.fun * 1.05 + 1e-6 and found.fun < 1.0 < objective.fun(objective.x0)
    assert "for couplings" in found.message


def test_frames_with_relative_energies_and_forces():
    """Displaced geometries of one molecule: energies up to a constant and forces are linear too."""
    molecule, rng = load_molecule("water"), np.random.default_rng(1)
    frames = [molecule.coordinates + 0.03 * rng.standard_normal((3, 3)) for _ in range(6)]
    together = {"angle_gap": None, "bond_gap": None, "margins": None}
    systems, start = perceive([Molecule(molecule.symbols, frame) for frame in frames], **together)
    truth = start.with_parameters(start.parameters * [1.1, 1.01, 0.9, 1.02])
    values = [evaluate(system, truth) for system in systems]
    references = ReferenceData()
    references.add_relative_energies([each.energy + 5.0 for each in values], range(6))
    for number, each in enumerate(values):
        for component, slope in enumerate(each.gradient.ravel()):
            references.add(Reference("force", -slope, 0.1, number, component))
    objective = FusedObjective(systems, start, references)
    np.testing.assert_allclose(objective.forcefield(objective.solve_linear().x).parameters, truth.parameters, rtol=RECOVERED)


def test_molecules_without_least_stiffness_are_named(water):
    some = [reference for reference in water.references if reference.index != (1, 0)]
    found = FusedObjective(water.systems, water.space.forcefield, some).solve_linear()
    assert "1 of 1 systems, such as water" in found.message and "No least" not in water.solve_linear().message


def _mm3():
    return FusedObjective(*problem("water", form="mm3"))


def test_mm3_is_linear_in_force_constants_alone():
    systems, forcefield, references = problem("water", form="mm3")
    objective = FusedObjective(systems, forcefield, references, active="* k")
    found = objective.solve_linear()
    assert np.abs(objective.jac(found.x)).max() < 1e-6 * np.abs(objective.jac(objective.x0)).max()
    with pytest.raises(LinearityError, match="r0|theta0"):
        _mm3().solve_linear()


def with_own_kind(name: str, energy, parameters, equilibrium: int, values: dict, **options):
    """The water problem with bonds of a kind that a user adds."""
    systems, forcefield, references = problem("water")
    (system,) = systems
    register_kind(Kind(name, 2, (Coordinate("distance", (0, 1), equilibrium=equilibrium),), parameters), energy)
    angles = {"angle_atoms": system.angle_atoms, "angle_types": system.angle_types}
    bonds = {f"{name}_atoms": system.bond_atoms, f"{name}_types": system.bond_types}
    kept = {field: forcefield.arrays[field] for field in ("angle_force_constants", "angle_values")}
    own = ForceField(form="harmonic", **kept, **values)
    return FusedObjective([System(system.molecule, **angles, **bonds)], own, references, **options)


def test_an_own_kind_that_is_harmonic_is_solved_as_those_of_the_package(water):
    stiffness = Parameter("spring_constants", "k", "kcal/mol/Å²", (0.0, 3600.0), 50.0)
    length = Parameter("spring_lengths", "r0", "Å", (0.5, 3.0), 0.1, "positive")
    start = {"spring_constants": [400.0], "spring_lengths": [0.99]}
    with forgotten_after():
        own = with_own_kind("spring", lambda d, k, r0: k * d**2, (stiffness, length), 1, start)
        found, expected = own.solve_linear(), water.solve_linear()
    assert found.success and found.fun == pytest.approx(expected.fun, rel=LINEAR_MINIMUM)
    values, others = (dict(zip(each.labels, x, strict=True)) for each, x in ((own, found.x), (water, expected.x)))
    for ending, name in (("k", "spring 0 k"), ("r0", "spring 0 r0")):
        (bond,) = (value for label, value in others.items() if label.startswith("bond") and label.endswith(f" {ending}"))
        assert values[name] == pytest.approx(bond, rel=RECOVERED)


def test_an_own_kind_that_is_not_linear_is_named():
    depth = Parameter("morse_depths", "D", "kcal/mol", (1.0, 300.0), 10.0, "positive")
    steepness = Parameter("morse_steepnesses", "a", "1/Å", (0.5, 5.0), 0.2, "positive")
    length = Parameter("morse_lengths", "r0", "Å", (0.5, 3.0), 0.1, "positive")
    start = {"morse_depths": [120.0], "morse_steepnesses": [2.0], "morse_lengths": [0.96]}

    def morse(deviation, depth, steepness, length):
        return depth * (1.0 - jnp.exp(-steepness * deviation)) ** 2

    with forgotten_after():
        with pytest.raises(LinearityError, match="'morse 0 r0' is no equilibrium with one force constant of its own"):
            with_own_kind("morse", morse, (depth, steepness, length), 2, start).solve_linear()


@pytest.mark.exhaustive
def test_an_own_kind_that_looks_harmonic_and_is_not_is_named():
    def quartic(deviation, stiffness, length):
        return stiffness * deviation**2 * (1.0 + deviation**2)

    stiffness = Parameter("quartic_constants", "k", "kcal/mol/Å²", (0.0, 3600.0), 50.0)
    length = Parameter("quartic_lengths", "r0", "Å", (0.5, 3.0), 0.1, "positive")
    start = {"quartic_constants": [500.0], "quartic_lengths": [0.96]}
    with forgotten_after():
        with pytest.raises(LinearityError, match="not linear in some parameters.*'quartic 0 r0'"):
            with_own_kind("quartic", quartic, (stiffness, length), 1, start).solve_linear()


def _frequencies():
    systems, forcefield, _ = problem("water")
    return FusedObjective(systems, forcefield, [Reference("frequency", 1600.0, index=6)])


def _energies_of_different_molecules():
    references = ReferenceData()
    references.add_relative_energies([0.0, 3.0], [0, 1])
    molecules = [load_molecule("water"), load_molecule("formaldehyde")]
    return FusedObjective(*perceive(molecules), references, active=["bond *"])


def _lengths(**options):
    systems, forcefield, references = problem("ethane")
    first, second = (label for label in forcefield.labels if label.startswith("bond") and label.endswith("r0"))
    return FusedObjective(systems, forcefield, references, ties=Tie(second, {first: -1.0}, constant=2.6), **options)


def _frozen_beside_free():
    return _lengths(active=["bond C(CHHH)-C(CHHH) *", "bond * r0"])


def _a_force_without_stiffness():
    """Elements of a Hessian of 0 beside forces, and nothing that keeps lengths near those of QM."""
    systems, forcefield, _ = problem("water")
    references = [Reference("hessian_element", 0.0, 1.0, 0, (row, row)) for row in range(9)]
    references.append(Reference("force", 3.0, 1.0, 0, 2))
    return FusedObjective(systems, forcefield, references, bounds=[(None, None)] * 4)


def _pairs():
    return FusedObjective(*problem("ethane", vdw=True))


NOT_LINEAR = {
    "frequencies": (_frequencies, {}, LinearityError, "frequency.*add_normal_modes"),
    "van der Waals": (_pairs, {}, LinearityError, "vdw.*Freeze"),
    "energies": (_energies_of_different_molecules, {}, LinearityError, "different molecules"),
    "a prior of lengths": (
        lambda: FusedObjective(*problem("water"), priors=Prior("bond_lengths", 0.02)),
        {},
        LinearityError,
        "prior.*r0",
    ),
    "a penalty": (lambda: FusedObjective(*problem("water"), l2=0.1), {}, LinearityError, "l2"),
    "tied lengths, one constant frozen": (_frozen_beside_free, {}, LinearityError, "r0.*constant part"),
    "a force without stiffness": (_a_force_without_stiffness, {}, LinearityError, "infinite.*bounds"),
    "a robust loss": (lambda: FusedObjective(*problem("water"), loss="huber"), {}, LinearityError, "huber"),
    "single precision": (lambda: FusedObjective(*problem("water"), precision="mixed"), {}, OptionError, "float64"),
    "a stiffness of 1": (lambda: FusedObjective(*problem("water")), {"stiffness": 1.0}, OptionError, "stiffness"),
    "a word": (lambda: FusedObjective(*problem("water")), {"stiffness": "half"}, OptionError, "stiffness"),
}


# not all atoms are in pairs
@pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")
@pytest.mark.parametrize("make, options, error, message", NOT_LINEAR.values(), ids=NOT_LINEAR)
def test_what_is_not_linear_is_named(make, options, error, message):
    with pytest.raises(error, match=message):
        make().solve_linear(**options)
