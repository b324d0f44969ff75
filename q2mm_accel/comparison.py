"""An objective of q2mm and its fused counterpart side by side: values, loss, gradient and time, at several points.

Duck-typed: q2mm itself is never imported here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from q2mm_accel.drivers import Accelerated
from q2mm_accel.errors import InteropError, OptionError
from q2mm_accel.interop.original import (
    EXACT,
    apart,
    come_to_ours,
    detached,
    rounding,
    rounding_of,
    values_of_q2mm,
)
from q2mm_accel.interop.q2mm import beside, check_objective, plain, torsion_signs, weighed
from q2mm_accel.model.arguments import instance, integer
from q2mm_accel.objective import FusedObjective

EXACT_SLOPES, SLOPES = (1e-5, 1e-6), (1e-3, 1e-2)
"""Where all values are exact, and else: step of a directional difference, relative to the parameters, and what x Σ |terms|
its error may be. Frequencies that avoid each other bend the loss within 1e-3; noise of values is divided by the step."""
GIVEN = 1e-12
"""Relative, for weights and reference values: they went through a unit conversion at most."""

_NOISE = 0.01
_ROWS, _PLACES = 14, 34
"""How many rows are printed, and how much of a reference's name."""


@dataclass(frozen=True)
class Row:
    """The reference of one kind and molecule whose values differ most, measured by what is allowed.

    Attributes:
        kind: q2mm's name of the kind.
        molecule: number and name.
        n: number of references of that kind and molecule with a weight.
        reference: its number in q2mm's list, and its label.
        point: number of the point, 0 for the start.
        q2mm: q2mm's value there, in the kind's unit; torsion angles with IUPAC's sign, which is not q2mm's.
        fused: ours.
        allowed: the difference that counts as agreement.
    """

    kind: str
    molecule: str
    n: int
    reference: str
    point: int
    q2mm: float
    fused: float
    allowed: float

    @property
    def difference(self) -> float:
        """Absolute difference, in the kind's unit; of torsion angles, the shorter way round."""
        return float(apart([self.kind], np.array([self.q2mm]), np.array([self.fused]))[0])

    @property
    def excess(self) -> float:
        """The difference as a multiple of what is allowed."""
        return self.difference / self.allowed


