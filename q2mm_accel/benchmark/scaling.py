"""Time against the number of molecules and of atoms."""

import numpy as np

from q2mm_accel.benchmark.cases import alkanes
from q2mm_accel.benchmark.timing import first_call, interleaved, nearby
from q2mm_accel.objective import FusedObjective

MOLECULES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CARBONS = (1, 3, 6, 12, 22, 33, 66)
"""5 to 200 atoms."""


def by_molecules(rounds: int, counts=MOLECULES, n_carbons: int = 12) -> list[dict]:
    """Rows for ever more copies of an alkane (38 atoms by default)."""
    return [_row(n_carbons, count, rounds) for count in counts]


def by_atoms(rounds: int, carbons=CARBONS, count: int = 4) -> list[dict]:
    """Rows for ever longer alkanes, four of each."""
    return [_row(n_carbons, count, rounds) for n_carbons in carbons]


def _row(n_carbons: int, count: int, rounds: int) -> dict:
    problem = alkanes(n_carbons, count)
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references)
    compile_seconds = first_call(lambda: objective.fun_and_jac(objective.x0))
    times = interleaved({"fun_and_jac": objective.fun_and_jac}, nearby(objective.x0, rounds), rounds)["fun_and_jac"]
    median = float(np.median(times))
    return {
        "atoms": problem.systems[0].molecule.n_atoms,
        "molecules": count,
        "fun_and_jac_s": median,
        "per_molecule_s": median / count,
        "first_call_s": compile_seconds,
    }
