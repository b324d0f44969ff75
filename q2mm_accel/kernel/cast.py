"""The precision of a problem's arrays, and of everything that compiled functions compute from them."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np

from q2mm_accel.errors import PrecisionError
from q2mm_accel.kernel.arrays import Batch, Problem
from q2mm_accel.model.references import Reference
from q2mm_accel.model.system import System

_RESOLUTION = {
    **{kind: (1e-3, "kcal/mol") for kind in ("energy", "relative_energy")},
    "frequency": (1e-2, "cm⁻¹"),
    **{kind: (1e-5, "hartree/bohr²") for kind in ("hessian_element", "eig_diagonal", "eig_offdiagonal")},
}
"""Distance of neighbouring float32 numbers at a reference value above which they are too far apart, by kind."""
_LEAST_WEIGHT = 1e-16
"""Of a reference, so that its square and what it is multiplied with stay within float32's range of 1e-38 to 1e38."""
_SOFT = 10.0
"""[cm⁻¹] Modes below are rigid motions or almost: rounding of 1e-7 of the largest eigenvalue moves them by up to 1 cm⁻¹."""


def check_resolution(references: Sequence[Reference], systems: Sequence[System], precision: str) -> None:
    """Check that a precision can tell what the references ask for.

    Raises:
        PrecisionError: a reference needs more.
    """
    if precision == "float64":
        return
    for reference in references:
        name = systems[reference.system].molecule.name
        if reference.kind == "frequency" and abs(reference.value) < _SOFT:
            raise PrecisionError(
                f"{reference} ({name}): {reference.value:g} cm⁻¹ is a rigid motion or almost, and a Hessian assembled in "
                f"float32 has errors of up to 1 cm⁻¹ there. Leave the reference out, or use precision='float64'."
            )
        resolution, unit = _RESOLUTION[reference.kind]
        if not _LEAST_WEIGHT < reference.weight < 1.0 / _LEAST_WEIGHT:
            raise PrecisionError(
                f"{reference} ({name}): the square of its weight is not a number of float32. Give all references weights "
                f"between {_LEAST_WEIGHT:g} and {1.0 / _LEAST_WEIGHT:g}, or use precision='float64'."
            )
        if precision == "float32" and np.spacing(np.float32(min(abs(reference.value), 1e38))) > resolution:
            raise PrecisionError(
                f"{reference} ({name}): neighbouring float32 numbers at {reference.value:g} are further apart than "
                f"{resolution:g} {unit}. Give energies relative to a molecule of the set, or use precision='mixed'."
            )


def in_precision(problem: Problem, precision: str) -> Problem:
    """A problem of NumPy float64 arrays in one of `precision.PRECISIONS`.

    Coordinates and their derivatives are rounded once, after they were computed in float64. A sum of few terms that have
    7 digits has 7 digits, whereas second derivatives of an energy that is computed in float32 lose half of them.
    """
    if precision == "float64":
        return problem
    if precision == "float32":
        return _single(problem)
    return replace(problem, batches=tuple(_assembled_in_single(stack) for stack in problem.batches))


def _assembled_in_single(stack: Batch) -> Batch:
    buckets = tuple(replace(bucket, pairs=_single(bucket.pairs)) for bucket in stack.buckets)
    return replace(stack, terms=_single(stack.terms), buckets=buckets)


def _single(tree):
    return jax.tree.map(lambda leaf: leaf.astype(np.float32) if leaf.dtype == np.float64 else leaf, tree)
