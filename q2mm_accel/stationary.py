"""What a force field does by itself: its own minima and saddle points, without an objective."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from q2mm_accel.devices import check_batch_size
from q2mm_accel.errors import OptionError, ParameterError, TopologyError
from q2mm_accel.kernel.relaxation import is_over
from q2mm_accel.kernel.trust_region import Limits, Outcome
from q2mm_accel.memory import memory_explained
from q2mm_accel.model.arguments import as_tuple, instance, integer, real_array
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import form_named
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.reference_table import Reference
from q2mm_accel.model.system import System
from q2mm_accel.objective import relaxed, search_begun, search_result, search_visit, search_visited
from q2mm_accel.parameters.space import parameter_space
from q2mm_accel.problem.build import build_problem
from q2mm_accel.problem.checks import check_terms
from q2mm_accel.problem.layout import Slot, place_systems, plan_stacks
from q2mm_accel.problem.relaxable import check_movable, upward_modes
from q2mm_accel.runtime import exclusive_eigh, require

LARGEST_GRADIENT = 1e-8
"""[kcal/mol/Å] Default limit of any component; rounding leaves some 1e-12."""
MAX_STEPS = 200
FARTHEST = 3.0
"""[Å] Default limit of an atom's way."""


@dataclass(frozen=True, eq=False)
class StationaryPoint:
    """Where a force field takes a molecule from its QM geometry.

    Attributes:
        coordinates: shape (n_atoms, 3) [Å], in the frame of the QM geometry as far as steps without rotation keep it.
        energy: of the force field [kcal/mol].
        gradient: shape (n_atoms, 3) [kcal/mol/Å].
        hessian: shape (3 n_atoms, 3 n_atoms) [kcal/mol/Å²].
        outcome: how it ended; the other attributes are those of the last geometry in any case.
        steps: number of steps, refused ones included.
        n_negative: modes of negative curvature, without rigid motions, not mass-weighted.
    """

    coordinates: np.ndarray
    energy: float
    gradient: np.ndarray
    hessian: np.ndarray
    outcome: Outcome
    steps: int
    n_negative: int

    @property
    def converged(self) -> bool:
        """Whether this is the stationary point that was asked for."""
        return self.outcome == Outcome.CONVERGED

    @property
    def largest_gradient(self) -> float:
        """Largest absolute component of the gradient [kcal/mol/Å]."""
        return float(np.abs(self.gradient).max())


def relax_systems(
    systems: Iterable[System],
    forcefield: ForceField,
    *,
    n_maximized: int | Sequence[int] = 0,
    largest_gradient: float = LARGEST_GRADIENT,
    max_steps: int = MAX_STEPS,
    farthest: float = FARTHEST,
    batch_size: int | None = None,
) -> list[StationaryPoint]:
    """Relax molecules by a force field from their QM geometries, all in one compiled program.

    Newton steps on the exact Hessian within a trust region, rigid motions out. Nothing is left out silently: a molecule that
    does not get there says so in its `outcome`.

    Args:
        systems: the molecules with their terms.
        forcefield: the force field; its parameters may lie outside the bounds of a fit.
        n_maximized: along how many of the lowest modes the energy is to rise, for all or for each system: 0 for minima, 1
            for transition states.
        largest_gradient: [kcal/mol/Å] of any component, at or below which a molecule has converged, if it has the right
            number of negative curvatures.
        max_steps: number of steps, refused ones included.
        farthest: [Å] way of an atom beyond which a molecule counts as fallen apart.
        batch_size: how many molecules are relaxed at a time, to save memory; all by default.

    Returns:
        One stationary point per system.

    Raises:
        FormError: unknown functional form.
        ParameterError: no force field.
        OptionError: a limit, number of modes or batch_size that it cannot have.
        PrecisionError: JAX's 64-bit mode is off.
        TopologyError: a term or type that does not exist or is undefined; or a background, which does not move.
    """
    require("float64", remedy="")
    check_batch_size(batch_size)
    form_named(instance(forcefield, ForceField, "forcefield", ParameterError).form)
    chosen = as_tuple(systems, System, "systems", TopologyError)
    limits = _limits(largest_gradient, max_steps, farthest)
    upward = upward_modes(n_maximized, chosen)
    check_terms(chosen, forcefield)
    check_movable(chosen)
    if not chosen:
        return []
    stacks = plan_stacks([system.molecule.n_atoms for system in chosen], batch_size=batch_size)
    references = [Reference("energy", 0.0, system=number) for number in range(len(chosen))]
    problem = build_problem(chosen, parameter_space(forcefield), references, stacks, moving=True)
    slots, found = place_systems(stacks), []
    with memory_explained(problem, "relaxing molecules"), exclusive_eigh():
        for number, stack in enumerate(problem.stacks):
            own = {system: slot for system, slot in slots.items() if slot.stack == number}
            for at in range(len(stack.read)):
                batch = jax.tree.map(lambda leaf, at=at: leaf[at], stack)
                up = [np.zeros(len(bucket.component_present), np.int32) for bucket in batch.buckets]
                for system, slot in own.items():
                    if slot.batch == at:
                        up[slot.bucket][slot.row] = upward[system]
                found.append(jax.tree.map(np.asarray, relaxed(batch, forcefield.parameters, limits, up)))
    first = np.cumsum([0, *(len(stack.batches) for stack in stacks)])
    return [
        _of_system(system, slots[number], found[first[slots[number].stack] + slots[number].batch])
        for number, system in enumerate(chosen)
    ]


