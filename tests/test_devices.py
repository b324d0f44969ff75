"""Molecules and starts shared out to devices and hosts: the results are those of one device."""

import json
import os
import pickle
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
import relaxed_pairs
import tolerances
from jax.sharding import Mesh
from refusals import assert_refused, refusals

from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import DeviceError

SCRIPT = Path(__file__).with_name("shared_out.py")
CH3F = load_problem("ch3f")


def started(*arguments, **environment):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | environment, **pipes)


FOUR = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
"""Four virtual devices, and programs compiled as those of the other tests."""


def reported(process):
    with process:
        try:
            output, errors = process.communicate(timeout=400)
        finally:
            process.kill()
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module", params=["most", pytest.param("all", marks=pytest.mark.exhaustive)])
def parts(request):
    """How much is compared."""
    return request.param


@pytest.fixture(scope="module")
def reports(parts):
    """Of a process with four virtual devices."""
    return reported(started("devices", parts, XLA_FLAGS=FOUR))


@pytest.fixture(scope="module")
def others():
    """Of another one, with other ways to share out."""
    return reported(started("others", XLA_FLAGS=FOUR))


def assert_same(found, expected, tolerance=tolerances.SHARED):
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0.0, atol=tolerance * scale, err_msg=name)


def test_four_devices_give_the_results_of_one(reports):
    assert_same(reports["small"][1], reports["small"][0])


all_parts = pytest.mark.parametrize("parts", [pytest.param("all", marks=pytest.mark.exhaustive)], indirect=True)


@all_parts
def test_two_devices_with_two_molecules_at_a_time_give_the_results_of_one(reports, others):
    assert_same(others["small"][0], reports["small"][0], tolerances.REGROUP_GRADIENT)


@all_parts
def test_a_mesh_with_another_axis_gives_the_results_of_one_device(reports, others):
    assert_same(others["small"][1], reports["small"][0])


@pytest.mark.exhaustive
def test_devices_without_a_molecule_change_nothing(others):
    assert_same(others["ch3f"][1], others["ch3f"][0])


def test_fits_on_four_devices_end_where_those_on_one_do(reports):
    assert_same(reports["fits"][1], reports["fits"][0], tolerances.SHORT_FIT)


def test_own_minima_on_four_devices_two_without_a_molecule_are_those_on_paper(reports):
    found = reports["own minima"]
    values, slopes, _ = relaxed_pairs.on_paper(relaxed_pairs.FORCEFIELD.parameters)
    residuals, jacobian = relaxed_pairs.WEIGHTS * (relaxed_pairs.VALUES - values), -relaxed_pairs.WEIGHTS[:, None] * slopes
    expected = {"fun": residuals @ residuals, "jac": 2.0 * residuals @ jacobian, "hess": 2.0 * jacobian.T @ jacobian}
    assert_same(found, expected, tolerances.RELAXED_JAC)
    assert "does not hold 1 molecule(s)" in found["error"] and "hf: " in found["error"]


@all_parts
def test_two_hosts_give_the_results_of_one_device(reports):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda number: reported(started("hosts", port, number)), (0, 1)))
    for found in both:
        assert_same(found, reports["small"][0])
        assert_same(found, reports["fits"][0], tolerances.SHORT_FIT)


def test_a_copy_of_an_objective_is_on_one_device():
    shared = build(devices=1)()
    copy = pickle.loads(pickle.dumps(shared))
    assert shared.mesh is not None and copy.mesh is None
    assert copy.fun(copy.x0) == pytest.approx(shared.fun(shared.x0), rel=tolerances.SHARED)


def build(**options):
    return lambda: FusedObjective(CH3F.systems, CH3F.forcefield, CH3F.references, **options)


LATE = """
import jax
jax.devices()
from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem
problem = load_problem("ch3f")
for devices in 2, 4:
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references, devices=devices)
    print(objective.fun(objective.x0))
"""


def test_devices_that_would_wait_for_each_other_for_ever_are_refused():
    """In a process that imports q2mm_accel after JAX has made its threads, four of them."""
    environment = os.environ | {"XLA_FLAGS": FOUR, "NPROC": "4"}
    command = [sys.executable, "-c", LATE]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    (with_two,) = finished.stdout.split()
    assert float(with_two) > 0.0
    words = ("DeviceError: 4 devices on this CPU need at least 8 threads", "Import from q2mm_accel before", "NPROC=16")
    assert all(word in finished.stderr for word in words)


def mesh(*names):
    return Mesh(np.array(jax.devices()[:1]).reshape((1,) * len(names)), names)


REFUSED = {
    "a mesh with no axis for molecules": (build(mesh=mesh("x", "y")), ("'x', 'y'", "'molecules'", "jax.make_mesh")),
    "a mesh that is none": (build(mesh=4), ("a int", "jax.sharding.Mesh")),
    "devices and a mesh": (build(devices=1, mesh=mesh("molecules")), ("not both",)),
    "more devices than there are": (build(devices=1000), ("1000", "xla_force_host_platform_device_count")),
    "no device": (build(devices=0), ("devices is 0",)),
    "an empty list of devices": (build(devices=[]), ("devices is []",)),
    "devices by name": (build(devices="cpu"), ("'cpu'", "jax.devices()")),
    "a truth value": (build(devices=True), ("True",)),
    "a device twice": (build(devices=jax.devices()[:1] * 2), ("twice",)),
}


@refusals({sentence: (call, DeviceError, words) for sentence, (call, words) in REFUSED.items()})
def test_devices_are_refused_for(call, error, words):
    assert_refused(call, error, words)


def test_numbers_of_numpy_are_numbers_of_devices():
    assert build(devices=np.int64(1))().mesh.size == 1
