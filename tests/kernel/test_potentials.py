"""A new functional form takes a function and a registration; its derivatives come for free."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import evaluate
from refusals import assert_refused, refusals
from scipy.optimize import check_grad

from q2mm_accel import ForceField, FusedObjective, Molecule, ReferenceData, System, register_form
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import FormError
from q2mm_accel.model import kinds
from q2mm_accel.model.seminario import estimate_force_constants

DEPTH = 110.0
"""[kcal/mol]"""


def morse(deviation, force_constant, equilibrium):
    """E = D (1 - exp(-a d))² with a = √(k/D), so that E = k d² near the minimum."""
    return DEPTH * (1.0 - jnp.exp(-jnp.sqrt(force_constant / DEPTH) * deviation)) ** 2


@pytest.fixture(autouse=True)
def registry():
    """Forms that a test registers are forgotten after it."""
    before = dict(kinds.FORMS)
    yield
    kinds.FORMS.clear()
    kinds.FORMS.update(before)


@pytest.mark.parametrize("length", [0.8, 1.0, 1.1, 1.7])
def test_a_morse_bond_has_the_energy_and_derivatives_of_its_formula(length):
    register_form("morse", like="harmonic", bond=morse)
    force_constant, equilibrium = 350.0, 1.09
    molecule = Molecule("CH", [[0.0, 0.0, 0.0], [0.0, 0.0, length]], check=False)
    forcefield = ForceField(form="morse", bond_force_constants=[force_constant], bond_lengths=[equilibrium])
    evaluation = evaluate(System(molecule, bond_atoms=[(0, 1)], bond_types=[0]), forcefield)
    a = np.sqrt(force_constant / DEPTH)
    fall = np.exp(-a * (length - equilibrium))
    energy, slope = DEPTH * (1.0 - fall) ** 2, 2.0 * DEPTH * a * (fall - fall**2)
    curvature = 2.0 * DEPTH * a**2 * (2.0 * fall**2 - fall)
    assert evaluation.energy == pytest.approx(energy, rel=tolerances.CLOSED_FORM)
    np.testing.assert_allclose(evaluation.gradient[1], [0.0, 0.0, slope], rtol=tolerances.CLOSED_FORM)
    block = np.diag([slope / length, slope / length, curvature])
    expected = np.block([[block, -block], [-block, block]])
    np.testing.assert_allclose(evaluation.hessian, expected, rtol=tolerances.CLOSED_FORM)


def test_the_other_terms_are_those_of_the_form_it_is_like():
    register_form("morse", like="mm3", bond=morse)
    new, old = kinds.form_named("morse"), kinds.form_named("mm3")
    assert new.energies["bond"] is morse and new == replace(old, energies={**old.energies, "bond": morse})


def test_a_fit_with_morse_bonds_has_an_exact_gradient():
    register_form("mm3 with morse bonds", like="mm3", bond=morse)  # compiled programs are kept by the form's name
    systems, start = perceive_bare([load_molecule("ch3f")], form="mm3 with morse bonds")
    start = estimate_force_constants(systems, start)
    references = ReferenceData()
    references.add_frequencies(systems[0].molecule.frequencies()[6:], range(6, 15), weight=0.01)
    references.add_hessian(systems[0].molecule.hessian)
    objective = FusedObjective(systems, start, references, parameter_scale=start.typical_scale)
    displaced = objective.x0 + 0.1 * np.random.default_rng(4).standard_normal(len(objective.x0))
    gradient = objective.jac(displaced)
    error = check_grad(objective.fun, objective.jac, displaced)
    assert error <= tolerances.CHECK_GRAD * np.linalg.norm(gradient)
    harmonic = FusedObjective(systems, replace(start, form="mm3"), references, parameter_scale=start.typical_scale)
    assert abs(objective.fun(displaced) / harmonic.fun(displaced) - 1.0) > 1e-3


FAULTS = {
    "a name that is taken": (
        lambda: register_form("mm3", bond=morse),
        FormError,
        ("'mm3'", "exists already", "choose another"),
    ),
    "a form to be like that does not exist": (
        lambda: register_form("morse", like="charmm", bond=morse),
        FormError,
        ("'charmm'", "known are amber, harmonic, ", "mm3"),
    ),
    "a kind of term that does not exist": (
        lambda: register_form("morse", stretch=morse),
        FormError,
        ("'morse'", "unknown potential ['stretch']", "'bond'", "'torsion'"),
    ),
}


@refusals(FAULTS)
def test_a_registration_is_refused_for(call, error, words):
    before = dict(kinds.FORMS)
    assert_refused(call, error, words)
    assert before == kinds.FORMS


def test_a_second_registration_of_one_name_is_refused():
    register_form("morse", bond=morse)
    assert_refused(lambda: register_form("morse", bond=morse), FormError, ("'morse'", "exists already", "choose another"))
