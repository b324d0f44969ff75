"""The direct solve: all force constants and equilibria of a harmonic force field at once, from one quadratic function.

Where residuals are linear in the unknowns of `unknowns`, the loss is a quadratic function of them. Value, gradient and
Gauss-Newton matrix at one point tell all of it; its minimum within bounds is global. The Jacobian is in memory nowhere, and
molecules are summed batch by batch.

No direction shall be softer than a part of QM's stiffness: with L = Vᵀ M^-½ H M^-½ V in QM's normal modes V and
D = max(λ, floor²), every eigenvalue of D^-½ L D^-½ is to be at least that part. That is convex, and done by cutting planes:
solve, add zᵀ D^-½ L D^-½ z >= part for each eigenvector z that is softer, and solve again (Kelley, J. SIAM 1960, 8, 703).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult

from q2mm_accel.errors import LinearityError, OptionError, SolverError
from q2mm_accel.inputs import FitInputs
from q2mm_accel.model.arguments import real_array
from q2mm_accel.model.reference_table import REFERENCE_KINDS
from q2mm_accel.problem.reads import scales_of_modes
from q2mm_accel.solvers.quadratic import QuadraticProgram
from q2mm_accel.solvers.unknowns import Unknowns, elements_of, unknowns_of
from q2mm_accel.units import FREQUENCY_FACTOR

LINEAR_KINDS = (
    "energy",
    "relative_energy",
    "hessian_element",
    "eig_diagonal",
    "eig_offdiagonal",
    "force",
    "normal_mode",
    "mode_displacement",
)
"""Kinds of references that can be linear in force constants."""
SOFTEST = 30.0
"""[cm⁻¹] Modes that QM has below it count as if they had this frequency where stiffness is compared."""
_RIDGE = 1e-5
"""Stiffness, beside columns of norm 1, that holds at the start what no reference determines."""
_AGREE = 1e-8
"""Largest relative difference of a quadratic function's minimum and the loss there."""
_ROUNDING = 1e-12
"""Of the loss at the point from which the quadratic function was taken."""
_SOFTER = 1e-3
"""By how much a stiffness may fall short."""
_OPTIMAL = 1e-6
"""Largest slope of residuals' length along any unknown, relative to both, of what counts as a minimum."""
_CUTS_AT_A_TIME = 6
"""Directions of a molecule that are held in one round."""
_ROUNDS = 100
_REREADS = 30


class Cut(NamedTuple):
    """A direction of a molecule that is held at a part of QM's stiffness."""

    system: int
    molecule: str
    mode: int
    """The normal mode that it is most like, from 0."""
    frequency: float
    """QM's, of that mode [cm⁻¹]."""


class Calls(NamedTuple):
    """What an objective computes, all at x."""

    value_and_gradient: Callable
    curvature: Callable
    """2 JᵀJ, (n, n)."""
    predictions: Callable
    """(R,)."""
    push: Callable
    """x and a direction (n,) -> derivatives of predictions along it, (R,)."""
    stiffness: Callable
    """x and pairs of a system and a direction (3N,), mass-weighted -> derivatives of its stiffness, (n, pairs)."""


@dataclass(frozen=True, eq=False)
class _Modes:
    """The normal modes of a system, with positive eigenvalues, all of whose elements are references."""

    system: int
    numbers: np.ndarray
    """(K,) which modes of the molecule."""
    rows: np.ndarray
    """(K, K) the reference that holds an element."""
    quantum: np.ndarray
    """(K, K) what QM has for the references."""
    scales: np.ndarray
    """(K, K) by which differences to that are multiplied to be those of D^-½ L D^-½."""
    own: np.ndarray
    """(K,) the diagonal of QM's D^-½ L D^-½."""
    vectors: np.ndarray
    """(3N, K) V D^-½."""

    def relative(self, predictions: np.ndarray) -> np.ndarray:
        """D^-½ L D^-½ of the force field, (K, K), from what it gives for all references (R,)."""
        return np.diag(self.own) + (predictions[self.rows] - self.quantum) * self.scales

    def direction(self, along: np.ndarray) -> np.ndarray:
        """V D^-½ z of a direction z (K,), mass-weighted, (3N,)."""
        return self.vectors @ along


class _Held(NamedTuple):
    """A direction z that is held: zᵀ D^-½ L D^-½ z is linear in the unknowns."""

    modes: _Modes
    direction: np.ndarray


class _Solution(NamedTuple):
    y: np.ndarray
    value: float
    optimality: float
    bounded: np.ndarray
    """Elements of x at bounds."""
    held: np.ndarray
    """Which of the directions hold the solution back."""


