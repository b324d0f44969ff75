"""Timing of several functions in turn, so that a change of the machine's speed meets all of them."""

import time
from collections.abc import Callable, Mapping
from itertools import cycle
from typing import TypeVar

import numpy as np

_Name = TypeVar("_Name")


def first_call(function: Callable) -> float:
    """Seconds that the first call of `function()` takes, compilation included."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def interleaved(functions: Mapping[_Name, Callable], points: np.ndarray, rounds: int) -> dict[_Name, np.ndarray]:
    """Times of each function, called in turn.

    Args:
        functions: name -> function of a parameter vector; each has been called before.
        points: shape (p, n), used one after the other so that no call meets a point that was just evaluated.
        rounds: calls of each function.

    Returns:
        Name -> shape (rounds,) [s].
    """
    times = {name: np.zeros(rounds) for name in functions}
    point = cycle(points)
    for number in range(rounds):
        for name, function in functions.items():
            x = next(point)
            begin = time.perf_counter()
            function(x)
            times[name][number] = time.perf_counter() - begin
    return times


def print_times(row: Mapping) -> None:
    """A line for each time of a row, "median_s" and "first_call_s" by name, and one for each of its "ratios"."""
    for name, seconds in row["median_s"].items():
        print(f"  {name:30} {1e3 * seconds:10.3f} ms    first call {row['first_call_s'][name]:7.2f} s")
    for name, ratio in row["ratios"].items():
        print(f"  {name:50} {ratio:8.2f}")


def nearby(x: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` points within about a millionth of x, shape (count, n)."""
    return x * (1.0 + 1e-6 * np.random.default_rng(seed).standard_normal((count, len(x))))
