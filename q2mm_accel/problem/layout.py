"""Which molecules share a bucket, which buckets a batch, and where in its batch each molecule stands.

Padding costs time in every evaluation, a further shape costs time once, when it is compiled: buckets balance the two.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

EIGH_SECONDS = 3.5e-10
"""Time of one `eigh` divided by the cube of its size (one 186 x 186 matrix: 2.2 ms on one core)."""
COMPILE_SECONDS = 0.5
"""Time that one more bucket adds to the compilation."""
EVALUATIONS = 1000
"""Evaluations that a fit is expected to make."""


def quantised(count: int) -> int:
    """`count` or the next larger of 0 to 16, 18, 20, ... 32, 36, ...: at most an eighth more, and few shapes to compile."""
    if count <= 16:
        return count
    # eight steps between two powers of 2
    step = 2 ** (math.ceil(math.log2(count)) - 4)
    return step * math.ceil(count / step)


@dataclass(frozen=True)
class Stack:
    """Batches of the same shapes: each has a bucket for each entry of `shapes`, in which molecules may be missing."""

    shapes: tuple[tuple[int, int], ...]
    """Of each bucket the number of molecules and of atoms, padded."""
    batches: tuple[tuple[tuple[int, ...], ...], ...]
    """Of each batch and bucket the systems, by number."""


def plan_buckets(sizes: Sequence[int], n_batches: int = 1) -> list[list[int]]:
    """Group molecules by size so that the time of compilation plus that of all `eigh` calls is least.

    Padding a molecule of n atoms to N costs (3N)³ - (3n)³ `eigh` units in each of `EVALUATIONS` evaluations; a further
    bucket costs `COMPILE_SECONDS` once.

    Args:
        sizes: number of atoms of each molecule.
        n_batches: how many devices each bucket is dealt out to, all with buckets of the same shapes.

    Returns:
        The molecules of each bucket, by number, in ascending order; buckets from small to large molecules.
    """

    def seconds(count: int, n_atoms: int) -> float:
        return COMPILE_SECONDS + EVALUATIONS * EIGH_SECONDS * (3 * n_atoms) ** 3 * quantised(-(-count // n_batches))

    return _ranges_of_sizes(sizes, seconds)


def plan_stacks(sizes: Sequence[int], n_devices: int = 1, batch_size: int | None = None) -> list[Stack]:
    """The batches of all molecules: one for each device, or several of up to `batch_size` molecules that take turns.

    Args:
        sizes: number of atoms of each molecule.
        n_devices: number of devices; every stack has a multiple of it of batches.
        batch_size: how many molecules a device evaluates at the same time; all by default.

    Returns:
        The stacks. All molecules of a batch that takes turns with others share a bucket, so that each of them is padded
        to a size near its own.
    """
    # all at once, if that does not exceed the batch size
    whole = _stack(sizes, plan_buckets(sizes, n_devices), n_devices)
    if batch_size is None or sum(max(map(len, column)) for column in zip(*whole.batches, strict=True)) <= batch_size:
        return [whole]

    def turns(count: int) -> int:
        """How often each device is asked for a range of `count` molecules."""
        return -(-count // (batch_size * n_devices))

    def seconds(count: int, n_atoms: int) -> float:
        each = EIGH_SECONDS * (3 * n_atoms) ** 3 * -(-count // (turns(count) * n_devices))
        # a bucket of its own loop, with its gradient, takes longer to compile than one more bucket of a batch
        return 4.0 * COMPILE_SECONDS + EVALUATIONS * each * turns(count)

    ranges = _ranges_of_sizes(sizes, seconds)
    return [_stack(sizes, [members], n_devices * turns(len(members)), batch_size) for members in ranges]


def _ranges_of_sizes(sizes: Sequence[int], seconds: Callable[[int, int], float]) -> list[list[int]]:
    """The ranges of sorted sizes whose costs have the least sum, by dynamic programming over the ends of the ranges.

    Args:
        sizes: number of atoms of each molecule.
        seconds: cost of a range from its number of molecules and largest number of atoms.

    Returns:
        The molecules of each range in ascending order; ranges from small to large molecules.
    """
    distinct = sorted(set(sizes))
    counts = [sum(size == n for size in sizes) for n in distinct]
    # best[stop]: least cost of the `stop` smallest sizes, and where the last range of that solution starts
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(distinct) + 1):
        n_atoms = distinct[stop - 1]
        best.append(min((best[start][0] + seconds(sum(counts[start:stop]), n_atoms), start) for start in range(stop)))
    ranges, stop = [], len(distinct)
    while stop:
        start = best[stop][1]
        members = set(distinct[start:stop])
        ranges.append([number for number, size in enumerate(sizes) if size in members])
        stop = start
    return ranges[::-1]


def _stack(sizes: Sequence[int], plan: Sequence[Sequence[int]], n_batches: int, most: int | None = None) -> Stack:
    """Deal every bucket's molecules out to batches, the largest first, so that all have about the same to do."""
    shapes, dealt = [], []
    for members in plan:
        # the largest first and in turn, so that batches differ by one molecule and little in size
        in_turn = members if n_batches == 1 else sorted(members, key=lambda member: -sizes[member])
        hands = [tuple(in_turn[first::n_batches]) for first in range(n_batches)]
        n_molecules = quantised(len(hands[0]))
        shapes.append((min(n_molecules, most or n_molecules), max(sizes[member] for member in members)))
        dealt.append(hands)
    return Stack(tuple(shapes), tuple(zip(*dealt, strict=True)))


@dataclass(frozen=True)
class Slot:
    """Where a system stands: its stack, batch and bucket, its row in the bucket, and what follows from them."""

    stack: int
    batch: int
    bucket: int
    row: int
    n_atoms: int
    """Number of atoms that it is padded to."""
    molecule: int
    """Number of the row among the rows of all buckets of the batch."""
    component: int
    """Number of its first component among the components of all buckets of the batch."""
    element: int
    """Start of its Hessian in the flat buffer of the batch."""


def place_systems(stacks: Sequence[Stack]) -> dict[int, Slot]:
    """The slot of each system, by number."""
    slots = {}
    for number, stack in enumerate(stacks):
        for batch, buckets in enumerate(stack.batches):
            molecule, component, element = 0, 0, 0
            for bucket, ((n_molecules, n_atoms), members) in enumerate(zip(stack.shapes, buckets, strict=True)):
                size = 3 * n_atoms
                for row, member in enumerate(members):
                    place = (molecule + row, component + row * size, element + row * size**2)
                    slots[member] = Slot(number, batch, bucket, row, n_atoms, *place)
                molecule += n_molecules
                component += n_molecules * size
                element += n_molecules * size**2
    return slots
