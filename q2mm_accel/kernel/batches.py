"""A function of every batch: stacked batches take turns in a loop, and go to the devices of a mesh."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from q2mm_accel.kernel.spectrum import KEPT
from q2mm_accel.problem.arrays import Batch, Problem

AXIS = "molecules"
"""The axis of a mesh along which the batches are shared out."""


def over_batches(problem: Problem, function, *arguments):
    """What a function finds for every batch, joined along the last axis in the order of the batches.

    The gradient of batches that take turns keeps only their eigenvectors and computes everything else again, so that
    there are intermediate results of one batch at a time.

    Args:
        problem: the problem.
        function: (batch, after, *arguments) -> arrays (..., P) and 0 times a number to wait for, as
            `observables.compute_batch`.
        arguments: the same for all batches.

    Returns:
        (..., sum of all P).
    """
    results, after = [], None
    # GPUs and TPUs would otherwise take products of float32 with 3 digits
    with jax.default_matmul_precision("highest"):
        for stack in problem.stacks:
            if problem.mesh is None:
                found, after = _in_turn(function, stack, after, arguments)
            else:
                found, after = _on_devices(problem.mesh, function, stack, after, arguments)
            results.append(found)
    return jax.tree.map(lambda *found: jnp.concatenate(found, axis=-1), *results)


def sum_over_batches(problem: Problem, function: Callable, of_batches, total, *arguments):
    """The sum of what a function finds for every batch, of which there is one at a time.

    Args:
        problem: the problem.
        function: (batch, its part of `of_batches`, after, *arguments) -> array and 0 times a number to wait for, as
            `observables.compute_batch`.
        of_batches: for each stack further arrays with an axis of batches in front.
        total: an array to begin with.
        arguments: the same for all batches.

    Returns:
        The sum.
    """
    after = None
    with jax.default_matmul_precision("highest"):  # as above
        for stack, further in zip(problem.stacks, of_batches, strict=True):
            if problem.mesh is None:
                total, after = _sum_in_turn(function, (stack, further), after, (total, *arguments))
            else:
                begin = (jnp.zeros_like(total), *arguments)
                found, after = _spread(problem.mesh, _sum_in_turn, function, (stack, further), after, begin)
                total = total + found.sum(axis=0)
    return total


def _in_turn(function, stack, after, arguments):
    """The function of every batch of a stack, one after the other; a single batch without a loop around it."""
    count = len(stack.read)
    if count == 1:
        return function(jax.tree.map(lambda leaf: leaf[0], stack), after, *arguments)
    # the loop's gradient would keep every intermediate result of every batch; recomputing all but `eigh` costs little
    policy = jax.checkpoint_policies.save_only_these_names(KEPT)

    @partial(jax.checkpoint, policy=policy)
    def of_one(batch, after, arguments):
        return function(batch, after, *arguments)

    def step(after, batch):
        found, last = of_one(batch, after, arguments)
        return after if last is None else last, found

    after, found = jax.lax.scan(step, _nothing(stack) if after is None else after, stack)
    return jax.tree.map(_joined, found), after


def _sum_in_turn(function: Callable, batches, after, arguments):
    """The first of the arguments, and what the function finds for every batch of a stack with further arrays."""
    total, *arguments = arguments
    if len(batches[0].read) == 1:
        found, after = function(*jax.tree.map(lambda leaf: leaf[0], batches), after, *arguments)
        return total + found, after

    def step(state, each):
        after, total = state
        found, last = function(*each, after, *arguments)
        return (after if last is None else last, total + found), None

    after = _nothing(batches[0]) if after is None else after
    (after, total), _ = jax.lax.scan(step, (after, total), batches)
    return total, after


def _nothing(stack):
    """A 0 to wait for, made of the batches so that it is on the same devices."""
    return 0.0 * jnp.nan_to_num(stack.buckets[0].inverse_root_masses.reshape(-1)[0])


def _joined(found):
    """(batches, ..., P) as (..., batches * P)."""
    moved = jnp.moveaxis(found, 0, -2)
    return moved.reshape(*moved.shape[:-2], -1)


def _on_devices(mesh, function, stack, after, arguments):
    """The function of every batch of a stack, shared out along its leading axis; the results are the same everywhere."""
    found, after = _spread(mesh, _in_turn, function, stack, after, arguments)
    return jax.tree.map(_joined, found), after


def _spread(mesh, take_turns: Callable, function: Callable, batches, after, arguments):
    """What each device finds for its share of a stack's batches, with an axis of devices in front."""
    shared, everywhere = PartitionSpec(AXIS), PartitionSpec()

    def on_one(batches, after, arguments):
        stack = batches if isinstance(batches, Batch) else batches[0]
        found, last = take_turns(function, batches, None if after is None else after[0], arguments)
        return jax.tree.map(lambda each: each[None], found), _nothing(stack)[None] if last is None else last[None]

    specs = {"in_specs": (shared, shared, everywhere), "out_specs": (shared, shared)}
    spread = jax.shard_map(on_one, mesh=mesh, axis_names={AXIS}, check_vma=False, **specs)
    found, after = spread(batches, after, arguments)
    return jax.lax.with_sharding_constraint(found, NamedSharding(mesh, everywhere)), after
