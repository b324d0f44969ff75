"""What a fit starts from: molecules, references, parameters and options, checked, and the arrays they become."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from scipy.optimize import Bounds

from q2mm_accel.devices import n_shares, placed
from q2mm_accel.io.checkpoint import fingerprint
from q2mm_accel.memory import memory_explained
from q2mm_accel.model.reference_table import REFERENCE_KINDS, ReferenceTable
from q2mm_accel.model.system import System
from q2mm_accel.parameters.priors import PriorRows
from q2mm_accel.parameters.space import ParameterSpace
from q2mm_accel.problem.arrays import Problem
from q2mm_accel.problem.build import Relaxed, build_problem
from q2mm_accel.problem.checks import check_resolution
from q2mm_accel.problem.layout import Stack, place_systems, plan_stacks, quantised
from q2mm_accel.problem.precision import in_precision

_LEAST_COLUMNS = 6
"""Room for columns of each molecule."""


class Spread(NamedTuple):
    """Columns that stand where molecules do, as compiled functions take them."""

    columns: tuple[tuple[np.ndarray, ...], ...]
    """Of each stack and bucket (batches, M, D, K)."""
    places: np.ndarray
    """Where each column is among those of all molecules, padding included."""


@dataclass(frozen=True, eq=False)
class FitInputs:
    """Everything that a loss depends on, and how it is to be computed.

    Attributes:
        systems: the molecules with their terms.
        moving: the same with frozen terms turned into backgrounds: what is computed in each evaluation.
        references: those with a weight above 0, as given and in that order.
        weights: shape (R,), the references' weights after balancing.
        space: which parameters x holds, and how all others follow from it.
        priors: further residuals.
        x0: the start, shape (n,).
        bounds: of x.
        loss: name of the loss of references.
        f_scale: weight times deviation from which on it counts less.
        precision: of the arrays, one of `runtime.PRECISIONS`.
        batch_size: how many molecules a device evaluates at a time, or None for all.
        mesh: the devices that share the molecules out, or None.
        upward: of each system along how many modes its energy is to rise, where it is relaxed.
        penalty: of molecules that do not relax; None where that is an error.
    """

    systems: tuple[System, ...]
    moving: tuple[System, ...]
    references: ReferenceTable
    weights: np.ndarray
    space: ParameterSpace
    priors: PriorRows
    x0: np.ndarray
    bounds: Bounds
    loss: str
    f_scale: float
    precision: str
    batch_size: int | None
    mesh: Mesh | None
    upward: tuple[int, ...] = ()
    penalty: float | None = None
    _placed: dict[str, Problem] = field(default_factory=dict, init=False, repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """One name per element of x."""
        return self.space.labels

    @property
    def typical_scale(self) -> np.ndarray:
        """Size of a noticeable change of every element of x, shape (n,)."""
        free = self.space.free
        return self.space.forcefield.typical_scale[free] / self.space.scale[free]

    def host_arrays(self, precision: str) -> Problem:
        """The problem in one of `runtime.PRECISIONS`, of NumPy arrays.

        Raises:
            PrecisionError: a reference needs more.
        """
        check_resolution(self.references, self.moving, precision)
        return in_precision(self._built(), precision)

    def arrays(self, precision: str) -> Problem:
        """The problem in one of `runtime.PRECISIONS`, on its devices; made once. Raises as `host_arrays` does."""
        if precision not in self._placed:
            problem = self.host_arrays(precision)
            with memory_explained(problem, "the problem"):
                self._placed[precision] = placed(problem, self.mesh)
        return self._placed[precision]

    @cached_property
    def _stacks(self) -> list[Stack]:
        return plan_stacks([system.molecule.n_atoms for system in self.systems], n_shares(self.mesh), self.batch_size)

    def _built(self) -> Problem:
        return build_problem(
            self.moving,
            self.space,
            self.references,
            self._stacks,
            weights=self.weights,
            priors=self.priors,
            loss=self.loss,
            f_scale=self.f_scale,
            relaxed=Relaxed(self.systems, self.upward, n_shares(self.mesh), self.batch_size, self.penalty),
        )

    def spread(self, directions: Sequence[tuple[int, np.ndarray]]) -> Spread:
        """Mass-weighted directions of molecules as columns that stand where the molecules do.

        Args:
            directions: numbers of systems, and directions (3 n_atoms,), atom by atom.
        """
        stacks = self._stacks
        slots, taken = place_systems(stacks), np.zeros(len(self.systems), dtype=np.int64)
        # few widths, for each compiles a program
        width = max(_LEAST_COLUMNS, quantised(max(np.bincount([system for system, _ in directions]))))
        columns = tuple(
            tuple(np.zeros((len(stack.batches), count, 3, n_atoms, width)) for count, n_atoms in stack.shapes)
            for stack in stacks
        )
        ends = np.cumsum([0, *(each.shape[0] * each.shape[1] * width for stack in columns for each in stack)])
        firsts = {stack: sum(len(each) for each in columns[:stack]) for stack in range(len(columns))}
        places = []
        for system, direction in directions:
            slot, place = slots[system], int(taken[system])
            taken[system] += 1
            own = columns[slot.stack]
            own[slot.bucket][slot.batch, slot.row, :, : len(direction) // 3, place] = direction.reshape(-1, 3).T
            # batches follow each other, and in each its buckets
            in_batch = [each.shape[1] * width for each in own]
            start = int(ends[firsts[slot.stack]]) + slot.batch * sum(in_batch) + sum(in_batch[: slot.bucket])
            places.append(start + slot.row * width + place)
        flat = tuple(tuple(each.reshape(*each.shape[:2], -1, width) for each in stack) for stack in columns)
        return Spread(flat, np.array(places))

    @cached_property
    def relaxed_rows(self) -> dict[int, int]:
        """Of each relaxed system its row among the molecules of all batches that are relaxed, padding included."""
        numbers = np.unique(self.references.system[self.references.is_relaxed()]).tolist()
        sizes = [self.systems[number].molecule.n_atoms for number in numbers]
        stacks = plan_stacks(sizes, n_shares(self.mesh), self.batch_size)
        slots, counts = place_systems(stacks), [sum(count for count, _ in stack.shapes) for stack in stacks]
        first = np.cumsum([0, *(count * len(stack.batches) for count, stack in zip(counts, stacks, strict=True))])
        return {
            number: int(first[slot.stack]) + slot.batch * counts[slot.stack] + slot.molecule
            for number, slot in zip(numbers, (slots[place] for place in range(len(numbers))), strict=True)
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that defines the loss, x and its bounds: molecules, references and options.

        Of what was given, not of what follows from it, so that it is the same on every processor. What a script computes
        before, such as estimated force constants, is given too. Names of molecules and labels, precision, batches and
        devices do not count: a fit may go on with others.
        """
        forcefield = self.space.forcefield
        arrays: list[np.ndarray] = [forcefield.arrays[name] for name in sorted(forcefield.arrays)]
        words = [forcefield.form, self.loss, *sorted(forcefield.arrays)]
        for system in self.systems:
            molecule = system.molecule
            hessian = np.zeros((0, 0)) if molecule.hessian is None else molecule.hessian
            arrays += [molecule.coordinates, molecule.masses, hessian]
            words += [*system.kinds, *system.pair_kinds]
            for name, kind in system.kinds.items():
                arrays += [*system.terms(name), *(system.linked_types(name, read) for read in kind.reads)]
            arrays += [array for name in system.pair_kinds for array in system.pairs(name)]
            if system.background is not None:
                arrays += [np.array(system.background.energy), system.background.gradient, system.background.hessian]
        references = self.references
        # kinds by name: codes change when others are added
        kinds, codes = np.unique(references.kind, return_inverse=True)
        arrays += [codes.astype(np.int8), references.system, references.value, references.group, references.indices]
        arrays += [references.floor[references.is_kind("normal_mode") | references.is_kind("mode_displacement")]]
        words += [*(REFERENCE_KINDS[kind] for kind in kinds), *references.groups]
        space, priors = self.space, self.priors
        arrays += [self.weights, space.free, space.offset, space.columns, space.coefficients]
        arrays += [priors.parameter, priors.center, priors.weight, np.array(self.f_scale), self.bounds.lb, self.bounds.ub]
        if references.is_relaxed().any():
            arrays += [np.array(self.upward), np.array([] if self.penalty is None else [self.penalty])]
        return fingerprint(arrays, words)
