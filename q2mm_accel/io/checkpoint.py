"""Checkpoints of fits: the best point so far and the solver's state, in a file that is whole or not there at all.

The file is NumPy's .npz without pickle: `numpy.load(path)["x"]` works. The comment at its end is the SHA-256 of all bytes
before it, so that a damaged byte anywhere is found before anything is read. This module needs NumPy only.
"""

import hashlib
import io
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

import numpy as np

from q2mm_accel.errors import CheckpointError, CheckpointWarning, OptionError, OutputError, warn_user
from q2mm_accel.io.atomic import check_writable, checked_path, replace_file
from q2mm_accel.model.arguments import instance

VERSION = 1
"""Version of the format; a file of another version is refused."""

_ENTRIES = {
    "version": (np.int64, 0),
    "fingerprint": (np.str_, 0),
    "method": (np.str_, 0),
    "x": (np.float64, 1),
    "fun": (np.float64, 0),
}
"""Type and number of axes of every entry but the solver's arrays, which have a prefix."""

_PREFIX = "arrays/"
_ARRAY_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_SEAL_LENGTH = 64
_REMEDY = "Give another file, or start the fit without one."


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a fit stands. Arrays are copied and read-only.

    Attributes:
        fingerprint: `fingerprint` of the problem; the point means nothing for another one.
        method: name of the solver that wrote it.
        x: shape (n_parameters,), the best point so far.
        fun: loss at `x`; it may be infinite or NaN.
        arrays: the solver's own state by name: numbers or booleans of any shape, kept bit by bit. Names consist of
            letters, digits, "_", "-" and ".".

    Raises:
        CheckpointError: a value that a file cannot hold.
    """

    fingerprint: str
    method: str
    x: np.ndarray
    fun: float
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy the arrays and check everything."""
        for name in ("fingerprint", "method"):
            word = getattr(self, name)
            if not isinstance(word, str) or not word or "\0" in word:
                raise CheckpointError(f"{name} is {word!r}; it must be a word.")
        x = _numbers("x", self.x)
        if x.ndim != 1 or not np.can_cast(x.dtype, np.float64):
            raise CheckpointError(f"x has type {x.dtype} and shape {x.shape}; it must be one row of real numbers.")
        if isinstance(self.fun, bool) or not isinstance(self.fun, Real):
            raise CheckpointError(f"fun is {self.fun!r:.60}; it must be a number.")
        for name in instance(self.arrays, Mapping, "arrays", CheckpointError):
            if not isinstance(name, str) or not _ARRAY_NAME.fullmatch(name):
                raise CheckpointError(f'An array is named {name!r}; use letters, digits, "_", "-" and "." only.')
        object.__setattr__(self, "x", _frozen(x.astype(np.float64)))
        object.__setattr__(self, "fun", float(self.fun))
        arrays = {name: _frozen(_numbers(f"arrays[{name!r}]", array).copy("K")) for name, array in self.arrays.items()}
        object.__setattr__(self, "arrays", arrays)


def _numbers(name: str, values) -> np.ndarray:
    """An array whose bytes are its content; Python objects, text and records have none that can be kept."""
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise CheckpointError(f"{name} has type {array.dtype}; it must hold numbers or booleans.")
    return array


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def fingerprint(arrays: Iterable[np.ndarray], words: Iterable[str]) -> str:
    """SHA-256 of arrays (type, shape and bytes of each) and words, in their order, as 64 hexadecimal digits.

    Raises:
        CheckpointError: an array holds something other than numbers and booleans.
    """
    digest = hashlib.sha256()
    parts = []
    for number, values in enumerate(arrays):
        array = _numbers(f"arrays[{number}]", values)
        # every part is hashed with its length, so that no two lists of parts give the same bytes
        parts += [b"array", array.dtype.str.encode(), str(array.shape).encode(), array.tobytes()]
    for word in words:
        parts += [b"word", word.encode()]
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _seal(content: bytes) -> bytes:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest().encode()


