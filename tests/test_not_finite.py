"""A loss or gradient that is not finite is an error that names molecule and parameter, and the best point stays."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from refusals import assert_refused
from scipy.optimize import minimize

from q2mm_accel import FusedObjective, ReferenceData, frequencies
from q2mm_accel import objective as fitting
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import NonFiniteError

CARBON, HYDROGEN, TORSION = "vdw C epsilon", "vdw H epsilon", "torsion H-C-O-H n=1 k"


def not_bonded(system):
    bonded = {frozenset(pair) for pair in system.bond_atoms.tolist()}
    return [pair for pair in combinations(range(system.molecule.n_atoms), 2) if frozenset(pair) not in bonded]


@pytest.fixture(scope="module")
def problem():
    """Water and methanol with van der Waals terms between 1-3 neighbours too; only methanol has carbon."""
    molecules = [load_molecule(name) for name in ("water", "methanol")]
    systems, forcefield = perceive_bare(molecules, vdw=True)
    systems = [replace(system, vdw_pairs=not_bonded(system)) for system in systems]
    forcefield = replace(forcefield, vdw_radii=0.6 * forcefield.vdw_radii)
    references = ReferenceData()
    for number, molecule in enumerate(molecules):
        references.add_energy(1.0, weight=0.1, system=number)
        references.add_frequencies(molecule.frequencies()[6:], range(6, 3 * molecule.n_atoms), weight=0.01, system=number)
    return systems, forcefield, references


@pytest.fixture
def objective(problem):
    return FusedObjective(*problem)


def with_parameter(objective, label, value):
    """The start with one parameter changed."""
    changed = objective.x0.copy()
    changed[objective.labels.index(label)] = value
    return changed


FAULTS = {
    "in one molecule": (CARBON, -0.1, ("the loss", "molecules methanol (first: energy of system 1)", f"{CARBON} = -0.1")),
    "in both molecules": (HYDROGEN, -0.1, ("the loss", "molecules water, methanol", f"{HYDROGEN} = -0.1")),
    "by overflow": (TORSION, 1e200, ("the loss", "molecules methanol (first: energy", f"{TORSION} = 1e+200")),
}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("method", ["fun", "jac", "fun_and_jac"])
def test_the_error_names_molecule_and_parameter_and_the_best_point_stays(objective, method, fault):
    label, value, words = FAULTS[fault]
    start, gradient = objective.fun_and_jac(objective.x0)
    best = objective.best
    bad = with_parameter(objective, label, value)
    expected = (*words, f"Best loss so far: {start:.6g}, in .best", "Pass bounds")
    assert_refused(lambda: getattr(objective, method)(bad), NonFiniteError, expected)
    assert objective.best is best and best.fun == start
    np.testing.assert_array_equal(best.x, objective.x0)
    value, again = objective.fun_and_jac(objective.x0)
    assert value == start
    np.testing.assert_array_equal(again, gradient)
    assert_refused(lambda: getattr(objective, method)(bad), NonFiniteError, expected)


@pytest.mark.parametrize("method", ["fun", "jac", "fun_and_jac"])
def test_a_gradient_that_is_not_finite_is_an_error_even_where_the_loss_is(objective, method, monkeypatch):
    place = objective.labels.index(CARBON)
    start, gradient = objective.fun_and_jac(objective.x0)
    gradient[place] = np.nan
    monkeypatch.setattr(fitting, "value_and_gradient", lambda problem, vector: (0.5 * start, gradient))
    words = (f"the derivative by {CARBON} is not finite", f"{start:.6g}, in .best", "Pass bounds")
    assert_refused(lambda: getattr(objective, method)(1.01 * objective.x0), NonFiniteError, words)
    assert objective.best.fun == start


def test_a_van_der_waals_type_can_be_switched_off(problem):
    objective = FusedObjective(*problem, bounds=[(None, None)] * problem[1].n_parameters)
    value, gradient = objective.fun_and_jac(with_parameter(objective, CARBON, 0.0))
    assert np.isfinite(value) and np.all(np.isfinite(gradient))
    assert gradient[objective.labels.index("vdw C radius")] == 0.0


@pytest.mark.parametrize("method", ["residuals", "predictions"])
def test_what_the_force_field_gives_is_finite_or_an_error(objective, method):
    bad = with_parameter(objective, CARBON, -0.1)
    assert_refused(lambda: getattr(objective, method)(bad), NonFiniteError, ("methanol", f"{CARBON} = -0.1", "none yet"))


def test_a_batch_names_the_vector_that_is_at_fault(objective):
    rows = np.stack([objective.x0, with_parameter(objective, CARBON, -0.1), objective.x0])
    assert_refused(lambda: objective.fun_batch(rows), NonFiniteError, ("vector 1", "methanol", f"{CARBON} = -0.1"))
    np.testing.assert_array_equal(objective.best.x, objective.x0)
    assert objective.best.fun == pytest.approx(objective.fun(objective.x0), rel=tolerances.BATCH)


def test_a_spectrum_names_molecule_and_parameter(problem):
    systems, forcefield, _ = problem
    values = np.where(np.array(forcefield.labels) == CARBON, -0.1, forcefield.parameters)
    bad = forcefield.with_parameters(values)
    assert_refused(lambda: frequencies(systems, bad), NonFiniteError, ("methanol", f"{CARBON} = -0.1", "Correct"))


def test_a_parameter_at_fault_within_its_bounds_is_named(problem):
    limits = [(-1.0, None)] * problem[1].n_parameters
    objective = FusedObjective(*problem, bounds=limits)
    bad = with_parameter(objective, CARBON, -0.1)
    assert_refused(lambda: objective.fun(bad), NonFiniteError, ("methanol", f"{CARBON} = -0.1"))


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP"])
def test_a_fit_that_meets_the_fault_ends_with_the_error_and_keeps_its_best(objective, method):
    calls = []

    def faulty(x):
        calls.append(x)
        changed = x.copy()
        changed[objective.labels.index(CARBON)] = -0.1
        return objective.fun_and_jac(changed if len(calls) == 4 else x)

    arguments = {"jac": True, "method": method, "bounds": objective.bounds}
    expected = ("methanol", f"{CARBON} = -0.1", "in .best")
    assert_refused(lambda: minimize(faulty, objective.x0, **arguments), NonFiniteError, expected)
    assert len(calls) == 4
    assert objective.best.fun <= objective.fun(objective.x0)
    assert objective.fun(objective.best.x) == objective.best.fun
