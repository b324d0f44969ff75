"""A process whose fits of CH3F are interrupted by Ctrl-C, or which is killed.

Run as `interrupted_fits.py native FOLDER COUNT` or `interrupted_fits.py scipy FOLDER COUNT` for that many signals at random
times; it prints what happened as JSON. Run as `interrupted_fits.py fit-native FILE` or `interrupted_fits.py fit-scipy FILE`
for a fit without end that writes a checkpoint after every step and reports every step.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread, Timer

import numpy as np
from scipy.optimize import minimize

from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.io.checkpoint import load_checkpoint
from q2mm_accel.solvers import fits as fit

ENDLESS = dict(method="projected-gradient", tol=0.0, gtol=0.0, maxiter=10**9)
STEPWISE = dict(method="lbfgsb", callback_every=1, checkpoint_every=0)


def build():
    """The objective; compiled programs are shared by all of them."""
    problem = load_problem("ch3f")
    return lambda: FusedObjective(problem.systems, problem.forcefield, problem.references)


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def pressed(delay, call):
    """The result of a call during which Ctrl-C is pressed after a time [s], or None if it raised KeyboardInterrupt."""
    timer, result = Timer(delay, ctrl_c), None
    try:
        timer.start()
        result = call()
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))  # a signal that waits is handled here
    except KeyboardInterrupt:
        timer.join()
    return result


def seconds(call):
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def same(first, second):
    """Whether two fits are bitwise the same."""
    names = ("fun", "nfev", "gradient_norm")
    histories = all(np.array_equal(first.history[name], second.history[name]) for name in names)
    return bool(np.array_equal(first.x, second.x) and first.fun == second.fun and histories)


def during_compilation(objective, path):
    """Ctrl-C pressed twice while the fit is traced for compilation, then once."""
    compiled, outcome = fit.segment, {}

    def impatient(times):
        def segment(*arguments):
            for _ in range(times):
                ctrl_c()
            return compiled(*arguments)

        return segment

    try:
        fit.segment = impatient(2)
        objective.solve_native(checkpoint=path, **STEPWISE)
    except KeyboardInterrupt:
        outcome["twice"] = "KeyboardInterrupt"
    outcome["best after twice"] = objective.best.fun == objective.fun(objective.x0) == load_checkpoint(path).fun
    outcome["handler after twice"] = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit.segment = impatient(1)
    result = objective.solve_native(checkpoint=path, **STEPWISE)
    fit.segment = compiled
    return outcome | {"once": result.status.name, "steps": result.nit}


def at_random_times(new, folder, n_signals):
    """Ctrl-C pressed at random times of native fits, each then resumed."""
    options = STEPWISE | {"checkpoint": folder / "whole"}
    duration, whole = seconds(lambda: new().solve_native(**options))
    for number, delay in enumerate(np.random.default_rng(6).uniform(0.0, duration, n_signals)):
        objective, path, seen = new(), folder / str(number), []
        options = STEPWISE | {"checkpoint": path, "callback": lambda x, seen=seen: seen.append(x)}
        result = pressed(delay, lambda objective=objective, options=options: objective.solve_native(**options))
        yield {
            "segments": len(seen),
            "ended": len(seen) == whole.nit,
            "status": None if result is None else result.status.name,
            "success": None if result is None else result.success,
            "is best of history": result is None or bool(np.argmin(result.history["fun"]) == len(result.history["fun"]) - 1),
            "is best of objective": result is None or (result.fun == objective.best.fun),
            "is saved": result is None or result.fun == load_checkpoint(path).fun,
            "resumed": result is None or same(objective.solve_native(method="lbfgsb", resume=path), whole),
            "handler": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        }


def twice_in_a_callback(objective, path):
    """Ctrl-C pressed twice within the third segment."""
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result)
        if len(seen) == 3:
            ctrl_c()
            ctrl_c()
            time.sleep(10.0)

    try:
        objective.solve_native(callback=callback, checkpoint=path, **STEPWISE)
    except KeyboardInterrupt:
        whole, resumed = objective.solve_native("lbfgsb"), objective.solve_native("lbfgsb", resume=path)
        return {
            "steps": int(load_checkpoint(path).arrays["nit"][0]),
            "handler": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
            "resumed": same(whole, resumed),
        }


def other_handler(objective):
    """Ctrl-C for a program that handles it itself."""
    received = []

    def own(number, frame):
        received.append(number)

    signal.signal(signal.SIGINT, own)
    result = objective.solve_native(callback=lambda x: ctrl_c(), **STEPWISE)
    own_again = signal.signal(signal.SIGINT, signal.default_int_handler) is own
    return [result.status.name, len(received) == result.nit, own_again]


def in_a_thread(objective):
    """A fit in a thread that signals do not reach."""
    results = []
    thread = Thread(target=lambda: results.append(objective.solve_native(**STEPWISE)))
    thread.start()
    thread.join()
    return same(results[0], objective.solve_native(**STEPWISE))


def native(folder, n_signals):
    new = build()
    new().fun(new().x0)
    report = {"compilation": during_compilation(new(), folder / "compilation")}
    report["random"] = list(at_random_times(new, folder, n_signals))
    report["twice"] = twice_in_a_callback(new(), folder / "twice")
    return report | {"other handler": other_handler(new()), "thread": in_a_thread(new())}


class Recorder:
    """The losses of all evaluations that came to an end, and the point of one that did not."""

    def __init__(self, objective):
        self.objective, self.losses, self.started = objective, [], None

    def __call__(self, x):
        self.started = x.copy()
        self.losses.append(self.objective.fun(x))
        self.started = None
        return self.losses[-1]

    def and_jac(self, x):
        return self(x), self.objective.jac(x)


def scipy(folder, n_signals):
    """Ctrl-C pressed at random times of SciPy's fits."""
    new, generator = build(), np.random.default_rng(7)
    new().fun(new().x0)
    methods = ("L-BFGS-B", "TNC", "trust-constr", "Nelder-Mead", "SLSQP")
    durations = {method: seconds(lambda method=method: minimized(Recorder(new()), method))[0] for method in methods}
    return [interrupted(new, methods[number % 5], durations, generator) for number in range(n_signals)]


