"""Batches of symmetric eigenvalue problems: what each implementation of `jax.lax.linalg.eigh` takes on a device."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from q2mm_accel.benchmark.timing import interleaved
from q2mm_accel.runtime import exclusive_eigh

SIZES = (15, 60, 186)
"""Cartesian components of molecules with 5, 20 and 62 atoms."""
BATCHES = (1, 9, 64, 512)
_MOST_BYTES = 64 * 2**20
"""Of a batch in float64; larger ones are left out."""
_TYPES = ("float64", "float32")


def implementations() -> dict[str, dict]:
    """Name -> options of `jax.lax.linalg.eigh`: JAX's own choice, then all that the installed JAX knows."""
    known = getattr(jax.lax.linalg, "EighImplementation", ())
    return {"default": {}, **{each.value: {"implementation": each} for each in known}}


def run(rounds: int, quick: bool) -> list[dict]:
    """Measure and print all sizes and batches, or few small ones if `quick`; `rounds` as for `measure`, but a sixth."""
    rows, device = [], jax.devices()[0].device_kind
    print(
        f"\neigh on {device}, ms per matrix\n   size  batch  type     "
        + "".join(f"{name:>10}" for name in implementations())
    )
    for size in SIZES[: 2 if quick else None]:
        for batch in BATCHES[: 2 if quick else None]:
            if 8 * batch * size**2 <= _MOST_BYTES:
                found = measure(size, batch, max(3, rounds // 6))
                rows += found
                _print(found)
    return rows


def measure(size: int, batch: int, rounds: int) -> list[dict]:
    """Median seconds per matrix.

    Args:
        size: of the matrices.
        batch: how many at a time.
        rounds: calls of each function, in turn.

    Returns:
        A row for each type, with the seconds of each implementation, None for those that the device does not have.
    """
    functions = {
        (dtype, name): _ready(_matrices(size, batch, dtype), of)
        for dtype in _TYPES
        for name, of in implementations().items()
    }
    present = {key: function for key, function in functions.items() if function is not None}
    times = interleaved(present, np.zeros((1, 0)), rounds)
    each = {key: float(np.median(times[key])) / batch if key in times else None for key in functions}
    return [
        {"size": size, "batch": batch, "type": dtype, "seconds": {name: each[dtype, name] for name in implementations()}}
        for dtype in _TYPES
    ]


def _matrices(size: int, batch: int, dtype: str) -> jax.Array:
    """Random symmetric matrices (batch, size, size)."""
    random = np.random.default_rng(0).standard_normal((batch, size, size))
    return jax.device_put((random + random.transpose(0, 2, 1)).astype(dtype))


def _ready(matrices: jax.Array, options: dict) -> Callable | None:
    """A compiled `eigh` of the matrices (batch, size, size), or None where the device has no such implementation."""
    compiled = jax.jit(partial(jax.lax.linalg.eigh, symmetrize_input=False, **options))

    def function(_):
        with exclusive_eigh():
            jax.block_until_ready(compiled(matrices))

    try:
        function(None)
    except (NotImplementedError, ValueError):
        return None
    return function


def _print(rows: list[dict]) -> None:
    for row in rows:
        seconds = (f"{1e3 * value:10.4f}" if value is not None else f"{'-':>10}" for value in row["seconds"].values())
        print(f"  {row['size']:5} {row['batch']:6}  {row['type']:9}{''.join(seconds)}", flush=True)
