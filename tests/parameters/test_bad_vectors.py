"""Starts, bounds, scales and parameter vectors that cannot be right are refused, by name and with a remedy."""

from dataclasses import replace

import numpy as np
import pytest
from refusals import LABELS, START, SYSTEM, assert_refused, forcefield, refusals
from scipy.optimize import Bounds

from q2mm_accel import FusedObjective, Reference
from q2mm_accel.errors import ParameterError

ENERGY = Reference("energy", 0.0)
PAIRS = {"vdw_pairs": [(1, 2)], "vdw_types": [0, 1, 1]}


def with_pairs(radius=1.5, epsilon=0.02):
    return forcefield(vdw_radii=[1.7, radius], vdw_epsilons=[0.1, epsilon])


def build(start=None, **options):
    return FusedObjective([SYSTEM], forcefield() if start is None else start, [ENERGY], **options)


def paired(start, **options):
    return FusedObjective([replace(SYSTEM, **PAIRS)], start, [ENERGY], **options)


def unlimited(n):
    return Bounds(np.full(n, -np.inf), np.inf)


OUTSIDE = {
    "a start outside its bounds": (
        lambda: build(x0=[500.0, 9.0, 50.0, 105.0]),
        ("parameter 1 of 4 (bond 0 r0) starts at 9", "0.5 to 3", "Change the start or pass other bounds"),
    ),
    "a force field outside its bounds": (
        lambda: build(forcefield(angle_values=[200.0])),
        ("parameter 3 of 4 (angle 0 theta0) starts at 200", "30 to 180", "Change the start or pass other bounds"),
    ),
    "an epsilon of 0": (
        lambda: paired(with_pairs(epsilon=0.0)),
        ("parameter 7 of 8 (vdw 1 epsilon) starts at 0", "0.001 to 2", "Change the start"),
    ),
    "a negative epsilon": (
        lambda: paired(with_pairs(epsilon=-0.02)),
        ("parameter 7 of 8 (vdw 1 epsilon) starts at -0.02", "0.001 to 2", "Change the start"),
    ),
    "a bond length of 0": (
        lambda: build(forcefield(bond_lengths=[0.0])),
        ("parameter 1 of 4 (bond 0 r0) starts at 0", "0.5 to 3", "Change the start"),
    ),
    "a negative epsilon without bounds": (
        lambda: paired(with_pairs(epsilon=-0.02), bounds=unlimited(8)),
        ("parameter 7 of 8 (vdw 1 epsilon) starts at -0.02", "not below", "Change the start"),
    ),
    "a radius of 0 without bounds": (
        lambda: paired(with_pairs(radius=0.0), bounds=unlimited(8)),
        ("parameter 6 of 8 (vdw 1 radius) starts at 0,", "above 0", "Change the start"),
    ),
    "a negative bond length without bounds": (
        lambda: build(forcefield(bond_lengths=[-0.97]), bounds=unlimited(4)),
        ("parameter 1 of 4 (bond 0 r0) starts at -0.97", "above 0", "Change the start"),
    ),
}

PAIRS_OF_BOUNDS = [(0.0, 1000.0), (0.5, 1.5), (0.0, 100.0), (90.0, 120.0)]


def bounded(place, pair):
    """The bounds with one pair replaced."""
    return lambda: build(bounds=[*PAIRS_OF_BOUNDS[:place], pair, *PAIRS_OF_BOUNDS[place + 1 :]])


BOUNDS = {
    "a lower bound above the upper": (bounded(1, (1.5, 0.5)), ("parameter 1 (bond 0 r0)", "1.5 and 0.5", "must not exceed")),
    "a lower bound above the upper in SciPy's Bounds": (
        lambda: build(bounds=Bounds([0.0, 1.5, 0.0, 0.0], [1000.0, 0.5, 100.0, 180.0])),
        ("parameter 1 (bond 0 r0)", "1.5 and 0.5", "must not exceed"),
    ),
    "a bound that is NaN": (bounded(0, (np.nan, 1.0)), ("parameter 0 (bond 0 k)", "nan and 1.0", "must not exceed")),
    "bounds for two of four parameters": (
        lambda: build(bounds=PAIRS_OF_BOUNDS[:2]),
        ("for 2 parameters", "there are 4", "one pair for each"),
    ),
    "SciPy's Bounds for three of four parameters": (
        lambda: build(bounds=Bounds(np.zeros(3), np.ones(3))),
        ("for 3 parameters", "there are 4", "one pair for each"),
    ),
    "a bound of three numbers": (bounded(2, (0.0, 50.0, 100.0)), ("Bounds or pairs (lower, upper)", "(0.0, 50.0, 100.0)")),
    "one list of numbers": (lambda: build(bounds=[0.0, 1.0, 2.0, 3.0]), ("Bounds or pairs (lower, upper)", "[0.0, 1.0")),
    "one number": (lambda: build(bounds=3.0), ("Bounds or pairs (lower, upper)", "3.0")),
    "bounds that are text": (bounded(2, ("low", "high")), ("bounds must be real numbers", "low")),
    "a scale of 0": (
        lambda: build(parameter_scale=[1.0, 0.0, 1.0, 1.0]),
        ("parameter_scale[1] (bond 0 r0) is 0.0", "must be positive"),
    ),
    "a negative scale": (
        lambda: build(parameter_scale=[1.0, 1.0, -5.0, 1.0]),
        ("parameter_scale[2] (angle 0 k) is -5.0", "must be positive"),
    ),
    "a scale that is NaN": (
        lambda: build(parameter_scale=[1.0, 1.0, np.nan, 1.0]),
        ("parameter_scale[2] (angle 0 k) is nan", "must be finite"),
    ),
    "one scale for all": (lambda: build(parameter_scale=2.0), ("parameter_scale", "shape (4,)", "()")),
}


