"""The scripts in examples/ run, compiled as the other tests or as users compile them, and say what they promise."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples"
MOVES = r"ps at (?:2[6-9]|3[0-3])\d K \(asked: 300\), bonds change by (0\.[01]\d) Å"
"""Molecular dynamics near its temperature, no bond more than 0.2 Å off."""
EXPECTED = {
    "02_error_bars.py": r"8 of 9 directions(?s:.*)no data tell apart: torsion(?s:.*)left out, all: (\d+\.\d+) cm",
    "03_qm_file_to_md.py": MOVES,
    "04_refit_openmm.py": rf"(?s:.*)L-alanine all the time: True(?s:.*){MOVES}(?s:.*)L-alanine all the time: True",
    "09_migrate_from_q2mm.py": r"They agree(?s:.*)solve_native +loss (\d+\.\d+)(?s:.*)last parameters: \d",
    "05_fit_with_scipy.py": r"RMSD of \d+ frequencies: (\d+\.\d+) cm",
    "06_fit_native.py": r"solve_native lbfgsb +(\d+\.\d+)e-0(?s:.*)\nsolve_native levenberg-marquardt(?s:.*)Converged",
    "07_multi_start.py": r"(?m:^ +\d+ +(\d+\.\d+)e[+-]\d+ )(?s:.*)Best of 16 starts: number (?s:.*)fitted",
    "08_resume.py": r"native, interrupted +loss (\d+\.\d+)e(?s:.*)last bit: True(?s:.*)resumed natively (?s:.*)Converged",
}
"""What a script must print; the number in brackets."""

SCRIPTS = sorted(path.name for path in FOLDER.glob("0*.py"))
SHORT = {"05_fit_with_scipy.py", "08_resume.py", "09_migrate_from_q2mm.py"}
"""Scripts of the default run; the exhaustive tests run all."""
AS_USERS = "05_fit_with_scipy.py"
"""The script that the default run compiles as users do; the exhaustive tests compile the others so too."""


def run(*arguments, cwd, compiled):
    """Run Python; programs compiled as by users take two to three times as long to be ready."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS" or compiled == "soon"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", timeout=300, env=environment)


@pytest.mark.parametrize(
    ("script", "compiled"),
    [
        *((script, "as users do" if script == AS_USERS else "soon") for script in SCRIPTS if script in SHORT),
        *(pytest.param(script, "as users do", marks=pytest.mark.exhaustive) for script in SCRIPTS if script != AS_USERS),
    ],
)
def test_an_example_runs_and_prints_its_result(script, compiled, tmp_path):
    finished = run("-X", "utf8", str(FOLDER / script), cwd=tmp_path, compiled=compiled)
    assert finished.returncode == 0, finished.stderr
    print(finished.stdout)
    found = re.search(EXPECTED.get(script, r"(\d+\.\d+)"), finished.stdout)
    assert found, finished.stdout
    assert 0.0 <= float(found[1]) < 1000.0


def test_every_expectation_belongs_to_an_example():
    assert set(EXPECTED) <= set(SCRIPTS)


@pytest.mark.exhaustive
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    notebook = json.loads((FOLDER / "tutorial.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (tmp_path / "tutorial.py").write_text("\n\n".join(cells), encoding="utf-8")
    finished = run("-X", "utf8", "tutorial.py", cwd=tmp_path, compiled="as users do")
    assert finished.returncode == 0, finished.stderr
    found = re.search(
        r"acrylamide 10 atoms(?s:.*)independent directions(?s:.*)largest change of a bond: (0\.\d+)", finished.stdout
    )
    assert found, finished.stdout
