"""How JAX is set up: precision, versions, threads, and where files are kept between runs.

This is the only place that switches or checks any of it.

Threads for batches of eigenvalue problems on CPU: XLA's own, and one of BLAS for each. XLA spreads a batch over its pool of
threads, and each calls LAPACK from SciPy's OpenBLAS, which starts threads of its own. The two levels wait for each other: a
batch takes longer, and a hundred times longer on a machine that is busy. And the thread that runs the program counts among
XLA's pool, so that with one thread per core a core stays idle on small machines.

Where a CPU serves as several devices, each of them holds a thread of the pool while it waits for the others, and there must
be some left for a device that has work to do, or all wait for ever.
"""

import ctypes
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import jaxlib.version
import scipy
from jax.experimental.compilation_cache import compilation_cache

from q2mm_accel.errors import OptionError, OutputError, PrecisionError, VersionError

KNOWN_BAD_JAXLIB = {
    "0.10.2": "compiled sums of many small products are wrong on CPU (https://github.com/jax-ml/jax/issues/39103)",
}


def _switch_to_float64() -> None:
    """Switch JAX to float64, unless the user has asked for 32 bits by name."""
    if os.environ.get("JAX_ENABLE_X64", "").strip().lower() not in {"0", "false", "off", "no"}:
        jax.config.update("jax_enable_x64", True)


_switch_to_float64()


PRECISIONS = ("float64", "float32", "mixed")
"""Everything in float64; everything in float32; or Hessians assembled in float32 and all that follows in float64."""

_THREADS_OF_A_DEVICE = 4
_VIRTUAL_DEVICES = re.compile(r"--?xla_force_host_platform_device_count=(\d+)")

_LOCK = threading.RLock()


def cache_folder() -> Path:
    """The folder for fetched data and compiled programs: $Q2MM_ACCEL_CACHE, else q2mm_accel in the user's cache folder."""
    if chosen := os.environ.get("Q2MM_ACCEL_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        parent = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        parent = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return parent / "q2mm_accel"


def keep_compiled(folder: str | PathLike | None = None) -> Path:
    """Keep compiled programs on disk, so that another process with problems of the same shapes need not compile them.

    It switches on JAX's persistent compilation cache, for every program of this process that is compiled from now on.

    Args:
        folder: where; by default "compiled" in q2mm_accel's cache folder ($Q2MM_ACCEL_CACHE, or in the user's).

    Returns:
        The folder.

    Raises:
        OutputError: it cannot be made.
        OptionError: it is no path.
    """
    if folder is not None and (not isinstance(folder, str | PathLike) or "\0" in str(folder)):
        raise OptionError(f"folder is {folder!r:.60}; give the path of a folder.")
    path = (cache_folder() / "compiled" if folder is None else Path(folder)).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be made: {error}. Give another folder.") from error
    jax.config.update("jax_compilation_cache_dir", str(path))
    # by default JAX keeps only what took a second to compile; -1 is for no smallest size of a program
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX decides at its first compilation whether there is a cache, and where
    compilation_cache.reset_cache()
    return path


def jax_setting(name: str) -> Any:
    """What JAX is set to here and now. Its settings are attributes that type checkers do not see."""
    return getattr(jax.config, name)


def require(precision: str, remedy: str = ", or choose precision='float32'") -> None:
    """Check that JAX can compute in a precision and that jaxlib is none of the versions known to be wrong.

    Args:
        precision: one of `PRECISIONS`.
        remedy: what else helps where the 64-bit mode is off, for the message.

    Raises:
        OptionError: there is no such precision.
        PrecisionError: it needs JAX's 64-bit mode, which is off.
        VersionError: the installed jaxlib is known to give wrong results.
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise OptionError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    check_jaxlib(jaxlib.version.__version__)
    if precision != "float32" and not jax_setting("jax_enable_x64"):
        raise PrecisionError(
            f"precision {precision!r} needs JAX's 64-bit mode, which is off (jax_enable_x64 is False): every array would "
            "silently be float32. Remove JAX_ENABLE_X64=0 from the environment, or call "
            f"jax.config.update('jax_enable_x64', True){remedy}."
        )


def check_jaxlib(version: str) -> None:
    """Refuse a jaxlib version known to give wrong results.

    Args:
        version: jaxlib's version string.

    Raises:
        VersionError: the version is in the list.
    """
    if version in KNOWN_BAD_JAXLIB:
        raise VersionError(
            f"jaxlib {version} is installed, and {KNOWN_BAD_JAXLIB[version]}. Install another: "
            f"python -m pip install 'jax!={version}' 'jaxlib!={version}'"
        )


def _cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _widen_pool() -> None:
    """Let XLA make at least four threads, and four for each device, by the variable NPROC.

    XLA reads it when its CPU backend starts, so it stays as it was after the first JAX operation of a process; child
    processes inherit it. A value from the environment stays, unless it is too small for several devices.
    """
    if _started():
        return
    flags = _VIRTUAL_DEVICES.findall(os.environ.get("XLA_FLAGS", ""))
    devices = max([1, jax_setting("jax_num_cpu_devices"), *map(int, flags)])
    wanted = _THREADS_OF_A_DEVICE * devices
    if _pool() < wanted and (devices > 1 or "NPROC" not in os.environ):
        os.environ["NPROC"] = str(wanted)


def _started() -> bool:
    """Whether JAX has made its devices. There is no public question for it; but from then on it refuses another number."""
    given = jax_setting("jax_num_cpu_devices")
    try:
        jax.config.update("jax_num_cpu_devices", given + 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", given)
    return False


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
    # wheels of SciPy bring their own: beside the package on Linux and Windows, inside it on macOS
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
