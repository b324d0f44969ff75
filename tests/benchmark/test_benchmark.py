"""The benchmark: equal starts for everybody, fractions, curves and time limits of fits; tables of precision and devices."""

import warnings

import numpy as np
import pytest
from scipy.optimize import OptimizeResult
from tolerances import LOSS, ROUNDING

from q2mm_accel.benchmark import devices, hold, jacobians, precision, relaxed
from q2mm_accel.benchmark.__main__ import parsed
from q2mm_accel.benchmark.cases import objectives
from q2mm_accel.benchmark.fits import CASES, Recorder
from q2mm_accel.benchmark.native import GOALS, TIMES, readings
from q2mm_accel.benchmark.starts import by_native, by_scipy, compared, starts_of
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import Q2MMAccelWarning


@pytest.fixture(scope="module")
def pair():
    return objectives("ch3f", "harmonic")


@pytest.fixture(scope="module")
def problem():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)
        return load_problem("ch3f", "harmonic")


def test_evaluations_are_what_is_measured_by_default():
    assert parsed([]).what == "speed"


def test_native_fits_begin_where_those_of_scipy_do(pair, monkeypatch):
    plain, scaled = pair
    starts = starts_of(plain, 3)
    expected = [plain.fun(start) for start in starts]
    ours, _ = by_native(plain, "levenberg-marquardt", 3, maxiter=0)
    np.testing.assert_allclose(ours.fun, expected, rtol=LOSS)

    def stays(function, start, **_):
        return OptimizeResult(fun=function(start)[0], success=True, nfev=1)

    monkeypatch.setattr("q2mm_accel.benchmark.starts.minimize", stays)
    np.testing.assert_allclose(by_scipy(scaled, starts).fun, expected, rtol=LOSS)


def test_eigenmatrices_have_an_element_for_each_pair_of_modes(pair):
    references = objectives("ch3f", "harmonic", "eigenmatrix")[0].references
    assert {reference.kind for reference in references} == {"eig_diagonal", "eig_offdiagonal"}
    assert len(references) == 15 * 16 // 2 - 1  # the lowest eigenvalue has the weight 0


def test_fractions_of_better_and_worse_fits():
    theirs = np.array([1.0, 1.0, 1.0, 1e-12])
    found = compared(np.array([1.0 + 1e-7, 0.5, 2.0, 2e-12]), theirs, first=1.0)
    assert found == {"as_good": 0.5, "better": 0.25, "worse": 0.5, "as_good_or_exact": 0.75}


def test_curves_are_read_at_the_last_point_before():
    found = readings(np.array([0.0, 3.0, 30.0]), np.array([100.0, 48.0, 44.0]))
    assert found["rmsd_at"] == dict(zip(map(str, TIMES), [100.0, 48.0, 48.0, 48.0, 44.0, 44.0], strict=True))
    assert found["seconds_to"] == dict(zip(map(str, GOALS), [3.0, 30.0, None], strict=True))


def test_a_curve_begins_at_the_start_and_ends_at_the_result(pair, problem):
    recorder = Recorder(60.0)
    result = CASES["SciPy L-BFGS-B"](problem, recorder)
    plain = pair[0]
    np.testing.assert_allclose(recorder.points[0], plain.x0, rtol=ROUNDING)  # scaled and back
    assert plain.fun(recorder.points[-1]) == pytest.approx(result.fun, rel=1e-6)
    assert recorder.seconds == sorted(recorder.seconds)


def test_the_time_limit_ends_a_fit_of_scipy(problem):
    result = CASES["SciPy least_squares trf"](problem, Recorder(0.0))
    assert (result.status, result.nfev) == (-2, 2)


def test_tables_belong_to_what_is_measured(capsys):
    assert parsed(["precision"]).only == precision.PARTS
    assert parsed(["devices", "--only", "start"]).only == ["start"]
    for arguments in (["devices", "--only", "eigh"], ["speed", "--only", "eigh"], ["precision", "--starts"]):
        with pytest.raises(SystemExit):
            parsed(arguments)
    assert "'eigh'; choose of memory, sharing, start" in capsys.readouterr().err


