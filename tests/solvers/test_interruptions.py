"""Ctrl-C and kills at random times of fits, native and of SciPy: the best point stays, also on disk, and fits go on."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from interrupted_fits import ENDLESS, build

from q2mm_accel.io.checkpoint import load_checkpoint
from q2mm_accel.solvers.lane import Status

SCRIPT = Path(__file__).with_name("interrupted_fits.py")
ROUTES = ("native", "scipy")
FEW, MANY = 6, 20
"""Signals."""

few_or_many_kills = pytest.mark.parametrize("n_kills", [2, pytest.param(10, marks=pytest.mark.exhaustive)])


@pytest.fixture(scope="module", params=[FEW, pytest.param(MANY, marks=pytest.mark.exhaustive)])
def n_signals(request):
    return request.param


@pytest.fixture(scope="module")
def reports(tmp_path_factory, n_signals):
    """What happened to each route's fits; both processes go side by side."""
    folders = [tmp_path_factory.mktemp(route) for route in ROUTES]

    def report(route, folder):
        command = [sys.executable, SCRIPT, route, folder, str(n_signals)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    with ThreadPoolExecutor(len(ROUTES)) as pool:
        return dict(zip(ROUTES, pool.map(report, ROUTES, folders), strict=True))


def content(finished):
    """What a process reported."""
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_ctrl_c_at_random_times_of_native_fits_returns_the_best(reports, n_signals):
    cases = content(reports["native"])["random"]
    assert len(cases) == n_signals
    returned = [case for case in cases if case["status"] is not None]
    lost = [case for case in cases if case["status"] is None and case["segments"] > 0 and not case["ended"]]
    assert not lost, "fits that had begun"
    for case in returned:
        assert case["status"] in (Status.INTERRUPTED.name, Status.CONVERGED.name)
        assert case["success"] == (case["status"] == Status.CONVERGED.name)
        assert all(case[name] for name in ("is best of history", "is best of objective", "is saved", "resumed", "handler"))
    assert sum(case["status"] == Status.INTERRUPTED.name for case in cases) >= n_signals // 4


def test_ctrl_c_during_compilation_waits_for_the_first_segment_and_a_second_does_not(reports):
    outcome = content(reports["native"])["compilation"]
    assert (outcome["twice"], outcome["once"], outcome["steps"]) == ("KeyboardInterrupt", Status.INTERRUPTED.name, 1)
    assert outcome["best after twice"] and outcome["handler after twice"]


def test_a_second_ctrl_c_in_a_segment_raises_and_saves_what_there_is(reports):
    assert content(reports["native"])["twice"] == {"steps": 3, "handler": True, "resumed": True}


def test_a_program_that_handles_ctrl_c_itself_goes_on_to_do_so(reports):
    assert content(reports["native"])["other handler"] == [Status.CONVERGED.name, True, True]


def test_a_fit_in_another_thread_than_the_main_one_is_the_same(reports):
    assert content(reports["native"])["thread"] is True


def test_ctrl_c_at_random_times_of_scipy_fits_keeps_the_best_of_all_evaluations(reports, n_signals):
    cases = content(reports["scipy"])
    assert len(cases) == n_signals
    for case in cases:
        assert case["best"] in (case["lowest"], case["lowest with the open one"]), case
        assert case["point"] and case["lock is free"], case
    assert sum(case["raised"] and case["evaluations"] > 0 for case in cases) >= n_signals // 4


def killed(route, path, delay):
    """What an endless fit reported before it was killed."""
    command = [sys.executable, SCRIPT, f"fit-{route}", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first = [process.stdout.readline() for _ in range(2)]
        time.sleep(delay)
        process.kill()
        assert process.wait() == -9, "it ended by itself"
        return "".join([*first, process.stdout.read()]).split("\n")[:-1]


def kill_at_random_times(route, folder, n_kills):
    """Paths of the checkpoints, and what the processes reported; two go side by side."""
    paths = [folder / str(number) for number in range(n_kills)]
    delays = np.random.default_rng(9).uniform(0.0, 0.5, n_kills)
    with ThreadPoolExecutor(2) as pool:
        return list(zip(paths, pool.map(killed, [route] * n_kills, paths, delays), strict=True))


@pytest.fixture(scope="module")
def new():
    return build()


@few_or_many_kills
def test_a_killed_native_fit_loses_one_step_at_most_and_goes_on_as_if_nothing_had_happened(new, tmp_path, n_kills):
    for path, reported in kill_at_random_times("native", tmp_path, n_kills):
        steps = int(load_checkpoint(path).arrays["nit"][0])
        assert steps in (len(reported) - 1, len(reported))
        options = ENDLESS | {"maxiter": steps + 10}
        whole, resumed = new().solve_native(**options), new().solve_native(resume=path, **options)
        assert resumed.nit == steps + 10 and np.array_equal(resumed.x, whole.x) and resumed.fun == whole.fun
        assert all(np.array_equal(resumed.history[name], whole.history[name]) for name in whole.history)


@few_or_many_kills
def test_a_killed_fit_of_scipy_loses_one_step_at_most_and_goes_on_from_its_best(new, tmp_path, n_kills):
    for path, reported in kill_at_random_times("scipy", tmp_path, n_kills):
        objective, saved = new(), load_checkpoint(path)
        assert saved.fun in [float.fromhex(loss) for loss in reported[-2:]]
        assert objective.fun(objective.resume_point(path)) == saved.fun < objective.fun(objective.x0)
        assert objective.solve_native(**ENDLESS | {"maxiter": 5}, resume=path).fun < saved.fun
