"""Where files are kept between runs."""

import os
import sys
from pathlib import Path


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