@dataclass(frozen=True)
class Comparison:
    """What `compare` found, to be printed.

    Attributes:
        engine: name of q2mm's engine.
        n_parameters: of q2mm's vector.
        rows: one for each kind and molecule, the largest excess first.
        losses: of q2mm and of the fused objective at each point.
        slopes: directional derivative of the loss at the start: of q2mm's loss by differences, and exact.
        seconds: medians: one evaluation of q2mm, and one of the fused loss and gradient.
        unequal: sentences on weights and reference values that differ.
        loss_agrees: whether losses differ by no more than the values' tolerances explain.
        slope_agrees: whether the directional derivatives agree.
    """

    engine: str
    n_parameters: int
    rows: tuple[Row, ...]
    losses: tuple[tuple[float, float], ...]
    slopes: tuple[float, float]
    seconds: tuple[float, float]
    unequal: tuple[str, ...]
    loss_agrees: bool
    slope_agrees: bool

    @property
    def values_agree(self) -> bool:
        """Whether all computed values agree."""
        return all(row.excess <= 1.0 for row in self.rows)

    @property
    def agrees(self) -> bool:
        """Whether values, weights, losses and gradient agree.

        Values agree within 1e-9 of the largest of their kind and molecule (the squares of frequencies within 1e-9 of the
        largest square, for those near 0 have no digits); at relaxed geometries within 1e-6; what engines other than
        JaxEngine take from Hessians within 1e-3. Losses agree if their difference is one that such values can make.
        """
        return self.values_agree and not self.unequal and self.loss_agrees and self.slope_agrees

    @property
    def gradient_seconds(self) -> float:
        """What q2mm takes for a gradient by central differences: 2n + 1 evaluations."""
        return (2 * self.n_parameters + 1) * self.seconds[0]

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.unequal:
            first, *others = self.unequal
            more = f" ({len(others)} more differ)" if others else ""
            return f"They differ before anything is computed: {first}{more}."
        if not self.values_agree:
            row = max(self.rows, key=lambda row: row.excess)
            return (
                f"They differ: the {row.kind} {row.reference} of {row.molecule} is {row.q2mm:.8g} in q2mm and "
                f"{row.fused:.8g} here at point {row.point}, {row.excess:.2g} times what is allowed.\n"
                "Find the cause before a fit: another mass, geometry, unit or term; or an angle beyond 179.97 degrees, "
                "which has no stiffness in q2mm (from_q2mm(..., clipped_angles=True) neither)."
            )
        if not self.loss_agrees:
            return "All values agree but the losses do not: an option such as loss, l2 or priors has changed the fused one."
        if not self.slope_agrees:
            return "Values and losses agree, the slopes do not: q2mm's loss has a kink at the start, or noise."
        ratio = self.gradient_seconds / self.seconds[1]
        return f"They agree: the same values, loss and gradient; loss and gradient in 1/{ratio:.3g} of the time."

    def __str__(self) -> str:
        """A table of at most 25 lines."""
        title = f"q2mm on {self.engine} and fused, {self.n_parameters} parameters, {len(self.losses)} points"
        heads = (
            f"{'kind':<16}{'n':>6} {'difference':>11} {'allowed':>9} {'q2mm':>15} {'fused':>15}  point, reference, molecule"
        )
        lines = [title, heads]
        for row in self.rows[:_ROWS]:
            numbers = f"{row.difference:>11.2g} {row.allowed:>9.2g} {row.q2mm:>15.8g} {row.fused:>15.8g}"
            names = f"{row.point}, {row.reference[:_PLACES]}, {row.molecule[:_PLACES]}"
            lines.append(f"{row.kind:<16}{row.n:>6} {numbers}  {names}")
        if len(self.rows) > _ROWS:
            lines.append(f"... and {len(self.rows) - _ROWS} more kinds and molecules, closer than these")
        (theirs, ours), count = self.losses[0], 2 * self.n_parameters + 1
        ratios = [second / first for first, second in self.losses if first > 0.0]
        spread = f", ratio {min(ratios):.12f} to {max(ratios):.12f} over all points" if ratios else ""
        lines.append(f"loss at the start: {theirs:.10g} and {ours:.10g}{spread}")
        lines.append(
            f"slope in a random direction: {self.slopes[0]:.8g} (q2mm, differences) and {self.slopes[1]:.8g} (exact)"
        )
        lines.append(
            f"one evaluation of q2mm {_words(self.seconds[0])}, its gradient by {count} of them "
            f"{_words(self.gradient_seconds)}; fused loss and gradient {_words(self.seconds[1])}"
        )
        return "\n".join([*lines, self.verdict])


