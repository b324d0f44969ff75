"""The benchmark of fits: the same starts for everybody, fractions, curves, time limits."""

import warnings

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from q2mm_accel.benchmark.__main__ import _parser
from q2mm_accel.benchmark.cases import objectives
from q2mm_accel.benchmark.fits import CASES, Recorder
from q2mm_accel.benchmark.native import GOALS, TIMES, readings
from q2mm_accel.benchmark.starts import by_native, by_scipy, compared, starts_of
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import Q2MMAccelWarning
from tests.tolerances import LOSS


@pytest.fixture(scope="module")
def pair():
    return objectives("ch3f", "harmonic")


@pytest.fixture(scope="module")
def problem():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)
        return load_problem("ch3f", "harmonic")


def test_evaluations_are_what_is_measured_by_default():
    assert _parser().parse_args([]).what == "speed"


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
    np.testing.assert_array_equal(recorder.points[0], plain.x0)
    assert plain.fun(recorder.points[-1]) == pytest.approx(result.fun, rel=1e-6)
    assert recorder.seconds == sorted(recorder.seconds)


def test_the_time_limit_ends_a_fit_of_scipy(problem):
    result = CASES["SciPy least_squares trf"](problem, Recorder(0.0))
    assert (result.status, result.nfev) == (-2, 2)
