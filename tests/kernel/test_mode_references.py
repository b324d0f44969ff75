"""Forces, normal modes and their displacements, against their definitions in plain NumPy."""

import jax
import numpy as np
import pytest
from bare import perceive_bare
from helpers import evaluate, problem_of
from tolerances import CHECK_GRAD, FREQUENCY, MODES, REGROUP_GRADIENT

from q2mm_accel import FusedObjective, Molecule, Reference, ReferenceData, estimate_force_constants
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import ReferenceDataError
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.units import FREQUENCY_FACTOR, GRADIENT_AU_TO_KCALMOLA, KCALMOLA2_TO_HESSIAN_AU

# in water there are no pairs, and in ethane those of hydrogens only
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

FLOOR = 900.0
NAMES = ("water", "ethane")


@pytest.fixture(scope="module")
def setting():
    """Two molecules of different size, one of them with van der Waals pairs, and references of all these kinds to both."""
    molecules = [load_molecule(name) for name in NAMES]
    systems, forcefield = perceive_bare(molecules, vdw=True)
    forcefield = estimate_force_constants(systems, forcefield)
    rng = np.random.default_rng(0)
    forcefield = forcefield.with_parameters(
        forcefield.parameters * (1.0 + 0.05 * rng.standard_normal(forcefield.n_parameters))
    )
    references = ReferenceData()
    for number, molecule in enumerate(molecules):
        gradient = 1e-3 * rng.standard_normal((molecule.n_atoms, 3))
        moving = replaced(molecule, gradient=gradient, waived=["invariance"])
        references.add_normal_modes(moving, number, floor=FLOOR, stationary=False)
        references.add_forces(moving, number, weight=0.3)
    references.add_frequencies(molecules[0].frequencies()[6:], range(6, 9), 0.01)
    return systems, forcefield, references


def replaced(molecule: Molecule, **changes) -> Molecule:
    kept = {name: getattr(molecule, name) for name in ("symbols", "coordinates", "hessian", "name", "masses")}
    return Molecule(**{**kept, **changes})


def defined(system, forcefield) -> dict:
    """What the definitions give, by kind and index."""
    found, modes = evaluate(system, forcefield), system.molecule.normal_modes
    scale = 1.0 / np.sqrt(np.repeat(system.molecule.masses, 3))
    own = KCALMOLA2_TO_HESSIAN_AU * scale[:, None] * found.hessian * scale
    size = np.maximum(np.abs(modes.frequencies), FLOOR)
    results = {("force", number): -value for number, value in enumerate(found.gradient.ravel())}
    for i, (value, frequency) in enumerate(zip(modes.eigenvalues, modes.frequencies, strict=True)):
        along = KCALMOLA2_TO_HESSIAN_AU * modes.vectors[:, i] @ (scale * found.gradient.ravel())
        results["mode_displacement", i] = along / max(abs(value), (FLOOR / FREQUENCY_FACTOR) ** 2)
        for j in range(i + 1):
            difference = modes.vectors[:, i] @ own @ modes.vectors[:, j] - value * (i == j)
            results["normal_mode", (i, j)] = frequency * (i == j) + FREQUENCY_FACTOR**2 * difference / (size[i] + size[j])
    return results


def test_predictions_are_what_the_definitions_say(setting):
    systems, forcefield, references = setting
    objective = FusedObjective(systems, forcefield, references)
    computed = objective.predictions(objective.x0)
    expected = [defined(system, forcefield) for system in systems]
    compared = 0
    for reference, value in zip(objective.references, computed, strict=True):
        if reference.kind != "frequency":
            known = expected[reference.system][reference.kind, reference.index]
            assert value == pytest.approx(known, rel=MODES, abs=MODES), reference
            compared += 1
    assert compared == sum(map(len, expected))


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"batch_size": 1}, marks=pytest.mark.exhaustive)], ids=["together", "in turn"]
)
def test_jacobian_gradient_and_curvature_follow_differences(setting, options):
    systems, forcefield, references = setting
    objective = FusedObjective(systems, forcefield, references, parameter_scale="typical", **options)
    x, step = objective.x0, 1e-4
    jacobian = objective.residuals_jac(x)
    differences = np.stack(
        [(objective.residuals(x + step * e) - objective.residuals(x - step * e)) / (2.0 * step) for e in np.eye(len(x))],
        axis=1,
    )
    np.testing.assert_allclose(jacobian, differences, rtol=0.0, atol=CHECK_GRAD * np.abs(jacobian).max())
    residuals = objective.residuals(x)
    gradient = 2.0 * jacobian.T @ residuals
    np.testing.assert_allclose(objective.jac(x), gradient, rtol=0.0, atol=REGROUP_GRADIENT * np.abs(gradient).max())
    normal = 2.0 * jacobian.T @ jacobian
    np.testing.assert_allclose(objective.hess(x), normal, rtol=0.0, atol=REGROUP_GRADIENT * np.abs(normal).max())