def compare(objective_function: Any, fused: FusedObjective | Accelerated, n: int = 5, seed: int = 0) -> Comparison:
    """Evaluate an objective of q2mm and its fused counterpart side by side.

    Args:
        objective_function: q2mm's `ObjectiveFunction`, or what `accelerate` made of it. It is only read: a copy with its own
            force field, history and caches is evaluated.
        fused: what `FusedObjective.from_q2mm` or `accelerate` made of it, with q2mm's whole parameter vector.
        n: number of points: the start, which q2mm's force field holds, and others about 1 % beside it, within the bounds.
        seed: of these points, and of the direction of the slope.

    Returns:
        The comparison, after n + 5 evaluations of q2mm's loss.

    Raises:
        OptionError: n below 1, a seed below 0, or parameters that are frozen or tied.
        InteropError: no fused objective, or one whose references are not those of q2mm; or q2mm itself fails.
        NonFiniteError, RelaxationError: as `fused.fun`.
    """
    for name, value, least in (("n", n, 1), ("seed", seed, 0)):
        if integer(value, name, OptionError) < least:
            raise OptionError(f"{name} is {value}; give {least} or more.")
    original = plain(objective_function)
    check_objective(original)
    theirs, patient = detached(original), detached(original, patient=True)
    ours = instance(fused.fused if isinstance(fused, Accelerated) else fused, FusedObjective, "fused", InteropError)
    start = np.array(theirs.forcefield.get_param_vector(), dtype=np.float64)
    given = _given(theirs, ours, len(start))
    rng = np.random.default_rng(int(seed))
    direction = rng.standard_normal(len(start)) * np.maximum(np.abs(start), _NOISE)
    points = [start, *(beside(start, ours.bounds, rng.standard_normal(len(start))) for _ in range(int(n) - 1))]
    computed, seconds = _timed(partial(values_of_q2mm, theirs), points)
    evaluated, own_seconds = _timed(ours.fun_and_jac, points)
    exact = all(rounding_of(value.kind, type(theirs.engine).__name__) == EXACT for value in given)
    values = _values(theirs, patient, ours, np.stack(computed), points)
    losses = tuple((found, value) for found, (value, _) in zip(values.losses(), evaluated, strict=True))
    step, tolerance = EXACT_SLOPES if exact else SLOPES
    room = values.room()
    # what the values may be off by changes q2mm's loss at random
    noise = 0.0 if exact else (2.0 * losses[0][0] ** 0.5 + room[0]) * room[0] / step
    slope, terms = _slope(theirs, start, step * direction) / step, evaluated[0][1] * direction
    return Comparison(
        engine=type(theirs.engine).__name__,
        n_parameters=len(start),
        rows=values.rows(),
        losses=losses,
        slopes=(slope, float(np.sum(terms))),
        seconds=(seconds, own_seconds),
        unequal=tuple(values.unequal(ours)),
        loss_agrees=all(abs(a**0.5 - b**0.5) <= most for (a, b), most in zip(losses, room, strict=True)),
        slope_agrees=abs(np.sum(terms) - slope) <= tolerance * np.sum(np.abs(terms)) + noise,
    )


@dataclass(frozen=True, eq=False)
class _Values:
    """Computed values of R references at n points, in q2mm's order, torsion angles with IUPAC's sign.

    Attributes:
        given: q2mm's references with a weight.
        names: of each its molecule, and its number and label.
        q2mm: shape (n, R).
        fused: shape (n, R).
        allowed: shape (n, R), the difference that counts as agreement.
    """

    given: list[Any]
    names: list[tuple[str, str]]
    q2mm: NDArray[np.float64]
    fused: NDArray[np.float64]
    allowed: NDArray[np.float64]

    def rows(self) -> tuple[Row, ...]:
        """The largest excess of each kind and molecule."""
        groups: dict[tuple[str, str], list[int]] = {}
        for place, (value, (molecule, _)) in enumerate(zip(self.given, self.names, strict=True)):
            groups.setdefault((value.kind, molecule), []).append(place)
        rows = []
        for (kind, molecule), places in groups.items():
            excess = apart([kind] * len(places), self.q2mm[:, places], self.fused[:, places]) / self.allowed[:, places]
            point, column = np.unravel_index(np.argmax(excess), excess.shape)
            at = int(point), places[column]
            worst = (float(array[at]) for array in (self.q2mm, self.fused, self.allowed))
            rows.append(Row(kind, molecule, len(places), self.names[at[1]][1], at[0], *worst))
        return tuple(sorted(rows, key=lambda row: -row.excess))

    def unequal(self, ours: FusedObjective) -> Iterator[str]:
        """Sentences on weights and reference values that differ."""
        own = {"weight": ours.inputs.weights, "value": torsion_signs(self.given) * ours.references.value}
        for what, numbers in own.items():
            for value, number, (molecule, name) in zip(self.given, numbers.tolist(), self.names, strict=True):
                theirs = float(getattr(value, what))
                if abs(number - theirs) > GIVEN * abs(theirs):
                    where = f"the {value.kind} {name} of {molecule}"
                    yield f"the {what} of {where} is {theirs:.12g} in q2mm and {number:.12g} here"

    @property
    def weights(self) -> NDArray[np.float64]:
        """Those of q2mm, (R,)."""
        return np.array([value.weight for value in self.given], dtype=np.float64)

    def losses(self) -> list[float]:
        """q2mm's at each point, from its values: its residuals are what these were made of."""
        targets = torsion_signs(self.given) * np.array([value.value for value in self.given], dtype=np.float64)
        return np.sum((self.weights * (targets - self.q2mm)) ** 2, axis=1).tolist()

    def room(self) -> NDArray[np.float64]:
        """How far apart the roots of the losses may be at each point: by the norm of the residuals' difference."""
        return np.sqrt(np.sum((self.weights * self.allowed) ** 2, axis=1))


