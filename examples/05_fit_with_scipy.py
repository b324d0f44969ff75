"""Fit a force field to QM Hessians with SciPy, from nothing but molecules: perceive terms, guess, fit, compare.

Run: python examples/05_fit_with_scipy.py
"""

import numpy as np
from scipy.optimize import minimize

from q2mm_accel import FusedObjective, ReferenceData, estimate_force_constants, perceive
from q2mm_accel.datasets import load_molecule


def main() -> None:
    """Fit methanol and formaldehyde together, first to their Hessians, then to their frequencies."""
    molecules = [load_molecule(name) for name in ("methanol", "formaldehyde")]
    systems, forcefield = perceive(molecules, form="mm3", by="environment")
    forcefield = estimate_force_constants(systems, forcefield)

    hessians, vibrations = ReferenceData(), ReferenceData()
    for number, molecule in enumerate(molecules):
        hessians.add_hessian(molecule.hessian, system=number)
        vibrations.add_frequencies(molecule.frequencies()[6:], range(6, 3 * molecule.n_atoms), weight=0.01, system=number)

    for name, references in (("Hessian elements", hessians), ("frequencies", vibrations)):
        objective = FusedObjective(systems, forcefield, references, parameter_scale=forcefield.typical_scale)
        fit = minimize(objective.fun, objective.x0, jac=objective.jac, bounds=objective.bounds, method="L-BFGS-B")
        print(f"{name}: loss {objective.fun(objective.x0):.5f} -> {fit.fun:.5f} in {fit.nfev} evaluations")
        forcefield = objective.forcefield(fit.x)

    computed = objective.predictions(fit.x)
    reference = np.array([reference.value for reference in objective.references])
    print(f"RMSD of {len(computed)} frequencies: {np.sqrt(np.mean((computed - reference) ** 2)):.1f} cm⁻¹")


if __name__ == "__main__":
    main()
