"""q2mm's source archive on PyPI, home of the Rh-enamide data: fetched once with pip, checked, unpacked into a cache."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from fnmatch import fnmatch
from pathlib import Path

from q2mm_accel.errors import DatasetError
from q2mm_accel.runtime import cache_folder

REQUIREMENT = "q2mm==5.0.0a2"
ARCHIVE = "q2mm-5.0.0a2.tar.gz"
SHA256 = "cef8d0868b1a7bddbfe9691606ba33b7a1d812cad615d1e6050acc31b76b487a"
WANTED = (
    "LICENSE",
    "examples/rh-enamide/mm3.fld",
    "examples/rh-enamide/rh_enamide_training_set/rh_enamide_training_set.mmo",
    "examples/rh-enamide/rh_enamide_training_set/jaguar_spe_freq_in_out/*.in",
)
"""Patterns of the files to unpack, relative to the archive's top folder."""


def fetch_archive() -> Path:
    """The unpacked data files of q2mm 5.0.0a2's source archive; downloaded with pip at the first call.

    Without a network, put the archive into `cache_folder()` yourself; it is checked and used from there.

    Returns:
        The folder that holds `LICENSE` and `examples/rh-enamide`.

    Raises:
        DatasetError: pip could not download the archive, it has another SHA-256, or it is damaged.
    """
    cache = cache_folder()
    folder = cache / ARCHIVE.removesuffix(".tar.gz")
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{cache} cannot be made: {error}. Set Q2MM_ACCEL_CACHE to a folder of yours.") from error
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        archive = cache / ARCHIVE
        if not archive.exists():
            archive = download(Path(temporary))
        check_hash(archive)
        unpack(archive, folder)
    return folder


def download(folder: Path) -> Path:
    """Let pip put the source archive into `folder`.

    pip prepares the metadata of a source archive by running its build script; it checks the hash before.

    Returns:
        The archive.

    Raises:
        DatasetError: pip failed; the message ends with its last line.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n", encoding="utf-8")
    options = ["--no-deps", "--no-binary", "q2mm", "--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(requirements)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / ARCHIVE
    if finished.returncode or not archive.exists():
        lines = (finished.stderr + finished.stdout).strip().splitlines() or ["(it printed nothing)"]
        raise DatasetError(
            f"{ARCHIVE} could not be downloaded. It needs pip and a connection to PyPI; on another computer run "
            f"'python -m pip download --no-deps --no-binary q2mm {REQUIREMENT}' and copy the file to {cache_folder()}. "
            f"pip's last line: {lines[-1]}"
        )
    return archive


def check_hash(archive: Path) -> None:
    """Check the archive's SHA-256.

    Raises:
        DatasetError: it is another file.
    """
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise DatasetError(f"{archive} has the SHA-256 {found}, not {SHA256}. Delete the file and try again.")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the files of `WANTED` so that `folder` holds either all of them or does not exist.

    Args:
        archive: a gzipped tar file with one top folder.
        folder: the folder to make; one that exists already is left as it is.

    Raises:
        DatasetError: a file is missing or is a link, the archive is damaged, or a name leads out of the folder.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        new = Path(temporary) / folder.name
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in _wanted(archive, tar.getmembers()):
                    _write(tar, member, new)
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise DatasetError(f"{archive} could not be unpacked: {error}. Delete the file and try again.") from error
        try:
            os.rename(new, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster
                raise


def _wanted(archive: Path, members: list[tarfile.TarInfo]) -> list[tarfile.TarInfo]:
    chosen = []
    for pattern in WANTED:
        matches = [member for member in members if fnmatch(member.name.partition("/")[2], pattern)]
        if not matches:
            raise DatasetError(f"{archive} has no {pattern}. Delete the file and try again.")
        chosen += matches
    return chosen


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a plain file below `folder`; whatever else a member may be, or ask for, is not followed."""
    path = folder / member.name.partition("/")[2]
    content = tar.extractfile(member) if member.isreg() else None
    if content is None or not path.resolve().is_relative_to(folder.resolve()):
        raise tarfile.ExtractError(f"{member.name} is not a plain file within the archive's folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.read())
