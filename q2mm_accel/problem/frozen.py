"""Terms that no free parameter reaches: computed once, when a fit is set up, and a constant from then on."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.references import Reference
from q2mm_accel.model.system import Background, System
from q2mm_accel.parameters.space import ParameterSpace, parameter_space
from q2mm_accel.problem.batch import parameter_positions
from q2mm_accel.problem.build import build_problem
from q2mm_accel.problem.layout import place_systems, plan_stacks


def settled(
    systems: Sequence[System], space: ParameterSpace, batch_size: int | None, mechanics: Callable
) -> tuple[System, ...]:
    """The systems with terms and pairs whose parameters are all frozen turned into backgrounds.

    Args:
        systems: the molecules with their terms.
        space: which parameters move.
        batch_size: how many molecules are computed at a time; all by default.
        mechanics: compiled function of a `Batch` and all parameters (n_parameters,) -> of each bucket energies (M,),
            gradients (M, D) and Hessians (M, D, D), in kcal/mol and Å.

    Returns:
        The systems, those without such terms as they were.
    """
    moving = (space.coefficients != 0.0).any(axis=1)
    if moving.all():
        return tuple(systems)
    masks = [_frozen(system, space.forcefield, moving) for system in systems]
    concerned = [number for number, mask in enumerate(masks) if any(np.any(each) for each in mask.values())]
    if not concerned:
        return tuple(systems)
    only_frozen = [systems[number].without({kind: ~mask for kind, mask in masks[number].items()}) for number in concerned]
    result = list(systems)
    found = _computed(only_frozen, space, batch_size, mechanics)
    for number, background in zip(concerned, found, strict=True):
        own = systems[number].background
        whole = background if own is None else own + background
        result[number] = systems[number].without(masks[number]).with_background(whole)
    return tuple(result)


def _frozen(system: System, forcefield: ForceField, moving: np.ndarray) -> dict[str, np.ndarray]:
    """Of each kind which terms and pairs have no parameter that moves."""
    masks = {}
    for name, kind in system.kinds.items():
        masks[name] = ~moving[parameter_positions(kind, [system], forcefield)].any(axis=1)
    for name in system.pair_kinds:
        pairs = system.pairs(name)
        of_pair = forcefield.positions(name)[pairs.types[pairs.atoms]]  # (n_pairs, 2, parameters of a type)
        masks[name] = ~moving[of_pair].any(axis=(1, 2))
    return masks


def _computed(
    systems: Sequence[System], space: ParameterSpace, batch_size: int | None, mechanics: Callable
) -> list[Background]:
    """What all terms of the systems amount to."""
    references = [Reference("energy", 0.0, system=number) for number in range(len(systems))]
    stacks = plan_stacks([system.molecule.n_atoms for system in systems], batch_size=batch_size)
    without = [system.with_background(None) for system in systems]
    problem = build_problem(without, parameter_space(space.forcefield), references, stacks)
    parameters = space.expand(space.start)
    results = [
        [mechanics(jax.tree.map(lambda leaf, at=at: leaf[at], stack), parameters) for at in range(len(stack.read))]
        for stack in problem.stacks
    ]
    found = []
    slots = place_systems(stacks)
    for number, system in enumerate(systems):
        slot, n = slots[number], system.molecule.n_atoms
        energy, gradient, hessian = (
            np.asarray(part[slot.bucket], dtype=np.float64)[slot.row] for part in results[slot.stack][slot.batch]
        )
        padded = slot.n_atoms
        by_atom = hessian.reshape(3, padded, 3, padded)[:, :n, :, :n].transpose(1, 0, 3, 2).reshape(3 * n, 3 * n)
        found.append(Background(float(energy), gradient.reshape(3, padded)[:, :n].T, by_atom))
    return found
