"""`python -m q2mm_accel.benchmark jacobians`: `residuals_jac` and `hess` beside loss and gradient."""

import warnings

import numpy as np

from q2mm_accel.benchmark.timing import first_call, interleaved, nearby
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import Q2MMAccelWarning
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.objective import FusedObjective

FUNCTIONS = ("fun_and_jac", "residuals_jac", "hess")


def cases(quick: bool) -> list[tuple[str, str]]:
    """Names of problems, and what is compared: "frequencies", "eigenmatrix" or "hessian" elements."""
    small = [("ch3f", "frequencies"), ("ch3f", "eigenmatrix"), ("ch3f", "hessian")]
    if quick:
        return small
    return [small[0], ("small", "frequencies"), *(("rh-enamide", what) for _, what in small)]


def run(results: dict, rounds: int, quick: bool) -> None:
    """Measure and print all cases (mm3), and add their figures to the results as "jacobians"."""
    print("\n  problem      compared     residuals x parameters       MiB" + "".join(f"{name:>24}" for name in FUNCTIONS))
    results["jacobians"] = []
    for name, compared in cases(quick):
        row = measure(name, compared, rounds)
        results["jacobians"].append(row)
        times = (f"{1e3 * row['median_s'][key]:12.3f} ms {row['ratios'][key]:5.1f} x " for key in FUNCTIONS)
        size = f"{row['residuals']} x {row['parameters']}"
        print(f"  {name:12} {compared:12} {size:>22} {row['MiB']:9.2f} {' '.join(times)}", flush=True)


def measure(name: str, compared: str, rounds: int) -> dict:
    """All figures of one case.

    Args:
        name: of `PROBLEMS`.
        compared: as `cases` gives it.
        rounds: calls of each function; the median counts.

    Returns:
        Times [s], their ratios to that of loss and gradient, and the size of the Jacobian.
    """
    objective = _objective(name, compared)
    functions = {key: getattr(objective, key) for key in FUNCTIONS}
    first = {key: first_call(lambda function=function: function(objective.x0)) for key, function in functions.items()}
    times = interleaved(functions, nearby(objective.x0, len(functions) * rounds), rounds)
    median = {key: float(np.median(values)) for key, values in times.items()}
    jacobian = objective.residuals_jac(objective.x0)
    return {
        "problem": name,
        "compared": compared,
        "residuals": len(jacobian),
        "parameters": jacobian.shape[1],
        "MiB": jacobian.nbytes / 2**20,
        "first_call_s": first,
        "median_s": median,
        "ratios": {key: median[key] / median["fun_and_jac"] for key in FUNCTIONS},
    }


def _objective(name: str, compared: str) -> FusedObjective:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Q2MMAccelWarning)
        problem, references = load_problem(name, "mm3"), ReferenceData()
        for number, system in enumerate(problem.systems):
            if compared != "frequencies":
                getattr(references, f"add_{compared}")(np.asarray(system.molecule.hessian), system=number)
        chosen = problem.references if compared == "frequencies" else references
        return FusedObjective(problem.systems, problem.forcefield, chosen)