def _encode(checkpoint: Checkpoint) -> bytes:
    """The bytes of the file."""
    values = {"version": VERSION} | {name: getattr(checkpoint, name) for name in _ENTRIES if name != "version"}
    entries = {name: np.array(values[name], dtype=kind) for name, (kind, _) in _ENTRIES.items()}
    entries |= {_PREFIX + name: array for name, array in checkpoint.arrays.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # the comment is the very end of a zip file: room for the seal, which is not part of what it seals
        archive.comment = bytes(_SEAL_LENGTH)
        for name, array in entries.items():
            # as numpy.savez writes it, so that numpy.load reads it
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    content = buffer.getvalue()[:-_SEAL_LENGTH]
    return content + _seal(content)


def _decode(content: bytes) -> Checkpoint:
    """The checkpoint in the bytes of a file."""
    if _seal(content[:-_SEAL_LENGTH]) != content[-_SEAL_LENGTH:]:
        raise CheckpointError("it is damaged, cut short or no checkpoint at all: the SHA-256 at its end does not match.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {name.removesuffix(".npy"): _read_member(archive, name) for name in archive.namelist()}
    except (ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"its content cannot be read: {error}.") from error
    version = int(_entry(entries, "version"))
    if version != VERSION:
        raise CheckpointError(f"it has version {version} of the format, and this q2mm_accel reads version {VERSION} only.")
    arrays = {name.removeprefix(_PREFIX): array for name, array in entries.items() if name.startswith(_PREFIX)}
    return Checkpoint(
        fingerprint=_entry(entries, "fingerprint").item(),
        method=_entry(entries, "method").item(),
        x=_entry(entries, "x"),
        fun=_entry(entries, "fun").item(),
        arrays=arrays,
    )


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _entry(entries: dict[str, np.ndarray], name: str) -> np.ndarray:
    """One of `_ENTRIES`, of the type that it must have."""
    kind, n_axes = _ENTRIES[name]
    if name not in entries:
        raise CheckpointError(f"the entry {name!r} is missing.")
    array = entries[name]
    if array.dtype.type is not kind or array.ndim != n_axes:
        wanted = f"{kind.__name__.rstrip('_')} with {n_axes} axes"
        raise CheckpointError(f"the entry {name!r} has type {array.dtype} and shape {array.shape}; it must be {wanted}.")
    return array


def load_checkpoint(path: str | os.PathLike, fingerprint: str | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the file.
        fingerprint: what the checkpoint's own must be equal to; None accepts any.

    Raises:
        CheckpointError: the file is missing, unreadable, damaged, of another version or of another problem.
    """
    if fingerprint is not None:
        instance(fingerprint, str, "fingerprint", CheckpointError)
    try:
        content = checked_path(path, CheckpointError).read_bytes()
    except OSError as error:
        raise CheckpointError(f"Checkpoint {path} cannot be read: {error.strerror or error}. {_REMEDY}") from error
    try:
        checkpoint = _decode(content)
    except CheckpointError as error:
        raise CheckpointError(f"Checkpoint {path}: {error} {_REMEDY}") from error
    if fingerprint is not None and checkpoint.fingerprint != fingerprint:
        raise CheckpointError(
            f"Checkpoint {path} belongs to another problem: the systems, references or options differ "
            f"(its fingerprint is {checkpoint.fingerprint[:12]}, here it is {fingerprint[:12]}). {_REMEDY}"
        )
    return checkpoint


def save_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; at every moment, also when killed, the path holds the old file or the new one.

    Raises:
        OutputError: the file cannot be written; one that was there stays whole.
        CheckpointError: there is no checkpoint to be written.
    """
    replace_file(path, _encode(instance(checkpoint, Checkpoint, "checkpoint", CheckpointError)))


class Checkpointer:
    """Writes checkpoints during a fit, at most one per interval. A failing write is a warning, and the fit goes on."""

    def __init__(
        self,
        path: str | os.PathLike,
        every: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        replaces: str | None = None,
    ) -> None:
        """Check that checkpoints can be written; the first interval starts now.

        Args:
            path: the file.
            every: interval between two checkpoints [s], from 0.
            clock: the time [s].
            replaces: the fingerprint that a file at this path must have to be replaced; None replaces any.

        Raises:
            OutputError: no file can be written there.
            OptionError: `every` is negative or no number, or `clock` no function.
            CheckpointError: the file exists and must not be replaced.
        """
        if isinstance(every, bool) or not isinstance(every, Real) or not every >= 0:
            raise OptionError(f"every is {every!r:.60}; the interval between checkpoints is a number of seconds from 0.")
        if not callable(clock):
            raise OptionError(f"clock is {clock!r:.60}; it must be a function that returns seconds.")
        check_writable(path)
        if replaces is not None:
            instance(replaces, str, "replaces", CheckpointError)
            if Path(path).exists():
                load_checkpoint(path, replaces)
        self.path = Path(path).absolute()
        self.every = every
        self._clock = clock
        self._last = clock()

    def save_if_due(self, make: Callable[[], Checkpoint]) -> None:
        """Write what `make` returns if the interval since the last attempt to write is over; else do not call it."""
        if self._clock() - self._last >= self.every:
            self.save(make())

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint now.

        Warns:
            CheckpointWarning: it could not be written; the last one that could stays.
        """
        try:
            save_checkpoint(self.path, checkpoint)
        except OutputError as error:
            warn_user(f"{error} The fit goes on; the last checkpoint written stays.", CheckpointWarning)
        self._last = self._clock()
