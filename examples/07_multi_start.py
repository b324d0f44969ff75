"""Fit the transition state of F⁻ + CH3F from sixteen starts at once: how many minima does the loss have, and which is best?

Run: python examples/07_multi_start.py
"""

from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.solvers.lane import Status


def main() -> None:
    """Fit, list the starts, and compare the frequencies of the best force field."""
    problem = load_problem("sn2_ts")
    objective = FusedObjective(problem.systems, problem.forcefield, problem.references)
    # the first start is Seminario's estimate, the others lie within 30 % of it; the same seed gives the same starts
    fit = objective.solve_native("levenberg-marquardt", n_starts=16, spread=0.3, seed=1)

    starts = fit.starts
    print(f"{'start':>5} {'loss at start':>14} {'loss':>12} {'steps':>6}  status")
    for number in starts["fun"].argsort():
        status = Status(starts["status"][number]).name.lower().replace("_", " ")
        before = objective.fun(starts["x0"][number])
        print(f"{number:5} {before:14.4e} {starts['fun'][number]:12.4e} {starts['nit'][number]:6}  {status}")
    print(f"\n{fit.message}\n")

    print(f"{'QM/cm⁻¹':>9} {'fitted/cm⁻¹':>12}")
    for reference, computed in zip(objective.references, objective.predictions(fit.x), strict=True):
        print(f"{reference.value:9.1f} {computed:12.1f}")


if __name__ == "__main__":
    main()
