"""`fit` and what it is made of: the recipe, what it says, cross-validation, and bad input."""

from functools import cache

import numpy as np
import pytest
import tolerances
from refusals import assert_refused, refusals

from q2mm_accel import FusedObjective, cross_validate, fit, prepare, validate
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import OptionError, ReferenceDataError, SaddleWarning, TopologyError, UncertaintyError
from q2mm_accel.recipe import refined
from q2mm_accel.report.page import markdown_of
from q2mm_accel.report.record import record_of


@cache
def molecules():
    return tuple(load_molecule(name) for name in ("water", "ch3f"))


@cache
def problem():
    return prepare(molecules())


@cache
def fitted():
    return fit(problem(), progress=STAGES.append)


STAGES: list[str] = []


def test_a_fit_is_its_public_parts_one_after_the_other():
    found, objective = fitted(), problem().objective()
    result = objective.solve_linear(0.5)
    assert found.result.fun == pytest.approx(result.fun, rel=tolerances.SAME_MINIMUM)
    by_hand = validate(problem().systems, objective.forcefield(result.x))
    assert found.validation.frequency_rmsd == pytest.approx(by_hand.frequency_rmsd, rel=1e-6)
    bars = objective.uncertainty(result.x)
    assert found.uncertainty.reduced_chi2 == pytest.approx(bars.reduced_chi2, rel=1e-6)
    assert found.validation.held and found.before.frequency_rmsd > 3.0 * found.validation.frequency_rmsd
    assert [line.split(" (")[0] for line in STAGES] == [stage.name for stage in found.history]
    assert found.history[-1].loss == result.fun and found.seconds > 0.0


def test_a_printed_fit_has_25_lines_at_most_and_says_what_to_distrust():
    lines = str(fitted()).splitlines()
    assert len(lines) <= 25 and lines[0].startswith("harmonic: 2 molecules, 16 parameters, 63 data; loss ")
    assert [f"! {line}" for line in fitted().distrust] == [line for line in lines if line.startswith("!")]


def test_a_record_has_the_figures_of_the_fit_and_a_notebook_shows_them():
    found, record = fitted(), record_of(fitted())
    assert [each["label"] for each in record["parameters"]] == list(found.forcefield.labels)
    errors = {each["label"]: each["error"] for each in record["parameters"] if each["state"] == "free"}
    bars = dict(zip(found.uncertainty.labels, found.uncertainty.standard_errors.tolist(), strict=True))
    assert errors == {label: bars[label] for label in errors} and len(errors) >= 13
    members = {each["label"]: each["members"] for each in record["parameters"]}
    assert members["bond H(O)-O(HH) k"] == ["water O0-H1", "water O0-H2"]
    assert record["molecules"][1]["fitted own"] == found.validation.molecules[1].own.tolist()
    assert "| water |" in markdown_of(record) and "<h2>Molecules</h2>" in found._repr_html_()


def test_a_transition_state_is_turned_and_that_is_said():
    with pytest.warns(SaddleWarning, match="sn2_ts: a transition state, whose mode of -4.. cm"):
        found = prepare(load_molecule("sn2_ts"))
    assert found.systems[0].molecule.turned == "inverted" and len(found.systems[0].bond_atoms) == 5


def test_systems_and_a_force_field_of_ones_own_are_taken_as_they_are():
    given = problem()
    found = prepare(given.systems, forcefield=given.forcefield, active="bond *", priors=(), displacement=10.0, stiffness=0.1)
    objective = found.objective()
    assert all(label.startswith("bond") for label in objective.labels) and len(objective.labels) == 6
    weights = objective.references.weight[objective.references.is_kind("mode_displacement")]
    assert set(weights) == {10.0} and found.stiffness == 0.1 and not found.priors


def test_a_fit_goes_on_to_frequencies_with_displacements_kept():
    start = fitted()
    found = fit(problem(), refine="frequencies", maxiter=30)
    kinds = {each.kind for each in found.problem.references}
    assert kinds == {"frequency", "mode_displacement"} and found.history[3].name == "refine frequencies"
    assert found.validation.frequency_rmsd < 0.5 * start.validation.frequency_rmsd
    geometry = refined(problem(), start.forcefield, "geometry").references
    assert {each.kind for each in geometry} == {"bond_length", "bond_angle", "torsion_angle", "relaxed_frequency"} - (
        set() if any(len(system.torsion_atoms) for system in problem().systems) else {"torsion_angle"}
    )


