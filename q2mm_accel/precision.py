"""JAX's precision, version and cache: the only place that switches or checks them. Threads are in threads.py."""

import os
from os import PathLike
from pathlib import Path

import jax
import jaxlib
from jax.experimental.compilation_cache import compilation_cache

from q2mm_accel.errors import OptionError, OutputError, PrecisionError, VersionError
from q2mm_accel.folders import cache_folder

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


def keep_compiled(folder: str | PathLike | None = None) -> Path:
    """Keep compiled programs on disk, so that another process with problems of the same shapes need not compile them.

    It switches on JAX's persistent compilation cache, for every program of this process that is compiled from now on.

    Args:
        folder: where; by default "compiled" in q2mm_accel's cache folder ($Q2MM_ACCEL_CACHE, or in the user's).

    Returns:
        The folder.

    Raises:
        OutputError: it cannot be made.
    """
    path = (cache_folder() / "compiled" if folder is None else Path(folder)).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be made: {error}. Give another folder.") from error
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()
    return path


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
    check_jaxlib(jaxlib.__version__)
    if precision != "float32" and not jax.config.jax_enable_x64:
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
