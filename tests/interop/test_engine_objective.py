"""Objectives of q2mm on engines that are black boxes: q2mm's loss to the last digit, differences, and worker processes.

Covered: 5.0.0a2's OpenMMEngine with every kind of reference, its JaxEngine against exact derivatives, small engines that
fail in every way. Not covered: Tinker where its programs are not installed.
"""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import tolerances
from q2mm.backends.mm.jax_engine import JaxEngine
from q2mm.backends.mm.openmm import OpenMMEngine
from q2mm.backends.mm.tinker import TinkerEngine
from q2mm.models.forcefield import BondParam, ForceField
from q2mm.models.molecule import Q2MMMolecule
from q2mm.models.seminario import estimate_force_constants
from q2mm.optimizers.defaults import STEPS
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData, ReferenceValue
from q2mm.optimizers.scipy_opt import ScipyOptimizer
from refusals import assert_refused, refusals
from scipy import optimize
from small_engines import LENGTHS, Failing, Printing, Springs, Unloadable, objective_on, of_one_parameter

from q2mm_accel import FusedObjective
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import (
    BoundsWarning,
    EngineError,
    InteropError,
    NonFiniteError,
    OptionError,
    ParameterError,
    ReferenceDataError,
)
from q2mm_accel.interop.engine_differences import differences
from q2mm_accel.interop.engine_objective import EngineObjective
from q2mm_accel.parameters.bounds import as_bounds

