"""A small objective of q2mm 5.0.0a2 for tests of what stands in for it."""

from collections.abc import Sequence

import numpy as np
from q2mm.backends.mm.jax_engine import JaxEngine
from q2mm.models.forcefield import VdwParam
from q2mm.models.molecule import Q2MMMolecule
from q2mm.models.seminario import estimate_force_constants
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData

from q2mm_accel.datasets import load_molecule


def objective_of(name: str, vdws: Sequence[VdwParam] = ()) -> ObjectiveFunction:
    """A molecule from q2mm's first guess: its vibrations, the diagonal of its eigenmatrix, and a reference of weight 0."""
    ours = load_molecule(name)
    molecule = Q2MMMolecule(list(ours.symbols), ours.coordinates, hessian=ours.hessian, name=name)
    forcefield, references = estimate_force_constants(molecule), ReferenceData()
    forcefield.vdws = list(vdws)
    for mode, value in enumerate(np.asarray(ours.frequencies())):
        if value > 50.0:
            references.add_frequency(float(value), data_idx=mode, weight=0.01, label=f"mode {mode}")
    references.add_eigenmatrix_from_hessian(ours.hessian, diagonal_only=True)
    return ObjectiveFunction(forcefield, JaxEngine(), [molecule], references)


def water_objective() -> ObjectiveFunction:
    """Three vibrations, nine elements of the diagonal, of which the first has no weight, and four parameters."""
    return objective_of("water")
