"""Other packages' readers, called where damaged files cannot hurt."""

import importlib
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from q2mm_accel.errors import MissingPackageError, QMFileError
from q2mm_accel.readers.text import TextFile, with_plain_exponents

_Result = TypeVar("_Result")


def library(name: str, package: str, path: Path) -> Any:
    """A module of an optional package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise MissingPackageError(
            f"{path}: {package} reads files of this kind and is not installed: pip install 'q2mm_accel[io]'"
        ) from problem


def parsed(file: TextFile, suffix: str, parse: Callable[[str], _Result], package: str) -> _Result:
    """What another package's reader makes of a file, given to it as clean text under a name of its own.

    Args:
        file: the file, or the part of it that counts.
        suffix: of the name under which it is given.
        parse: the reader, of a path.
        package: its package, for messages.

    Raises:
        QMFileError: the reader failed, however it did.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # about orbitals and basis sets, which nothing is taken of
        warnings.simplefilter("ignore")
        clean = Path(folder) / f"file{suffix}"
        clean.write_text(with_plain_exponents(file.text), encoding="utf-8")
        try:
            return parse(str(clean))
        # readers of others meet damage with whatever exception comes up: IndexError, KeyError, AssertionError, ...
        except Exception as problem:
            cause = problem.__cause__ or problem
            said = str(cause).replace(str(clean), file.path.name).split("\n")[0]
            raise QMFileError(f"{file.path}: {package} cannot read it ({type(cause).__name__}: {said:.200}).") from problem
