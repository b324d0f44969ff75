"""Files that are replaced as a whole: whenever the process ends, the path holds the old content or the new one."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from q2mm_accel.errors import OutputError, Q2MMAccelError


def checked_path(path: str | os.PathLike, error: type[Q2MMAccelError]) -> Path:
    """The path of a file.

    Raises:
        Q2MMAccelError: of the type `error`: it is none.
    """
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(name, str) or "\0" in name:
        raise error(f"path is {path!r:.60}; give the path of a file.")
    return Path(name)


def _target(path: str | os.PathLike) -> Path:
    """The file a path leads to through symbolic links: it is replaced, and the links stay."""
    target = Path(os.path.realpath(checked_path(path, OutputError)))
    if not os.path.isdir(target.parent):
        raise OutputError(f"{path} cannot be written: there is no folder {target.parent}. Make it first.")
    if os.path.exists(target) and not os.path.isfile(target):
        raise OutputError(f"{path} cannot be written: it is a folder or a device. Give the path of a file.")
    return target


def _refusal(path: str | os.PathLike, error: OSError) -> OutputError:
    remedy = "Free some space, or give a path in a folder that can be written to."
    return OutputError(f"{path} cannot be written: {error.strerror or error}. {remedy}")


@contextmanager
def _temporary_file(target: Path) -> Iterator[BinaryIO]:
    """A new file beside the target, with a name of its own; removed at the end unless it was renamed."""
    # in the same folder: a file is renamed at once only within one file system
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make renamings in a folder last through a loss of power, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot sync folders; the file itself is written and in place
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def check_writable(path: str | os.PathLike) -> None:
    """Check that a file can be written: its folder exists and takes new files, and the path is no folder.

    Free space is not checked.

    Raises:
        OutputError: it cannot.
    """
    target = _target(path)
    try:
        with _temporary_file(target):
            pass
    except OSError as error:
        raise _refusal(path, error) from error


def replace_file(path: str | os.PathLike, content: bytes) -> None:
    """Write a file so that at every moment, also when killed, the path holds the old content or the new one.

    A killed process may leave a temporary file beside it.

    Raises:
        OutputError: the file cannot be written; one that was there stays whole.
    """
    target = _target(path)
    if not isinstance(content, bytes):
        raise OutputError(f"the content of {path} is a {type(content).__name__}; give bytes.")
    try:
        with _temporary_file(target) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            # Windows does not rename open files
            file.close()
            os.replace(file.name, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _refusal(path, error) from error
