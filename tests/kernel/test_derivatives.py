"""Derivatives by JAX against finite differences of the very function they belong to.

Covered: every public function of the kernel, forward and backward, and twice for energies; the whole loss of the shipped
data sets along its gradient. What the functions themselves compute is compared in `test_exact.py` and others.
"""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from helpers import problem_of
from jax.test_util import check_grads
from oracles.cases import references_of_all_kinds, systems_with_all_terms

from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.kernel import hessian, potentials, spectrum
from q2mm_accel.kernel import loss as residuals
from q2mm_accel.model.kinds import form_named

# two molecules have not every type of the set
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

BOTH_WAYS = ("fwd", "rev")
DIFFERENCE = 1e-6
"""Relative and absolute, times the number of results as `check_grads` does: its central differences, with a step of 1e-4,
are wrong by 1e-8 times the third derivative, which is up to 100 here."""
DATA_SETS = [("small", "harmonic", 1e-3), ("small", "mm3", 1e-3), ("sn2_ts", "mm3", 1e-6)]
"""Problem, form, and the step of the stencil in units of `typical_scale`: truncation grows as its fourth power, rounding
falls with it. In sn2_ts the angle F-C-F is 1.1e-6 rad from linear, and the loss bends on that scale of its equilibrium."""


def stiffened(forcefield):
    """All bonds under tension and torsions with a barrier: at the start some modes have no stiffness, a cusp of √λ."""
    torsions = np.full_like(forcefield.torsion_force_constants, 0.5)
    return replace(forcefield, bond_lengths=0.97 * forcefield.bond_lengths, torsion_force_constants=torsions)


def points(low, high):
    """Eight coordinates."""
    return jnp.linspace(low, high, 8)


POTENTIALS = {
    "harmonic": (potentials.harmonic, points(-0.3, 0.3), {"force_constant": 2.0, "equilibrium": 1.1}),
    "mm3_bond": (potentials.mm3_bond, points(-0.3, 0.3), {"force_constant": 2.0, "equilibrium": 1.1}),
    "mm3_angle": (potentials.mm3_angle, points(-0.6, 0.6), {"force_constant": 2.0, "equilibrium": 1.9}),
    "cosine_torsion": (
        potentials.cosine_torsion,
        points(-3.1, 3.1),
        {"force_constant": 1.5, "periodicity": 3.0, "phase": 0.4},
    ),
    "lennard_jones": (potentials.lennard_jones, points(2.5, 5.0), {"radius": 1.7, "epsilon": 0.3}),
    "mm3_vdw": (potentials.mm3_vdw, points(2.5, 5.0), {"radius": 3.4, "epsilon": 0.3}),
    "mm3_vdw, wall": (potentials.mm3_vdw, points(1.2, 1.6), {"radius": 5.0, "epsilon": 1e-4}),
}


def test_every_potential_of_every_form_is_listed():
    used = {form_named(form).energies[kind] for form in ("harmonic", "mm3") for kind in FIELDS}
    assert used <= {potential for potential, *_ in POTENTIALS.values()}


FIELDS = ("bond", "angle", "torsion", "urey_bradley", "vdw")


@pytest.mark.parametrize("name", POTENTIALS)
def test_a_potential_and_its_derivatives_have_the_derivatives_of_finite_differences(name):
    potential, coordinate, parameters = POTENTIALS[name]

    @jax.jit
    def value_slope_curvature(coordinate, parameters):
        value, (slope,), curvatures = hessian.derivatives(lambda q: potential(q, **parameters), (coordinate,))
        return value, slope, curvatures[0, 0]

    parameters = {key: jnp.full_like(coordinate, value) for key, value in parameters.items()}
    check_grads(value_slope_curvature, (coordinate, parameters), order=1, modes=BOTH_WAYS)


@pytest.mark.parametrize("combine", [potentials.geometric_mean, potentials.total])
def test_combined_radii_have_the_derivatives_of_finite_differences(combine):
    check_grads(jax.jit(combine), (points(1.0, 2.0), points(0.5, 1.7)), order=1, modes=BOTH_WAYS)


