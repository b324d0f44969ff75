"""The command q2mm-accel: what it prints, what it writes, and how it fails."""

import csv
import json
import sys

import numpy as np
import pytest
import tolerances

from q2mm_accel import cli, frequencies, validate
from q2mm_accel.datasets.modes import load_modes_problem
from q2mm_accel.datasets.problems import PROBLEMS, load_problem
from q2mm_accel.errors import DatasetError
from q2mm_accel.io.results import read_forcefield


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def fit(folder, *arguments, objective="frequencies"):
    """The exit status, and the results as they were written; by default of q2mm's objective, frequencies."""
    status = cli.main(["fit", *arguments, "--objective", objective, "--output", str(folder)])
    with (folder / "frequencies.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return status, json.loads((folder / "result.json").read_text(encoding="utf-8")), rows


def column(rows, name):
    return np.array([float(row[name]) for row in rows])


def rmsd(rows, computed):
    return np.sqrt(np.mean((column(rows, computed) - column(rows, "reference_cm-1")) ** 2))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fit of CH3F: the folder, the exit status, and the results."""
    folder = tmp_path_factory.mktemp("fits") / "new" / "ch3f"
    return folder, *fit(folder, "ch3f")


def test_a_fit_writes_three_files(fitted):
    folder, status, result, rows = fitted
    assert status == 0
    assert sorted(path.name for path in folder.iterdir()) == ["forcefield.json", "frequencies.csv", "result.json"]
    assert result["success"] and result["rmsd_fitted"] < 10.0 < 100.0 < result["rmsd_start"]
    assert [row["molecule"] for row in rows] == ["ch3f"] * 9
    assert [int(row["mode"]) for row in rows] == list(range(6, 15))


def test_what_is_written_agrees_with_a_recomputation(fitted):
    folder, _, result, rows = fitted
    problem, written = load_problem("ch3f"), read_forcefield(folder / "forcefield.json")
    modes = [int(row["mode"]) for row in rows]
    for forcefield, name in ((problem.forcefield, "start"), (written, "fitted")):
        computed = frequencies(problem.systems, forcefield)[0][modes]
        np.testing.assert_allclose(column(rows, f"{name}_cm-1"), computed, atol=tolerances.FREQUENCY, rtol=0.0)
        assert result[f"rmsd_{name}"] == pytest.approx(rmsd(rows, f"{name}_cm-1"), rel=tolerances.CLOSED_FORM)
    published = problem.systems[0].molecule.normal_modes.frequencies
    np.testing.assert_array_equal(column(rows, "reference_cm-1"), published)
    assert result["parameters"] == dict(zip(written.labels, written.parameters.tolist(), strict=True))
    weight = sum(reference.weight**2 for reference in problem.references)
    assert result["loss"] == pytest.approx(weight * result["rmsd_fitted"] ** 2, rel=tolerances.BATCH)


def test_a_fit_prints_its_tables(tmp_path, capsys):
    status, result, rows = fit(tmp_path, "water")
    printed = capsys.readouterr().out
    assert status == 0
    for words in ("1 molecules, 4 parameters, 3 frequencies", "QM", "start", "fitted", "bond H-O k", "all", "Written to"):
        assert words in printed
    for row in rows:
        shown = [f"{float(row[name]):.1f}" for name in ("reference_cm-1", "start_cm-1", "fitted_cm-1")]
        line = next(line for line in printed.splitlines() if f"│ {row['mode']:>4} │" in line)
        assert [word for word in line.replace("│", " ").split()][:5] == ["water", row["mode"], *shown]
    assert f"{result['rmsd_start']:.2f}" in printed and f"{result['rmsd_fitted']:.2f}" in printed
    assert f"{result['iterations']} iterations, {result['evaluations']} evaluations" in printed
    assert result["message"] in printed


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """A direct solve for CH3F: the folder, the exit status, and the results."""
    folder = tmp_path_factory.mktemp("solves")
    return folder, *fit(folder, "ch3f", objective="modes")


def test_the_direct_solve_holds_its_molecule(solved):
    folder, status, result, rows = solved
    assert status == 0 and result["success"] and result["held"] and result["imaginary_modes"] == 0
    assert result["largest_bond_deviation"] < 0.01 and result["largest_angle_deviation"] < 1.0
    assert result["rmsd_own_minimum"] < 35.0 and rmsd(rows, "fitted_cm-1") == pytest.approx(result["rmsd_fitted"])
    systems = load_modes_problem("ch3f").systems
    found = validate(systems, read_forcefield(folder / "forcefield.json"))
    assert found.frequency_rmsd == pytest.approx(result["rmsd_own_minimum"]) and found.held
    np.testing.assert_allclose(column(rows, "fitted_cm-1"), found.molecules[0].at_qm, atol=tolerances.FREQUENCY)


def test_an_anharmonic_form_goes_on_from_the_direct_solve(tmp_path, capsys):
    status, result, _ = fit(tmp_path, "water", "--form", "mm3", "--no-urey-bradley", objective="modes")
    printed = capsys.readouterr().out
    assert status == 0 and result["held"] and result["rmsd_own_minimum"] < 60.0
    assert read_forcefield(tmp_path / "forcefield.json").form == "mm3"
    assert "What the force field does by itself" in printed and "WARNING" not in printed


def test_a_fit_of_frequencies_that_lets_the_molecule_go_says_so(fitted, tmp_path, capsys):
    _, status, result, _ = fitted
    assert status == 0 and not result["held"] and result["rmsd_own_minimum"] > 10.0 * result["rmsd_fitted"]
    assert any("does not hold" in line for line in result["warnings"])
    fit(tmp_path, "ch3f", "--maxiter", "40")
    assert "WARNING: this force field does not hold its molecules" in capsys.readouterr().out


def test_a_transition_state_can_be_fitted(tmp_path):
    status, result, rows = fit(tmp_path, "sn2_ts")
    assert status == 0 and result["rmsd_fitted"] < result["rmsd_start"]
    assert len(rows) == 11


def test_the_harmonic_form_can_be_chosen(tmp_path):
    status, result, _ = fit(tmp_path, "water", "--form", "harmonic")
    assert status == 0 and result["rmsd_fitted"] < result["rmsd_start"]
    assert read_forcefield(tmp_path / "forcefield.json").form == "harmonic"


def test_notes_are_printed_for_what_the_force_field_leaves_out(tmp_path, capsys):
    fit(tmp_path, "c2h2", "--maxiter", "1")
    assert "Note: " in (printed := capsys.readouterr().out) and "c2h2" in printed


@pytest.mark.parametrize(("limit", "message"), [("--maxtime=0", "--maxtime"), ("--maxiter=1", "ITERATIONS")])
def test_a_fit_that_is_stopped_early_is_no_worse_than_its_start(tmp_path, limit, message):
    status, result, rows = fit(tmp_path, "ch3f", limit)
    assert status == 0
    assert not result["success"] and message in result["message"]
    assert result["iterations"] == 1
    assert rmsd(rows, "fitted_cm-1") <= rmsd(rows, "start_cm-1")


def test_a_fit_that_ctrl_c_ends_says_so_and_keeps_its_best_point(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "minimize", interrupted)
    status, result, _ = fit(tmp_path, "water")
    assert status == 0 and not result["success"]
    assert result["message"] == "Stopped early, the best point is kept: interrupted"
    assert result["rmsd_fitted"] == result["rmsd_start"]


def test_without_a_folder_the_results_go_to_one_named_after_the_problem(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", "water", "--objective", "frequencies", "--maxiter", "1"]) == 0
    assert (tmp_path / "q2mm-accel-fit" / "water" / "result.json").exists()


def test_a_file_that_cannot_be_written_is_reported_in_one_line(tmp_path, capsys):
    (tmp_path / "result.json").mkdir()
    assert cli.main(["fit", "water", "--objective", "frequencies", "--maxiter", "1", "--output", str(tmp_path)]) == 1
    assert_one_line(capsys, "cannot be written", str(tmp_path), "--output")


def test_brackets_in_the_name_of_the_folder_are_printed_as_they_are(tmp_path, capsys):
    assert cli.main(["fit", "water", "--output", str(tmp_path / "[/red]")]) == 0
    assert "[/red]" in capsys.readouterr().out


@pytest.mark.network
@pytest.mark.exhaustive
def test_rh_enamide_is_fetched_and_fitted(tmp_path, capsys):
    status, result, rows = fit(tmp_path, "rh-enamide", "--maxiter", "5")
    printed = capsys.readouterr().out
    assert status == 0
    assert "9 molecules, 182 parameters, 1021 frequencies" in printed
    assert "15 of 1021" in printed and "15 of 182" in printed and "9 (R,R)-Me-BPE pro-S conformation 2" in printed
    assert "Note: 99 bond terms have no parameter" in printed
    assert len(rows) == 1021 and len(result["parameters"]) == 182 and len({row["molecule"] for row in rows}) == 9
    assert result["rmsd_start"] == pytest.approx(188.15, abs=0.01)
    assert result["rmsd_fitted"] < 0.6 * result["rmsd_start"]


WRONG_USE = {
    "an unknown problem": (["fit", "benzene"], ("invalid choice: 'benzene'", *PROBLEMS)),
    "no problem": (["fit"], ("required: PROBLEM",)),
    "no command": ([], ("required: COMMAND",)),
    "an unknown form": (["fit", "water", "--form", "amber"], ("invalid choice: 'amber'", "mm3", "harmonic")),
    "couplings of q2mm's objective": (
        ["fit", "water", "--couplings", "--objective", "frequencies"],
        ("--couplings", "--objective modes"),
    ),
    "no iterations": (["fit", "water", "--maxiter", "0"], ("--maxiter", "must be at least 1, but is 0")),
    "iterations in words": (["fit", "water", "--maxiter", "many"], ("--maxiter", "'many'")),
    "a time in words": (["fit", "water", "--maxtime", "long"], ("--maxtime", "'long'")),
}


@pytest.mark.parametrize("fault", WRONG_USE, ids=str)
def test_wrong_use_ends_with_status_2_and_says_what_is_allowed(fault, capsys):
    arguments, words = WRONG_USE[fault]
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert all(word in complaint for word in words), complaint


def assert_one_line(capsys, *words):
    """Standard error holds one line with these words."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("q2mm-accel: ") and all(word in line for word in words), line


def test_an_error_of_the_package_is_one_line_and_status_1(tmp_path, monkeypatch, capsys):
    def failing(name, *_):
        raise DatasetError(f"{name} is damaged; reinstall q2mm_accel.")

    monkeypatch.setattr(cli, "load_modes_problem", failing)
    assert cli.main(["fit", "water", "--output", str(tmp_path / "new")]) == 1
    assert_one_line(capsys, "water is damaged; reinstall q2mm_accel.")


def test_without_rich_the_command_to_install_it_is_printed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert cli.main(["fit", "water"]) == 1
    assert_one_line(capsys, "rich is not installed", "python -m pip install 'q2mm_accel[cli]'")


def test_a_folder_that_cannot_be_made_is_reported_before_the_fit(tmp_path, monkeypatch, capsys):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr(cli, "load_modes_problem", None)
    assert cli.main(["fit", "water", "--output", str(tmp_path / "taken")]) == 1
    assert_one_line(capsys, str(tmp_path / "taken"))
