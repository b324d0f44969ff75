"""Threads for batches of eigenvalue problems on CPU: XLA's own, and one of BLAS for each.

XLA spreads a batch over its pool of threads, and each calls LAPACK from SciPy's OpenBLAS, which starts threads of its own.
The two levels wait for each other: a batch takes longer, and a hundred times longer on a machine that is busy. And the
thread that runs the program counts among XLA's pool, so that with one thread per core a core stays idle on small machines.

Where a CPU serves as several devices, each of them holds a thread of the pool while it waits for the others, and there must
be some left for a device that has work to do, or all wait for ever.
"""

import ctypes
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jax
import scipy
from jax._src import xla_bridge

_THREADS_OF_A_DEVICE = 4
_VIRTUAL_DEVICES = re.compile(r"--?xla_force_host_platform_device_count=(\d+)")

_LOCK = threading.RLock()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _widen_pool() -> None:
    """Let XLA make at least four threads, and four for each device, by the variable NPROC.

    XLA reads it when its CPU backend starts, so it stays as it was after the first JAX operation of a process; child
    processes inherit it. A value from the environment stays, unless it is too small for several devices.
    """
    if xla_bridge.backends_are_initialized():
        return
    flags = _VIRTUAL_DEVICES.findall(os.environ.get("XLA_FLAGS", ""))
    devices = max([1, jax.config.jax_num_cpu_devices, *map(int, flags)])
    wanted = _THREADS_OF_A_DEVICE * devices
    if _pool() < wanted and (devices > 1 or "NPROC" not in os.environ):
        os.environ["NPROC"] = str(wanted)


def _pool() -> int:
    """Threads of XLA's pool; what is no number in the environment counts for nothing there either."""
    given = os.environ.get("NPROC", "")
    return int(given) if given.isdecimal() and int(given) > 0 else _cores()


def spare_threads(n_devices: int) -> bool:
    """Whether XLA's pool has threads left when a number of virtual devices of this process wait for each other."""
    return _pool() >= 2 * n_devices


_widen_pool()


@cache
def _openblas() -> tuple | None:
    """OpenBLAS' functions to get and set its number of threads, or None when SciPy uses another BLAS."""
    package = Path(scipy.__file__).parent
    folders = (package.parent / "scipy.libs", package / ".dylibs")
    for path in (path for folder in folders for path in folder.glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        for name in ("scipy_openblas_{}_num_threads", "scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads"):
            if hasattr(library, name.format("set")):
                getter, setter = (getattr(library, name.format(verb)) for verb in ("get", "set"))
                getter.restype, setter.argtypes = ctypes.c_int, [ctypes.c_int]
                return getter, setter
    return None


@contextmanager
def exclusive_eigh() -> Iterator[None]:
    """Run one program with batched `eigh` at a time, and let SciPy's OpenBLAS use a single thread meanwhile.

    Several such programs at once, started from several Python threads, wait for each other for ever in jaxlib 0.10.
    Afterwards OpenBLAS has as many threads as before.
    """
    with _LOCK:
        functions = _openblas()
        if functions is None:
            yield
            return
        getter, setter = functions
        before = getter()
        setter(1)
        try:
            yield
        finally:
            setter(before)
