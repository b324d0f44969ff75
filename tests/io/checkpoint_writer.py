"""A process that writes checkpoints until it is killed, or until the disk is full.

Run as `checkpoint_writer.py count PATH` or `checkpoint_writer.py fill PATH`.
"""

import sys
import types
import warnings
from pathlib import Path

import numpy as np

# the folder of the package without its __init__, which imports JAX: the process starts in a tenth of the time
package = types.ModuleType("q2mm_accel")
package.__path__ = [str(Path(__file__).parents[2] / "q2mm_accel")]
sys.modules["q2mm_accel"] = package

from q2mm_accel.io.checkpoint import Checkpoint, Checkpointer, load_checkpoint  # noqa: E402

FINGERPRINT = "kill test"


def numbered(counter, size=40000):
    """A checkpoint whose every number is the counter."""
    arrays = {"history": np.full(size, float(counter)), "counter": np.array(counter)}
    return Checkpoint(FINGERPRINT, "lbfgsb", np.full(100, float(counter)), float(counter), arrays)


def count(path):
    """Continue to count from the file, in a tight loop, and report every number that is written."""
    counter = int(load_checkpoint(path, FINGERPRINT).fun)
    checkpointer = Checkpointer(path, every=0.0)
    print("ready", flush=True)
    while True:
        counter += 1
        checkpointer.save_if_due(lambda number=counter: numbered(number))
        print(counter, flush=True)


def fill(path):
    """Write a small checkpoint, then one for which files of 64 kB have no room, then a small one."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
    checkpointer = Checkpointer(path, every=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for counter, size in ((1, 10), (2, 40000), (3, 10)):
            checkpointer.save(numbered(counter, size))
            texts = [f"{warning.category.__name__}: {warning.message}" for warning in caught]
            print(load_checkpoint(path, FINGERPRINT).fun, *texts, sorted(path.parent.iterdir()) == [path])
            caught.clear()


if __name__ == "__main__":
    if "jax" in sys.modules:
        raise SystemExit("checkpoints must not import JAX")
    {"count": count, "fill": fill}[sys.argv[1]](Path(sys.argv[2]))