def _values(
    theirs: Any,
    patient: Any,
    ours: FusedObjective,
    computed: NDArray[np.float64],
    points: Sequence[NDArray[np.float64]],
) -> _Values:
    """Side by side at the points; what q2mm's minimizer makes up for where it is run on is allowed."""
    numbered, kinds = weighed(theirs), [value.kind for _, value in weighed(theirs)]
    molecules = [ours.systems[number].molecule.name for number in ours.references.system.tolist()]
    names = [
        (molecule, f"{number} ({_named(value)})") for molecule, (number, value) in zip(molecules, numbered, strict=True)
    ]
    own, allowed = np.stack([ours.predictions(x) for x in points]), []
    for x, found, mine in zip(points, computed, own, strict=True):
        of_rounding = rounding(theirs, found, ours.precision == "float64")
        early = come_to_ours(patient, x, found, mine, of_rounding)
        allowed.append(np.where(early, np.maximum(of_rounding, apart(kinds, found, mine)), of_rounding))
    return _Values([value for _, value in numbered], names, computed, own, np.stack(allowed))


def _named(value: Any) -> str:
    if value.label:
        return str(value.label)
    return f"{value.kind} {value.data_idx if value.atom_indices is None else tuple(value.atom_indices)}"


def _given(theirs: Any, ours: FusedObjective, n_parameters: int) -> list[Any]:
    """q2mm's references with a weight, which must be those of the fused objective."""
    if n_parameters != len(ours.x0):
        raise OptionError(
            f"q2mm's vector has {n_parameters} elements, that of the fused objective {len(ours.x0)}; leave out active and "
            "ties."
        )
    given = [value for _, value in weighed(theirs)]
    if len(given) != len(ours.references):
        raise InteropError(
            f"q2mm has {len(given)} references with a weight, the fused objective {len(ours.references)}; carry q2mm's "
            "over again."
        )
    for value, system in zip(given, ours.references.system.tolist(), strict=True):
        if value.molecule_idx % len(theirs.molecules) != system:
            raise InteropError(
                f"{_named(value)} belongs to molecule {value.molecule_idx} in q2mm, and to {system} in the fused objective; "
                "carry q2mm's over again."
            )
    return given


def _timed(function: Callable, points: Sequence[NDArray[np.float64]]) -> tuple[list[Any], float]:
    """Results at the points, and the median time of one of them [s], without what the first call compiles."""
    function(np.nextafter(points[0], np.inf))
    results, seconds = [], []
    for x in points:
        started = time.perf_counter()
        results.append(function(x))
        seconds.append(time.perf_counter() - started)
    return results, median(seconds)


def _slope(theirs: Any, x: NDArray[np.float64], step: NDArray[np.float64]) -> float:
    """Change of q2mm's loss by a small step, to first order: central differences of the step and its half, extrapolated."""
    long, short = ((theirs(x + h * step) - theirs(x - h * step)) / (2.0 * h) for h in (1.0, 0.5))
    return float((4.0 * short - long) / 3.0)


def _words(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1.0 else f"{1000.0 * seconds:.3g} ms"