def test_padded_entries_may_hold_anything(setting):
    systems, forcefield, references = setting
    plain = problem_of(systems, forcefield, references, plan=[[0, 1]])
    poisoned = problem_of(systems, forcefield, references, plan=[[0, 1]], fill=np.nan)
    run = jax.jit(jax.value_and_grad(kernel.loss, argnums=1))
    for first, second in zip(run(plain, forcefield.parameters), run(poisoned, forcefield.parameters), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_force_field_that_is_qm_has_qms_frequencies_and_no_displacement():
    """Its own Hessian as QM's: frequencies to first order are the frequencies, and couplings vanish."""
    molecule = load_molecule("water")
    (system,), forcefield = perceive_bare([molecule])
    molecule = replaced(molecule, hessian=evaluate(system, forcefield).hessian * KCALMOLA2_TO_HESSIAN_AU)
    (system,), _ = perceive_bare([molecule])
    references = ReferenceData()
    references.add_normal_modes(molecule, weight_displacement=0.0)
    computed = FusedObjective([system], forcefield, references).predictions(forcefield.parameters)
    np.testing.assert_allclose(computed, references.table.weighted().value, rtol=0.0, atol=FREQUENCY)


def test_the_first_order_frequency_is_the_derivative_of_the_frequency(setting):
    """Scaled by 1 + ε, a Hessian's frequencies grow by ε / 2."""
    molecule = load_molecule("ch3f")
    modes = molecule.normal_modes
    change = 1e-4
    first_order = modes.frequencies + FREQUENCY_FACTOR**2 * change * modes.eigenvalues / (2.0 * modes.frequencies)
    np.testing.assert_allclose(first_order, modes.frequencies * np.sqrt(1.0 + change), rtol=1e-8)


def test_forces_are_qms_gradient_turned_round():
    molecule = replaced(load_molecule("water"), gradient=np.arange(9.0).reshape(3, 3), waived=["invariance"])
    references = ReferenceData()
    references.add_forces(molecule, system=2)
    assert [(each.kind, each.system, each.index) for each in references] == [("force", 2, number) for number in range(9)]
    np.testing.assert_allclose(references.table.value, -GRADIENT_AU_TO_KCALMOLA * np.arange(9.0))


BAD = {
    "no Hessian": (lambda data, water: data.add_normal_modes(replaced(water, hessian=None)), "no|hessian="),
    "no gradient": (lambda data, water: data.add_forces(water), "gradient="),
    "no gradient of a frame": (lambda data, water: data.add_normal_modes(water, stationary=False), "gradient="),
    "not stationary": (
        lambda data, water: data.add_normal_modes(replaced(water, gradient=np.full((3, 3), 0.01), waived=["invariance"])),
        "not a stationary point",
    ),
    "no molecule": (lambda data, water: data.add_normal_modes("water"), "Molecule"),
    "a floor of 0": (lambda data, water: data.add_normal_modes(water, floor=0.0), "floor"),
    "a negative weight": (lambda data, water: data.add_normal_modes(water, weight_displacement=-1.0), "weight"),
}


@pytest.mark.parametrize("make, message", BAD.values(), ids=BAD)
def test_bad_molecules_are_refused(make, message):
    with pytest.raises(ReferenceDataError, match=message):
        make(ReferenceData(), load_molecule("water"))


@pytest.mark.parametrize(
    "reference, message",
    [
        (Reference("normal_mode", 0.0, index=(3, 0)), "3 vibrations"),
        (Reference("mode_displacement", 0.0, index=3), "3 vibrations"),
        (Reference("force", 0.0, index=9), "out of range"),
    ],
    ids=lambda each: getattr(each, "kind", None),
)
def test_modes_and_components_that_do_not_exist_are_refused(reference, message):
    systems, forcefield = perceive_bare([load_molecule("water")])
    with pytest.raises(ReferenceDataError, match=message):
        FusedObjective(systems, forcefield, [reference])


def test_references_to_a_molecule_that_was_turned_are_refused_of_one_that_was_not():
    molecule, references = load_molecule("sn2_ts"), ReferenceData()
    references.add_normal_modes(molecule.as_minimum())
    systems, forcefield = perceive_bare([molecule], bond_tolerance=1.5)
    with pytest.raises(ReferenceDataError, match="sn2_ts.*imaginary.*as_minimum"):
        FusedObjective(systems, forcefield, references)
