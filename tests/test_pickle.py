"""Pickled objectives: a copy in this process or in a spawned one gives bitwise the same values."""

import copy
import multiprocessing
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from q2mm_accel import FusedObjective, Prior, Tie
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import BoundsWarning

OPTIONS = {
    "parameter_scale": "typical",
    "active": (name for name in ("*k", "angle F-C-H theta0", "bond C-H r0", "angle H-C-H theta0")),
    "ties": [
        Tie.ratio("angle F-C-H k", "angle H-C-H k", 1.1),
        Tie.total("angle H-C-H theta0", "angle F-C-H theta0", "bond C-H r0", constant=219.5),
    ],
    "priors": (Prior(name, 10.0, 60.0) for name in ("angle F*k", ("bond C-H k", "bond_lengths"))),
    "l2": 0.2,
    "balance": {"frequency": 3.0},
    "loss": "soft_l1",
    "f_scale": 0.1,
}


@pytest.fixture(scope="module")
def original():
    problem = load_problem("ch3f")
    with pytest.warns(BoundsWarning):
        return FusedObjective(problem.systems, problem.forcefield, problem.references, **OPTIONS)


def values_of(objective, x):
    """Everything an objective gives at x."""
    return [
        np.array(objective.fun(x)),
        objective.jac(x),
        objective.residuals(x),
        objective.predictions(x),
        objective.fun_batch(np.stack([x, objective.x0])),
        objective.expand(x),
        objective.x0,
        objective.bounds.lb,
        objective.bounds.ub,
    ]


def assert_same(copied, original, x):
    for found, expected in zip(values_of(copied, x), values_of(original, x), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert copied.labels == original.labels
    assert copied.residual_labels == original.residual_labels


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_objective_is_the_same(original, protocol):
    x = 1.01 * original.x0
    original.fun(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what there was to warn of was said when the original was built
        copied = pickle.loads(pickle.dumps(original, protocol))
    assert type(copied) is FusedObjective and copied.best is None and copied.kernel_runs == 0
    assert_same(copied, original, x)


def test_a_deep_copy_and_a_copy_of_a_copy_are_the_same(original):
    x = 0.99 * original.x0
    assert_same(copy.deepcopy(original), original, x)
    assert_same(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(original)))), original, x)


def test_what_is_changed_after_building_is_not_copied(original):
    x = original.x0.copy()
    changed = pickle.loads(pickle.dumps(original))
    changed.x0[:] = 0.0
    changed.bounds.lb[:] = -1.0
    assert_same(pickle.loads(pickle.dumps(changed)), original, x)


def test_a_spawned_process_computes_the_same(original):
    x = 1.02 * original.x0
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(values_of, original, x).result(timeout=300)
    for value, expected in zip(found, values_of(original, x), strict=True):
        np.testing.assert_array_equal(value, expected)
