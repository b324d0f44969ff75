"""The problems of the benchmark: objectives by name, and straight alkanes of any size."""

import warnings

import numpy as np

from q2mm_accel.datasets.problems import FitProblem, load_problem
from q2mm_accel.errors import Q2MMAccelWarning
from q2mm_accel.model.kinds import SIGNED_BOUNDS
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.perceive import perceive
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.objective import FusedObjective
from q2mm_accel.spectra import frequencies

_CC, _CH, _TETRAHEDRAL = 1.54, 1.09, np.arccos(-1.0 / 3.0)

NATIVE_METHODS = ("lbfgsb", "lbfgs", "levenberg-marquardt", "projected-gradient")


def objectives(
    name: str, form: str, references: str = "frequencies", active: str | None = None
) -> tuple[FusedObjective, FusedObjective]:
    """A problem with x in the force field's units, and with x in units of typical changes.

    Args:
        name: of `PROBLEMS`.
        form: functional form.
        references: "frequencies" as `load_problem` gives them; or "eigenmatrix", that of all QM Hessians.
        active: pattern of the parameters that may change; all by default.

    Returns:
        The first for `solve_native`, which scales by itself; the second for SciPy.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)
        problem = load_problem(name, form)
        chosen = problem.references
        if references == "eigenmatrix":
            chosen = ReferenceData()
            for number, system in enumerate(problem.systems):
                chosen.add_eigenmatrix(np.asarray(system.molecule.hessian), system=number)
        inputs = (problem.systems, problem.forcefield, chosen)
        return FusedObjective(*inputs, active=active), FusedObjective(*inputs, active=active, parameter_scale="typical")


def alkane(n_carbons: int, jitter: float = 0.0, seed: int = 0) -> Molecule:
    """The all-anti alkane C_n H_2n+2 with tetrahedral angles, its atoms displaced by normal deviates of `jitter` Å."""
    step = _CC * np.sin(_TETRAHEDRAL / 2), _CC * np.cos(_TETRAHEDRAL / 2)
    carbons = np.array([[i * step[0], (i % 2) * step[1], 0.0] for i in range(n_carbons)])
    symbols, atoms = ["C"] * n_carbons, list(carbons)
    for i, centre in enumerate(carbons):
        up = np.array([0.0, 1.0 if i % 2 else -1.0, 0.0])
        for side in (1.0, -1.0):
            out = np.cos(_TETRAHEDRAL / 2) * up + side * np.sin(_TETRAHEDRAL / 2) * np.array([0.0, 0.0, 1.0])
            atoms.append(centre + _CH * out)
        for end, along in ((0, -1.0), (n_carbons - 1, 1.0)):
            if i == end:
                chain = np.array([along * np.sin(_TETRAHEDRAL / 2), 0.0, 0.0]) - np.cos(_TETRAHEDRAL / 2) * up
                atoms.append(centre + _CH * chain)
    symbols += ["H"] * (len(atoms) - n_carbons)
    noise = jitter * np.random.default_rng(seed).standard_normal((len(atoms), 3))
    return Molecule(symbols, np.array(atoms) + noise, name=f"C{n_carbons}H{len(atoms) - n_carbons} {seed}")


def alkanes(n_carbons: int, count: int, form: str = "mm3") -> FitProblem:
    """`count` copies of an alkane with jitter; the reference frequencies are those computed, 2 % higher."""
    molecules = [alkane(n_carbons, 0.01, seed) for seed in range(count)]
    systems, forcefield = perceive(
        molecules, form, "element", impropers=False, angle_gap=None, bond_gap=None, margins=None, vdw=True
    )
    forcefield = forcefield.with_bounds(**SIGNED_BOUNDS)
    references = ReferenceData()
    for number, computed in enumerate(frequencies(systems, forcefield, batch_size=16)):
        modes = np.flatnonzero(computed > 50.0)
        references.add_frequencies(1.02 * computed[modes], modes, weight=0.001, system=number)
    return FitProblem(systems, forcefield, references)
