"""Frozen, tied and free parameters: values, gradients, fits and bounds of the vector that remains."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import tolerances
from helpers import traces
from refusals import assert_refused
from scipy.optimize import Bounds, minimize

from q2mm_accel import ForceField, FusedObjective, Reference, System, Tie
from q2mm_accel.datasets import load_molecule
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import BoundsWarning, ParameterError, UnusedParameterWarning
from q2mm_accel.kernel.loss import expand
from q2mm_accel.parameters.space import parameter_space

CF, RF, CH, RH = "bond C-F k", "bond C-F r0", "bond C-H k", "bond C-H r0"
FCH, FCH0, HCH, HCH0 = "angle F-C-H k", "angle F-C-H theta0", "angle H-C-H k", "angle H-C-H theta0"
TIES = (
    Tie(HCH, {FCH: 0.5}, 20.0),
    Tie.ratio(CF, HCH, 4.0),
    Tie.total(HCH0, FCH0, RH, constant=220.0),
)
"""A chain with a constant, and a parameter that depends on two free ones."""


@pytest.fixture(scope="module")
def problem():
    return load_problem("ch3f")


def build(problem, **options):
    return FusedObjective(problem.systems, problem.forcefield, problem.references, **options)


@pytest.fixture(scope="module")
def plain(problem):
    return build(problem)


@pytest.fixture(scope="module")
def tied(problem):
    """F-C r0 and C-H k are frozen; three parameters follow from the others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BoundsWarning)
        return build(problem, active=[FCH, FCH0, HCH, HCH0, CF, RH], ties=TIES, parameter_scale="typical")


def by_hand(x, forcefield):
    """What the ties above say, written out."""
    k_fch, theta_fch, r_ch = x[1] * 30.0, x[2] * 5.0, x[0] * 0.1
    values = dict(zip(forcefield.labels, forcefield.parameters, strict=True))
    values |= {FCH: k_fch, FCH0: theta_fch, RH: r_ch, HCH: 0.5 * k_fch + 20.0}
    values |= {CF: 4.0 * values[HCH], HCH0: 220.0 - theta_fch - r_ch}
    return np.array([values[label] for label in forcefield.labels])


def test_the_vector_has_one_element_per_free_independent_parameter(tied, problem):
    assert tied.labels == (RH, FCH, FCH0)
    assert tied.x0.shape == tied.bounds.lb.shape == (3,)
    start = dict(zip(problem.forcefield.labels, problem.forcefield.parameters, strict=True))
    np.testing.assert_array_equal(tied.x0, [start[RH] / 0.1, start[FCH] / 30.0, start[FCH0] / 5.0])


def test_all_parameters_follow_from_the_vector(tied, problem):
    x = tied.x0 * [1.01, 0.97, 1.02]
    expected = by_hand(x, problem.forcefield)
    np.testing.assert_allclose(tied.expand(x), expected, rtol=tolerances.ROUNDING)
    np.testing.assert_allclose(expand(tied.problem, x), expected, rtol=tolerances.ROUNDING)
    np.testing.assert_array_equal(tied.forcefield(x).parameters, tied.expand(x))
    np.testing.assert_allclose(tied.reduce(tied.expand(x)), x, rtol=tolerances.ROUNDING)


def test_loss_and_gradient_are_those_of_all_parameters_by_the_chain_rule(tied, plain, problem):
    x = tied.x0 * [1.01, 0.97, 1.02]
    full = by_hand(x, problem.forcefield)
    assert tied.fun(x) == pytest.approx(plain.fun(full), rel=tolerances.LOSS)
    slope = dict(zip(plain.labels, plain.jac(full), strict=True))
    expected = [
        0.1 * (slope[RH] - slope[HCH0]),
        30.0 * (slope[FCH] + 0.5 * slope[HCH] + 2.0 * slope[CF]),
        5.0 * (slope[FCH0] - slope[HCH0]),
    ]
    np.testing.assert_allclose(tied.jac(x), expected, rtol=0.0, atol=tolerances.JAC * np.abs(expected).max())


def test_the_gradient_agrees_with_finite_differences(tied):
    x, step = tied.x0 * [1.01, 0.97, 1.02], 1e-5
    numeric = [(tied.fun(x + step * unit) - tied.fun(x - step * unit)) / (2 * step) for unit in np.eye(3)]
    np.testing.assert_allclose(tied.jac(x), numeric, rtol=0.0, atol=tolerances.CHECK_GRAD * np.abs(numeric).max())


