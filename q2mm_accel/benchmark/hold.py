"""`python -m q2mm_accel.benchmark hold`: what direct solves achieve: does each force field hold its molecules by itself?"""

import time
import warnings

import numpy as np

from q2mm_accel.datasets.modes import load_modes_problem
from q2mm_accel.datasets.small import SMALL
from q2mm_accel.errors import Q2MMAccelWarning
from q2mm_accel.validation import Validation, validate

TERMS = {
    "harmonic": {"urey_bradley": False},
    "Urey-Bradley": {"urey_bradley": True},
    "couplings": {"urey_bradley": False, "couplings": True},
    "mm3": {"form": "mm3", "urey_bradley": False},
    "van der Waals": {"vdw": True},
}
"""The choices of terms that are compared."""


def cases(quick: bool) -> list[tuple[str, str]]:
    """Names of problems, and of `TERMS`."""
    if quick:
        return [("ch3f", terms) for terms in TERMS]
    small = [(name, terms) for terms in TERMS if terms != "van der Waals" for name in (*SMALL, "small")]
    return [*small, ("rh-enamide", "Urey-Bradley"), ("rh-enamide", "van der Waals")]


def run(results: dict, quick: bool) -> None:
    """Solve and validate all cases, print a row for each, and add the figures to the results as "hold"."""
    print(
        f"\n  {'problem':12} {'terms':13} {'parameters':>10} {'data':>7} {'RMS at QM':>10} {'own':>7} {'bond Å':>8} "
        f"{'angle °':>8} {'imag.':>6} {'k < 0':>6} {'cuts':>5} {'first s':>8} {'solve s':>8} {'validate s':>11}"
    )
    results["hold"] = []
    for name, terms in cases(quick):
        row = measure(name, terms)
        results["hold"].append(row)
        print(
            f"  {name:12} {terms:13} {row['parameters']:10d} {row['data']:7d} {row['rms_at_qm']:10.1f} "
            f"{row['rms_own']:7.1f} {row['bond']:8.4f} {row['angle']:8.2f} {row['imaginary']:6d} "
            f"{row['negative']:6d} {row['cuts']:5d} {row['first_s']:8.2f} {row['solve_s']:8.3f} {row['validate_s']:11.2f}",
            flush=True,
        )


def measure(name: str, terms: str) -> dict:
    """All figures of one case: the first solve compiles, the second does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)
        problem = load_modes_problem(name, **TERMS[terms])
        objective = problem.objective()
        began = time.perf_counter()
        problem.solve(objective)
        first = time.perf_counter() - began
        result = problem.solve(objective)
        again = time.perf_counter() - began - first
        found = validate(objective.systems, objective.forcefield(result.x))
        validating = time.perf_counter() - began - first - again
    return {
        "problem": name,
        "terms": terms,
        "parameters": len(objective.x0),
        "cuts": len(result.get("cuts", ())),
        "first_s": first,
        "solve_s": again,
        "validate_s": validating,
        **figures(found),
    }


def figures(found: Validation) -> dict:
    """The figures of a validation."""
    return {
        "data": found.n_data,
        "rms_at_qm": found.frequency_rmsd_at_qm,
        "rms_own": found.frequency_rmsd,
        "rms_own_by_molecule": [each.frequency_rmsd for each in found.molecules],
        "bond": float(np.max(np.abs(found.bond_deviations), initial=0.0)),
        "angle": float(np.max(np.abs(found.angle_deviations), initial=0.0)),
        "imaginary": found.n_imaginary,
        "negative": len(found.negative),
        "held": found.held,
    }
