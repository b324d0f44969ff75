"""What the kernel computes for single molecules, in the atom order of the molecule."""

from dataclasses import dataclass

import jax
import numpy as np

from q2mm_accel import ForceField, Reference, System
from q2mm_accel.kernel import hessian as kernel
from q2mm_accel.kernel.parameters import blocks, expand
from q2mm_accel.kernel.problem import build_problem
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU


@dataclass(frozen=True)
class Evaluation:
    """Energy [kcal/mol], gradient (n, 3) [kcal/mol/Å], Hessian (3n, 3n) [kcal/mol/Å²], frequencies (3n,) [cm⁻¹]."""

    energy: float
    gradient: np.ndarray
    hessian: np.ndarray
    frequencies: np.ndarray


@jax.jit
def _evaluated(problem, vector):
    (batch,) = (jax.tree.map(lambda leaf: leaf[0], stack) for stack in problem.batches)
    by_kind = blocks(batch, expand(problem, vector))
    functions = (kernel.energies, kernel.gradients, kernel.hessians)
    return tuple(function(batch, by_kind)[0] for function in functions)


def problem_of(systems, forcefield: ForceField, references=None, **options):
    """The arrays of a problem; every energy is a reference unless others are given."""
    references = references or [Reference("energy", 0.0, system=number) for number in range(len(systems))]
    return build_problem(systems, forcefield, references, **options)


def evaluate_all(systems: list[System], forcefield: ForceField) -> list[Evaluation]:
    """Evaluate many systems in one program."""
    problem = problem_of(systems, forcefield, plan=[list(range(len(systems)))])
    results = [np.asarray(array) for array in _evaluated(problem, forcefield.parameters)]
    return [_evaluation(system, *(array[row] for array in results)) for row, system in enumerate(systems)]


def evaluate(system: System, forcefield: ForceField) -> Evaluation:
    """Evaluate one system."""
    return evaluate_all([system], forcefield)[0]


def _evaluation(system, energy, gradient, hessian) -> Evaluation:
    n, padded = system.molecule.n_atoms, len(gradient) // 3
    gradient = gradient.reshape(3, padded)[:, :n].T
    hessian = hessian.reshape(3, padded, 3, padded)[:, :n, :, :n].transpose(1, 0, 3, 2).reshape(3 * n, 3 * n)
    scale = 1.0 / np.sqrt(np.repeat(system.molecule.masses, 3))
    values = np.linalg.eigvalsh(hessian * KCALMOLA2_TO_HESSIAN_AU * np.outer(scale, scale))
    return Evaluation(float(energy), gradient, hessian, FREQUENCY_FACTOR * np.sign(values) * np.sqrt(np.abs(values)))
