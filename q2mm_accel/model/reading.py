"""Many files of quantum chemistry at once."""

import os
from collections.abc import Iterable
from typing import Any

from q2mm_accel.errors import MoleculeError, QMFileError
from q2mm_accel.model.molecule import Molecule

_Path = str | os.PathLike[str]


def read_molecules(paths: Iterable[_Path | tuple[_Path, _Path]], **options: Any) -> list[Molecule]:
    """Molecules of several files, or one error about all that are bad.

    Args:
        paths: the files, in any mixture of formats; a pair is a geometry and the file with its Hessian.
        options: for `Molecule.read`, the same for all.

    Returns:
        A molecule per file, in their order.

    Raises:
        QMFileError: there is none, or some cannot be read; the message lists them all, each with its reason.
        MissingPackageError: a package that reads such files is not installed.
    """
    try:
        listed = [] if isinstance(paths, str | bytes | os.PathLike) else list(paths)
    except TypeError:
        listed = []
    if not listed:
        raise QMFileError(f"paths is {paths!r:.60}; give a list of paths, such as sorted(Path('qm').glob('*.fchk')).")
    molecules, reasons = [], []
    for path in listed:
        try:
            pair = {"path": path[0], "hessian": path[1]} if isinstance(path, tuple) and len(path) == 2 else {"path": path}
            molecules.append(Molecule.read(**pair, **options))
        except MoleculeError as error:
            reasons.append(str(error))
    if reasons:
        total = len(molecules) + len(reasons)
        lines = "\n".join(f"  {reason}" for reason in reasons)
        raise QMFileError(f"paths: {len(reasons)} of {total} files cannot be used:\n{lines}")
    return molecules
