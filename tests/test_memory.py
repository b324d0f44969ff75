"""Memory: estimates against what the compiler lays out, and errors that name a remedy."""

import re
import sys

import jax
import pytest
import tolerances
from alkane_sets import alkanes, run
from helpers import traces
from refusals import assert_refused

from q2mm_accel import memory
from q2mm_accel import objective as compiled
from q2mm_accel.errors import DeviceMemoryError
from q2mm_accel.memory import estimate

# ethane has fewer types than longer alkanes; nothing is compared with references here
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")


CASES = {
    "small ones": ((4,) * 20, {}),
    "a large one": ((40,), {}),
    "two sizes": ((4,) * 6 + (20,) * 2, {}),
    "in turn": ((20,) * 8, {"batch_size": 2}),
    "two sizes in turn": ((3,) * 4 + (20,) * 4, {"batch_size": 2}),
    "float32": ((20,) * 4, {"precision": "float32"}),
    "float32 in turn": ((20,) * 8, {"batch_size": 2, "precision": "float32"}),
    "mixed": ((20,) * 4, {"precision": "mixed"}),
    "Hessians": ((20,) * 2, {"kind": "Hessians"}),
    "eigenmatrices": ((20,) * 2, {"kind": "eigenmatrices"}),
    "eigenmatrices in turn": ((20,) * 4, {"kind": "eigenmatrices", "batch_size": 1}),
    "energies": ((20,) * 4, {"kind": "energies"}),
}


SHORT = ("small ones", "two sizes in turn", "float32 in turn", "eigenmatrices", "energies")
"""Each size, number of turns, precision and kind of reference at least once."""


@pytest.mark.parametrize(
    "case", [case if case in SHORT else pytest.param(case, marks=pytest.mark.exhaustive) for case in CASES]
)
def test_an_estimate_is_close_to_what_the_compiler_lays_out(case):
    lengths, options = CASES[case]
    objective = alkanes(lengths, **options)
    found = objective.warmup()
    assert found.estimate == objective.memory_estimate and found.seconds > 0.0
    ratio = found.estimate.total / found.bytes
    assert 1.0 / tolerances.MEMORY_ESTIMATE < ratio < tolerances.MEMORY_ESTIMATE, ratio


def test_an_estimate_compiles_nothing_and_grows_with_the_molecules_of_a_batch():
    before = traces.copy()
    sizes = [alkanes((20,) * 8, batch_size=size).memory_estimate for size in (1, 2, 4, None)]
    assert traces == before
    assert all(less.total < more.total for less, more in zip(sizes, sizes[1:], strict=False))
    assert all(each.total == each.arrays + each.temporary for each in sizes)
    assert [(bucket.molecules, bucket.turns) for each in sizes for bucket in each.buckets] == [
        (1, 8),
        (2, 4),
        (4, 2),
        (8, 1),
    ]


LIMITED = """
import resource
from alkane_sets import alkanes

objective = alkanes((40,) * 24)
objective.warmup()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 50 * 2**20,) * 2)
objective.fun(objective.x0)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits the address space of a process")
def test_an_evaluation_without_enough_memory_says_what_it_needs_and_which_batches_help():
    message = run(LIMITED).stderr.strip().splitlines()[-1]
    assert message.startswith("q2mm_accel.errors.DeviceMemoryError: evaluating the loss did not fit into"), message
    assert "Loss and gradient need about 0.2" in message
    assert "Pass batch_size=12" in message and "RESOURCE_EXHAUSTED: Out of memory" in message


@pytest.fixture
def failing(monkeypatch):
    """A function that makes evaluations fail with an error of JAX."""

    def put(sentence):
        def fail(*_):
            raise jax.errors.JaxRuntimeError(sentence)

        monkeypatch.setattr(compiled, "value_and_gradient", fail)

    return put


SETS = {
    "of one size": ((10,) * 8, {}),
    "of several sizes": ((2, 4, 8, 16), {}),
    "in turn": ((4,) * 6 + (20,) * 6, {"batch_size": 4}),
}


@pytest.mark.parametrize("case", SETS)
def test_the_batches_that_an_error_suggests_fit(case, failing, monkeypatch):
    failing("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.\nmore")
    lengths, options = SETS[case]
    needed = alkanes(lengths, **options).memory_estimate.total
    monkeypatch.setattr(memory, "capacity", lambda device: int(0.97 * needed))
    with pytest.raises(DeviceMemoryError, match="allocating 123 bytes.$") as caught:
        alkanes(lengths, **options).fun(alkanes(lengths, **options).x0)
    size = int(re.search(r"Pass batch_size=(\d+), or fewer", str(caught.value))[1])
    assert alkanes(lengths, **options | {"batch_size": size}).memory_estimate.total <= 0.97 * needed


def test_where_no_batch_fits_more_devices_are_suggested(failing, monkeypatch):
    failing("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.")
    monkeypatch.setattr(memory, "capacity", lambda device: 2**20)
    objective = alkanes((10,) * 8)
    words = ("GiB", "which has 0.000977 GiB", "share several molecules out to more devices", "allocating 123 bytes")
    assert_refused(lambda: objective.fun(objective.x0), DeviceMemoryError, words)


def test_other_errors_of_jax_pass(failing):
    failing("INTERNAL: something else")
    objective = alkanes((10,) * 8)
    with pytest.raises(jax.errors.JaxRuntimeError, match="^INTERNAL: something else$"):
        objective.fun(objective.x0)


def test_the_memory_of_a_machine_is_known():
    assert 2**28 < memory.capacity(jax.devices()[0]) < 2**50
    assert estimate(alkanes((5, 5)).problem).total < 2**24
