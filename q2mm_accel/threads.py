"""One BLAS thread while JAX runs a batch of eigenvalue problems.

XLA spreads a batch over its own threads, and each calls LAPACK from SciPy's OpenBLAS, which starts threads of its own. The
two levels wait for each other: a batch takes twice as long, and a hundred times on a machine that is busy.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import scipy


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
def one_blas_thread() -> Iterator[None]:
    """Let SciPy's OpenBLAS use a single thread inside the block; afterwards it has as many as before."""
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
