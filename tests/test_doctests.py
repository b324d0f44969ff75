"""Examples in docstrings, whose answers are known on paper."""

import doctest
import importlib
from pathlib import Path

import pytest

import q2mm_accel

FOLDER = Path(q2mm_accel.__file__).parent
WITH_EXAMPLES = [path for path in sorted(FOLDER.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_docstrings_give_what_they_say(path):
    name = ".".join(("q2mm_accel", *path.relative_to(FOLDER).with_suffix("").parts))
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted >= 5 and found.failed == 0


def test_there_are_some():
    assert {path.stem for path in WITH_EXAMPLES} >= {"spectra", "objective", "uncertainty"}