def test_eigenvalues_have_the_derivatives_of_finite_differences():
    matrices = jnp.array(np.random.default_rng(1).normal(size=(3, 7, 7)))

    @jax.jit
    def symmetric(matrices):
        return spectrum.eigenvalues(0.5 * (matrices + jnp.swapaxes(matrices, 1, 2)))

    check_grads(symmetric, (matrices,), order=1, modes=BOTH_WAYS)


def test_frequencies_have_the_derivatives_of_finite_differences():
    eigenvalues = jnp.array([-1.0, -0.2, 0.05, 0.3, 1.0])
    check_grads(jax.jit(spectrum.frequency), (eigenvalues,), order=1, modes=BOTH_WAYS)


@cache
def case():
    """Two molecules with every kind of term in a bucket, and the parameters in units of their typical scale."""
    systems, forcefield = systems_with_all_terms("mm3", ("h2o2", "water"), seed=7)
    problem = problem_of(systems, forcefield, list(references_of_all_kinds(systems)), plan=[[0, 1]])
    scale = forcefield.typical_scale
    assert np.abs(spectra(problem, forcefield)).min() > tolerances.FREQUENCY_FLOOR, "a mode near the cusp of √λ"
    return problem, jnp.array(forcefield.parameters / scale), jnp.array(scale)


def spectra(problem, forcefield):
    """The frequencies among the predictions."""
    return np.asarray(jax.jit(residuals.predictions)(problem, forcefield.parameters))[problem.references.is_frequency]


def of_scaled_parameters(*functions, blocks):
    """Functions of the batch with blocks, or of the problem with a vector of parameters, as one of the scaled vector."""
    problem, x, scale = case()
    batch = jax.tree.map(lambda leaf: leaf[0], problem.stacks[0])

    def together(vector):
        if not blocks:
            return [function(problem, vector * scale) for function in functions]
        values = residuals.expand(problem, vector * scale)
        return [function(batch, values) for function in functions]

    return jax.jit(together), x


def test_energies_have_first_and_second_parameter_derivatives_of_finite_differences():
    function, x = of_scaled_parameters(hessian.energies, blocks=True)
    check_grads(function, (x,), order=1, modes=("fwd",), atol=DIFFERENCE, rtol=DIFFERENCE)
    check_grads(function, (x,), order=2, modes=("rev",), atol=DIFFERENCE, rtol=DIFFERENCE)


def test_forces_and_hessians_have_the_parameter_derivatives_of_finite_differences():
    function, x = of_scaled_parameters(hessian.gradients, hessian.hessians, blocks=True)
    check_grads(function, (x,), order=1, modes=BOTH_WAYS, atol=DIFFERENCE, rtol=DIFFERENCE)


def test_predictions_residuals_and_loss_have_the_parameter_derivatives_of_finite_differences():
    function, x = of_scaled_parameters(residuals.predictions, residuals.residuals, residuals.loss, blocks=False)
    check_grads(function, (x,), order=1, modes=BOTH_WAYS, atol=DIFFERENCE, rtol=DIFFERENCE)


@pytest.mark.parametrize(("name", "form", "step"), DATA_SETS)
@pytest.mark.filterwarnings("ignore:c2h2. 1 torsion:q2mm_accel.errors.UnmatchedTermWarning")
def test_along_its_gradient_the_loss_of_a_data_set_changes_as_the_gradient_says(name, form, step):
    problem = load_problem(name, form)
    scale = problem.forcefield.typical_scale
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references, parameter_scale=scale)
    x = objective.x0 if name == "sn2_ts" else stiffened(problem.forcefield).parameters / scale
    gradient = objective.jac(x)
    shift = step * gradient / np.linalg.norm(gradient)
    near, far = (objective.fun(x + n * shift) - objective.fun(x - n * shift) for n in (1, 2))
    error = abs((8.0 * near - far) / (12.0 * step) / np.linalg.norm(gradient) - 1.0)
    print(f"{name} {form}: {error:.1e}, allowed {tolerances.STENCIL:.0e}")
    assert error <= tolerances.STENCIL
