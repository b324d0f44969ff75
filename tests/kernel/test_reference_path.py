"""The fused loss against the same loss in plain Python: one molecule and one term after the other (`oracles/plain.py`).

Covered: five molecules with every kind of term and of reference, and every shipped data set, at parameters where all
compared modes have a stiffness.
"""

from dataclasses import replace

import numpy as np
import pytest
import tolerances
from oracles import plain
from oracles.cases import FORMS, references_of_all_kinds, systems_with_all_terms

from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.units import FREQUENCY_FACTOR

ROUNDING = 2.220446049250313e-16

pytestmark = pytest.mark.filterwarnings("ignore:c2h2. 1 torsion:q2mm_accel.errors.UnmatchedTermWarning")


def frequency_errors(systems, forcefield, references):
    """What two backward stable eigenvalue solvers may differ by: n rounding errors of the largest eigenvalue, each, [cm⁻¹].

    dν/dλ grows as 1/ν, so that this, and not the order of additions, limits how well low modes agree.
    """
    spectra = [plain.spectrum(system, plain.energy_and_hessian(system, forcefield)[2])[0] for system in systems]
    errors = []
    for reference in references:
        eigenvalues = spectra[reference.system]
        shift = 2.0 * len(eigenvalues) * ROUNDING * np.abs(eigenvalues).max()
        if reference.kind == "frequency":
            value = abs(eigenvalues[reference.index])
            errors.append(FREQUENCY_FACTOR * (np.sqrt(value + shift) - np.sqrt(max(value - shift, 0.0))))
        else:
            errors.append(0.0)
    return np.array(errors)


def assert_same_loss(systems, forcefield, references, what):
    """Fused and plain loss, residual by residual and in sum."""
    references = list(references)
    objective = FusedObjective(systems, forcefield, references)
    expected = plain.residuals(systems, forcefield, references)
    loss = sum(float(residual) ** 2 for residual in expected)
    weights = np.array([reference.weight for reference in references])
    shifts = weights * frequency_errors(systems, forcefield, references)
    allowed = tolerances.REGROUP * loss + 2.0 * np.sum(np.abs(expected) * shifts)
    error = abs(objective.fun(objective.x0) - loss)
    print(f"{what}: loss {error / loss:.1e}, allowed {allowed / loss:.1e}, for additions {tolerances.REGROUP:.0e}")
    assert error <= allowed
    scale = np.maximum(np.abs(expected), np.abs(weights * [reference.value for reference in references])).max()
    differences = np.abs(objective.residuals(objective.x0) - expected)
    assert np.all(differences <= tolerances.REGROUP * scale + shifts)
    return error / loss


@pytest.mark.parametrize("form", FORMS)
def test_the_fused_loss_is_the_plain_loss_for_every_kind_of_term_and_reference(form):
    systems, forcefield = systems_with_all_terms(form)
    error = assert_same_loss(systems, forcefield, references_of_all_kinds(systems), f"all kinds {form}")
    assert error <= tolerances.REGROUP


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["small", "sn2_ts"])
def test_the_fused_loss_of_a_data_set_is_the_plain_loss(name, form):
    problem = load_problem(name, form)
    # nearly linear angles: with 180 degrees as equilibrium there is no kink that the guard could take off
    angles = np.where(problem.forcefield.angle_values > 179.9, 180.0, problem.forcefield.angle_values)
    forcefield = replace(problem.forcefield, angle_values=angles)
    if name == "small":
        # at the start some modes have no stiffness, and √λ turns rounding into 1e-5 cm⁻¹
        torsions = np.full_like(forcefield.torsion_force_constants, 0.5)
        tensed = 0.97 * forcefield.bond_lengths
        forcefield = replace(forcefield, bond_lengths=tensed, torsion_force_constants=torsions)
    assert_same_loss(problem.systems, forcefield, problem.references, f"{name} {form}")


@pytest.mark.network
@pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnmatchedTermWarning")
@pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")
@pytest.mark.parametrize("count", [1, pytest.param(9, marks=pytest.mark.exhaustive)])
def test_the_fused_loss_of_rh_enamide_is_the_plain_loss(count):
    problem = load_problem("rh-enamide", "mm3")
    systems = problem.systems[:count]
    torsions = np.full_like(problem.forcefield.torsion_force_constants, 0.5)
    others = [r for r in references_of_all_kinds(systems) if r.kind in ("energy", "eig_diagonal")]
    references = [*(r for r in problem.references if r.system < count), *others]
    forcefield = replace(problem.forcefield, torsion_force_constants=torsions)
    assert_same_loss(systems, forcefield, references, f"{count} of Rh-enamide mm3")
