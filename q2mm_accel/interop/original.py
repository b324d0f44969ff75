"""An objective function of q2mm beside what was made of it: value by value, and why they differ. It is only read.

Values are those of the references with a weight, in q2mm's order; torsion angles have IUPAC's sign, as ours.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from q2mm_accel.errors import DifferenceWarning, InteropError, OptionError, RelaxationError, warn_user
from q2mm_accel.interop.q2mm import Q2MMProblem, names_of, torsion_signs, weighed
from q2mm_accel.model.reference_table import RELAXED

CHECKS = ("error", "warn", None)
"""What is done where values differ."""
EXACT = 1e-9
"""Relative to the largest value of a kind in its molecule: the same formulas, rounded differently."""
SINGLE = 1e-6
"""The same for energies of OpenMM, whose fast platforms sum pairs in single precision."""
DIFFERENCES = 1e-3
"""The same for what OpenMM's Hessians give, which are finite differences of its forces."""
RELAXED_BY = {"JaxEngine": 1e-6, "OpenMMEngine": 1e-5}
"""The same for lengths, angles and torsions where q2mm has relaxed the molecule."""
FLOAT32 = 1e-4
"""The same at least where ours are not in float64."""
_NAMED = (ValueError, LookupError, ArithmeticError, RuntimeError)
"""Errors with which q2mm says that it cannot evaluate an objective."""
_FLOORS = {"energy": 1.0, "torsion_angle": 180.0, "frequency": 1000.0}
"""What counts at least as the largest value: energies may cancel [kcal/mol], 0 is an angle like any other [degrees], and
rigid motions have frequencies of rounding [cm⁻¹]."""
_LEFT = 0.5
"""Part of what running q2mm's minimizer on changes that may be left between its values then and ours."""
_RUNS = 30
"""How often a minimizer is run on at most."""
_SETTLED = 1e-9
"""[Å] Moves below end that."""
_STRAIGHT = 179.9
"""[degrees] From where on angles are named as a likely cause."""


@dataclass(frozen=True, eq=False)
class Difference:
    """A value that is not the original's.

    Attributes:
        reference: its number among all of the original.
        molecule: the molecule's number and name.
        kind: of the reference.
        label: of the reference.
        theirs: the original's value.
        ours: what it was carried over to.
        allowed: by how much they may differ.
        x: q2mm's parameter vector there.
        stops_early: whether the original comes to ours where its minimizer is run on.
    """

    reference: int
    molecule: str
    kind: str
    label: str
    theirs: float
    ours: float
    allowed: float
    x: np.ndarray
    stops_early: bool

    def __str__(self) -> str:
        """One line."""
        name = f" {self.label}" if self.label else ""
        return f"{self.molecule}, {self.kind}{name} (reference {self.reference}): {self.theirs:.8g}, here {self.ours:.8g}"


def detached(objective_function: Any, patient: bool = False) -> Any:
    """The same objective with a force field, history and caches of its own: evaluating it does not change the original.

    Args:
        objective_function: an `ObjectiveFunction`.
        patient: whether its engine runs its minimizer on until nothing moves.

    Returns:
        A new one: copies would share histories and cached contexts.
    """
    engine = objective_function.engine
    return type(objective_function)(
        forcefield=copy.deepcopy(objective_function.forcefield),
        engine=_Patient(engine) if patient else engine,
        molecules=objective_function.molecules,
        reference=objective_function.reference,
    )


def values_of_q2mm(probe: Any, x: np.ndarray) -> np.ndarray:
    """What q2mm computes at x, (R,).

    Args:
        probe: as `detached` gives it.
        x: q2mm's parameter vector.

    Returns:
        The values.

    Raises:
        InteropError: q2mm itself cannot be evaluated there.
    """
    try:
        residuals = np.asarray(probe.residuals(np.array(x, dtype=np.float64)), dtype=np.float64)
    except _NAMED as error:
        raise InteropError(
            f"q2mm itself cannot evaluate this objective: {type(error).__name__}: {str(error)[:300]}. Correct it, or start "
            "where it can, also 1 % beside. check=None carries it over unseen; n=1 compares at the start only."
        ) from error
    given = weighed(probe)
    values, weights = (np.array([getattr(value, name) for _, value in given]) for name in ("value", "weight"))
    return torsion_signs([value for _, value in given]) * (values - residuals[[number for number, _ in given]] / weights)


class _Patient:
    """An engine that runs its minimizer on until nothing moves."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def minimize(self, structure: Any, forcefield: Any) -> tuple:
        """As the engine's, from the same geometry."""
        handle, options = self._engine.create_context(structure, forcefield), {}
        if "tolerance" in inspect.signature(self._engine.minimize).parameters:
            options = {"tolerance": 1e-6, "max_iterations": 0}  # OpenMM's: as tight as it goes, and no limit
        energy, atoms, place = self._engine.minimize(handle, forcefield, **options)
        for _ in range(_RUNS):
            handle.molecule.geometry = place
            energy, atoms, moved = self._engine.minimize(handle, forcefield, **options)
            if np.abs(moved - place).max() < _SETTLED:
                break
            place = moved
        return energy, atoms, place


