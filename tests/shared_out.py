"""A process that evaluates and fits the small molecules on several devices, and prints what it found as JSON.

Run as `shared_out.py devices most`, `devices all` (which compares more) or `others` with four virtual devices, or in two
processes at once as `shared_out.py hosts PORT NUMBER`.
"""

import json
import sys
from dataclasses import replace

import jax

if sys.argv[1] == "hosts":
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", num_processes=2, process_id=int(sys.argv[3]))

import numpy as np
import relaxed_pairs
from oracles.cases import references_of_all_kinds

from q2mm_accel import FusedObjective, frequencies
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import RelaxationError
from q2mm_accel.model.plausibility import CHECKS

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def build(name="small", **options):
    """A data set with every kind of reference, displaced so that no mode is degenerate, and without soft modes."""
    problem, rng, systems = load_problem(name), np.random.default_rng(0), []
    for system in problem.systems:
        coordinates = system.molecule.coordinates + 0.03 * rng.standard_normal((system.molecule.n_atoms, 3))
        systems.append(replace(system, molecule=replace(system.molecule, coordinates=coordinates, waived=CHECKS)))
    forcefield = problem.forcefield
    computed = frequencies(systems, forcefield)
    references = [
        reference
        for reference in references_of_all_kinds(systems, energies=len(systems) > 1)
        if reference.kind != "frequency" or computed[reference.system][reference.index] > 100.0
    ]
    return FusedObjective(systems, forcefield, references, **options)


def both(objective):
    """Loss and gradient at the start."""
    return {"fun": objective.fun(objective.x0), "jac": objective.jac(objective.x0).tolist()}


def most(objective):
    """That and the Jacobian of the residuals."""
    return both(objective) | {"residuals_jac": objective.residuals_jac(objective.x0).tolist()}


def everything(objective):
    """What an objective gives at and near its start."""
    x = objective.x0
    return most(objective) | {
        "hessp": objective.hessp(x, np.cos(x)).tolist(),
        "fun_batch": objective.fun_batch(x * np.array([[1.0], [1.001], [0.999]])).tolist(),
    }


def fits(objective):
    """Losses at the ends of a fit, for which molecules are shared out, and of several starts, which are so themselves."""
    return {
        "lbfgsb": objective.solve_native("lbfgsb", maxiter=3).fun,
        "starts": objective.solve_native("levenberg-marquardt", n_starts=8, maxiter=3).starts["fun"].tolist(),
    }


def own_minima():
    """Of a system for each of two of four devices: loss and slopes of references to own minima, and what is refused."""
    shared = relaxed_pairs.objective(devices=4)
    found = both(shared) | {"hess": shared.hess(shared.x0).tolist()}
    try:
        shared.fun([*shared.x0[:2], -600.0, shared.x0[3]])
    except RelaxationError as error:
        found["error"] = str(error)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "hosts":
        shared = build(mesh=jax.make_mesh((4,), ("molecules",)))
        report = everything(shared) | fits(shared)
    elif sys.argv[1] == "devices":
        one, four = build(), build(devices=4)
        parts = everything if "all" in sys.argv else most
        report = {"small": [parts(one), parts(four)], "fits": [fits(one), fits(four)], "own minima": own_minima()}
    else:
        others = [build(devices=2, batch_size=2), build(mesh=jax.make_mesh((2, 2), ("molecules", "copies")))]
        ch3f = [everything(build("ch3f", **options)) for options in ({}, {"devices": 4})]
        report = {"small": [everything(each) for each in others], "ch3f": ch3f}
    print(json.dumps(report))
