"""The command q2mm-accel: what it prints, what it writes, and how it fails."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tolerances

from q2mm_accel import FusedObjective, cli, validate
from q2mm_accel.cli import actions, codes
from q2mm_accel.cli.configuration import request_of
from q2mm_accel.datasets import load_molecule
from q2mm_accel.datasets.modes import load_modes_problem
from q2mm_accel.errors import DatasetError
from q2mm_accel.io.results import read_forcefield

FILES = ["fit.json", "forcefield.json", "frequencies.csv", "report.html"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fit of CH3F: the folder, and what was printed to stdout and stderr."""
    folder = tmp_path_factory.mktemp("fits") / "new" / "[/ch3f]"
    command = [sys.executable, "-m", "q2mm_accel.cli", "fit", "ch3f", "--output", str(folder)]
    finished = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert finished.returncode == codes.HELD, finished.stderr
    return folder, finished.stdout, finished.stderr


@pytest.fixture(scope="module")
def record(fitted):
    return json.loads((fitted[0] / "fit.json").read_text(encoding="utf-8"))


def test_a_fit_writes_its_files_and_says_so(fitted):
    folder, _, errors = fitted
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert f"Written to {folder}: " in errors and all(name in errors for name in FILES)
    assert re.search(r"(?s)perceive.*build and compile.*solve \(loss \d.*validate \(loss \d.*error bars", errors)


def test_a_fit_prints_at_most_25_lines(fitted):
    lines = fitted[1].splitlines()
    assert len(lines) <= 25
    assert "harmonic: 1 molecules, 12 parameters, 54 data; loss 8.069" in lines[0]
    assert any(line.startswith("ch3f ") for line in lines) and any("30.0 cm⁻¹ at the QM" in line for line in lines)
    assert any(re.match(r"! \d parameters? (is|are) at a bound", line) for line in lines)


