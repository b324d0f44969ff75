"""Padding, buckets and what stands in padded entries change nothing."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import tolerances
from helpers import problem_of

from q2mm_accel import frequencies
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import UnmatchedTermWarning
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.model.plausibility import CHECKS
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.problem import layout
from q2mm_accel.problem.layout import COMPILE_SECONDS, EIGH_SECONDS, EVALUATIONS, plan_buckets, quantised

pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

value_and_gradient = jax.jit(jax.value_and_grad(kernel.loss, argnums=1))


@pytest.fixture(scope="module")
def small():
    """All small minima, displaced so that no two modes are degenerate, with every kind of reference.

    Torsions get force constants: a mode without a restoring force would have nothing but rounding for a frequency.
    """
    with pytest.warns(UnmatchedTermWarning, match="c2h2"):
        problem = load_problem("small")
    rng, systems = np.random.default_rng(0), []
    for system in problem.systems:
        coordinates = system.molecule.coordinates + 0.03 * rng.standard_normal((system.molecule.n_atoms, 3))
        systems.append(replace(system, molecule=replace(system.molecule, coordinates=coordinates, waived=CHECKS)))
    torsions = np.where(["torsion" in label for label in problem.forcefield.labels], 0.7, 0.0)
    forcefield = problem.forcefield.with_parameters(problem.forcefield.parameters + torsions)
    references = []
    for number, (system, computed) in enumerate(zip(systems, frequencies(systems, forcefield), strict=True)):
        data = ReferenceData()
        modes = np.flatnonzero(computed > 100.0)  # not the rigid ones, which are rounding
        data.add_frequencies(1.02 * computed[modes], modes, weight=0.001, system=number)
        data.add_hessian(system.molecule.hessian, system=number)
        data.add_eigenmatrix(system.molecule.hessian, system=number)
        references += list(data)
        references.append(Reference("energy", 1.0, 0.1, system=number))
        references.append(Reference("relative_energy", 2.0 * number, 0.3, system=number, index="all"))
    return systems, forcefield, [reference for reference in references if reference.weight]


def evaluate(small, **options):
    systems, forcefield, references = small
    value, gradient = value_and_gradient(problem_of(systems, forcefield, references, **options), forcefield.parameters)
    return float(value), np.asarray(gradient)


def assert_same(result, expected):
    assert result[0] == pytest.approx(expected[0], rel=tolerances.REGROUP)
    scale = np.abs(expected[1]).max()
    np.testing.assert_allclose(result[1], expected[1], rtol=0.0, atol=tolerances.REGROUP_GRADIENT * scale)


@pytest.mark.parametrize("fill", [1e30, np.nan, -np.inf], ids=str)
def test_what_padded_entries_hold_changes_no_bit(small, fill):
    plan = [list(range(len(small[0])))]
    value, gradient = evaluate(small, plan=plan)
    poisoned = evaluate(small, plan=plan, fill=fill)
    assert poisoned[0] == value
    np.testing.assert_array_equal(poisoned[1], gradient)


PLANS = {
    "one bucket": [[0, 1, 2, 3, 4, 5, 6, 7]],
    "two": [[0, 2, 4, 6], [1, 3, 5, 7]],
    "two of unequal size": [[1, 5], [0, 2, 3, 4, 6, 7]],
    "seven": [[0, 7], [1], [2], [3], [4], [5], [6]],
    "each its own, in reverse": [[7], [6], [5], [4], [3], [2], [1], [0]],
}


MANY = ("seven", "each its own, in reverse")
"""Plans with as many programs' worth of buckets to compile."""


@pytest.mark.parametrize(
    "plan", [pytest.param(plan, marks=pytest.mark.exhaustive if plan in MANY else ()) for plan in PLANS]
)
def test_the_choice_of_buckets_changes_nothing(small, plan):
    assert_same(evaluate(small, plan=PLANS[plan]), evaluate(small))


@pytest.mark.parametrize("extra", [0, 1, pytest.param(9, marks=pytest.mark.exhaustive)])
def test_the_amount_of_padding_changes_nothing(small, extra, monkeypatch):
    expected = evaluate(small)
    monkeypatch.setattr(layout, "quantised", lambda count: count + extra)
    assert_same(evaluate(small), expected)


def test_empty_molecule_slots_contribute_exactly_nothing(small, monkeypatch):
    systems, forcefield, references = small
    own = [reference for reference in references if reference.system == 0 and reference.kind == "frequency"]
    expected = value_and_gradient(problem_of(systems[:1], forcefield, own), forcefield.parameters)
    monkeypatch.setattr(layout, "quantised", lambda count: count + 3)
    result = value_and_gradient(problem_of(systems[:1], forcefield, own, fill=np.nan), forcefield.parameters)
    assert_same((float(result[0]), np.asarray(result[1])), (float(expected[0]), np.asarray(expected[1])))
    assert np.all(np.isfinite(result[1]))


def test_parameters_without_terms_have_a_gradient_of_exactly_zero(small):
    systems, forcefield, references = small
    own = [reference for reference in references if reference.system == 1]
    _, gradient = value_and_gradient(problem_of(systems[:2], forcefield, own), forcefield.parameters)
    used = [i for i, label in enumerate(forcefield.labels) if "O" in label and "C" not in label]
    others = [i for i, label in enumerate(forcefield.labels) if "C" in label]
    assert np.any(np.asarray(gradient)[used] != 0.0)
    assert np.all(np.asarray(gradient)[others] == 0.0)


def cost(sizes, plan):
    """What `plan_buckets` minimizes, written down again."""
    return sum(
        COMPILE_SECONDS
        + EVALUATIONS * EIGH_SECONDS * quantised(len(members)) * (3 * max(sizes[member] for member in members)) ** 3
        for members in plan
    )


def partitions(items):
    """All ways to cut a sorted list into consecutive ranges."""
    if not items:
        yield []
        return
    for stop in range(1, len(items) + 1):
        for rest in partitions(items[stop:]):
            yield [items[:stop], *rest]


@pytest.mark.parametrize("seed", range(5))
def test_the_planner_finds_the_cheapest_of_all_plans(seed):
    sizes = np.random.default_rng(seed).choice([5, 12, 36, 38, 58, 62, 90], 12).tolist()
    distinct = sorted(set(sizes))
    candidates = [[[i for i, n in enumerate(sizes) if n in members] for members in cut] for cut in partitions(distinct)]
    assert cost(sizes, plan_buckets(sizes)) == pytest.approx(min(cost(sizes, plan) for plan in candidates))
    assert sorted(i for members in plan_buckets(sizes) for i in members) == list(range(12))


def test_quantised_counts_are_at_most_an_eighth_too_large():
    counts = np.arange(1, 5000)
    padded = np.array([quantised(int(count)) for count in counts])
    assert np.all(padded >= counts) and np.all(padded <= counts * 1.125)
    assert len(set(padded.tolist())) < 90
