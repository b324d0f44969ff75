"""How much memory an evaluation takes: estimated before anything is compiled, and as compiled.

The factors are those of XLA's buffer assignment on CPU; for alkanes of 5 to 200 atoms they are right within 35 %.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jaxlib.version
import numpy as np
from jax.stages import Wrapped

from q2mm_accel.errors import DeviceMemoryError
from q2mm_accel.kernel.batches import AXIS
from q2mm_accel.problem.arrays import Batch, Problem
from q2mm_accel.runtime import jax_setting

_HESSIANS = 5.1
"""Copies of a batch's Hessians that loss and gradient hold at a time, on CPU."""
_BLOCKS = 1.1 if jaxlib.version.__version_info__ < (0, 11) else 4.5
"""Copies of its terms' second derivatives, as measured with jaxlib 0.10 and 0.12."""
_REFINED = 4.0
"""Copies of its eigenvectors in float64, where float32 ones are refined."""
_PROJECTED = 1.5
"""Further copies of its Hessians for eigenmatrices."""
_RELAXED = 12.0
"""The same where molecules are relaxed: Hessians and modes of where they are and where they may go, and what makes these."""
_ENERGIES = 0.8
"""Instead of all these where only energies are needed: matrices of pairs, in units of a Hessian."""
_PART = 0.8
"""Part of a device's memory that a suggested batch fills."""


@dataclass(frozen=True)
class BucketMemory:
    """Molecules padded to the same size, on one device."""

    n_atoms: int
    molecules: int
    """Evaluated at a time, padding included."""
    turns: int
    """How many such groups take turns."""
    bytes: int
    """Estimated for one turn, intermediate results only."""


@dataclass(frozen=True)
class Estimate:
    """Memory of loss and gradient on each device [bytes]."""

    arrays: int
    """The problem itself."""
    kept: int
    """Eigenvectors of molecules that take turns."""
    buckets: tuple[BucketMemory, ...]

    @property
    def temporary(self) -> int:
        """Intermediate results: those of buckets in one batch at a time, or of the largest bucket that takes turns."""
        alone = [bucket.bytes for bucket in self.buckets if bucket.turns > 1]
        together = [bucket.bytes for bucket in self.buckets if bucket.turns == 1]
        return self.kept + max(sum(together), *alone, 0)

    @property
    def total(self) -> int:
        """All together."""
        return self.arrays + self.temporary


class Warmup(NamedTuple):
    """What compiling loss and gradient took."""

    seconds: float
    bytes: int
    """Arrays and intermediate results on each device, as compiled."""
    estimate: Estimate
    """What was expected, in all and by bucket."""


def compiled_ahead(program: Wrapped, problem: Problem, x: np.ndarray) -> Warmup:
    """Compile a jitted function of a problem and x (n,), and see what it takes."""
    began = time.perf_counter()
    with memory_explained(problem, "compiling loss and gradient"):
        sizes: Any = program.lower(problem, x).compile().memory_analysis()
    seconds, expected = time.perf_counter() - began, estimate(problem)
    return Warmup(seconds, expected.arrays + sizes.temp_size_in_bytes + sizes.output_size_in_bytes, expected)


