"""The precision of a problem's arrays, and of everything that compiled functions compute from them."""

from dataclasses import replace

import jax
import numpy as np

from q2mm_accel.problem.arrays import Batch, Fixed, Problem


def in_precision(problem: Problem, precision: str) -> Problem:
    """A problem of NumPy float64 arrays in one of `precision.PRECISIONS`.

    Coordinates and their derivatives are rounded once, after they were computed in float64. A sum of few terms that have
    7 digits has 7 digits, whereas second derivatives of an energy that is computed in float32 lose half of them.
    """
    if precision == "float64":
        return problem
    if precision == "float32":
        return _single(problem)
    return replace(problem, stacks=tuple(_assembled_in_single(stack) for stack in problem.stacks))


def _assembled_in_single(stack: Batch) -> Batch:
    buckets = tuple(
        replace(bucket, geometry=_single(bucket.geometry), pairs=_single(bucket.pairs), fixed=_fixed_in_single(bucket.fixed))
        for bucket in stack.buckets
    )
    return replace(stack, terms=_single(stack.terms), buckets=buckets)


def _fixed_in_single(fixed: Fixed | None) -> Fixed | None:
    """Energies stay exact: they are summed in the precision of the masses."""
    if fixed is None:
        return None
    return replace(fixed, gradient=_single(fixed.gradient), hessian=_single(fixed.hessian))


def _single(tree):
    return jax.tree.map(lambda leaf: leaf.astype(np.float32) if leaf.dtype == np.float64 else leaf, tree)
