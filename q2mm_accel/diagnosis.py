"""What to say when a loss is not finite: which molecules, which references, which parameters."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds

from q2mm_accel.errors import NonFiniteError
from q2mm_accel.model.references import Reference
from q2mm_accel.model.space import ParameterSpace
from q2mm_accel.model.system import System


def non_finite(
    what: str,
    vector: np.ndarray,
    computed: np.ndarray,
    systems: Sequence[System],
    references: Sequence[Reference],
    space: ParameterSpace,
    bounds: Bounds,
    best: float | None,
) -> NonFiniteError:
    """The error that says where a loss went wrong.

    Args:
        what: what is not finite.
        vector: shape (n,), where.
        computed: shape (R,), what the force field gives for the references there.
        systems: the molecules.
        references: the references.
        space: what the vector is.
        bounds: of the vector.
        best: the lowest loss so far.

    Returns:
        The error, to be raised.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = [(r.weight * (r.value - value)) ** 2 for r, value in zip(references, computed, strict=True)]
    bad = [references[number] for number in np.flatnonzero(~np.isfinite(squares))]
    names = dict.fromkeys(systems[reference.system].molecule.name for reference in bad)
    where = f"molecules {', '.join(names)} (first: {bad[0]})" if bad else "no prediction; only the derivative"
    parameters, labels = space.expand(vector), space.forcefield.labels
    outside = space.free[(vector < bounds.lb) | (vector > bounds.ub)]
    numbers = dict.fromkeys([*space.forcefield.with_parameters(parameters).unphysical(), *outside.tolist()])
    suspects = [f"{labels[number]} = {parameters[number]:.6g}" for number in list(numbers)[:5]] or ["none"]
    return NonFiniteError(
        f"{what} is not finite. Affected: {where}. Parameters that make no sense or are outside their bounds: "
        f"{', '.join(suspects)}. Best loss so far: {'none yet' if best is None else f'{best:.6g}, in .best'}. "
        "Pass bounds to the optimizer, or tighten them."
    )