METHODS = ("BFGS", "CG", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", "Newton-CG")
TIGHT = {
    **dict.fromkeys(("L-BFGS-B", "TNC", "SLSQP"), {"ftol": 1e-14}),
    "Newton-CG": {"xtol": 1e-10},
}
"""Constant and length are of very different sizes, for which these methods stop early."""
INSIDE = [(0.1, 50.0), (0.5, 3.0)]
"""Bounds of the spring's constant and length between which it has one minimum."""


def ch3f_on(engine, relaxed):
    """CH3F with energies, frequencies and the eigenmatrix, and the lengths and angles of the relaxed molecule."""
    ours = load_molecule("ch3f")
    molecule = Q2MMMolecule(list(ours.symbols), ours.coordinates, hessian=ours.hessian, name="ch3f")
    references = ReferenceData.from_molecule(molecule) if relaxed else ReferenceData()
    for mode, value in enumerate(ours.frequencies()):
        references.add_frequency(float(value), data_idx=mode, weight=0.001 * (mode >= 6))
    references.add_eigenmatrix_from_hessian(molecule.hessian)
    references.add_energy(-3.0, weight=0.5)
    return ObjectiveFunction(estimate_force_constants(molecule), engine, [molecule], references)


def weighted(theirs):
    return [value.weight != 0.0 for value in theirs.reference.values]


def gone(*pids):
    """Whether processes have ended; one that has, but whose parent does not know, counts as ended."""

    def state(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return "gone"

    deadline = time.monotonic() + 20.0
    while (left := [pid for pid in pids if state(pid) not in ("gone", "Z")]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not left


@pytest.fixture
def springs():
    return EngineObjective(objective_on(Springs()), bounds=INSIDE)


@pytest.mark.parametrize(
    "theirs", [objective_on(Springs()), ch3f_on(OpenMMEngine("Reference"), relaxed=True)], ids=["springs", "OpenMM"]
)
def test_the_loss_is_that_of_q2mm_to_the_last_digit_and_q2mm_is_not_touched(theirs):
    start = theirs.forcefield.get_param_vector()
    ours = EngineObjective(theirs)
    np.testing.assert_array_equal(ours.x0, start)
    np.testing.assert_array_equal(np.stack([ours.bounds.lb, ours.bounds.ub], axis=1), theirs.forcefield.get_bounds())
    points = [start, *(start * (1.0 + 0.01 * np.random.default_rng(7).standard_normal((2, len(start)))))]
    found = [(ours.fun(x), ours.residuals(x), ours.forcefield(x).get_param_vector()) for x in points]
    assert theirs.n_eval == 0 and not theirs.history and not theirs._handles
    np.testing.assert_array_equal(theirs.forcefield.get_param_vector(), start)
    for x, (loss, residuals, parameters) in zip(points, found, strict=True):
        assert loss == theirs(x)
        np.testing.assert_array_equal(residuals, theirs.residuals(x)[weighted(theirs)])
        np.testing.assert_array_equal(parameters, x)
    assert len(ours.residual_labels) == len(found[0][1])


def test_what_is_changed_in_q2mm_afterwards_does_not_count():
    theirs = objective_on(Springs())
    ours = EngineObjective(theirs)
    expected = ours.fun(ours.x0 * 1.1)
    theirs.forcefield.set_param_vector(ours.x0 * 2.0)
    theirs.molecules[0].geometry[:] *= 2.0
    theirs.reference.values[0].value = 5.0
    theirs.reference.values.pop()
    assert ours.fun(ours.x0 * 1.2) != ours.fun(ours.x0)
    assert EngineObjective(objective_on(Springs())).fun(ours.x0 * 1.1) == expected == ours.fun(ours.x0 * 1.1)


def test_derivatives_are_the_exact_ones_of_the_same_loss_within_the_error_of_differences():
    theirs = ch3f_on(JaxEngine(), relaxed=False)
    exact = FusedObjective.from_q2mm(theirs)
    x = exact.x0 * 1.01
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        ours = EngineObjective(theirs)
        gradient, jacobian = ours.jac(x), ours.residuals_jac(x)
    assert ours.labels == exact.labels
    for found, wanted in ((gradient, exact.jac(x)), (jacobian, exact.residuals_jac(x))):
        np.testing.assert_allclose(found, wanted, rtol=0.0, atol=tolerances.DIFFERENCES * np.max(np.abs(wanted)))
    assert ours.evaluations == 1 + 2 * len(x)


def test_differences_are_exact_for_energies_that_are_quadratic(springs):
    k, length = x = np.array([4.0, 0.93])
    stretched = np.array(LENGTHS) - length
    weights = np.array([1.5, 2.5, 3.5])
    wanted = np.stack([-weights * stretched**2, 2.0 * weights * k * stretched], axis=1)
    np.testing.assert_allclose(springs.residuals_jac(x), wanted, rtol=0.0, atol=1e-10)
    np.testing.assert_allclose(springs.jac(x), 2.0 * wanted.T @ springs.residuals(x), rtol=1e-10)


def test_steps_are_those_of_q2mm(springs):
    np.testing.assert_array_equal(springs.steps, ScipyOptimizer().eps)
    theirs = objective_on(Springs())
    theirs.fd_step = 1e-4  # as in 0c795729
    np.testing.assert_array_equal(EngineObjective(theirs).steps, 1e-4)
    np.testing.assert_array_equal(EngineObjective(theirs, steps=[0.1, 0.02]).steps, [0.1, 0.02])
    np.testing.assert_array_equal(EngineObjective(theirs, steps="by type").steps, [STEPS["bf"], STEPS["be"]])
    theirs.forcefield.get_step_sizes = lambda: np.array([7.2, 0.03])
    np.testing.assert_array_equal(EngineObjective(theirs, steps="by type").steps, [7.2, 0.03])


@pytest.mark.parametrize(
    ("x", "bounds"),
    [
        (1.0, (-np.inf, np.inf)),
        (1.0, (1.0, 3.0)),
        (1.0, (0.0, 1.0)),
        (1.0, (0.9999, 3.0)),
        (1.0, (0.0, 1.0001)),
        (1.0, (0.9995, 1.0004)),
        (1.0, (0.9999, 1.0005)),
        (1.0, (1.5, 3.0)),
        (1.0, (-3.0, 0.5)),
    ],
)
def test_differences_stay_within_bounds_and_are_of_second_order_there(x, bounds):
    vector = np.array([x])
    plan = differences(vector, np.array([1e-3]), as_bounds([bounds], ["a"]), ["a"])
    assert plan.points.shape == (2, 1)
    assert np.all(plan.points >= min(bounds[0], x)) and np.all(plan.points <= max(bounds[1], x))
    change = plan.points - vector
    np.testing.assert_allclose(plan.derivatives(3.0 * change + 5.0 * change**2), [[3.0]], rtol=1e-10)


def test_what_bounds_hold_has_no_derivative_and_takes_no_evaluation():
    ours = EngineObjective(objective_on(Springs()), bounds=[(5.0, 5.0), (0.5, 3.0)])
    jacobian = ours.residuals_jac(ours.x0)
    assert ours.evaluations == 3 * (1 + 2)
    assert np.all(jacobian[:, 0] == 0.0) and np.all(jacobian[:, 1] != 0.0)
    held = EngineObjective(objective_on(Springs()), bounds=[(5.0, 5.0), (0.9, 0.9)])
    assert not np.any(held.jac(held.x0)) and held.evaluations == 3
    result = optimize.minimize(held.fun_and_jac, held.x0, jac=True, bounds=held.bounds, method="L-BFGS-B")
    np.testing.assert_array_equal(result.x, held.x0)


def test_torsion_angles_are_differenced_across_180_degrees():
    molecule = Q2MMMolecule(["H", "C", "C", "H"], np.diag([1.0, 2.0, 3.0, 0.0])[:, :3], name="twisted")
    forcefield = ForceField(bonds=[BondParam(("C", "H"), 1.0, 3.0)])
    references = ReferenceData([ReferenceValue("torsion_angle", 0.0, 2.0, atom_indices=(0, 1, 2, 3))])
    ours = EngineObjective(ObjectiveFunction(forcefield, Springs(), [molecule], references))
    assert abs(ours.residuals(ours.x0)[0]) == pytest.approx(2.0 * 180.0)
    np.testing.assert_allclose(np.abs(ours.residuals_jac(ours.x0)), [[2.0 * 60.0, 0.0]], atol=1e-6)


def test_values_and_derivatives_are_fresh_arrays(springs):
    x = springs.x0.copy()
    value, gradient = springs.fun_and_jac(x)
    assert type(value) is float and type(springs.fun(x)) is float
    for array in (gradient, springs.jac(x), springs.residuals(x), springs.residuals_jac(x)):
        assert array.dtype == np.float64 and array.flags.c_contiguous and array.flags.writeable and array.flags.owndata
        array[...] = 0.0
    assert np.all(springs.jac(x) != 0.0) and np.all(springs.residuals(x) != 0.0) and np.any(springs.residuals_jac(x) != 0.0)
    x[0] *= 1.5
    assert springs.fun(springs.x0) == value != springs.fun(x)


def test_equal_x_of_any_kind_is_one_point(springs):
    x = np.array([4.5, 0.9375])
    frozen = x.copy()
    frozen.setflags(write=False)
    wanted = springs.fun(x), springs.jac(x)
    count = springs.evaluations
    for same in (frozen, np.repeat(x, 2)[::2], x.astype(np.float32), x.tolist(), tuple(x), x.astype(">f8")):
        assert springs.fun(same) == wanted[0]
        np.testing.assert_array_equal(springs.jac(same), wanted[1])
    assert springs.evaluations == count


def test_every_evaluation_is_counted_and_none_done_twice(springs):
    x = springs.x0 * 1.01
    springs.fun(x)
    springs.residuals(x)
    assert springs.evaluations == 3
    springs.jac(x)
    springs.fun_and_jac(x)
    springs.residuals_jac(x)
    assert springs.evaluations == 3 * (1 + 2 * 2)
    before = springs.evaluations
    result = optimize.minimize(springs.fun, springs.x0, jac=springs.jac, bounds=springs.bounds, method="L-BFGS-B")
    assert springs.evaluations - before == 3 * result.nfev * (1 + 2 * 2)


def test_all_minimizers_reach_one_minimum_and_best_is_their_lowest(springs):
    expected = optimize.least_squares(springs.residuals, springs.x0, jac=springs.residuals_jac, xtol=1e-14, ftol=1e-14)
    for method in METHODS:
        ours = EngineObjective(objective_on(Springs()), bounds=INSIDE)
        seen = []
        bounds = ours.bounds if method in ("L-BFGS-B", "TNC", "SLSQP", "trust-constr") else None
        result = optimize.minimize(
            lambda x, ours=ours, seen=seen: seen.append(ours.fun(x)) or seen[-1],
            ours.x0,
            jac=ours.jac,
            method=method,
            bounds=bounds,
            options=TIGHT.get(method, {}),
        )
        assert result.fun == pytest.approx(2.0 * expected.cost, rel=tolerances.SAME_MINIMUM), method
        assert ours.best.fun <= min(seen) <= seen[0] and ours.fun(ours.best.x) == ours.best.fun, method


@pytest.mark.parametrize("theirs", [objective_on(Springs()), of_one_parameter()], ids=["two parameters", "one"])
def test_the_gradient_is_that_of_scipy(theirs):
    ours = EngineObjective(theirs)
    x = ours.x0 * 1.03
    error = optimize.check_grad(ours.fun, ours.jac, x)
    assert error <= tolerances.CHECK_GRAD * np.linalg.norm(ours.jac(x))


def test_a_callback_stops_a_fit(springs):
    def stop(intermediate_result):
        raise StopIteration

    result = optimize.minimize(springs.fun_and_jac, springs.x0, jac=True, method="L-BFGS-B", callback=stop)
    assert result.nit == 1 and springs.best.fun == result.fun < springs.fun(springs.x0)


def test_many_vectors_have_the_losses_of_each(springs):
    rows = springs.x0 * np.linspace(0.95, 1.05, 5)[:, None]
    values = springs.fun_batch(rows)
    assert springs.evaluations == 15
    assert values.tolist() == [springs.fun(row) for row in rows]
    assert springs.best.fun == values.min()
    assert springs.fun_batch(np.zeros((0, 2))).shape == (0,)


def test_a_pickled_copy_has_the_same_values_and_no_evaluations(springs):
    springs.fun(springs.x0)
    other = pickle.loads(pickle.dumps(springs))
    assert other.evaluations == 0 and other.best is None
    assert other.fun(other.x0) == springs.fun(springs.x0)
    np.testing.assert_array_equal(other.jac(other.x0), springs.jac(springs.x0))


def test_losses_that_are_not_finite_name_the_molecule_and_leave_the_best():
    ours = EngineObjective(objective_on(Failing("nan"), names=("good", "bad")))
    calls = (ours.fun, ours.jac, ours.residuals, ours.residuals_jac, lambda x: ours.fun_batch([x]))
    for call in calls:
        assert_refused(
            lambda call=call: call(ours.x0), NonFiniteError, ["molecule 1 (bad)", "E1", "Failing", "none yet", "bounds"]
        )
    ours = EngineObjective(objective_on(Springs()))
    best = ours.fun(ours.x0)
    assert_refused(lambda: ours.fun([1e160, -1e160]), NonFiniteError, ["bond F-H k = 1e+160", f"{best:.6g}"])
    assert ours.best.fun == best


def test_a_start_outside_the_default_bounds_widens_them_with_a_warning():
    theirs = objective_on(Springs())
    theirs.forcefield.bonds[0].force_constant = -700.0
    with pytest.warns(BoundsWarning, match="bond F-H k at -700 .bounds -50 to 50.*widened"):
        ours = EngineObjective(theirs)
    assert ours.bounds.lb[0] == -700.0 and ours.bounds.ub[0] == 50.0


class Nothing:
    """An engine without any method but one."""

    def supports_runtime_params(self):
        return True

    def energy(self, structure, forcefield):
        return 0.0


def with_kind(kind):
    theirs = objective_on(Nothing())
    theirs.reference.values.append(ReferenceValue(kind, 1.0))
    return theirs


def of_references(*values):
    theirs = objective_on(Springs())
    theirs.reference.values = list(values)
    return theirs


def unpicklable():
    theirs = objective_on(Springs())
    theirs.engine.program = lambda: None
    return theirs


class Local(Springs):
    """Raises at every molecule."""

    def supports_runtime_params(self):
        return True


REFUSED = {
    "no objective": (lambda: EngineObjective(3), InteropError, ["int", "ObjectiveFunction"]),
    "an engine without methods": (
        lambda: EngineObjective(with_kind("frequency")),
        InteropError,
        ["Nothing", "frequencies", "MMEngine"],
    ),
    "an engine without contexts": (
        lambda: EngineObjective(with_kind("energy")),
        InteropError,
        ["Nothing", "create_context"],
    ),
    "no reference": (lambda: EngineObjective(of_references()), ReferenceDataError, ["no reference has a weight"]),
    "no such molecule": (
        lambda: EngineObjective(of_references(ReferenceValue("energy", 1.0, molecule_idx=3))),
        ReferenceDataError,
        ["reference 0 (energy)", "no molecule 3"],
    ),
    "an engine that cannot be sent": (
        lambda: EngineObjective(unpicklable(), workers=2),
        InteropError,
        ["the engine (Springs)", "workers=1"],
    ),
    "a start outside bounds that are given": (
        lambda: EngineObjective(objective_on(Springs()), bounds=[(0.0, 1.0), (0.5, 3.0)]),
        ParameterError,
        ["bond F-H k = 5 (0 to 1)", "other bounds"],
    ),
    "no worker": (lambda: EngineObjective(objective_on(Springs()), workers=0), OptionError, ["workers is 0"]),
    "no time": (lambda: EngineObjective(objective_on(Springs()), timeout=0), OptionError, ["timeout is 0"]),
    "a step of nothing": (
        lambda: EngineObjective(objective_on(Springs()), steps=[0.1, 0.0]),
        OptionError,
        ["steps[1] (bond F-H r0) is 0"],
    ),
    "a step lost in rounding": (
        lambda: EngineObjective(objective_on(Springs()), steps=1e-20).jac([5.0, 0.9]),
        OptionError,
        ["steps[0] (bond F-H k) is 1e-20", "larger"],
    ),
    "a native fit": (
        lambda: EngineObjective(objective_on(Springs())).solve_native("lbfgsb", maxiter=3),
        InteropError,
        ["Springs", "JAX", "scipy.optimize.minimize", "least_squares"],
    ),
    "a direct solve": (
        lambda: EngineObjective(objective_on(Springs())).solve_linear(),
        InteropError,
        ["Springs", "JAX", "scipy.optimize.minimize"],
    ),
    "an engine that raises": (
        lambda: EngineObjective(objective_on(Local())).fun([5.0, 0.875]),
        EngineError,
        ["molecule 0 (near)", "Local raised NotImplementedError", "bond F-H r0 = 0.875"],
    ),
}


@refusals(REFUSED)
def test_what_cannot_be_is_refused(call, error, words):
    assert_refused(call, error, words)


def test_workers_give_the_same_digits_leave_standard_output_alone_and_end_with_the_objective(capfd):
    serial = EngineObjective(objective_on(Springs()))
    parallel = EngineObjective(objective_on(Printing()), workers=2)
    value, gradient = parallel.fun_and_jac(serial.x0)
    assert value == serial.fun(serial.x0)
    np.testing.assert_array_equal(gradient, serial.jac(serial.x0))
    np.testing.assert_array_equal(parallel.residuals_jac(serial.x0), serial.residuals_jac(serial.x0))
    assert parallel.evaluations == serial.evaluations == 15
    shown = capfd.readouterr()
    assert shown.out == "" and "noise of Python" in shown.err and "noise of a program" in shown.err
    pids = [process.pid for process in multiprocessing.active_children()]
    assert len(pids) == 2 and os.getpid() not in pids
    del parallel
    assert gone(*pids) and not multiprocessing.active_children()


def test_a_worker_that_hangs_is_ended_with_the_programs_that_it_started(tmp_path):
    with EngineObjective(objective_on(Failing("hang", str(tmp_path)), names=("bad",)), workers=2, timeout=1.0) as ours:
        assert_refused(
            lambda: ours.fun([5.0, 0.875]), EngineError, ["molecule 0 (bad)", "within 1 s", "r0 = 0.875", "longer timeout"]
        )
        assert not multiprocessing.active_children()
        assert gone(*map(int, (tmp_path / "pids").read_text(encoding="utf-8").split()))
        assert ours.evaluations == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("die", ["ended its worker process with the exit code 7", "standard error"]),
        ("raise", ["raised KeyError", "no such term"]),
    ],
)
def test_a_worker_that_dies_or_raises_is_reported_by_its_molecule(how, words):
    ours = EngineObjective(objective_on(Failing(how), names=("bad",)), workers=2)
    with pytest.raises(EngineError) as caught:
        ours.fun([5.0, 0.875])
    assert all(word in str(caught.value) for word in [*words, "molecule 0 (bad)", "Failing", "r0 = 0.875"]), caught.value
    assert caught.value.molecule == "molecule 0 (bad)" and caught.value.x.tolist() == [5.0, 0.875]
    assert not multiprocessing.active_children()


def test_an_engine_that_a_worker_cannot_load_is_refused():
    ours = EngineObjective(objective_on(Unloadable(), names=("near",)), workers=2)
    assert_refused(lambda: ours.fun(ours.x0), EngineError, ["cannot load", "ValueError", "workers=1"])
    assert not multiprocessing.active_children()


def test_a_process_that_may_have_none_beside_it_says_so(monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    ours = EngineObjective(objective_on(Springs(), names=("near",)), workers=2)
    assert_refused(lambda: ours.fun(ours.x0), EngineError, ["Springs cannot be started", "daemonic", "workers=1"])


@pytest.mark.exhaustive
def test_a_worker_that_is_ended_from_outside_is_replaced_after_an_error():
    with EngineObjective(objective_on(Springs(), names=("near",)), workers=2) as ours:
        value = ours.fun(ours.x0)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        worker.join()
        assert_refused(lambda: ours.fun(ours.x0 * 1.1), EngineError, ["by signal 9", "nothing to evaluate"])
        assert ours.fun(ours.x0 * 1.1) != value


SCRIPT = """
import multiprocessing, os, signal, sys
from small_engines import Springs, objective_on
from q2mm_accel import EngineObjective
if __name__ == "__main__":
    ours = EngineObjective(objective_on(Springs(), names=("near",)), workers=2)
    ours.fun(ours.x0)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["leaves", pytest.param("killed", marks=pytest.mark.exhaustive)])
def test_no_worker_outlives_the_interpreter(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    finished = subprocess.run(
        [sys.executable, str(script), how],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (finished.returncode == 0) == (how == "leaves"), finished.stderr
    (pid,) = map(int, finished.stdout.split())
    assert gone(pid)


@pytest.mark.skipif(shutil.which("analyze") is None, reason="Tinker's programs (analyze, vibrate) are not on PATH")
def test_tinker_has_the_loss_of_q2mm():
    ours = load_molecule("water")
    molecule = Q2MMMolecule(list(ours.symbols), ours.coordinates, hessian=ours.hessian, name="water")
    references = ReferenceData()
    references.add_energy(1.0)
    theirs = ObjectiveFunction(estimate_force_constants(molecule), TinkerEngine(), [molecule], references)
    with EngineObjective(theirs, workers=2) as objective:
        assert objective.fun(objective.x0) == theirs(objective.x0)
        assert np.all(np.isfinite(objective.jac(objective.x0)))


def test_objectives_on_other_engines_are_carried_over_as_they_are():
    theirs = objective_on(Springs())
    fused = FusedObjective.from_q2mm(theirs, steps=1e-4)
    assert isinstance(fused, EngineObjective) and fused.steps[0] == 1e-4
    assert fused.fun(fused.x0) == theirs(fused.x0)
    with pytest.raises(OptionError, match="l2: objectives on a .* cannot have that"):
        FusedObjective.from_q2mm(theirs, l2=0.1)