def estimate(problem: Problem) -> Estimate:
    """What loss and gradient of a problem take, from the shapes of its arrays alone."""
    shares = 1 if problem.mesh is None else problem.mesh.shape[AXIS]
    shared = sum(leaf.nbytes for leaf in jax.tree.leaves((problem.stacks, problem.relaxing)))
    everywhere = sum(leaf.nbytes for leaf in jax.tree.leaves(problem)) - shared
    buckets, kept = [], 0
    for stack in problem.stacks:
        turns = len(stack.read) // shares
        buckets += _of_stack(stack, turns)
        if turns > 1:
            kept += turns * sum(_hessian_bytes(bucket) for bucket in stack.buckets if "eigenvalues" in bucket.outputs)
    for relaxing in problem.relaxing:
        buckets += _of_stack(relaxing.batch, len(relaxing.read) // shares, relaxed=True)
    return Estimate(everywhere + shared // shares, kept, tuple(buckets))


def _hessian_bytes(bucket) -> int:
    _, molecules, size = bucket.component_present.shape
    return molecules * size**2 * bucket.inverse_root_masses.dtype.itemsize


def _of_stack(stack: Batch, turns: int, relaxed: bool = False) -> list[BucketMemory]:
    """Terms are not kept by bucket; their share goes by the number of components."""
    blocks = sum(each.nbytes for terms in stack.terms.values() for each in terms.second) / len(stack.read)
    if all(bucket.outputs == ("energy",) for bucket in stack.buckets):
        blocks = 0.0
    shapes = [bucket.component_present.shape[1:] for bucket in stack.buckets]
    components = sum(molecules * size for molecules, size in shapes)
    refined = stack.dtype == np.float32 and jax_setting("jax_enable_x64")
    found = []
    for bucket, (molecules, size) in zip(stack.buckets, shapes, strict=True):
        needed, hessians = set(bucket.outputs), _hessian_bytes(bucket)
        copies = _RELAXED if relaxed else _HESSIANS if needed - {"energy"} else _ENERGIES
        copies += _PROJECTED if "eigenmatrix" in needed else 0.0
        own = copies * hessians + _BLOCKS * blocks * molecules * size / components
        if refined and "eigenvalues" in needed and bucket.inverse_root_masses.dtype == np.float32:
            own += _REFINED * 8 * molecules * size**2
        found.append(BucketMemory(size // 3, molecules, turns, int(own)))
    return found


def capacity(device) -> int:
    """Memory of one of `jax.devices()`, or of the machine if that is the device [bytes]; 0 if it is not known."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit or not hasattr(os, "sysconf"):
        return limit or 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@contextmanager
def memory_explained(problem: Problem, what: str) -> Iterator[None]:
    """Run compiled functions of a problem, and explain it if the memory does not suffice.

    Args:
        problem: the problem.
        what: what the functions do, for the message.

    Raises:
        DeviceMemoryError: they did not fit into a device's memory; it says how much they need, and what would fit.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        # JAX has no exception of its own for it
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise _out_of_memory(problem, what, str(error)) from error


def _out_of_memory(problem: Problem, what: str, cause: str) -> DeviceMemoryError:
    device = jax.devices()[0] if problem.mesh is None else problem.mesh.devices.flat[0]
    found, size = estimate(problem), capacity(device)
    each = max(bucket.bytes / bucket.molecules for bucket in found.buckets)
    fitting = _fitting(problem, found, each, size)
    remedy = "Take a device with more memory, or share several molecules out to more devices"
    if fitting > 0:
        remedy = f"Pass batch_size={fitting}, or fewer; to fits, fewer lanes"
    return DeviceMemoryError(
        f"{what} did not fit into {device}, which has {size / 2**30:.3g} GiB. Loss and gradient need about "
        f"{found.total / 2**30:.3g} GiB: {found.arrays / 2**30:.2g} GiB of arrays, and {each / 2**20:.2g} MiB for each of "
        "the molecules that are evaluated at a time, and for each lane of a fit; Jacobians need several times as much. "
        f"{remedy}. JAX says: {cause.splitlines()[0][:200]}"
    )


def _fitting(problem: Problem, found: Estimate, each: float, size: int) -> int:
    """A batch size that should fit: at most half of what was evaluated at a time, for that did not fit; 0 if none does."""
    together = sum(bucket.molecules for bucket in found.buckets if bucket.turns == 1)
    at_a_time = max(together, *(bucket.molecules for bucket in found.buckets))
    shares = 1 if problem.mesh is None else problem.mesh.shape[AXIS]
    stacks = [*problem.stacks, *(relaxing.batch for relaxing in problem.relaxing)]
    vectors = sum(len(stack.read) * _hessian_bytes(bucket) for stack in stacks for bucket in stack.buckets)
    return min(int((_PART * size - found.arrays - vectors / shares) // each), at_a_time // 2)
