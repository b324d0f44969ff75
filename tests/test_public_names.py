"""What the package gives at its top, and what importing it brings along."""

import re
import subprocess
import sys
from enum import IntEnum
from inspect import isclass, isfunction
from pathlib import Path

import q2mm_accel

NAMES = {
    "ForceField",
    "FusedObjective",
    "Molecule",
    "Prior",
    "Reference",
    "ReferenceData",
    "Status",
    "System",
    "Tie",
    "estimate_force_constants",
    "frequencies",
    "keep_compiled",
    "match_frequencies",
    "perceive",
    "register_form",
}
PRIVATE = re.compile(r"\bjax\._src\b|from jax import _src")
OPTIONAL = {"rich", "matplotlib", "q2mm", "openmm", "mpmath"}


def test_all_that_a_fit_needs_is_at_the_top():
    assert set(q2mm_accel.__all__) >= NAMES
    for name in q2mm_accel.__all__:
        value = getattr(q2mm_accel, name)
        assert (isclass(value) or isfunction(value)) and value.__doc__, name
    assert issubclass(q2mm_accel.Status, IntEnum)


def test_names_that_are_also_files_are_the_functions():
    from q2mm_accel.model import perceive as file

    assert q2mm_accel.perceive is file.perceive


def test_importing_the_package_imports_nothing_optional():
    code = f"import sys, q2mm_accel; print(*sorted({OPTIONAL!r} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == []


def test_no_file_of_the_package_reads_private_parts_of_jax():
    files = sorted(Path(q2mm_accel.__file__).parent.rglob("*.py"))
    assert len(files) > 50
    assert [path.name for path in files if PRIVATE.search(path.read_text(encoding="utf-8"))] == []
