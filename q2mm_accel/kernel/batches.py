"""A function of every batch: stacked batches take turns in a loop, and go to the devices of a mesh."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from q2mm_accel.kernel.spectrum import KEPT
from q2mm_accel.problem.arrays import Problem

AXIS = "molecules"
"""The axis of a mesh along which the batches are shared out."""


def over_batches(problem: Problem, function: Callable, parameters, *arguments, stacks: Sequence | None = None):
    """What a function finds for every batch, joined along the last axis in the order of the batches.

    The gradient of batches that take turns keeps only their eigenvectors and computes everything else again, so that
    there are intermediate results of one batch at a time.

    Args:
        problem: the problem.
        function: (batch, parameters, *arguments) -> arrays (..., P), as `observables.compute_batch`.
        parameters: all parameters of the force field.
        arguments: further ones, the same for all batches.
        stacks: those of what is relaxed; by default those of what is not.

    Returns:
        (..., sum of all P).
    """
    results = []
    # GPUs and TPUs would otherwise take products of float32 with 3 digits
    with jax.default_matmul_precision("highest"):
        for stack in problem.stacks if stacks is None else stacks:
            parameters = waiting(parameters, results[-1:])
            run = _in_turn if problem.mesh is None else partial(_on_devices, problem.mesh)
            results.append(run(function, stack, (parameters, *arguments)))
    return jax.tree.map(lambda *found: jnp.concatenate(found, axis=-1), *results)


def sum_over_batches(
    problem: Problem, function: Callable, of_batches, total, parameters, *arguments, stacks: Sequence | None = None
):
    """The sum of what a function finds for every batch, of which there is one at a time.

    Args:
        problem: the problem.
        function: (batch, its part of `of_batches`, parameters, *arguments) -> array.
        of_batches: for each stack further arrays with an axis of batches in front.
        total: an array to begin with.
        parameters: all parameters of the force field.
        arguments: further ones, the same for all batches.
        stacks: as of `over_batches`.

    Returns:
        The sum.
    """
    with jax.default_matmul_precision("highest"):  # as above
        for stack, further in zip(problem.stacks if stacks is None else stacks, of_batches, strict=True):
            parameters = waiting(parameters, total)
            if problem.mesh is None:
                total = _sum_in_turn(function, (stack, further), (total, parameters, *arguments))
            else:
                begin = (jnp.zeros_like(total), parameters, *arguments)
                total = total + _spread(problem.mesh, _sum_in_turn, function, (stack, further), begin).sum(axis=0)
    return total


def waiting(parameters, found):
    """The parameters, to be used only when something has been found.

    Two batched `eigh` at the same time can hang in jaxlib 0.10 on CPU. Those of a batch wait for each other
    (`observables.spectra`), and batches in a loop take turns anyway; but two loops could run at the same time. Nothing but
    a data dependency holds one back: 0 times the sum of all that the other has found.
    """
    for each in jax.tree.leaves(found)[:1]:
        parameters = parameters + 0.0 * jax.lax.stop_gradient(jnp.nan_to_num(each.sum(dtype=parameters.dtype)))
    return parameters


def _in_turn(function: Callable, stack, arguments):
    """The function of every batch of a stack, one after the other; a single batch without a loop around it."""
    if len(stack.read) == 1:
        return function(jax.tree.map(lambda leaf: leaf[0], stack), *arguments)
    # the loop's gradient would keep every intermediate result of every batch; recomputing all but `eigh` costs little
    policy = jax.checkpoint_policies.save_only_these_names(KEPT)

    @partial(jax.checkpoint, policy=policy)
    def of_one(batch, arguments):
        return function(batch, *arguments)

    _, found = jax.lax.scan(lambda _, batch: (None, of_one(batch, arguments)), None, stack)
    return jax.tree.map(_joined, found)


def _sum_in_turn(function: Callable, batches, arguments):
    """The first of the arguments, and what the function finds for every batch of a stack with further arrays."""
    total, *arguments = arguments
    if len(batches[0].read) == 1:
        return total + function(*jax.tree.map(lambda leaf: leaf[0], batches), *arguments)
    return jax.lax.scan(lambda total, each: (total + function(*each, *arguments), None), total, batches)[0]


def _joined(found):
    """(batches, ..., P) as (..., batches * P)."""
    moved = jnp.moveaxis(found, 0, -2)
    return moved.reshape(*moved.shape[:-2], -1)


def _on_devices(mesh: Mesh, function: Callable, stack, arguments):
    """The function of every batch of a stack, shared out along its leading axis; the results are the same everywhere."""
    return jax.tree.map(_joined, _spread(mesh, _in_turn, function, stack, arguments))


def _spread(mesh: Mesh, take_turns: Callable, function: Callable, batches, arguments):
    """What each device finds for its share of a stack's batches, with an axis of devices in front."""
    shared, everywhere = PartitionSpec(AXIS), PartitionSpec()

    def on_one(batches, arguments):
        return jax.tree.map(lambda each: each[None], take_turns(function, batches, arguments))

    specs = {"in_specs": (shared, everywhere), "out_specs": shared}
    found = jax.shard_map(on_one, mesh=mesh, axis_names={AXIS}, check_vma=False, **specs)(batches, arguments)
    return jax.lax.with_sharding_constraint(found, NamedSharding(mesh, everywhere))
