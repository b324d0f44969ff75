"""Fits as the arrays of a checkpoint, and back."""

import jax
import numpy as np

from q2mm_accel.io.checkpoint import Checkpoint
from q2mm_accel.solvers.fits import Fits
from q2mm_accel.solvers.lane import Status

_PLAIN = ("starts", "owner", "x", "bad", "fun", "nit", "nfev", "status")
_SAME = ("setting.scale", "setting.lower", "setting.upper", "starts")
"""What must be equal for a fit to go on from where it was."""


def _leaves(fits: Fits) -> dict[str, np.ndarray]:
    return {f"lanes.{number}": leaf for number, leaf in enumerate(jax.tree.leaves(fits.lanes))}


def to_checkpoint(fits: Fits, fingerprint: str, best: np.ndarray, fun: float) -> Checkpoint:
    """Everything that the fits need to go on, with the best point and its loss for others."""
    histories = [np.concatenate([np.zeros((0, 3)), *parts]) for parts in fits.history]
    arrays = {
        **_leaves(fits),
        **{name: getattr(fits, name) for name in _PLAIN},
        **{f"setting.{name}": getattr(fits.setting, name) for name in ("scale", "lower", "upper")},
        "waiting": np.asarray(fits.waiting),
        "history": np.concatenate(histories),
        "history_lengths": np.array([len(history) for history in histories]),
    }
    return Checkpoint(fingerprint, fits.method, best, fun, arrays)


def n_lanes(checkpoint: Checkpoint) -> int | None:
    """How many fits went side by side, or None for checkpoints of SciPy's optimizers."""
    return len(checkpoint.arrays["owner"]) if "owner" in checkpoint.arrays else None


def n_starts(checkpoint: Checkpoint) -> int:
    """How many fits a checkpoint holds."""
    return len(checkpoint.arrays["starts"]) if "starts" in checkpoint.arrays else 1


def _difference(fits: Fits, checkpoint: Checkpoint) -> str | None:
    """Why the fits of a checkpoint are not these, in words, or None if they are."""
    arrays = checkpoint.arrays
    if checkpoint.method != fits.method:
        return f"the method was {checkpoint.method}"
    # the arrays that these fits would save show by shape and type whether the checkpoint's are of the same fits
    own = to_checkpoint(fits, checkpoint.fingerprint, checkpoint.x, 0.0).arrays
    fixed = [name for name in own if not name.startswith("history")]
    if not all(name in arrays and arrays[name].shape == own[name].shape for name in fixed):
        return "n_starts, lanes or history_size differ"
    if not all(arrays[name].dtype == own[name].dtype for name in fixed):
        return "the precision differs"
    if not all(np.array_equal(arrays[name], own[name]) for name in _SAME):
        return "x0, bounds or what draws the starts differ"
    return None


def restore(fits: Fits, checkpoint: Checkpoint) -> str | None:
    """Put fits that have not begun where those of a checkpoint were.

    Returns:
        None if they now are. Otherwise what differs between the two, in words; the fits are then unchanged.
    """
    if difference := _difference(fits, checkpoint):
        return difference
    arrays = checkpoint.arrays
    leaves, structure = jax.tree.flatten(fits.lanes)
    fits.lanes = jax.tree.unflatten(structure, [arrays[f"lanes.{number}"].copy() for number in range(len(leaves))])
    for name in _PLAIN:
        getattr(fits, name)[...] = arrays[name]
    fits.waiting = int(arrays["waiting"])
    ends = np.cumsum(arrays["history_lengths"])
    fits.history = [[part] for part in np.split(arrays["history"], ends[:-1])]
    _go_on(fits)
    return None


def _go_on(fits: Fits) -> None:
    """Fits that stopped at a number of iterations go on if maxiter has grown, and others stop if it has shrunk."""
    lanes = fits.lanes
    over = (lanes.status == int(Status.RUNNING)) & (lanes.nit >= fits.setting.maxiter) & (lanes.nfev > 0)
    lanes.status[over] = fits.status[fits.owner[over]] = int(Status.ITERATION_LIMIT)
    limited = (lanes.status == int(Status.ITERATION_LIMIT)) & (lanes.nit < fits.setting.maxiter)
    lanes.status[limited] = fits.status[fits.owner[limited]] = int(Status.RUNNING)