def test_a_batch_of_reduced_vectors_gives_the_losses_one_by_one(tied):
    points = tied.x0 * (1.0 + 0.01 * np.random.default_rng(1).standard_normal((5, 3)))
    np.testing.assert_allclose(tied.fun_batch(points), [tied.fun(x) for x in points], rtol=tolerances.BATCH)


def test_in_a_fit_frozen_parameters_stay_and_ties_hold(tied, problem):
    result = minimize(tied.fun_and_jac, tied.x0, jac=True, method="L-BFGS-B", bounds=tied.bounds, options={"maxiter": 15})
    assert result.fun < 0.9 * tied.fun(tied.x0)
    fitted = tied.forcefield(result.x)
    values = dict(zip(fitted.labels, fitted.parameters, strict=True))
    for label, before in zip(fitted.labels, problem.forcefield.parameters, strict=True):
        assert (values[label] == before) == (label in (RF, CH)), label
    near = {"rel": tolerances.ROUNDING}
    assert values[HCH] == pytest.approx(0.5 * values[FCH] + 20.0, **near)
    assert values[CF] == pytest.approx(4.0 * values[HCH], **near)
    assert values[HCH0] + values[FCH0] + values[RH] == pytest.approx(220.0, **near)


def test_equal_parameters_are_equal_to_the_last_bit(problem):
    space = parameter_space(problem.forcefield, ties=Tie.equal(FCH0, HCH0), parameter_scale="typical")
    for x in space.start * (1.0 + 0.01 * np.random.default_rng(2).standard_normal((20, 7))):
        values = dict(zip(problem.forcefield.labels, space.expand(x), strict=True))
        assert values[FCH0] == values[HCH0]


def test_the_start_of_a_tied_parameter_follows_from_its_tie(problem):
    space = parameter_space(problem.forcefield, ties=[Tie.ratio(CH, CF, 1.5)])
    values = dict(zip(problem.forcefield.labels, space.expand(space.start), strict=True))
    assert values[CH] == 1.5 * values[CF] != problem.forcefield.parameters[2]


def test_parameters_that_disagree_with_their_ties_cannot_be_reduced(tied, problem):
    full = by_hand(tied.x0, problem.forcefield)
    full[2] += 1e-9
    assert_refused(lambda: tied.reduce(full), ParameterError, (f"parameters[2] ({CH})", "frozen at", repr(float(full[2]))))
    full = by_hand(tied.x0, problem.forcefield)
    full[0] *= 1.0 + 1e-9
    assert_refused(lambda: tied.reduce(full), ParameterError, (f"parameters[0] ({CF})", "is tied to others"))
    assert_refused(lambda: tied.reduce(full[:3]), ParameterError, ("shape (8,)", "(3,)"))


SAME = {
    "labels": [CF, CH],
    "a pattern": "bond * k",
    "a field": "bond_force_constants",
    "a field in a list": ["bond_force_constants"],
    "a mask": np.array([True, False, True, False, False, False, False, False]),
    "a list of truth values": [True, False, True, False, False, False, False, False],
    "overlapping patterns": ["bond*k", "bond*C-H k", CF],
}


@pytest.mark.parametrize("active", [*SAME.values()], ids=[*SAME])
def test_active_parameters_can_be_named_by(problem, active):
    assert parameter_space(problem.forcefield, active).labels == (CF, CH)


def test_a_label_is_not_read_as_a_pattern():
    labels = ["bond [CO] k", "bond [CO] r0", "bond C k", "bond C r0"]
    forcefield = ForceField(form="harmonic", bond_force_constants=[1.0, 2.0], bond_lengths=[1.0, 1.0], labels=labels)
    assert parameter_space(forcefield, "bond [CO] k").labels == ("bond [CO] k",)
    assert parameter_space(forcefield, "bond [CN] k").labels == ("bond C k",)


