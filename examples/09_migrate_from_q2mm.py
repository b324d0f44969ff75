"""A fit written for q2mm, taken over in three steps: its own driver, SciPy with exact derivatives, native solvers.

Each step changes a line or two, and the next one may wait. The frequencies of CH3F take seconds; its relaxed geometry with
its eigenvalues a minute or so; Rh-enamide is fetched at the first run.

Needs q2mm: python -m pip install 'q2mm_accel[q2mm]'. Run: python examples/09_migrate_from_q2mm.py [geometries | rh-enamide]
"""

import sys
import time

from q2mm.backends.mm.jax_engine import JaxEngine
from q2mm.models.forcefield import ForceField
from q2mm.models.molecule import Q2MMMolecule
from q2mm.models.seminario import estimate_force_constants
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData
from q2mm.optimizers.scipy_opt import ScipyOptimizer
from scipy.optimize import least_squares, minimize

from q2mm_accel import FusedObjective, accelerate, compare
from q2mm_accel.datasets import load_molecule
from q2mm_accel.datasets.rh_enamide import rh_enamide_in_q2mm
from q2mm_accel.interop.pairing import match_as_q2mm


def in_q2mm() -> tuple[Q2MMMolecule, ForceField]:
    """CH3F, and q2mm's first guess of its force field."""
    data = load_molecule("ch3f")
    molecule = Q2MMMolecule(list(data.symbols), data.coordinates, hessian=data.hessian, name="CH3F")
    return molecule, estimate_force_constants(molecule)


def ch3f() -> ObjectiveFunction:
    """The QM frequencies of CH3F: plain q2mm."""
    (molecule, forcefield), engine, references = in_q2mm(), JaxEngine(), ReferenceData()
    values, modes = match_as_q2mm(load_molecule("ch3f").frequencies(), engine.frequencies(molecule, forcefield))
    for value, mode in zip(values, modes, strict=True):
        references.add_frequency(float(value), data_idx=int(mode), weight=0.01)
    return ObjectiveFunction(forcefield, engine, [molecule], references)


def geometries() -> ObjectiveFunction:
    """q2mm's default references of CH3F, bonds and angles where the force field has relaxed it, and its eigenvalues."""
    molecule, forcefield = in_q2mm()
    references = ReferenceData.from_molecule(molecule, include_eigenmatrix=True, eigenmatrix_diagonal_only=True)
    return ObjectiveFunction(forcefield, JaxEngine(), [molecule], references)


def rh_enamide() -> ObjectiveFunction:
    """Nine transition states and their eigenvalues.

    q2mm's default references, bonds and angles of relaxed geometries, have no values here: the force field has no parameters
    for a fifth of the bonds, molecules come apart, and q2mm does not find all their bonds again.
    """
    molecules, forcefield = rh_enamide_in_q2mm()
    references = ReferenceData()
    for number, molecule in enumerate(molecules):
        references.add_eigenmatrix_from_hessian(molecule.hessian, diagonal_only=True, molecule_idx=number)
    return ObjectiveFunction(estimate_force_constants(molecules, forcefield=forcefield), JaxEngine(), molecules, references)


def report(name: str, loss: float, started: float, evaluations: int) -> None:
    """One line on a fit."""
    print(f"{name:<32} loss {loss:.8f}   {evaluations:>4} evaluations, {time.perf_counter() - started:.2f} s")


def before(objective: ObjectiveFunction) -> None:
    """The driver as it was: finite differences, n + 1 evaluations for a gradient."""
    started = time.perf_counter()
    result = ScipyOptimizer("L-BFGS-B", verbose=False).optimize(objective)
    report("q2mm", result.final_score, started, result.n_evaluations)


def step_1(objective: ObjectiveFunction, jac: str | None) -> None:
    """The same driver and one line more. Exact gradients, which q2mm has for energies only, are there to be asked for."""
    started = time.perf_counter()
    objective = accelerate(objective)
    result = ScipyOptimizer("L-BFGS-B", jac=jac, verbose=False).optimize(objective)
    report(f"1 accelerate, jac={jac}", result.final_score, started, result.n_evaluations)


def step_2(fused: FusedObjective) -> None:
    """SciPy itself: loss and gradient in one call, or all residuals with their Jacobian."""
    started = time.perf_counter()
    fit = minimize(fused.fun_and_jac, fused.x0, jac=True, bounds=fused.bounds, method="L-BFGS-B", options={"ftol": 1e-12})
    report("2 SciPy, L-BFGS-B", fit.fun, started, fit.nfev)
    started, limits = time.perf_counter(), (fused.bounds.lb, fused.bounds.ub)
    fit = least_squares(fused.residuals, fused.x0, fused.residuals_jac, limits, x_scale=fused.typical_scale, max_nfev=30)
    report("2 SciPy, least squares", 2.0 * fit.cost, started, fit.nfev)


def step_3(fused: FusedObjective, forcefield) -> None:
    """The whole fit in one compiled program; then the parameters go back into q2mm's force field."""
    started = time.perf_counter()
    fit = fused.solve_native(maxiter=300)
    report("3 solve_native", fit.fun, started, fit.nfev)
    forcefield.set_param_vector(fit.x)


def main(name: str) -> None:
    """Compare, then fit from the same start in every way; times include compilation, once for each program."""
    objective = {"ch3f": ch3f, "geometries": geometries, "rh-enamide": rh_enamide}[name]()
    fused = FusedObjective.from_q2mm(objective)
    print(compare(objective, fused, n=2), end="\n\n")
    if name == "ch3f":  # finite differences through q2mm's relaxations or by 182 parameters take minutes to hours
        before(objective)
        objective.forcefield.set_param_vector(fused.x0)
        step_1(objective, jac=None)
        objective.forcefield.set_param_vector(fused.x0)
    step_1(objective, jac="analytical")
    step_2(fused)
    step_3(fused, objective.forcefield)
    print(f"q2mm's own loss with the last parameters: {objective(objective.forcefield.get_param_vector()):.8f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ch3f")
