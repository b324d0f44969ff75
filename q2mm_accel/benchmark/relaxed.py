"""`python -m q2mm_accel.benchmark relaxed`: loss and gradient of geometries at the force field's own minima.

The objective is q2mm's usual one: all bonds and angles where the force field has relaxed each molecule, and the diagonal of
the eigenmatrix at its QM geometry. Beside it stand the peers' way, automatic differentiation through the relaxation of
`jaxopt.LBFGS` of one molecule after another, and the floor: one Cholesky factorization and solution per Newton step.

The peers' way is the best that was found: by the implicit function theorem, whose equations are solved by conjugate
gradients. JAXopt's default, their normal equations, leaves gradients of Rh-enamide that are off by 2 to 98 %.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
import scipy.linalg
from jaxopt.linear_solve import solve_cg

from q2mm_accel.benchmark.baseline import angles, distances, energy
from q2mm_accel.benchmark.timing import first_call, interleaved, nearby, print_times
from q2mm_accel.datasets.modes import load_modes_problem
from q2mm_accel.model.reference_table import ReferenceTable
from q2mm_accel.model.references import ReferenceData
from q2mm_accel.model.system import System
from q2mm_accel.objective import FusedObjective
from q2mm_accel.parameters.space import ParameterSpace
from q2mm_accel.stationary import StationaryPoint, relax_systems
from q2mm_accel.units import DEGREE, KCALMOLA2_TO_HESSIAN_AU

_UNIT = 1e-3
"""[mol/kcal] by which energies are multiplied for L-BFGS, whose first step is the gradient [Å]."""
_LBFGS = {"tol": 1e-7 * _UNIT, "maxiter": 5000, "history_size": 20}
"""So that the peers' losses are ours to some eight digits."""
_LINEAR = "the peers' gradient is not finite: a molecule is exactly linear"


def run(results: dict, rounds: int, quick: bool) -> None:
    """Measure and print all cases (harmonic, Urey-Bradley), and add their figures to the results as "relaxed"."""
    results["relaxed"] = []
    for name in ("ch3f",) if quick else ("ch3f", "small", "rh-enamide"):
        row = measure(name, rounds)
        results["relaxed"].append(row)
        print(
            f"\n{name}: {row['molecules']} molecules, {row['parameters']} parameters, {row['references']} references, "
            f"{row['steps']} Newton steps in all, at most {row['most_steps']} of a molecule"
        )
        print_times(row)
        agreement = f"loss differs by {row['loss_difference']:.1e}, gradient by {row['gradient_difference']:.1e}"
        finite = np.isfinite(row["gradient_difference"])
        print(f"  {agreement if finite else _LINEAR}", flush=True)


def measure(name: str, rounds: int) -> dict:
    """All figures of one problem, at parameters near those of its direct solve.

    Args:
        name: of `PROBLEMS`.
        rounds: calls of each function; the median counts. The peers' way is called at most three times.

    Returns:
        Times [s], their ratios, the number of steps, and how far the peers' loss and gradient are from ours.
    """
    objective = problem(name)
    x = objective.x0
    found = relax_systems(objective.systems, objective.space.forcefield)
    peers, ours = peers_way(objective), {"fun_and_jac": objective.fun_and_jac, "floor: Cholesky": floor(found)}
    first = {key: first_call(partial(function, x)) for key, function in {**ours, "peers: LBFGS, AD": peers}.items()}
    times = interleaved(ours, nearby(x, 2 * rounds), rounds)
    times |= interleaved({"peers: LBFGS, AD": peers}, nearby(x, 3), min(rounds, 3))
    median = {key: float(np.median(values)) for key, values in times.items()}
    (loss, gradient), (their_loss, their_gradient) = objective.fun_and_jac(x), peers(x)
    return {
        "problem": name,
        "molecules": len(objective.systems),
        "parameters": len(x),
        "references": len(objective.references),
        "steps": sum(point.steps for point in found),
        "most_steps": max(point.steps for point in found),
        "first_call_s": first,
        "median_s": median,
        "ratios": {
            "peers' way / fun_and_jac": median["peers: LBFGS, AD"] / median["fun_and_jac"],
            "fun_and_jac / floor": median["fun_and_jac"] / median["floor: Cholesky"],
        },
        "loss_difference": abs(their_loss - loss) / loss,
        "gradient_difference": float(np.linalg.norm(their_gradient - gradient) / np.linalg.norm(gradient)),
    }


def problem(name: str) -> FusedObjective:
    """Geometries and eigenmatrices of a data set, with the force field of its direct solve; x in canonical units."""
    problem = load_modes_problem(name)
    solving = problem.objective()
    forcefield, references = solving.forcefield(problem.solve(solving).x), ReferenceData()
    for number, system in enumerate(solving.systems):
        references.add_geometry(system.molecule, number, weight_torsion=0.0)
        references.add_eigenmatrix(np.asarray(system.molecule.hessian), number, diagonal_only=True)
    return FusedObjective(solving.systems, forcefield, references)


def floor(found: list[StationaryPoint]) -> Callable:
    """Function of anything that factorizes each Hessian once per step and solves with it once."""

    def factorize(_):
        for point in found:
            # as definite as one without rigid motions
            matrix = point.hessian + np.eye(len(point.hessian))
            for _ in range(point.steps + 1):
                scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix), point.gradient.ravel())

    return factorize


def peers_way(objective: FusedObjective) -> Callable:
    """Loss and gradient by relaxations with `jaxopt.LBFGS`, one compiled function per molecule."""
    space, table = objective.space, objective.references
    of_each = [table.take(table.system == number) for number in range(len(objective.systems))]
    functions = [_molecule(system, space, rows) for system, rows in zip(objective.systems, of_each, strict=True)]

    def evaluate(parameters):
        found = [jax.block_until_ready(function(parameters)) for function in functions]
        return sum(float(value) for value, _ in found), np.sum([np.asarray(gradient) for _, gradient in found], axis=0)

    return evaluate


def _molecule(system: System, space: ParameterSpace, references: ReferenceTable):
    start = system.molecule.coordinates
    modes = np.linalg.eigh(np.asarray(system.molecule.hessian))[1]
    rows = {kind: np.flatnonzero(references.is_kind(kind)) for kind in ("bond_length", "bond_angle", "eig_diagonal")}
    bonds, bends = references.indices[rows["bond_length"], :2], references.indices[rows["bond_angle"], :3]
    chosen = modes[:, references.indices[rows["eig_diagonal"], 0]]

    def of(x, parameters):
        return energy(system, space.forcefield, parameters, x.reshape(-1, 3))

    solve = partial(solve_cg, tol=1e-9, maxiter=1000)
    solver = jaxopt.LBFGS(lambda x, parameters: _UNIT * of(x, parameters), implicit_diff_solve=solve, **_LBFGS)

    def loss(vector):
        parameters = jnp.asarray(space.forcefield.parameters).at[space.free].set(vector)
        own = solver.run(start.ravel(), parameters).params.reshape(-1, 3)
        hessian = jax.hessian(of)(start.ravel(), parameters) * KCALMOLA2_TO_HESSIAN_AU
        predicted = {
            "bond_length": distances(own, bonds),
            "bond_angle": angles(own, bends) / DEGREE,
            "eig_diagonal": jnp.sum(chosen * (hessian @ chosen), axis=0),
        }
        residuals = [references.weight[place] * (references.value[place] - predicted[k]) for k, place in rows.items()]
        return sum(jnp.sum(each**2) for each in residuals)

    return jax.jit(jax.value_and_grad(loss))
