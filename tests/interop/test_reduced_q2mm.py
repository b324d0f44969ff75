"""Some of the parameters of an objective of q2mm, in its units: the same loss where q2mm has the same values."""

import inspect

import jax
import numpy as np
import pytest
import tolerances
from q2mm.backends.mm.jax_engine import JaxEngine
from q2mm.models.forcefield import ForceField
from q2mm.models.molecule import Q2MMMolecule
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData, ReferenceValue
from refusals import assert_refused
from scipy.optimize import Bounds

from q2mm_accel import FusedObjective, Prior, Tie
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import OptionError, ParameterError
from q2mm_accel.interop.q2mm import problem_from_q2mm

K, R0, ANGLE = "bond C-H k", "bond C-H r0", "angle H-C-H k"


@pytest.fixture(scope="module")
def theirs():
    """CH3F with frequencies; its bond constants are in mdyn/Å."""
    ours = load_molecule("ch3f")
    molecule = Q2MMMolecule(list(ours.symbols), ours.coordinates, hessian=ours.hessian, name="ch3f")
    values = [
        ReferenceValue("frequency", value, weight=0.01, data_idx=mode)
        for mode, value in enumerate(ours.frequencies())
        if value > 50.0
    ]
    return ObjectiveFunction(ForceField.create_for_molecule(molecule), JaxEngine(), [molecule], ReferenceData(values))


def test_a_reduced_vector_is_in_the_units_of_q2mm(theirs):
    full = FusedObjective.from_q2mm(theirs)
    reduced = FusedObjective.from_q2mm(theirs, active=(name for name in (K, R0)))
    places = [full.labels.index(label) for label in reduced.labels]
    assert reduced.labels == (K, R0)
    np.testing.assert_array_equal(reduced.x0, full.x0[places])
    np.testing.assert_array_equal(reduced.bounds.lb, full.bounds.lb[places])
    np.testing.assert_array_equal(reduced.bounds.ub, full.bounds.ub[places])


def test_ties_and_regularization_are_those_of_the_force_field_of_q2mm(theirs):
    full = FusedObjective.from_q2mm(theirs)
    other = "angle F-C-H k" if "angle F-C-H k" in full.labels else "angle H-C-F k"
    reduced = FusedObjective.from_q2mm(theirs, ties=Tie.ratio(ANGLE, other, 1.25), l2=0.5, priors=Prior(K, 20.0))
    x = 1.02 * reduced.x0
    values = np.insert(x, full.labels.index(ANGLE), 1.25 * x[reduced.labels.index(other)])
    place = full.labels.index(K)
    start = full.forcefield(full.x0).parameters[place]
    prior = ((full.forcefield(values).parameters[place] - start) / 20.0) ** 2
    expected = theirs(values) + 0.5 * np.sum((values - full.x0) ** 2) + prior
    assert reduced.fun(x) == pytest.approx(expected, rel=tolerances.Q2MM_LOSS)


OPTIONS = {
    "x0": lambda x: 1.01 * x,
    "bounds": lambda x: [(value - 20.0, value + 20.0) for value in x],
    "active": lambda x: np.arange(len(x)) < 3,
    "ties": lambda x: [Tie.ratio(ANGLE, K, 0.1)],
    "priors": lambda x: Prior("bond_lengths", 0.1),
    "l2": lambda x: 0.5,
    "balance": lambda x: "count",
    "loss": lambda x: "huber",
    "f_scale": lambda x: 2.0,
    "precision": lambda x: "mixed",
    "batch_size": lambda x: 1,
    "devices": lambda x: 1,
    "mesh": lambda x: jax.make_mesh((1,), ("molecules",)),
    "n_maximized": lambda x: 1,
    "unrelaxed_penalty": lambda x: 2.0,
}
"""Every option of a new objective but parameter_scale: a value for it, from q2mm's parameter vector."""


def test_these_are_all_options():
    named = inspect.signature(FusedObjective).parameters.values()
    options = {option.name for option in named if option.kind is option.KEYWORD_ONLY}
    assert set(OPTIONS) == options - {"parameter_scale"}


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_an_option_means_what_it_means_for_a_new_objective(theirs, option):
    found = problem_from_q2mm(theirs)
    value = OPTIONS[option](found.x0)
    ours = FusedObjective.from_q2mm(theirs, **{option: value})
    free = ours.space.free
    new = {
        "x0": found.x0[free],
        "bounds": Bounds(found.bounds.lb[free], found.bounds.ub[free]),
        "parameter_scale": found.parameter_scale,
    } | {option: value}
    expected = FusedObjective(found.systems, found.forcefield, found.references, **new)
    np.testing.assert_array_equal(ours.x0, expected.x0)
    if option != "ties":  # which narrows the bounds of what others are tied to
        assert ours.fingerprint == expected.fingerprint
    assert (ours.fun(ours.x0), ours.precision, ours.mesh) == (expected.fun(ours.x0), expected.precision, expected.mesh)
    assert ours.inputs.batch_size == expected.inputs.batch_size


def test_a_scale_is_refused_because_x_is_in_the_units_of_q2mm(theirs):
    for scale in ("typical", None, np.ones(8)):
        words = ("parameter_scale", "in q2mm's units", "Leave it out")
        assert_refused(lambda scale=scale: FusedObjective.from_q2mm(theirs, parameter_scale=scale), OptionError, words)


def test_start_and_bounds_that_do_not_fit_are_refused(theirs):
    words = ("x0 must have the shape (2,)", "(3,)")
    assert_refused(lambda: FusedObjective.from_q2mm(theirs, active=[K, R0], x0=[5.0] * 3), ParameterError, words)
    words = ("bounds are given for 3 parameters", "there are 2")
    assert_refused(lambda: FusedObjective.from_q2mm(theirs, active=[K, R0], bounds=[(0, 9)] * 3), ParameterError, words)