class _Quadratic:
    """The loss as a quadratic function of the unknowns, from what it is at one point."""

    def __init__(self, inputs: FitInputs, calls: Calls, unknowns: Unknowns, x: np.ndarray) -> None:
        """Evaluate at an x whose force constants are not 0."""
        self.unknowns, self.calls, self.x = unknowns, calls, x
        self.value, gradient = calls.value_and_gradient(x)
        self._here = calls.predictions(x)
        self.tangent = unknowns.tangent(x)
        self.origin = unknowns.values(x)
        self.slope = self.tangent.T @ gradient
        self.curvature = self.tangent.T @ calls.curvature(x) @ self.tangent
        sizes = np.sqrt(np.maximum(np.diag(self.curvature) / 2.0, 0.0))
        self.unit = 1.0 / np.where(sizes > 0.0, sizes, 1.0)
        normals, self.limits, self.elements = unknowns.inequalities()
        # in units in which all columns have norm 1
        matrix = 0.5 * self.unit[:, None] * self.curvature * self.unit
        self.program = QuadraticProgram(matrix + _RIDGE**2 * np.eye(len(matrix)), normals * self.unit)

    def at(self, y: np.ndarray) -> float:
        """The loss."""
        moved = y - self.origin
        return float(self.value + self.slope @ moved + 0.5 * moved @ self.curvature @ moved)

    def gradient(self, y: np.ndarray) -> np.ndarray:
        """Of the loss by the unknowns, (n_free,)."""
        return self.slope + self.curvature @ (y - self.origin)

    def predictions(self, y: np.ndarray) -> np.ndarray:
        """Of all references, (R,). Couplings read the equilibria of the one point here too, which those of y may not be."""
        return self._here + self.calls.push(self.x, self.tangent @ (y - self.origin))

    def hold(self, held: Sequence[_Held], stiffness: float) -> None:
        """Let no direction be softer than that part of QM's stiffness."""
        if not held:
            return
        directions = [(each.modes.system, each.modes.direction(each.direction)) for each in held]
        slopes = self.calls.stiffness(self.x, directions).T @ self.tangent
        here = [each.direction @ each.modes.relative(self._here) @ each.direction for each in held]
        self.program.add(slopes * self.unit)
        self.limits = np.append(self.limits, stiffness - np.array(here) + slopes @ self.origin)

    def minimum(self, centre: np.ndarray) -> _Solution:
        """The minimum within bounds and above all stiffnesses; undetermined unknowns stay at the centre, (n_free,)."""
        unit, count = self.unit, len(self.elements)
        found = self.program.minimum(
            0.5 * unit * self.gradient(centre), self.limits - self.program.normals @ (centre / unit)
        )
        y, active = centre + unit * found.point, found.multipliers > 0.0
        value = self.at(y)
        left = 0.5 * unit * self.gradient(y) - self.program.normals.T @ found.multipliers
        # where everything fits exactly, residuals are rounding
        length = np.sqrt(max(value, _ROUNDING * self.value, np.finfo(float).tiny))
        optimality = float(np.max(np.abs(left), initial=0.0)) / length
        return _Solution(y, value, optimality, self.elements[active[:count]], active[count:])


def solve_linear(inputs: FitInputs, calls: Calls, stiffness: float | None) -> OptimizeResult:
    """The global minimum of an objective whose residuals are linear in force constants and in products with equilibria.

    Args:
        inputs: of the objective.
        calls: what it computes.
        stiffness: part of QM's stiffness below which no direction may fall, or None.

    Returns:
        As `FusedObjective.solve_linear`.
    """
    part = _checked(inputs, stiffness)
    unknowns = unknowns_of(inputs.space, inputs.x0, inputs.bounds)
    _check_priors(inputs, unknowns)
    modes = [] if part is None else _modes_of(inputs)
    rereads = _reads_equilibria(inputs, unknowns)
    x, held, rounds = unknowns.start, [], 0
    for _ in range(_REREADS):
        model = _Quadratic(inputs, calls, unknowns, _reference_point(unknowns, x, inputs.typical_scale))
        found, x, more = _above(model, modes, held, unknowns.values(x), part or 0.0, inputs.typical_scale)
        rounds += more
        value, gradient = calls.value_and_gradient(x)
        if abs(value - found.value) <= _AGREE * value + _ROUNDING * model.value:
            message = _message(inputs, unknowns, found, rereads, None if part is None else modes)
            return _result(inputs, unknowns, found, held, x, value, gradient, rounds, message)
        if not rereads:
            raise _unbounded(unknowns, found, inputs.typical_scale) or _not_linear(model, found, x, gradient)
    raise SolverError(
        f"equilibria that couplings read do not settle in {_REREADS} solves. Freeze them (active=), or drop couplings."
    )