def test_an_objective_is_fitted_by_its_own_loss():
    given = problem()
    objective = FusedObjective(given.systems, given.forcefield, given.references)
    found = fit(objective, maxiter=2)
    assert found.objective is objective and not found.result.success and found.result.nit == 2
    assert found.distrust[0].startswith("the solver did not converge")
    assert found.result.fun < objective.fun(objective.x0)


def test_a_molecule_left_out_is_judged_by_a_fit_to_the_others():
    found = cross_validate(problem(), [[1]])
    (molecule,) = found.molecules
    assert molecule.left_out.name == "ch3f" and len(molecule.unknown) == 12
    start = validate(problem().systems, problem().forcefield).molecules[1]
    # nothing of it is in the other molecule, so that it keeps the start's parameters
    np.testing.assert_allclose(molecule.left_out.own, start.own, atol=1e-3)
    assert molecule.fitted.frequency_rmsd == pytest.approx(fitted().validation.molecules[1].frequency_rmsd, abs=1e-3)
    assert found.frequency_rmsd == pytest.approx(start.frequency_rmsd, abs=1e-3) and "ch3f" in str(found)


def test_a_copy_left_out_loses_nothing():
    twice = prepare([molecules()[0], molecules()[0]])
    found = cross_validate(twice)
    for each in found.molecules:
        assert not each.unknown and each.left_out.frequency_rmsd == pytest.approx(each.fitted.frequency_rmsd, rel=1e-4)


def test_other_weights_compile_nothing_and_leave_parts_out():
    objective = problem().objective()
    kept = objective.references.system == 0
    partly = objective.reweighted(np.where(kept, objective.inputs.weights, 0.0))
    residuals = objective.residuals(objective.x0)
    expected = residuals[: len(kept)][kept] @ residuals[: len(kept)][kept]
    assert partly.fun(objective.x0) == pytest.approx(expected, rel=tolerances.REGROUP_GRADIENT)


def test_without_more_data_than_parameters_there_are_no_error_bars():
    objective = problem().objective()
    few = objective.reweighted(objective.inputs.weights * (np.arange(63) % 9 == 0))
    assert_refused(lambda: few.uncertainty(few.x0), UncertaintyError, ("7 references", "scaled=False"))


REFUSED = {
    "no molecules": (lambda: fit([]), TopologyError, ("molecules",)),
    "words": (lambda: fit("water"), TopologyError, ("molecules",)),
    "options of a prepared problem": (lambda: fit(problem(), "mm3", vdw=True), OptionError, ("form, vdw", "`prepare`")),
    "options beside a force field": (
        lambda: prepare(problem().systems, forcefield=problem().forcefield, by="element"),
        OptionError,
        ("by: a force field is given",),
    ),
    "a stiffness of 1": (lambda: prepare(molecules(), stiffness=1.0), OptionError, ("stiffness is 1.0",)),
    "another aim": (lambda: fit(problem(), refine="energies"), OptionError, ("refine is 'energies'", "'geometry'")),
    "fewer data than parameters": (
        lambda: prepare(
            load_molecule("water"), by="element", types=[["O", "A", "B"]], priors=(), couplings=True, urey_bradley="all"
        ),
        ReferenceDataError,
        ("parameters are to be fitted to 9 data", "by='element'"),
    ),
    "no groups": (lambda: cross_validate(problem(), 1), OptionError, ("folds is 1",)),
    "a group of all": (lambda: cross_validate(problem(), [[0, 1]]), OptionError, ("not all",)),
    "a system that does not exist": (lambda: cross_validate(problem(), [[2]]), OptionError, ("counted from 0",)),
    "a system in two groups": (lambda: cross_validate(problem(), [[0], [0]]), OptionError, ("in two",)),
    "weights of another number": (
        lambda: problem().objective().reweighted([1.0]),
        ReferenceDataError,
        ("weights", "(63,)"),
    ),
    "a negative weight": (
        lambda: problem().objective().reweighted(-np.ones(63)),
        ReferenceDataError,
        ("weights[0] is -1.0",),
    ),
}


@refusals(REFUSED)
def test_refused_is(call, error, words):
    assert_refused(call, error, words)
