"""Spectra at which eigenvalues coincide, vanish or change sign: loss and gradient stay finite, and as exact as they can be.

Covered: degenerate modes of methane, ammonia and benzene that single parameters would split; one imaginary mode; an
eigenvalue that passes through 0 along a path of parameters; a Hessian that is zero.
Documented limits: the derivative of a single mode of a degenerate set belongs to whatever eigenvectors LAPACK picks, and
only functions that treat the set alike have a gradient; below `SMALLEST_FREQUENCY` the slope of the root is held.
"""

from dataclasses import replace

import jax
import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import evaluate, problem_of
from oracles import exact
from oracles.cases import ammonia, at, benzene, methane, rotation

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System
from q2mm_accel.datasets import load_molecule
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.kernel.spectrum import SMALLEST_FREQUENCY
from q2mm_accel.model.kinds import KINDS
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

ROUNDING = 2.220446049250313e-16
DEGENERATE = 1e-6
"""[cm⁻¹] Modes nearer than this are one set: symmetry makes them equal to rounding, 1e-10; others differ by 0.1."""


def with_own_types(system, forcefield):
    """Every term with a type of its own, of the same values: a symmetric molecule whose parameters may break symmetry."""
    fields, types = {}, {}
    for kind in ("bond", "angle", "torsion"):
        rows = getattr(system, f"{kind}_types")
        fixed = ("torsion_periodicities", "torsion_phases") if kind == "torsion" else ()
        fields |= {name: getattr(forcefield, name)[rows] for name in (*KINDS[kind].fields, *fixed)}
        types[f"{kind}_types"] = np.arange(len(rows))
    return replace(system, **types), ForceField(form=forcefield.form, **fields)


def symmetric_case(molecule, form="mm3"):
    """A molecule off equilibrium, though symmetric, with torsions that keep benzene flat."""
    (system,), forcefield = perceive_bare([molecule], form=form, periodicities=(2,))
    forcefield = replace(
        forcefield,
        bond_lengths=forcefield.bond_lengths * np.linspace(0.98, 0.97, forcefield.n_types("bond")),
        torsion_force_constants=np.full(forcefield.n_types("torsion"), 3.0),
        torsion_phases=np.full(forcefield.n_types("torsion"), 180.0),
    )
    return with_own_types(system, forcefield)


def degenerate_sets(system, forcefield):
    """Sets of two or more equal modes above the rigid ones, by number, and the frequencies of all modes."""
    values = evaluate(system, forcefield).frequencies
    sets = np.split(np.arange(len(values)), np.flatnonzero(np.diff(values) > DEGENERATE) + 1)
    return [modes.tolist() for modes in sets if len(modes) > 1 and values[modes[0]] > tolerances.FREQUENCY_FLOOR], values


def references_to_sets(sets, values, offset=30.0):
    """One reference value for all modes of a set, so that the loss does not depend on how they are numbered."""
    return [Reference("frequency", round(values[modes[0]]) + offset, 0.01, 0, mode) for modes in sets for mode in modes]


SETS = {"methane": [2, 3, 3, 3], "ammonia": [2, 2, 2], "benzene": [2] * 11}
"""Sizes of the degenerate sets. Vibrations: E + 2 T2; 2 E; E1g + 3 E1u + 4 E2g + 2 E2u. One more are the rotations, which
have frequencies because the bonds are off equilibrium."""


@pytest.mark.parametrize("molecule", [methane(), ammonia()], ids=["methane", "ammonia"])
def test_the_gradient_of_whole_degenerate_sets_is_exact(molecule):
    system, forcefield = symmetric_case(molecule)
    sets, values = degenerate_sets(system, forcefield)
    assert sorted(map(len, sets)) == SETS[molecule.name]
    references = references_to_sets(sets, values)
    objective = FusedObjective([system], forcefield, references)
    gradient = objective.jac(forcefield.parameters)
    # one bond and one angle stand for all by symmetry, which each of them breaks
    angle = 2 * forcefield.n_types("bond")
    places = [0, 1, angle, angle + 1]
    expected = exact.to_array(exact.loss_gradient([system], forcefield, references, places))
    error = np.abs(gradient[places] - expected).max() / np.abs(expected).max()
    print(f"{molecule.name}: gradient {error:.1e}")
    assert error <= tolerances.JAC


