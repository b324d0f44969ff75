"""Fits of CH3F for the tests of `solve_native`: objectives, callbacks that stop them, and what it means to be the same."""

import math

import numpy as np

from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem

PROBLEM = load_problem("ch3f")
FAST = "levenberg-marquardt"
OTHER_BOUNDS = [(0.0, 3000.0), (0.6, 2.5)] * 2 + [(-500.0, 500.0), (40.0, 170.0)] * 2


def build(systems=PROBLEM.systems, references=PROBLEM.references, **options):
    """A fresh objective, with no best point yet; the compiled programs belong to the process."""
    return FusedObjective(systems, PROBLEM.forcefield, references, **options)


def numbers(result):
    """All that a fit returns but its message."""
    parts = {name: value for name, value in result.items() if name != "message"}
    return {key: np.asarray(value) for name in parts for key, value in flat(name, parts[name]).items()}


def flat(name, value):
    return {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}


def assert_same(first, second, but=()):
    """Check that two fits are bitwise the same."""
    first, second = numbers(first), numbers(second)
    assert first.keys() == second.keys()
    differing = [name for name in first if name not in but and not np.array_equal(first[name], second[name])]
    assert not differing


class Stop:
    """A callback that counts its calls, keeps what it is given, and raises at one of them."""

    def __init__(self, at=math.inf, error=StopIteration):
        self.at, self.error, self.seen = at, error, []

    def __call__(self, intermediate_result):
        self.seen.append(intermediate_result)
        if len(self.seen) >= self.at:
            raise self.error


class Broken(Exception):
    """What goes wrong in a callback."""
