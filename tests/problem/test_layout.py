"""The plan of batches: which molecules stand in which, and where."""

import numpy as np
import pytest

from q2mm_accel.problem import layout


def stacks_of(seed):
    """A random set, how it is dealt out, and the plan for it."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([2, 3, 5, 12, 38, 62, 200], rng.integers(1, 60)).tolist()
    n_devices, batch_size = int(rng.choice([1, 2, 3, 8])), int(rng.integers(1, 12))
    return sizes, n_devices, batch_size, layout.plan_stacks(sizes, n_devices, batch_size)


each_plan = pytest.mark.parametrize("seed", range(20))


@each_plan
def test_every_system_stands_in_exactly_one_bucket_that_is_large_enough(seed):
    sizes, _, _, stacks = stacks_of(seed)
    found = []
    for stack in stacks:
        for batch in stack.batches:
            for (n_molecules, n_atoms), members in zip(stack.shapes, batch, strict=True):
                assert len(members) <= n_molecules and all(sizes[member] <= n_atoms for member in members)
                found += members
    assert sorted(found) == list(range(len(sizes)))


@each_plan
def test_no_batch_is_larger_than_asked_for_and_devices_get_equal_numbers(seed):
    _, n_devices, batch_size, stacks = stacks_of(seed)
    for stack in stacks:
        assert max(sum(map(len, batch)) for batch in stack.batches) <= batch_size
        assert len(stack.batches) % n_devices == 0


@each_plan
def test_slots_are_as_planned(seed):
    sizes, _, _, stacks = stacks_of(seed)
    slots = layout.place_systems(stacks)
    assert sorted(slots) == list(range(len(sizes)))
    for member, slot in slots.items():
        stack = stacks[slot.stack]
        assert stack.batches[slot.batch][slot.bucket][slot.row] == member
        assert slot.n_atoms == stack.shapes[slot.bucket][1]


@each_plan
def test_slots_of_a_batch_do_not_overlap(seed):
    stacks = stacks_of(seed)[-1]
    slots = layout.place_systems(stacks).values()
    for where in {(slot.stack, slot.batch) for slot in slots}:
        own = [slot for slot in slots if (slot.stack, slot.batch) == where]
        for start, power in (("molecule", 0), ("component", 1), ("element", 2)):
            ranges = sorted((getattr(slot, start), getattr(slot, start) + (3 * slot.n_atoms) ** power) for slot in own)
            ends = [0, *(end for _, end in ranges)]
            size = sum(count * (3 * n_atoms) ** power for count, n_atoms in stacks[where[0]].shapes)
            assert all(begin >= end for (begin, _), end in zip(ranges, ends, strict=False)) and ends[-1] <= size


@pytest.mark.parametrize("batch_size", [None, 8])
def test_a_set_that_fits_into_one_batch_is_planned_as_without_batches(batch_size):
    sizes = [5, 12, 38, 38, 5, 62, 62, 12]
    (stack,) = layout.plan_stacks(sizes, 1, batch_size)
    assert [list(members) for members in stack.batches[0]] == layout.plan_buckets(sizes)