def minimized(loss, method):
    start, options = loss.objective.x0, {"bounds": loss.objective.bounds, "method": method}
    return (
        minimize(loss, start, **options) if method == "Nelder-Mead" else minimize(loss.and_jac, start, jac=True, **options)
    )


def interrupted(new, method, durations, generator):
    loss = Recorder(new())
    result = pressed(generator.uniform(0.0, durations[method]), lambda: minimized(loss, method))
    best, fresh = loss.objective.best, new()
    open_evaluation = [] if loss.started is None else [fresh.fun(loss.started)]
    elsewhere = []
    Thread(target=lambda: elsewhere.append(fresh.fun(fresh.x0)), daemon=True).start()
    deadline = time.monotonic() + 60.0
    while not elsewhere and time.monotonic() < deadline:
        time.sleep(0.001)
    return {
        "method": method,
        "evaluations": len(loss.losses),
        "raised": result is None,
        "best": None if best is None else best.fun,
        "lowest": min(loss.losses, default=None),
        "lowest with the open one": min(loss.losses + open_evaluation, default=None),
        "point": best is None or fresh.fun(best.x) == best.fun,
        "lock is free": bool(elsewhere),
    }


def fit_native(path):
    steps = iter(range(1, 10**9))
    options = ENDLESS | dict(callback_every=1, checkpoint=path, checkpoint_every=0)
    build()().solve_native(callback=lambda x: print(next(steps), flush=True), **options)


def fit_scipy(path):
    objective = build()()
    save = objective.checkpoint(path, every=0)

    def callback(x):
        print(objective.best.fun.hex(), flush=True)
        save(x)

    options = {"maxiter": 10**9, "maxfev": 10**9, "xatol": 0.0, "fatol": 0.0}
    minimize(objective.fun, objective.x0, method="Nelder-Mead", callback=callback, options=options)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell start without it
    task = {"native": native, "scipy": scipy, "fit-native": fit_native, "fit-scipy": fit_scipy}[sys.argv[1]]
    print(json.dumps(task(Path(sys.argv[2]), *map(int, sys.argv[3:]))))