def fourth_order(function, x, direction, step):
    """Derivative along `direction` by the stencil of four points."""
    near, far = ((function(x + n * step * direction) - function(x - n * step * direction)) for n in (1, 2))
    return (8.0 * near - far) / (12.0 * step)


def test_the_gradient_of_the_degenerate_sets_of_benzene_is_that_of_finite_differences():
    system, forcefield = symmetric_case(benzene())
    sets, values = degenerate_sets(system, forcefield)
    assert sorted(map(len, sets)) == SETS["benzene"]
    scale = forcefield.typical_scale
    objective = FusedObjective([system], forcefield, references_to_sets(sets, values), parameter_scale=scale)
    x = objective.x0
    gradient = objective.jac(x)
    assert np.all(np.isfinite(gradient))
    rng = np.random.default_rng(8)
    for direction in [gradient, *rng.normal(size=(3, len(x)))]:
        unit = direction / np.linalg.norm(direction)
        # benzene's CH stretches lie 0.4 cm⁻¹ apart, so they mix, and higher derivatives grow, within a short step
        found, expected = fourth_order(objective.fun, x, unit, 5e-5), gradient @ unit
        error = abs(found - expected) / np.linalg.norm(gradient)
        print(f"benzene: {error:.1e}")
        assert error <= tolerances.STENCIL


def test_single_modes_of_a_set_have_finite_derivatives_whose_sum_has_a_meaning():
    system, forcefield = symmetric_case(methane())
    sets, _ = degenerate_sets(system, forcefield)
    references = [Reference("frequency", 0.0, 1.0, 0, mode) for modes in sets for mode in modes]
    jacobian = jax.jit(jax.jacrev(kernel.predictions, argnums=1))
    turn, ends = rotation(np.random.default_rng(9)), np.cumsum([len(modes) for modes in sets])[:-1]
    sums = []
    for matrix in (np.eye(3), turn):
        turned = replace(system, molecule=at(system.molecule, system.molecule.coordinates @ matrix.T))
        rows = np.asarray(jacobian(problem_of([turned], forcefield, references), forcefield.parameters))
        assert np.all(np.isfinite(rows))
        sums.append(np.array([part.sum(axis=0) for part in np.split(rows[: len(references)], ends)]))
    np.testing.assert_allclose(sums[0], sums[1], rtol=0.0, atol=tolerances.JAC * np.abs(sums[0]).max())


PATH = np.linspace(-1.0, 1.0, 101)
MODES = 12


def torsion_path(stretch):
    """Hydrogen peroxide with bonds `stretch` off equilibrium, all modes as references, and the place of the torsion's k."""
    molecule = load_molecule("h2o2")
    (system,), forcefield = perceive_bare([molecule], form="mm3", periodicities=(1,))
    forcefield = replace(
        forcefield,
        bond_lengths=forcefield.bond_lengths + stretch,
        torsion_force_constants=np.ones(1),
        torsion_phases=np.zeros(1),
    )
    references = [Reference("frequency", value, 0.01, 0, mode) for mode, value in enumerate(molecule.frequencies())]
    return system, forcefield, references, forcefield.labels.index("torsion H-O-O-H n=1 k")


def torsion_curvature(system, forcefield):
    """Spectral norm of the derivative of the mass-weighted Hessian by the torsion's k, and that of the whole."""
    alone = System(system.molecule, torsion_atoms=system.torsion_atoms, torsion_types=system.torsion_types)
    bare = ForceField(form="harmonic", torsion_force_constants=[1.0])
    weights = 1.0 / np.sqrt(np.repeat(system.molecule.masses, 3))
    return [
        np.linalg.norm(KCALMOLA2_TO_HESSIAN_AU * evaluate(*case).hessian * np.outer(weights, weights), 2)
        for case in ((alone, bare), (system, forcefield))
    ]