def test_the_table_of_jacobians(monkeypatch, capsys):
    monkeypatch.setattr(jacobians, "cases", lambda _: [("ch3f", "eigenmatrix")])
    results = {}
    jacobians.run(results, rounds=2, quick=True)
    (row,) = results["jacobians"]
    assert (row["residuals"], row["parameters"]) == (15 * 16 // 2 - 1, 8)  # the lowest eigenvalue has the weight 0
    assert row["MiB"] == row["residuals"] * 8 * 8 / 2**20
    assert row["ratios"]["fun_and_jac"] == 1.0 and row["ratios"].keys() == set(jacobians.FUNCTIONS)
    assert "119 x 8" in capsys.readouterr().out


def test_the_table_of_direct_solves(monkeypatch, capsys):
    monkeypatch.setattr(hold, "cases", lambda _: [("water", "harmonic")])
    results = {}
    hold.run(results, quick=True)
    (row,) = results["hold"]
    assert (row["parameters"], row["data"], row["negative"], row["imaginary"], row["held"]) == (4, 9, 0, 0, True)
    assert row["rms_own"] < 60.0 and row["bond"] < 0.01 and "water" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_the_table_of_relaxations(capsys):
    results = {}
    relaxed.run(results, rounds=2, quick=True)
    (row,) = results["relaxed"]
    assert (row["parameters"], row["references"], row["most_steps"]) == (12, 24, 2)  # 4 bonds, 6 angles, 14 eigenvalues
    assert max(row["loss_difference"], row["gradient_difference"]) < 1e-6  # where L-BFGS stops
    assert "peers' way / fun_and_jac" in capsys.readouterr().out


def test_errors_count_modes_that_are_not_finite():
    exact = np.array([0.5, 100.0, 1000.0, 2000.0]), 2.0, np.array([3.0, 4.0])
    found = precision.errors((np.array([1.5, 100.25, 1000.0, np.nan]), np.nan, np.array([3.0, 4.5])), exact)
    assert (found["largest"], found["largest_stiff"], found["mean_stiff"]) == (1.0, 0.25, 0.125)
    assert (found["not_finite"], found["loss"], found["gradient"]) == (1, None, 0.1)


LONG = pytest.mark.exhaustive


@pytest.mark.parametrize("part", ["accuracy", "eigh", pytest.param("polish", marks=LONG)])
def test_tables_of_precision(part, monkeypatch, capsys):
    monkeypatch.setattr(precision, "problems", lambda _: [("ch3f", "harmonic")])
    results = {}
    precision.run(results, [part], rounds=2, quick=True)
    assert results.keys() == {part}
    if part == "accuracy":
        (row,) = results["accuracy"]
        assert [each["parameters"] for each in row["sets"]] == ["start", "fitted", "perturbed"]
        assert all(each["errors"].keys() == {"float32", "mixed", precision.PEERS} for each in row["sets"])
        worst = precision.worst_errors([row])
        assert 0.0 < max(worst["float32"], worst["mixed"]) < worst[precision.PEERS] < 0.1
        assert "Worst error of a mode above 50 cm⁻¹" in capsys.readouterr().out
    elif part == "eigh":
        assert {(each["size"], each["batch"]) for each in results["eigh"]} == {(15, 1), (15, 9), (60, 1), (60, 9)}
        assert all(each["seconds"]["default"] > 0.0 and each["seconds"]["qdwh"] is None for each in results["eigh"])
    else:
        (fits,) = results["polish"]
        assert abs(fits["fits"]["float32, then polished"]["difference"]) < 1e-6


@pytest.mark.parametrize("part", ["memory", pytest.param("sharing", marks=LONG), pytest.param("start", marks=LONG)])
def test_tables_of_devices(part, monkeypatch, capsys):
    for name, value in (("MOLECULES", ()), ("CARBONS", (1,)), ("VIRTUAL", (2,)), ("problems", lambda _: [("ch3f", "mm3")])):
        monkeypatch.setattr(devices, name, value)
    results = {}
    devices.run(results, [part], rounds=2, quick=True)
    assert results.keys() == {part}
    if part == "memory":
        (row,) = results["memory"]
        assert (row["atoms"], row["molecules"], row["device_peak_MB"]) == (5, 16, None)
        assert 0.0 < row["compiled_MB"] < row["peak_MB"]
    elif part == "sharing":
        assert [each["devices"] for each in results["sharing"]] == [2, 2]
        assert all(max(each["loss_difference"], each["gradient_difference"]) < 1e-12 for each in results["sharing"])
    else:
        start = results["start"]
        assert all(start[label]["built_s"] < start[label]["first_fit_s"] for label in ("first", "second"))
        assert "first / second" in capsys.readouterr().out


def test_every_part_of_a_table_is_tested():
    assert {"accuracy", "eigh", "polish"} == {*precision.PARTS} and {"memory", "sharing", "start"} == {*devices.PARTS}