def apart(kinds: Sequence[str], first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Absolute differences of values (..., R) of some kinds; of torsion angles the shorter way round."""
    difference = np.subtract(first, second)
    turned = difference - 360.0 * np.round(np.nan_to_num(difference) / 360.0)
    return np.abs(np.where(np.asarray(kinds) == "torsion_angle", turned, difference))


def rounding_of(kind: str, engine: str, exact: bool = True) -> float:
    """How much values of a kind by an engine may differ, relative to the largest of their kind in the molecule."""
    least = 0.0 if exact else FLOAT32
    if kind in RELAXED:
        return max(RELAXED_BY.get(engine, RELAXED_BY["OpenMMEngine"]), least)
    if engine == "JaxEngine":
        return max(EXACT, least)
    return max(SINGLE if kind == "energy" else DIFFERENCES, least)


def rounding(probe: Any, theirs: np.ndarray, exact: bool = True) -> np.ndarray:
    """By how much values may differ, (R,), where nothing but rounding differs: tolerance times the largest of a kind.

    Frequencies are compared as their squares, which are what a Hessian gives.

    Args:
        probe: the original.
        theirs: its values, (R,).
        exact: whether ours are in float64.
    """
    engine, given = type(probe.engine).__name__, [value for _, value in weighed(probe)]
    # elements beside an eigenmatrix' diagonal are rounded as those on it are
    families = [("eig" if v.kind.startswith("eig_") else v.kind, v.molecule_idx % len(probe.molecules)) for v in given]
    largest = {family: _FLOORS.get(family[0], 1e-6) for family in families}
    for family, value, found in zip(families, given, theirs.tolist(), strict=True):
        largest[family] = max(largest[family], abs(found), abs(float(value.value)))
    tolerances = np.array([rounding_of(value.kind, engine, exact) for value in given])
    scale = np.array([largest[family] for family in families])
    squared = tolerances * scale**2 / np.maximum(2.0 * np.abs(theirs), np.sqrt(tolerances) * scale)
    return np.where([value.kind == "frequency" for value in given], squared, tolerances * scale)


def come_to_ours(patient: Any, x: np.ndarray, theirs: np.ndarray, ours: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Whether values at relaxed geometries come to ours where q2mm's minimizer, which stops early, is run on: (R,).

    Args:
        patient: the original, `detached` and patient.
        x: q2mm's parameter vector.
        theirs: the original's values there, (R,).
        ours: ours, (R,).
        allowed: as `rounding` gives it.

    Raises:
        InteropError: q2mm itself cannot be evaluated where its minimizer is run on.
    """
    kinds = [value.kind for _, value in weighed(patient)]
    if not np.any(np.isin(kinds, RELAXED) & ~(apart(kinds, theirs, ours) <= allowed)):
        return np.zeros(len(kinds), dtype=bool)
    on = values_of_q2mm(patient, x)
    near = apart(kinds, ours, on) <= _LEFT * apart(kinds, on, theirs) + allowed
    return np.isin(kinds, RELAXED) & near


def differences(probe: Any, patient: Any, x: np.ndarray, ours: np.ndarray, exact: bool) -> list[Difference]:
    """The values that are not the original's at x.

    Args:
        probe: the original, `detached`.
        patient: the same, and patient.
        x: q2mm's parameter vector.
        ours: values there, (R,), as `FusedObjective.predictions`.
        exact: whether ours are in float64.

    Returns:
        One each, in the order of the references.

    Raises:
        InteropError: q2mm itself cannot be evaluated there.
    """
    given, names, theirs = weighed(probe), names_of(probe), values_of_q2mm(probe, x)
    allowed = rounding(probe, theirs, exact)
    early = come_to_ours(patient, x, theirs, ours, allowed)
    wrong = ~(apart([value.kind for _, value in given], theirs, ours) <= allowed)
    return [
        Difference(
            number,
            names[value.molecule_idx % len(names)],
            value.kind,
            value.label,
            float(theirs[place]),
            float(ours[place]),
            float(allowed[place]),
            x,
            bool(early[place]),
        )
        for place, (number, value) in enumerate(given)
        if wrong[place]
    ]


def check_option(check: object) -> None:
    """Check that this is one of `CHECKS`.

    Raises:
        OptionError: it is not.
    """
    if not isinstance(check, str | None) or check not in CHECKS:
        raise OptionError(f"check is {check!r:.60}; choose one of {', '.join(map(repr, CHECKS))}.")


def check_against_original(
    objective_function: Any,
    problem: Q2MMProblem,
    ours: Callable[[np.ndarray], np.ndarray],
    points: Sequence[tuple[np.ndarray, np.ndarray]],
    check: str | None,
    exact: bool,
) -> None:
    """Compare with the original at some points.

    Args:
        objective_function: the original.
        problem: what it was carried over to.
        ours: x -> values of all references of weight other than 0.
        points: q2mm's parameter vector, and the same as `ours` takes it.
        check: one of `CHECKS`.
        exact: whether ours are in float64.

    Raises:
        InteropError: values differ and this is an error; or q2mm itself cannot be evaluated.

    Warns:
        DifferenceWarning: values differ; or q2mm's minimizer stops early.
    """
    if check is None:
        return
    found, probe, patient = [], detached(objective_function), detached(objective_function, patient=True)
    for theirs, x in points:
        try:
            found += differences(probe, patient, theirs, ours(x), exact)
        except RelaxationError as error:
            raise InteropError(
                f"q2mm's minimizer is not asked to converge, ours is, and cannot at or beside the start: {error} Pass "
                "unrelaxed_penalty to fit from there, and check=None."
            ) from error
    early = [each for each in found if each.stops_early]
    if early:
        worst = max(early, key=lambda each: abs(each.theirs - each.ours))
        warn_user(
            f"{len(early)} relaxed values are not those of q2mm, whose minimizer stops early; run on, it comes to ours. The "
            f"largest difference: {worst}.",
            DifferenceWarning,
        )
    rest = [each for each in found if not each.stops_early]
    if rest:
        sentence = _explained(objective_function, problem, rest)
        if check == "error":
            raise InteropError(f"{sentence} Pass check='warn' to go on with the values here.")
        warn_user(sentence, DifferenceWarning)


def _explained(objective_function: Any, problem: Q2MMProblem, found: Sequence[Difference]) -> str:
    worst = max(found, key=lambda each: abs(each.theirs - each.ours) / each.allowed)
    cause = _cause(objective_function, problem, worst)
    return f"{len(found)} values are not those of q2mm, most of all of {worst}. {cause}"


def _cause(objective_function: Any, problem: Q2MMProblem, worst: Difference) -> str:
    """The likely cause of a difference, with its remedy."""
    number = names_of(objective_function).index(worst.molecule)
    straight, engine = _straight_angle(problem, number), type(objective_function.engine).__name__
    if straight and engine == "JaxEngine" and "clipped" not in problem.forcefield.form:
        return (
            f"The likely cause: {straight}. q2mm clips cosines, so that angles within 0.026 degrees of 180 have no force "
            "and no stiffness; clipped_angles=True gives its loss exactly, without it the angle is right."
        )
    if straight and engine == "OpenMMEngine":
        return f"The likely cause: {straight}. There energies have a kink, over which q2mm's finite differences step."
    if worst.kind in RELAXED:
        return (
            "The likely cause: q2mm's minimizer and ours end in different minima, it finds other bonds there, or nothing in "
            "the force field holds this coordinate, which then ends wherever a minimizer leaves it."
        )
    if len(problem.systems) > 1 and _agrees_alone(objective_function, worst, number):
        return (
            "q2mm gives the value here where it has this molecule alone: commit 0c795729 evaluates molecules with equal "
            "terms at the geometry of the first. The value here is right."
        )
    if worst.kind in ("eig_diagonal", "eig_offdiagonal"):
        return (
            "The likely cause: later versions of q2mm take eigenmatrices in mass-weighted modes, as add_normal_modes does."
        )
    return "The likely cause: a q2mm with other formulas. EngineObjective(objective_function) keeps its own."


def _straight_angle(problem: Q2MMProblem, number: int) -> str:
    """The angle of a molecule that is nearest to 180 degrees, if it is nearly so."""
    system = problem.systems[number]
    if not len(system.angle_atoms):
        return ""
    first, centre, last = (system.molecule.coordinates[system.angle_atoms[:, i]] for i in range(3))
    cross = np.linalg.norm(np.cross(first - centre, last - centre), axis=1)
    angles = np.degrees(np.arctan2(cross, ((first - centre) * (last - centre)).sum(axis=1)))
    worst = int(np.argmax(angles))
    if angles[worst] < _STRAIGHT:
        return ""
    atoms = "-".join(f"{system.molecule.symbols[atom]}{atom}" for atom in system.angle_atoms[worst])
    return f"the angle {atoms} of {system.molecule.name} is {angles[worst]:.6g} degrees"


def _agrees_alone(objective_function: Any, worst: Difference, number: int) -> bool:
    """Whether q2mm has our value for a reference if its molecule is the only one."""
    value = copy.copy(objective_function.reference.values[worst.reference])
    value.molecule_idx = 0
    alone = type(objective_function)(
        forcefield=objective_function.forcefield,
        engine=objective_function.engine,
        molecules=[objective_function.molecules[number]],
        reference=type(objective_function.reference)([value]),
    )
    found = values_of_q2mm(detached(alone), worst.x)
    return bool(apart([worst.kind], found, np.array([worst.ours]))[0] <= worst.allowed)