@pytest.mark.parametrize("stretch", [0.0, -0.0005], ids=["all at once", "off equilibrium"])
def test_loss_and_gradient_survive_an_eigenvalue_that_passes_through_0(stretch):
    # Weyl: an eigenvalue moves by at most the norm of the change A; |√a - √b| <= √|a - b|, and √2 as much across 0
    system, forcefield, references, place = torsion_path(stretch)
    per_constant, norm = torsion_curvature(system, forcefield)
    objective = FusedObjective([system], forcefield, references)
    losses, slopes, computed = [], [], []
    for constant in PATH:
        x = forcefield.parameters
        x[place] = constant
        loss, gradient = objective.fun_and_jac(x)
        assert np.all(np.isfinite(gradient))
        losses.append(loss)
        slopes.append(gradient[place])
        computed.append(objective.predictions(x))
    computed, values = np.array(computed), np.array([reference.value for reference in references])
    imaginary = (computed < -10.0).sum(axis=1)
    assert imaginary[0] > imaginary[-1], "no eigenvalue passed through 0"

    rounding = MODES * ROUNDING * norm
    largest = FREQUENCY_FACTOR * np.sqrt(2.0 * (per_constant * (PATH[1] - PATH[0]) + rounding))
    assert np.abs(np.diff(computed, axis=0)).max() <= largest
    residuals = 0.01 * np.abs(values - computed)
    jumps = 0.01 * largest * (residuals[1:] + residuals[:-1]).sum(axis=1)
    print(f"stretch {stretch}: largest step {np.abs(np.diff(computed, axis=0)).max():.2f} of {largest:.2f} cm⁻¹")
    assert np.all(np.abs(np.diff(losses)) <= jumps)

    steepest = FREQUENCY_FACTOR**2 / (2.0 * SMALLEST_FREQUENCY) * per_constant
    allowed = 2.0 * 0.01 * residuals.sum(axis=1) * steepest * (1.0 + tolerances.JAC)
    print(f"slope at most {np.max(np.abs(slopes) / allowed):.2f} of its bound")
    assert np.all(np.abs(slopes) <= allowed)


def test_one_imaginary_mode_is_exact():
    system, forcefield, references, place = torsion_path(0.0)
    x = forcefield.parameters
    x[place] = -3.0
    forcefield = forcefield.with_parameters(x)
    frequencies = exact.to_array(exact.frequencies(system, forcefield))
    assert np.sum(frequencies < -tolerances.FREQUENCY_FLOOR) == 1
    objective = FusedObjective([system], forcefield, references)
    real = np.abs(frequencies) > tolerances.FREQUENCY_FLOOR
    assert np.abs(objective.predictions(x) - frequencies)[real].max() <= tolerances.FREQUENCY
    kept = [reference for reference, keep in zip(references, real, strict=True) if keep]
    gradient = FusedObjective([system], forcefield, kept).jac(x)
    expected = exact.to_array(exact.loss_gradient([system], forcefield, kept))
    assert np.abs(gradient - expected).max() <= tolerances.JAC * np.abs(expected).max()


def test_a_hessian_that_is_zero_has_frequencies_0_and_the_slope_of_the_smallest_frequency():
    molecule = Molecule("HF", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.92]])
    system = System(molecule, bond_atoms=[(0, 1)], bond_types=[0])
    forcefield = ForceField(form="harmonic", bond_force_constants=[0.0], bond_lengths=[0.92])
    references = [Reference("frequency", 100.0, 1.0, 0, mode) for mode in range(6)]
    objective = FusedObjective([system], forcefield, references)
    np.testing.assert_array_equal(objective.predictions([0.0, 0.92]), 0.0)
    # the eigenvalues are 0 and 2 k / reduced mass, and the sum of their slopes is that of the trace in any basis
    trace = 2.0 * KCALMOLA2_TO_HESSIAN_AU * np.sum(1.0 / molecule.masses)
    slope = FREQUENCY_FACTOR**2 / (2.0 * SMALLEST_FREQUENCY) * trace
    gradient = objective.jac([0.0, 0.92])
    np.testing.assert_allclose(gradient, [-2.0 * 100.0 * slope, 0.0], rtol=tolerances.CLOSED_FORM)