def relax_outside(
    molecule: Molecule,
    mechanics: Callable,
    *,
    n_maximized: int = 0,
    largest_gradient: float = LARGEST_GRADIENT,
    max_steps: int = MAX_STEPS,
    farthest: float = FARTHEST,
) -> StationaryPoint:
    """Relax a molecule as `relax_systems` does, with energies that another engine computes.

    Args:
        molecule: where to begin.
        mechanics: coordinates (n_atoms, 3) [Å] -> energy [kcal/mol], gradient (n_atoms, 3) [kcal/mol/Å] and Hessian
            (3 n_atoms, 3 n_atoms) [kcal/mol/Å²].
        n_maximized: along how many of the lowest modes the energy is to rise.
        largest_gradient: as for `relax_systems`, like the others.
        max_steps: number of steps.
        farthest: [Å] way of an atom.

    Returns:
        The stationary point.

    Raises:
        OptionError: a limit or number of modes that it cannot have.
        PrecisionError: JAX's 64-bit mode is off.
    """
    require("float64", remedy="")
    limits = _limits(largest_gradient, max_steps, farthest)
    n, up = molecule.n_atoms, np.array([integer(n_maximized, "n_maximized", OptionError)], np.int32)
    axes = np.arange(3 * n).reshape(n, 3).T.ravel()  # component by component of the flat geometry, axis by axis
    with exclusive_eigh():
        search = search_begun(molecule.coordinates.ravel()[axes][None], up)
        while not is_over(search):
            next_one = search_visit(search)
            place = np.empty(3 * n)
            place[axes] = np.asarray(next_one.place)[0]
            energy, gradient, hessian = mechanics(place.reshape(n, 3))
            found = np.array([energy]), gradient.ravel()[axes][None], hessian[np.ix_(axes, axes)][None]
            search = search_visited(search, next_one, *found, limits)
        return _point(jax.tree.map(lambda each: np.asarray(each)[0], search_result(search)), n, n)


def _limits(largest_gradient: float, max_steps: int, farthest: float) -> Limits:
    given = {"largest_gradient": largest_gradient, "farthest": farthest}
    values = {name: float(real_array(value, name, OptionError, shape=())) for name, value in given.items()}
    for name, value in values.items():
        if not value > 0.0:
            raise OptionError(f"{name} is {value:g}; give a number above 0.")
    count = integer(max_steps, "max_steps", OptionError)
    if count < 0:
        raise OptionError(f"max_steps is {count}; give a number of steps, 0 or more.")
    return Limits(np.float64(values["largest_gradient"]), count, np.float64(values["farthest"]))


def _of_system(system: System, slot: Slot, found: Sequence) -> StationaryPoint:
    """One molecule's part of what became of its batch, atom by atom."""
    return _point(jax.tree.map(lambda each: each[slot.row], found[slot.bucket]), system.molecule.n_atoms, slot.n_atoms)


def _point(own: Any, n: int, padded: int) -> StationaryPoint:
    """The stationary point of a `Relaxed` of one molecule of n atoms, whose components are those of `padded` atoms."""
    by_atom = own.hessian.reshape(3, padded, 3, padded)[:, :n, :, :n].transpose(1, 0, 3, 2).reshape(3 * n, 3 * n)
    return StationaryPoint(
        coordinates=own.coordinates.reshape(3, padded)[:, :n].T.copy(),
        energy=float(own.energy),
        gradient=own.gradient.reshape(3, padded)[:, :n].T.copy(),
        hessian=by_atom,
        outcome=Outcome(int(own.outcome)),
        steps=int(own.steps),
        n_negative=int(own.n_negative),
    )
