"""Fit CH3F to its QM frequencies with SciPy and with `solve_native`, which runs the whole fit as one compiled program.

Compiling takes some seconds, once per method and set of molecules; it pays off for large sets and for many starts.
Run: python examples/06_fit_native.py
"""

import time

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem


def show(name: str, objective: FusedObjective, fit: OptimizeResult, seconds: float) -> None:
    """One line of the table."""
    deviations = [reference.value for reference in objective.references] - objective.predictions(fit.x)
    rmsd = np.sqrt(np.mean(deviations**2))
    print(f"{name:33} {fit.fun:12.3e} {rmsd:10.3f} {fit.nit:6} {fit.nfev:12} {1000 * seconds:9.1f}")


def main() -> None:
    """Fit with three methods from the same start, within the same bounds."""
    problem = load_problem("ch3f")
    # in units of typical changes, so that SciPy's variables are of one size too
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references, parameter_scale="typical")
    n_parameters, n_frequencies = len(objective.x0), len(objective.references)
    print(f"{n_parameters} parameters, {n_frequencies} frequencies, loss {objective.fun(objective.x0):.3e}\n")
    print(f"{'method':33} {'loss':>12} {'RMSD/cm⁻¹':>10} {'steps':>6} {'evaluations':>12} {'time/ms':>9}")

    started = time.perf_counter()
    options = {"method": "L-BFGS-B", "bounds": objective.bounds, "options": {"ftol": 1e-12}}
    fit = minimize(objective.fun_and_jac, objective.x0, jac=True, **options)
    show("SciPy L-BFGS-B", objective, fit, time.perf_counter() - started)

    for method in ("lbfgsb", "levenberg-marquardt"):
        objective.solve_native(method, maxiter=0)  # compile
        started = time.perf_counter()
        fit = objective.solve_native(method)
        show(f"solve_native {method}", objective, fit, time.perf_counter() - started)
    print(f"\n{fit.message}")


if __name__ == "__main__":
    main()
