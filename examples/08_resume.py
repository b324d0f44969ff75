"""Fits that are interrupted and go on: a native one as if nothing had happened, one of SciPy from its best point.

Ctrl-C works like the time limit here: `solve_native` returns the best point so far, and the file is up to date. Killed, a
fit goes on from the last file.
Run: python examples/08_resume.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from scipy.optimize import minimize

from q2mm_accel import FusedObjective
from q2mm_accel.datasets.problems import load_problem


def native(objective: FusedObjective, file: Path) -> None:
    """A native fit whose time is over after its first ten steps; `checkpoint=file` keeps all that it needs to go on."""
    fit = objective.solve_native("lbfgsb", time_limit=0.0, checkpoint=file)
    print(f"native, interrupted  loss {fit.fun:.6e} after {fit.nit} steps. {fit.message}")
    fit = objective.solve_native("lbfgsb", resume=file, checkpoint=file)
    print(f"native, resumed      loss {fit.fun:.6e} after {fit.nit} steps. {fit.message}")
    same = fit.fun == objective.solve_native("lbfgsb").fun
    print(f"the same as without the interruption, to the last bit: {same}\n")


def scipy(objective: FusedObjective, file: Path) -> None:
    """A fit of SciPy that breaks after five steps; the callback keeps the objective's best point."""
    save = objective.checkpoint(file, every=0.0)  # seconds between two savings
    steps = []

    def callback(x):
        save(x)
        steps.append(x)
        if len(steps) == 5:
            raise KeyboardInterrupt

    try:
        minimize(objective.fun_and_jac, objective.x0, jac=True, method="L-BFGS-B", callback=callback)
    except KeyboardInterrupt:
        print(f"SciPy, interrupted   loss {objective.best.fun:.6e} after {len(steps)} steps")
    fit = objective.solve_native("lbfgsb", resume=file)
    print(f"resumed natively     loss {fit.fun:.6e} after {fit.nit} steps more. {fit.message}")


def main() -> None:
    """Interrupt two fits of CH3F, and resume both."""
    problem = load_problem("ch3f")
    with TemporaryDirectory() as folder:
        for fit in (native, scipy):
            objective = FusedObjective(problem.systems, problem.forcefield, problem.references)
            fit(objective, Path(folder) / fit.__name__)


if __name__ == "__main__":
    main()
