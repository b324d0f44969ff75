"""What is refused of references to relaxed molecules, and what is said where a molecule does not relax."""

from collections.abc import Iterable, Sequence

import numpy as np

from q2mm_accel.errors import OptionError, PrecisionError, ReferenceDataError, RelaxationError, TopologyError
from q2mm_accel.model.arguments import integer, real_array
from q2mm_accel.model.reference_table import INDEX_WIDTHS, Reference, ReferenceTable
from q2mm_accel.model.system import System
from q2mm_accel.model.vibrations import rigid_motions
from q2mm_accel.problem.batch import PARALLEL, inner_sines

_BETWEEN = 3
"""Atoms that an angle has at least."""


def check_relaxed(references: ReferenceTable, systems: Sequence[System]) -> None:
    """Check references of kinds `RELAXED`, whose systems exist.

    Raises:
        ReferenceDataError: a reference to atoms or vibrations that do not exist, or to a coordinate that is undefined.
        TopologyError: a molecule that cannot be relaxed.
    """
    relaxed = references.take(references.is_relaxed())
    check_movable([systems[number] for number in np.unique(relaxed.system).tolist()])
    for reference in relaxed:
        _check(reference, systems[reference.system])


def check_movable(systems: Iterable[System]) -> None:
    """Check that everything a molecule's energy consists of moves with its geometry.

    Raises:
        TopologyError: a background does not.
    """
    for system in systems:
        if system.background is not None:
            raise TopologyError(
                f"{system.molecule.name}: it has a background, known at the QM geometry only, so that it cannot be relaxed. "
                "Leave the background out, or the molecule."
            )


def _check(reference: Reference, system: System) -> None:
    molecule = system.molecule
    what = f"{reference} ({molecule.name})"
    index = np.atleast_1d(np.array(reference.index, dtype=np.int64))
    if INDEX_WIDTHS[reference.kind] == 1:
        count = 3 * molecule.n_atoms - len(rigid_motions(molecule.coordinates, molecule.masses).T)
        if index[0] >= count:
            raise ReferenceDataError(
                f"{what}: index {reference.index} is out of range; {molecule.n_atoms} atoms have {count} vibrations, from 0."
            )
        return
    if index.max() >= molecule.n_atoms or len(set(index.tolist())) < len(index):
        raise ReferenceDataError(
            f"{what}: index {reference.index} must be {len(index)} different atoms of 0 to {molecule.n_atoms - 1}."
        )
    points = molecule.coordinates[index]
    if len(index) == _BETWEEN and _is_closed(points):
        raise ReferenceDataError(
            f"{what}: the angle of the atoms {index.tolist()} is 0 degrees, where it has no derivative. "
            "Leave the reference out."
        )
    if len(index) > _BETWEEN and inner_sines(points[None])[0] < PARALLEL:
        raise ReferenceDataError(
            f"{what}: the torsion of the atoms {index.tolist()} passes through a straight angle, where it is undefined. "
            "Leave the reference out."
        )


def _is_closed(points: np.ndarray) -> bool:
    """Whether the angle at the second of three points is 0."""
    first, second = points[0] - points[1], points[2] - points[1]
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return bool(np.linalg.norm(np.cross(first, second)) < PARALLEL * lengths and first @ second > 0.0)


def check_float64(references: ReferenceTable, systems: Sequence[System], precision: str) -> None:
    """Check that nothing is relaxed in less than float64.

    Raises:
        PrecisionError: something is.
    """
    if precision == "float64":
        return
    for number in np.flatnonzero(references.is_relaxed())[:1]:
        reference = references[int(number)]
        raise PrecisionError(
            f"{reference} ({systems[reference.system].molecule.name}): molecules are relaxed in float64 only, for what "
            f"float32 leaves of gradients would move soft modes. Use precision='float64' instead of {precision!r}."
        )


def upward_modes(n_maximized: int | Sequence[int], systems: Sequence[System]) -> tuple[int, ...]:
    """Of each system along how many modes its energy is to rise.

    Raises:
        OptionError: not a number of modes, or one for each system.
    """
    given = n_maximized if isinstance(n_maximized, Iterable) else [n_maximized] * len(systems)
    counts = tuple(integer(each, "n_maximized", OptionError) for each in given)
    if len(counts) != len(systems):
        raise OptionError(
            f"n_maximized has {len(counts)} entries for {len(systems)} systems; give one number, or one for each."
        )
    for count, system in zip(counts, systems, strict=True):
        most = 3 * system.molecule.n_atoms
        if not 0 <= count <= most:
            raise OptionError(f"{system.molecule.name}: n_maximized is {count}; give 0 for a minimum, or up to {most}.")
    return counts


def checked_penalty(penalty: float) -> float:
    """The penalty of molecules that do not relax.

    Raises:
        OptionError: not a number above 0.
    """
    value = float(real_array(penalty, "unrelaxed_penalty", OptionError, shape=()))
    if not value > 0.0:
        raise OptionError(f"unrelaxed_penalty is {value:g}; give Å or radians per kcal/mol/Å above 0, or None for an error.")
    return value


def unrelaxed(ends: Sequence[tuple[str, str, float]], suspects: str, best: float | None) -> RelaxationError:
    """The error that says which molecules did not relax.

    Args:
        ends: of each its name, what happened, and its largest gradient [kcal/mol/Å].
        suspects: parameters that make no sense or are outside their bounds, in words.
        best: the lowest loss so far.

    Returns:
        The error, to be raised.
    """
    listed = "; ".join(f"{name}: {what} (largest gradient {gradient:.2g} kcal/mol/Å)" for name, what, gradient in ends[:5])
    return RelaxationError(
        f"the force field does not hold {len(ends)} molecule(s), so references to their own geometries have no value: "
        f"{listed}. Parameters that make no sense or are outside their bounds: {suspects}. Best loss so far: "
        f"{'none yet' if best is None else f'{best:.6g}, in .best'}. Start from a force field that holds them (fit forces "
        "and normal modes first), or tighten the bounds."
    )
