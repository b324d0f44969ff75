"""Threads for batches of eigenvalue problems on CPU: XLA's own, and one of BLAS for each.

XLA spreads a batch over its pool of threads, and each calls LAPACK from SciPy's OpenBLAS, which starts threads of its own.
The two levels wait for each other: a batch takes longer, and a hundred times longer on a machine that is busy. And the
thread that runs the program counts among XLA's pool, so that with one thread per core a core stays idle on small machines.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import scipy

_SMALLEST_POOL = 4

_LOCK = threading.RLock()


def _widen_pool() -> None:
    """Let XLA make at least four threads, by the variable NPROC, which it reads when its CPU backend starts.

    It has no effect after the first JAX operation of a process, and child processes inherit it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < _SMALLEST_POOL:
        os.environ.setdefault("NPROC", str(_SMALLEST_POOL))


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
