"""A force field that holds its molecules: one direct solve for all constants and equilibria, then what it does by itself.

Run: python examples/01_hold_molecules.py
"""

from q2mm_accel import FusedObjective, Prior, ReferenceData, estimate_force_constants, perceive, validate
from q2mm_accel.datasets import load_molecule


def main() -> None:
    """Fit three molecules together, and then alone the one whose frequencies are furthest off."""
    molecules = [load_molecule(name) for name in ("ch3f", "formaldehyde", "water")]
    found = fitted(molecules)
    print(f"One force field for all: {found.frequency_rmsd:.1f} cm⁻¹ at the own minima, held: {found.held}")
    print(found)

    worst = max(zip(found.molecules, molecules, strict=True), key=lambda pair: pair[0].frequency_rmsd)[1]
    print(f"\n{worst.name} alone, with couplings:")
    print(fitted([worst], stretch_stretch=True, stretch_bend=True, bend_bend=True))


def fitted(molecules, **terms):
    """Perceive, solve, validate."""
    systems, forcefield = perceive(molecules, urey_bradley=True, **terms)
    forcefield = estimate_force_constants(systems, forcefield)
    references = ReferenceData()
    for number, molecule in enumerate(molecules):
        references.add_normal_modes(molecule, system=number)
    # torsions of planar groups could cancel each other with huge constants, and so could couplings
    widths = {"torsion": 10.0, "improper": 10.0, "stretch_stretch": 100.0, "bond_bend": 100.0, "bend_bend": 100.0}
    priors = [Prior(f"{kind}_force_constants", width) for kind, width in widths.items() if forcefield.n_types(kind)]
    objective = FusedObjective(systems, forcefield, references, priors=priors)
    fit = objective.solve_linear()
    print(f"{len(fit.x)} parameters, loss {objective.fun(objective.x0):.1f} -> {fit.fun:.1f}: {fit.message}")
    return validate(systems, objective.forcefield(fit.x))


if __name__ == "__main__":
    main()
