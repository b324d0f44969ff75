"""An objective function of q2mm beside what was made of it: value by value, and why they differ. It is only read."""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from q2mm_accel.errors import DifferenceWarning, InteropError, OptionError, RelaxationError, warn_user
from q2mm_accel.interop.q2mm import Q2MMProblem, names_of
from q2mm_accel.model.reference_table import RELAXED

CHECKS = ("error", "warn", None)
"""What is done where values differ."""
_ALLOWED = {"JaxEngine": 1e-9, "OpenMMEngine": 1e-3}
"""Largest difference of values by engine, relative to the largest of the kind in the molecule: what rounding leaves, and
finite differences of forces. Frequencies are compared by their squares, which are what a Hessian gives."""
_SIZES = {"frequency": 1e6}
"""What counts as the largest value of a kind at least: rigid motions have frequencies of rounding, beside vibrations."""
_FLOAT32 = 1e-4
"""The same where ours are not in float64."""
RELAXED_BY = {"JaxEngine": 1e-6, "OpenMMEngine": 1e-5}
"""The same of lengths, angles and torsions where q2mm has relaxed the molecule; OpenMM's fast platforms have forces of
single precision."""
_BEYOND = 1.5
"""How much farther than q2mm's minimizer, where it is run on, ours may get: it still stops too early then."""
_RUNS = 30
"""How often a minimizer is run on at most."""
_SETTLED = 1e-9
"""[Å] Moves below end that."""
_STRAIGHT = 179.9
"""[degrees] From where on angles are named as a likely cause."""


@dataclass(frozen=True)
class Difference:
    """A value that is not the original's.

    Attributes:
        reference: its number among all of the original.
        molecule: the molecule's name.
        kind: of the reference.
        label: of the reference.
        theirs: the original's value.
        ours: what it was carried over to.
        allowed: by how much they may differ.
        stops_early: whether it is one that the original's minimizer makes up for where it is run on.
    """

    reference: int
    molecule: str
    kind: str
    label: str
    theirs: float
    ours: float
    allowed: float
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
    """What q2mm computes for each reference at x, (all references,).

    Args:
        probe: as `detached` gives it.
        x: q2mm's parameter vector.

    Returns:
        The values; NaN where the weight is 0. Torsions have IUPAC's sign, as ours.

    Raises:
        InteropError: q2mm itself cannot be evaluated there.
    """
    values = probe.reference.values
    try:
        residuals = np.asarray(probe.residuals(np.array(x, dtype=np.float64)), dtype=np.float64)
    except (ValueError, KeyError, IndexError, RuntimeError, ArithmeticError) as error:
        raise InteropError(
            f"q2mm itself cannot evaluate this objective: {type(error).__name__}: {str(error)[:300]}. Correct it, or pass "
            "check=None to carry it over unseen."
        ) from error
    weights = np.array([value.weight for value in values], dtype=np.float64)
    weighed = weights != 0.0
    found = np.full(len(values), np.nan)
    found[weighed] = np.array([value.value for value in values])[weighed] - residuals[weighed] / weights[weighed]
    torsions = [value.kind == "torsion_angle" for value in values]
    found[torsions] = -found[torsions]
    return found


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


def left_by_minimizer(patient: Any, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """By how much values at relaxed geometries may be off because q2mm's minimizer stops early, (all references,).

    Args:
        patient: the original, `detached` and patient.
        x: q2mm's parameter vector.
        values: as `values_of_q2mm` gives them there of the original.

    Returns:
        What running the minimizer on changes, and half as much again; 0 for other kinds.

    Raises:
        InteropError: q2mm itself cannot be evaluated where it is run on.
    """
    kinds = np.array([value.kind for value in patient.reference.values])
    change = _turned(values_of_q2mm(patient, x) - values, kinds)
    return np.where(np.isin(kinds, RELAXED), _BEYOND * np.abs(change), 0.0)


def differences(
    probe: Any, patient: Any, problem: Q2MMProblem, x: np.ndarray, ours: np.ndarray, exact: bool
) -> list[Difference]:
    """The values that are not the original's at x.

    Args:
        probe: the original, `detached`.
        patient: the same, and patient.
        problem: what it was carried over to.
        x: q2mm's parameter vector.
        ours: values there of all references of weight other than 0, as `FusedObjective.predictions`.
        exact: whether ours are in float64.

    Returns:
        One each, in the order of the references.

    Raises:
        InteropError: q2mm itself cannot be evaluated there.
    """
    values = probe.reference.values
    weighed = np.array([value.weight != 0.0 for value in values], dtype=bool)
    theirs, found = values_of_q2mm(probe, x), np.full(len(values), np.nan)
    found[weighed] = ours
    kinds = np.array([value.kind for value in values])
    molecules = np.array([value.molecule_idx % len(problem.systems) for value in values], dtype=np.int64)
    engine, least = type(probe.engine).__name__, 0.0 if exact else _FLOAT32
    rounding = np.where(np.isin(kinds, RELAXED), RELAXED_BY[engine], max(_ALLOWED[engine], least))
    allowed = rounding * _sizes(theirs, kinds, molecules)
    off = np.abs(_turned(_compared(theirs, kinds) - _compared(found, kinds), kinds))
    wrong = weighed & ~(off <= allowed)
    early = np.zeros(len(values), dtype=bool)
    if np.any(wrong & np.isin(kinds, RELAXED)):
        early = off <= left_by_minimizer(patient, x, theirs)
    names = names_of(probe)
    return [
        Difference(
            number,
            names[molecules[number]],
            values[number].kind,
            values[number].label,
            float(theirs[number]),
            float(found[number]),
            float(allowed[number]),
            bool(early[number]),
        )
        for number in np.flatnonzero(wrong).tolist()
    ]


def _compared(values: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    return np.where(kinds == "frequency", values * np.abs(values), values)


def _turned(difference: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    turns = np.round(np.nan_to_num(difference) / 360.0)
    return difference - 360.0 * np.where(kinds == "torsion_angle", turns, 0.0)


def _sizes(theirs: np.ndarray, kinds: np.ndarray, molecules: np.ndarray) -> np.ndarray:
    """The largest value of each one's kind in its molecule."""
    sizes = np.zeros(len(theirs))
    for kind in set(kinds.tolist()):
        for number in set(molecules.tolist()):
            chosen = (kinds == kind) & (molecules == number)
            sizes[chosen] = np.nanmax(np.abs(_compared(theirs, kinds)[chosen]), initial=_SIZES.get(kind, 1e-6))
    return sizes


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
            found += differences(probe, patient, problem, theirs, ours(x), exact)
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
    worst = max(found, key=lambda each: abs(each.theirs - each.ours) / max(each.allowed, np.finfo(float).tiny))
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
    (found,) = values_of_q2mm(detached(alone), objective_function.forcefield.get_param_vector())
    kinds = np.array([worst.kind])
    difference = _compared(np.array([found]), kinds) - _compared(np.array([worst.ours]), kinds)
    return bool(np.abs(difference) <= 100.0 * worst.allowed)