@refusals({sentence: (call, ParameterError, words) for sentence, (call, words) in (OUTSIDE | BOUNDS).items()})
def test_a_problem_is_refused_for(call, error, words):
    assert_refused(call, error, words)


def changed(place, value):
    return [*START[:place], value, *START[place + 1 :]]


VECTORS = {
    "too short": (START[:3], ("shape (4,)", "(3,)")),
    "too long": ([*START, 1.0], ("shape (4,)", "(5,)")),
    "empty": ([], ("shape (4,)", "(0,)")),
    "a single number": (np.float64(500.0), ("shape (4,)", "()")),
    "a matrix": ([START], ("shape (4,)", "(1, 4)")),
    "of unequal rows": ([[500.0], [0.97, 50.0], 105.0], ("real numbers", "inhomogeneous")),
    "an object": (object(), ("real numbers", "object")),
    "nothing": (None, ("real numbers", "object")),
    "a dictionary": (dict(zip(LABELS, START, strict=True)), ("real numbers", "object")),
    "text": (["k", "r0", "k", "theta0"], ("real numbers", "<U6")),
    "numbers written as text": ([str(value) for value in START], ("real numbers", "<U5")),
    "objects, one of them text": (np.array(changed(1, "r0"), dtype=object), ("real numbers", "'r0'")),
    "objects, one of them None": (np.array(changed(1, None), dtype=object), ("[1] (bond 0 r0) is nan", "finite")),
    "complex": (np.array(START) + 1e-9j, ("real numbers", "complex128")),
    "objects, one of them complex": (np.array(changed(0, 1j), dtype=object), ("real numbers", "complex")),
    "truth values": ([True] * 4, ("real numbers", "bool")),
    "dates": (np.array(["2026-01-01"] * 4, dtype="M8[D]"), ("real numbers", "datetime64")),
    "an integer too large for a float": (changed(0, 10**400), ("real numbers", "too large")),
    "with a NaN": (changed(2, np.nan), ("[2] (angle 0 k) is nan", "finite")),
    "with an infinity": (changed(3, np.inf), ("[3] (angle 0 theta0) is inf", "finite")),
    "with a negative infinity": (changed(0, -np.inf), ("[0] (bond 0 k) is -inf", "finite")),
}


@pytest.fixture(scope="module")
def objective():
    return build()


@pytest.mark.parametrize("fault", VECTORS, ids=str)
@pytest.mark.parametrize("method", ["fun", "jac", "fun_and_jac", "residuals", "predictions", "forcefield"])
def test_x_is_refused_when_it_is(objective, method, fault):
    vector, words = VECTORS[fault]
    runs = objective.kernel_runs
    assert_refused(lambda: getattr(objective, method)(vector), ParameterError, ("x", *words))
    assert objective.kernel_runs == runs, "nothing was computed with it"


@pytest.mark.parametrize("fault", [fault for fault in VECTORS if fault != "nothing"], ids=str)
def test_x0_is_refused_when_it_is(fault):
    vector, words = VECTORS[fault]
    assert_refused(lambda: build(x0=vector), ParameterError, ("x0", *words))


BATCHES = {
    "a single vector": (START, ("vectors", "shape (S, 4)", "(4,)")),
    "vectors as columns": (np.transpose([START] * 3), ("vectors", "shape (S, 4)", "(4, 3)")),
    "a stack of batches": (np.ones((2, 2, 4)), ("vectors", "shape (S, 4)", "(2, 2, 4)")),
    "vectors of unequal length": ([START, START[:3]], ("vectors", "shape (S, 4)", "inhomogeneous")),
    "text": ([["k"] * 4], ("vectors[0]", "real numbers", "<U1")),
    "complex": (np.array([START]) + 1e-9j, ("vectors[0]", "real numbers", "complex128")),
    "with a NaN": ([START, START, changed(2, np.nan)], ("vectors[2][2] (angle 0 k) is nan", "finite")),
}


@pytest.mark.parametrize("fault", BATCHES, ids=str)
def test_a_batch_is_refused_when_it_is(objective, fault):
    vectors, words = BATCHES[fault]
    assert_refused(lambda: objective.fun_batch(vectors), ParameterError, words)


def test_what_rounding_puts_outside_is_moved_onto_the_bound():
    forcefield_at_bound = forcefield(bond_lengths=[np.nextafter(3.0, 4.0)])
    assert build(forcefield_at_bound).x0[1] == 3.0
    with pytest.raises(ParameterError, match="starts at 3"):
        build(forcefield(bond_lengths=[3.0 + 1e-9]))