def _result(inputs, unknowns, found, held, x, value, gradient, rounds, message) -> OptimizeResult:
    return OptimizeResult(
        x=x,
        fun=value,
        jac=gradient,
        success=bool(found.optimality <= _OPTIMAL),
        status=0 if found.optimality <= _OPTIMAL else 1,
        message=message,
        nit=rounds,
        method="linear",
        optimality=float(found.optimality),
        cuts=tuple(_cut(inputs, each) for each, holds in zip(held, found.held, strict=True) if holds),
        at_bounds=tuple(unknowns.labels[element] for element in np.unique(found.bounded)),
    )


def _checked(inputs: FitInputs, stiffness: float | None) -> float | None:
    """Check what can be known beforehand."""
    for code in np.unique(inputs.references.kind):
        kind = REFERENCE_KINDS[code]
        if kind not in LINEAR_KINDS:
            reference = inputs.references[int(np.flatnonzero(inputs.references.kind == code)[0])]
            raise LinearityError(
                f"{reference} ({inputs.systems[reference.system].molecule.name}): {kind} is not linear in force constants. "
                f"Use normal modes (add_normal_modes) instead, or solve_native; linear are {', '.join(LINEAR_KINDS)}."
            )
    if inputs.loss != "linear":
        raise LinearityError(
            f"the loss is {inputs.loss!r}, whose minimum no linear solve finds. Use loss='linear', or solve_native."
        )
    if inputs.precision != "float64":
        raise OptionError(f"a direct solve needs precision='float64', but the objective has {inputs.precision!r}.")
    return checked_stiffness(stiffness)


def checked_stiffness(stiffness: float | None) -> float | None:
    """A part of QM's stiffness, or None.

    Raises:
        OptionError: it is no number from 0 to below 1.
    """
    if stiffness is None:
        return None
    part = float(real_array(stiffness, "stiffness", OptionError, shape=()))
    if not 0.0 <= part < 1.0:
        raise OptionError(f"stiffness is {stiffness}; give a part of QM's from 0 to below 1, or None for no such limit.")
    return part


def _check_priors(inputs: FitInputs, unknowns: Unknowns) -> None:
    """Priors are linear in parameters, and so not in the products of which equilibria are quotients."""
    space, moving = inputs.space, set(unknowns.free.tolist())
    for position in inputs.priors.parameter.tolist():
        for element in elements_of(space, position):
            if int(unknowns.partner[element]) in moving and element in moving:
                raise LinearityError(
                    f"a prior (priors= or l2=) on {space.forcefield.labels[position]!r} is not linear in k q0, with which "
                    "the direct solve works. Give the equilibrium bounds instead, freeze it (active=), or use solve_native."
                )


def _reads_equilibria(inputs: FitInputs, unknowns: Unknowns) -> bool:
    """Whether couplings read equilibria that are unknowns."""
    return len(unknowns.equilibria) > 0 and any(kind.reads for system in inputs.systems for kind in system.kinds.values())


def _reference_point(unknowns: Unknowns, x: np.ndarray, typical: np.ndarray) -> np.ndarray:
    """An x from which all unknowns can be told apart: force constants of equilibria not 0, those of couplings 0."""
    result = x.copy()
    stiff = np.unique(unknowns.partner[unknowns.equilibria])
    result[stiff] = np.maximum(result[stiff], typical[stiff])
    result[unknowns.coupled] = 0.0
    free = unknowns.lower < unknowns.upper
    return np.where(free, result, unknowns.lower)


def _above(model: _Quadratic, modes: list[_Modes], held: list[_Held], y: np.ndarray, part: float, typical: np.ndarray):
    """The minimum where no direction is too soft, its x, and the number of rounds; adds to `held` what it holds."""
    model.hold(held, part)
    soft: list[_Held] = []
    for number in range(1, _ROUNDS + 1):
        found = model.minimum(y)
        y = found.y
        soft = _soft(modes, model.predictions(y), part) if modes else []
        # the second time undetermined unknowns are where they were, and the ridge holds nothing else
        if not soft and number > 1:
            return found, model.unknowns.vector(y, typical), number
        held += soft
        model.hold(soft, part)
    names = ", ".join(sorted({str(each.modes.system) for each in soft}))
    raise SolverError(
        f"after {_ROUNDS} rounds the systems {names} still have directions softer than {part:g} of QM's. Lower the "
        "stiffness, or give the force field terms that hold them."
    )


def _soft(modes: list[_Modes], predictions: np.ndarray, part: float) -> list[_Held]:
    """The directions in which molecules are too soft."""
    found = []
    for each in modes:
        values, vectors = np.linalg.eigh(each.relative(predictions))
        soft = np.flatnonzero(values < part - _SOFTER)[:_CUTS_AT_A_TIME]
        found += [_Held(each, vectors[:, number]) for number in soft]
    return found