def test_bounds_are_those_of_every_parameter_that_depends_on_an_element(problem):
    ties = (Tie.ratio(RH, RF, 2.0), Tie(HCH0, {FCH0: -1.0}, 220.0))
    space = build(problem, ties=ties, active=[RF, RH, FCH0, HCH0], x0=[1.2, 110.0])
    np.testing.assert_allclose(space.bounds.lb, [0.5, 40.0], rtol=tolerances.ROUNDING)
    np.testing.assert_allclose(space.bounds.ub, [1.5, 180.0], rtol=tolerances.ROUNDING)
    scaled = build(problem, ties=ties, active=[RF, RH, FCH0, HCH0], x0=[12.0, 22.0], parameter_scale="typical")
    np.testing.assert_allclose(scaled.bounds.lb, [5.0, 8.0], rtol=tolerances.ROUNDING)
    np.testing.assert_allclose(scaled.bounds.ub, [15.0, 36.0], rtol=tolerances.ROUNDING)


def test_a_start_on_the_bound_of_equal_parameters_is_inside(problem):
    linear = replace(problem.forcefield, angle_values=[180.0, 180.0])
    objective = FusedObjective(
        problem.systems, linear, problem.references, ties=Tie.equal(FCH0, HCH0), parameter_scale=np.full(8, 0.7)
    )
    assert objective.x0[-2] == objective.bounds.ub[-2]


def test_bounds_and_start_of_the_user_are_those_of_the_vector(problem):
    objective = build(problem, active=[CF, CH], x0=[250.0, 300.0], bounds=[(200.0, 400.0), (None, 500.0)])
    np.testing.assert_array_equal(objective.x0, [250.0, 300.0])
    np.testing.assert_array_equal(objective.bounds.lb, [200.0, -np.inf])
    assert objective.expand(objective.x0)[1] == problem.forcefield.parameters[1]


def test_a_warning_names_tied_parameters_whose_bounds_can_be_left(problem):
    with pytest.warns(BoundsWarning, match=rf"{HCH0} \(37 to 189.5, bounds 30 to 180\)"):
        build(problem, ties=Tie.total(HCH0, FCH0, RH, constant=220.0))
    narrow = Bounds([-np.inf] * 3 + [0.5] + [-np.inf, 60.0, -np.inf], [np.inf] * 3 + [3.0] + [np.inf, 150.0, np.inf])
    build(problem, ties=Tie.total(HCH0, FCH0, RH, constant=220.0), bounds=narrow)  # an error under -W error, if it warned


def test_only_free_parameters_without_effect_are_warned_of():
    molecule = load_molecule("water")
    system = System(molecule, bond_atoms=[(0, 1), (0, 2)], bond_types=[0, 0])
    forcefield = ForceField(form="harmonic", bond_force_constants=[500.0, 400.0], bond_lengths=[0.97, 0.98])
    references = [Reference("energy", 0.0)]
    with pytest.warns(UnusedParameterWarning, match="2 of 4 parameters occur in no term.*bond 1 k, bond 1 r0"):
        FusedObjective([system], forcefield, references)
    FusedObjective([system], forcefield, references, active="bond 0 *")
    FusedObjective([system], forcefield, references, ties=(Tie.ratio("bond 0 k", "bond 1 k", 2.0)), active="bond ? k")


def test_other_frozen_values_factors_and_scales_do_not_compile_again(tied, problem):
    tied.fun_and_jac(tied.x0)
    count = sum(traces.values())
    ties = (Tie(HCH, {FCH: 0.6}, 21.0), Tie.ratio(CF, HCH, 4.1), Tie.total(HCH0, FCH0, CH, constant=505.0))
    moved = problem.forcefield.with_parameters(1.001 * problem.forcefield.parameters)
    with pytest.warns(BoundsWarning):
        other = FusedObjective(
            problem.systems,
            moved,
            problem.references,
            active=[FCH, FCH0, HCH, HCH0, CF, CH],
            ties=ties,
            x0=[290.0, 60.0, 108.0],
        )
    assert other.fun(other.x0) != tied.fun(tied.x0)
    assert sum(traces.values()) == count


def test_what_a_frozen_parameter_is_does_not_depend_on_the_vector(tied, problem):
    values = np.asarray(expand(tied.problem, np.array([np.nan, 1.0, np.inf])))
    frozen = [problem.forcefield.labels.index(label) for label in (RF, CH)]
    np.testing.assert_array_equal(values[frozen], problem.forcefield.parameters[frozen])