def test_what_is_written_agrees_with_a_recomputation(fitted, record):
    folder = fitted[0]
    written, systems = read_forcefield(folder / "forcefield.json"), load_modes_problem("ch3f").systems
    found = validate(systems, written)
    (molecule,) = record["molecules"]
    assert record["held"] and found.held and record["rmsd"]["fitted own"] == pytest.approx(found.frequency_rmsd)
    np.testing.assert_allclose(molecule["fitted own"], found.molecules[0].own, atol=tolerances.FREQUENCY)
    assert {each["label"]: each["fitted"] for each in record["parameters"]} == dict(
        zip(written.labels, written.parameters.tolist(), strict=True)
    )
    assert [each["state"] for each in record["parameters"]].count("at a bound") == 2
    with (folder / "frequencies.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["QM (cm-1)"]) for row in rows], molecule["QM"])
    assert [row["molecule"] for row in rows] == ["ch3f"] * 9 and "fit ch3f" in record["provenance"]["command"]


def test_the_report_is_complete_in_itself(fitted):
    page = (fitted[0] / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/svg+xml;base64,') == 4 and not re.search(r'(src|href)="(?!data:)', page)
    for words in (
        "What to distrust",
        "Parameters",
        "bond C(FHHH)-F(C) k",
        "What the data determine",
        "Provenance",
        "jaxlib",
    ):
        assert words in page


@pytest.mark.parametrize("name", ["again.html", "again.md"])
def test_a_report_is_written_again(fitted, tmp_path, name):
    assert cli.main(["report", str(fitted[0]), "--output", str(tmp_path / name)]) == codes.HELD
    assert "bond C(FHHH)-F(C) k" in (tmp_path / name).read_text(encoding="utf-8")


def test_a_force_field_is_validated_with_a_file(fitted, tmp_path, capsys):
    molecule = load_molecule("ch3f")
    path = tmp_path / "mine.npz"
    np.savez(path, symbols=molecule.symbols, coordinates=molecule.coordinates, hessian=molecule.hessian)
    assert cli.main(["validate", str(fitted[0] / "forcefield.json"), str(path), "--json"]) == codes.HELD
    found = json.loads(capsys.readouterr().out)
    assert found["held"] and found["rmsd_own"] == pytest.approx(30.1, abs=0.1) and list(found["molecules"]) == ["mine"]


def test_a_geometry_and_its_hessian_are_one_word(tmp_path, capsys):
    molecule = load_molecule("hcn")
    rows = [f"{s} {x:.12f} {y:.12f} {z:.12f}" for s, (x, y, z) in zip(molecule.symbols, molecule.coordinates, strict=True)]
    (tmp_path / "hcn.xyz").write_text("\n".join(["3", "", *rows]) + "\n")
    np.save(tmp_path / "hcn.npy", molecule.hessian)
    assert cli.main(["check", f"{tmp_path}/hcn.xyz+{tmp_path}/hcn.npy"]) == codes.HELD
    assert "molecules: hcn (3 atoms)" in capsys.readouterr().out


def test_types_that_a_force_field_does_not_have_are_named(fitted, capsys):
    assert cli.main(["validate", str(fitted[0] / "forcefield.json"), "water"]) == codes.BAD_INPUT
    assert_one_line(capsys, "the force field has no type bond H(O)-O(HH)", "angle H(O)-O(HH)-H(O)")


def test_a_check_says_what_would_be_fitted(capsys):
    assert cli.main(["check", "ch3f", "sn2_ts", "--no-urey-bradley", "--json"]) == codes.HELD
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["molecules"] == ["ch3f (5 atoms)", "sn2_ts (6 atoms)"] and found["transition states"] == ["sn2_ts"]
    assert found["data"] == 54 + 90 and found["parameters"] == 17 and "9 bond of 4 types" in found["terms"]
    assert "Note: sn2_ts: a transition state" in printed.err


def test_the_data_sets_are_listed(capsys):
    assert cli.main(["datasets"]) == codes.HELD
    assert re.search(r"(?m)^water +3 atoms$", printed := capsys.readouterr().out) and "rh-enamide" in printed


TOML = """
inputs = ["water.npz", "hcn"]
urey_bradley = false
stiffness = 0.25
priors = { angle_force_constants = 500.0 }
"""


def test_a_toml_file_says_all(tmp_path, capsys):
    molecule = load_molecule("water")
    values = {"symbols": molecule.symbols, "coordinates": molecule.coordinates, "hessian": molecule.hessian}
    np.savez(tmp_path / "water.npz", **values)
    (tmp_path / "two.toml").write_text(TOML)
    request = request_of([str(tmp_path / "two.toml")], {"stiffness": None, "form": "mm3"})
    assert request.inputs == (str(tmp_path / "water.npz"), "hcn") and request.name == "two"
    assert request.options["stiffness"] == 0.25 and request.options["form"] == "mm3"
    problem = actions._problem(request)
    assert [system.molecule.name for system in problem.systems] == ["hcn", "water"]
    assert problem.stiffness == 0.25 and problem.priors[0].width == 500.0 and problem.forcefield.form == "mm3"


CONFIGURATIONS = sorted((Path(__file__).resolve().parent.parent / "examples" / "configurations").glob("*.toml"))
MY_OBJECTIVE = """
from q2mm_cases import water_objective
objective = water_objective()
"""


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_the_configurations_of_the_examples_can_be_fitted(path, tmp_path, monkeypatch):
    shutil.copy(path, tmp_path)
    molecule = load_molecule("h2o2")
    for number in (1, 2):
        values = {"symbols": molecule.symbols, "coordinates": molecule.coordinates, "hessian": molecule.hessian}
        np.savez(tmp_path / f"conformer_{number}.npz", **values)
    (tmp_path / "my_objective.py").write_text(MY_OBJECTIVE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    posed = actions._posed(request_of([path.name], {}))
    assert len(posed.systems) == {"conformers": 2, "several_molecules": 4}.get(path.stem, 1)
    assert isinstance(posed, FusedObjective) == (path.stem == "q2mm_objective")
    if path.stem in ("one_molecule", "q2mm_objective"):
        assert cli.main(["check", path.name]) == codes.HELD


def test_zero_is_a_value_and_larger_data_sets_stand_among_others():
    request = request_of(["water", "acrylamide"], {"stiffness": 0.0, "displacement": None, "vdw": False, "resume": False})
    assert request.options == {"stiffness": 0.0, "vdw": False}
    assert [molecule.name for molecule in actions._molecules(request)] == ["water", "acrylamide"]


def assert_one_line(capsys, *words):
    """Standard error ends with one line of ours with these words."""
    errors = capsys.readouterr().err
    assert errors.count("q2mm-accel: ") == 1 and "Traceback" not in errors
    assert all(word in errors.split("q2mm-accel: ")[1] for word in words), errors


WRONG = {
    "an unknown name": (["fit", "benzene"], ("benzene",)),
    "a file that is none": (["fit", "nothing.fchk"], ("nothing.fchk", "No such file")),
    "a misspelt data set": (["fit", "ch3ff"], ("'ch3ff'", "nearest data set is 'ch3f'")),
    "a format that is none": (["fit", "water", "--export", ".pdb"], (".pdb", ".frcmod")),
    "a format that cannot hold it": (["fit", "ch3f", "--export", "frcmod"], ("urey_bradley", ".frcmod")),
    "no bonds": (["fit", "water", "--bond-tolerance", "0.5"], ("water: no parameter is to be fitted", "bond_tolerance=")),
    "an unknown form": (["fit", "water", "--form", "opls"], ("'opls'", "harmonic")),
    "a stiffness above 1": (["fit", "water", "--stiffness", "2"], ("stiffness is 2.0",)),
    "TOML beside others": (["check", "a.toml", "water"], ("a.toml", "inputs = [...]")),
    "a TOML file that is none": (["check", "a.toml"], ("a.toml", "No such file")),
    "a folder without a fit": (["report", "nowhere"], ("fit.json", "No such file")),
    "a module that is none": (["compare", "nowhere:objective"], ("nowhere", "MODULE:OBJECTIVE")),
    "a force field that is none": (["validate", "nothing.json", "water"], ("nothing.json",)),
}


@pytest.mark.parametrize("fault", WRONG, ids=str)
def test_bad_input_is_one_line_and_status_2_and_leaves_nothing_behind(fault, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, words = WRONG[fault]
    assert cli.main(arguments) == codes.BAD_INPUT
    assert_one_line(capsys, *words)
    assert not (tmp_path / "q2mm-accel-fit").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("inputs = ['water']\nforms = 'mm3'", ("no key 'forms'", "nearest is 'form'")),
        ("inputs = ['water']\nmaxiter = 'many'", ("maxiter is 'many'", "must be a int")),
        ("inputs = ['water']\nvdw = 1", ("vdw is 1", "must be a bool")),
        ("form = 'mm3'", ("either inputs",)),
        ("inputs = ['water']\nq2mm = 'a:b'", ("either inputs",)),
        ("inputs = ['*.nothing']", ("no file is named",)),
        ("inputs = [", ("is not TOML",)),
    ],
)
def test_a_wrong_toml_file_is_one_line_with_the_key(text, words, tmp_path, capsys):
    (tmp_path / "wrong.toml").write_text(text)
    assert cli.main(["check", str(tmp_path / "wrong.toml")]) == codes.BAD_INPUT
    assert_one_line(capsys, "wrong.toml" if "named" not in words[0] else "", *words)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "q2mm_accel fit 1"}', '{"format": "other"}'])
def test_a_damaged_result_is_one_line(content, tmp_path, capsys):
    (tmp_path / "fit.json").write_text(content)
    assert cli.main(["report", str(tmp_path)]) == codes.BAD_INPUT
    assert_one_line(capsys, "fit.json", "Fit again")
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_cannot_be_made_is_reported_before_the_fit(tmp_path, monkeypatch, capsys):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr(actions, "fit", None)
    assert cli.main(["fit", "water", "--output", str(tmp_path / "taken")]) == codes.BAD_INPUT
    assert_one_line(capsys, str(tmp_path / "taken"), "--output")


def test_words_that_make_no_sense_end_with_status_2(capsys):
    for arguments in (["fit"], ["fit", "water", "--maxiter", "0"], ["nothing"], ["fit", "water", "--displacement", "x"]):
        assert cli.main(arguments) == codes.BAD_INPUT
        assert "Error: " in capsys.readouterr().err


def test_an_error_of_the_package_is_one_line(tmp_path, monkeypatch, capsys):
    def failing(*_, **__):
        raise DatasetError("water is damaged; reinstall q2mm_accel.")

    monkeypatch.setattr(actions, "load_modes_problem", failing)
    assert cli.main(["fit", "water", "--output", str(tmp_path / "new")]) == codes.BAD_INPUT
    assert_one_line(capsys, "water is damaged; reinstall q2mm_accel.")
    assert not (tmp_path / "new").exists()


def test_help_and_version_need_no_jax(tmp_path):
    code = "import sys, q2mm_accel.cli as cli; codes = cli.main(['--version']), cli.main(['fit', '--help'])"
    code += "; print(codes, 'jax' in sys.modules, 'numpy' in sys.modules)"
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert finished.stdout.splitlines()[-1] == "(0, 0) False False" and "--urey-bradley" in finished.stdout


def test_a_fit_that_ctrl_c_ends_leaves_a_checkpoint_and_goes_on(tmp_path, monkeypatch, capsys):
    words = ["fit", "water", "--form", "mm3", "--output", str(tmp_path)]
    with monkeypatch.context() as patched:
        original = FusedObjective.solve_native
        press = {"callback": lambda _: os.kill(os.getpid(), signal.SIGINT), "callback_every": 1}
        patched.setattr(FusedObjective, "solve_native", lambda *args, **options: original(*args, **options | press))
        assert cli.main(words) == codes.INTERRUPTED
    assert "--resume" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", *FILES]
    assert json.loads((tmp_path / "fit.json").read_text(encoding="utf-8"))["message"] == "Interrupted by the user."
    assert cli.main([*words, "--resume"]) == codes.HELD
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert json.loads((tmp_path / "fit.json").read_text(encoding="utf-8"))["success"]