def _modes_of(inputs: FitInputs) -> list[_Modes]:
    """Of all systems whose references hold all elements of their normal modes, with weights above 0."""
    references, results = inputs.references, []
    chosen = references.is_kind("normal_mode") & (inputs.weights > 0.0)
    for system in np.unique(references.system[chosen]):
        modes, rows = inputs.systems[system].molecule.normal_modes, np.flatnonzero(chosen & (references.system == system))
        count = len(modes.eigenvalues)
        index = references.indices[rows, :2].T
        places, factors = np.full((count, count), -1), np.ones((count, count))
        for first, second in (index, index[::-1]):
            places[first, second] = rows
            factors[first, second] = scales_of_modes(modes, references.floor[rows], index)[0]
        if np.any(places < 0):
            continue
        numbers = np.flatnonzero(modes.eigenvalues > 0.0)
        inside = np.ix_(numbers, numbers)
        values = modes.eigenvalues[numbers]
        stiffness = np.maximum(values, (SOFTEST / FREQUENCY_FACTOR) ** 2)
        scales = 1.0 / (factors[inside] * np.sqrt(np.outer(stiffness, stiffness)))
        vectors = modes.vectors[:, numbers] / np.sqrt(stiffness)
        quantum = np.diag(modes.frequencies[numbers])
        results.append(_Modes(int(system), numbers, places[inside], quantum, scales, values / stiffness, vectors))
    return results


def _cut(inputs: FitInputs, held: _Held) -> Cut:
    mode = int(held.modes.numbers[np.argmax(np.abs(held.direction))])
    molecule = inputs.systems[held.modes.system].molecule
    return Cut(held.modes.system, molecule.name, mode, float(molecule.normal_modes.frequencies[mode]))


def _message(inputs: FitInputs, unknowns: Unknowns, found: _Solution, rereads: bool, modes: list[_Modes] | None) -> str:
    if found.optimality > _OPTIMAL:
        return f"The conditions of a minimum are off by {found.optimality:.1e}: the problem is too ill-conditioned."
    message = "The loss is at its global minimum within the bounds and stiffnesses"
    if rereads:
        message += ", for couplings that read the equilibria found; solve_native from here may go a little lower"
    stopped = [each for each in np.unique(found.bounded) if inputs.bounds.lb[each] < unknowns.lower[each]]
    if stopped:
        message += ". Held at 0, for their equilibria are free, although the objective's bounds go on below: "
        message += ", ".join(repr(unknowns.labels[each]) for each in stopped[:3]) + (" ..." if len(stopped) > 3 else "")
    held = set(range(len(inputs.systems))) if modes is None else {each.system for each in modes}
    loose = [each for number, each in enumerate(inputs.systems) if number not in held and each.molecule.n_atoms > 1]
    if loose:
        message += f". No least stiffness holds for {len(loose)} of {len(inputs.systems)} systems, such as "
        message += f"{loose[0].molecule.name}: not all of their normal modes are references"
    return f"{message}."


def _unbounded(unknowns: Unknowns, found: _Solution, typical: np.ndarray) -> LinearityError | None:
    """Of equilibria that have no best value, for a force remains where their force constants are 0."""
    lost = unknowns.without_stiffness(found.y, typical)
    if not len(lost):
        return None
    return LinearityError(
        f"{', '.join(repr(unknowns.labels[element]) for element in lost[:3])} would have to be infinite: the force constant "
        "is 0 at the minimum, but a force remains. Give such equilibria bounds (bounds=, ForceField.with_bounds)."
    )


def _not_linear(model: _Quadratic, found: _Solution, x: np.ndarray, gradient: np.ndarray) -> LinearityError:
    """Why the loss is not what the quadratic function says."""
    unknowns, expected = model.unknowns, np.zeros(len(x))
    slope = model.gradient(found.y)
    expected[unknowns.free] = slope
    for place in unknowns.equilibria:
        expected[unknowns.partner[place]] += expected[place] * (x[place] - unknowns.centre[place])
    expected[unknowns.equilibria] *= x[unknowns.partner[unknowns.equilibria]]
    off = np.abs(gradient - expected)[unknowns.free]
    worst = unknowns.free[np.argsort(off)[::-1][:3]]
    return LinearityError(
        "residuals are not linear in some parameters, perhaps in "
        f"{', '.join(repr(unknowns.labels[element]) for element in worst)}: energies of anharmonic forms are not in "
        "equilibria; nor are absolute energies, or those of different molecules relative to each other. Freeze equilibria "
        "(active=), or use solve_native."
    )
