"""A fit of CH3F written for q2mm, and what changes to run it on q2mm_accel: one line, and the gradient comes with it.

Needs q2mm: python -m pip install 'q2mm_accel[q2mm]'. Run: python examples/migrate_from_q2mm.py
"""

import time

import numpy as np
from q2mm.backends.mm.jax_engine import JaxEngine
from q2mm.models.molecule import Q2MMMolecule
from q2mm.models.seminario import estimate_force_constants
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData
from scipy.optimize import minimize

from q2mm_accel import FusedObjective
from q2mm_accel.datasets import load_molecule
from q2mm_accel.interop.pairing import match_as_q2mm


def q2mm_objective() -> ObjectiveFunction:
    """The QM frequencies of CH3F, and q2mm's first guess of its force field: plain q2mm."""
    data = load_molecule("ch3f")
    molecule = Q2MMMolecule(list(data.symbols), data.coordinates, hessian=data.hessian, name="CH3F")
    forcefield, engine, references = estimate_force_constants(molecule), JaxEngine(), ReferenceData()
    values, modes = match_as_q2mm(data.frequencies(), engine.frequencies(molecule, forcefield))
    for value, mode in zip(values, modes, strict=True):
        references.add_frequency(float(value), data_idx=int(mode), weight=0.01)
    return ObjectiveFunction(forcefield, engine, [molecule], references)


def main() -> None:
    """Fit twice, from the same start and within the same bounds."""
    objective = q2mm_objective()
    x0, bounds = objective.forcefield.get_param_vector(), objective.forcefield.get_bounds()
    print(f"{len(x0)} parameters, {len(objective.reference.values)} frequencies, loss at the start {objective(x0):.8f}")
    options = {"method": "L-BFGS-B", "options": {"ftol": 1e-12}}

    # before: finite differences, nine evaluations per step
    started = time.perf_counter()
    fit = minimize(objective, x0, bounds=bounds, **options)
    seconds = time.perf_counter() - started
    print(f"q2mm        loss {objective(fit.x):.8f}   {fit.nfev} evaluations, {seconds:.2f} s")

    # after: one line more, and its exact gradient
    objective.forcefield.set_param_vector(x0)
    started = time.perf_counter()
    fused = FusedObjective.from_q2mm(objective)
    fused.fun_and_jac(x0)
    compiled = time.perf_counter()
    fit = minimize(fused.fun_and_jac, x0, jac=True, bounds=bounds, **options)
    seconds, preparation = time.perf_counter() - compiled, compiled - started
    print(
        f"q2mm_accel  loss {objective(fit.x):.8f}   {fit.nfev} evaluations, {seconds:.2f} s "
        f"(and {preparation:.2f} s to compile, once)"
    )
    print(f"the same loss at the start: {np.isclose(fused.fun(x0), objective(x0), rtol=1e-10)}")


if __name__ == "__main__":
    main()
