"""`python -m q2mm_accel.benchmark.migration FOLDER`: every objective that q2mm's own tests and examples build, carried over.

FOLDER is an unpacked source archive of the q2mm that is installed. Its tests are run, with optimizers held to one iteration,
and each `ObjectiveFunction` that they make is recorded as it was made; so are those that its tutorial makes, of every .fchk
file of its examples and both engines. Then each different one is carried over and compared with the original at its start
and 1 % beside it: loss, values, there the gradient by differences, times. Differences of the loss count beside the sum of
the squares of all weighted values: where a fit is perfect, the loss is rounding. Those of the slope in a random direction
count beside the sum of the magnitudes of its terms. Objectives without a force field or on imitated engines are left out,
and counted.
"""

import argparse
import copy
import logging
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from q2mm_accel.errors import DifferenceWarning, Q2MMAccelError
from q2mm_accel.interop.engine_objective import EngineObjective
from q2mm_accel.interop.original import detached, values_of_q2mm
from q2mm_accel.interop.q2mm import beside
from q2mm_accel.io.results import write_json
from q2mm_accel.model.reference_table import RELAXED
from q2mm_accel.objective import FusedObjective

_STEPS = (1e-5, 1e-3)
"""Of directional derivatives, relative to x; the second where q2mm relaxes molecules, with its noise."""


def main() -> None:
    """Print the table, a line for each objective."""
    parser = argparse.ArgumentParser(prog="python -m q2mm_accel.benchmark.migration", description=__doc__)
    parser.add_argument("folder", type=Path, help="an unpacked source archive of q2mm, of the version that is installed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    options = parser.parse_args()
    logging.disable(logging.ERROR)
    found = recorded(options.folder.resolve())
    print(f"{len(found)} different objectives\n{_HEAD}", flush=True)
    rows = []
    for number, each in enumerate(found):
        rows.append(row_of(each))
        print(_line(number, rows[-1]), flush=True)
    if options.json:
        write_json(options.json, {"objectives": rows})


def recorded(folder: Path) -> list[SimpleNamespace]:
    """The different objectives that q2mm's tests make: `test` and `make()`, a new one as it was when made."""
    import pytest
    from q2mm.optimizers.objective import ObjectiveFunction
    from q2mm.optimizers.scipy_opt import ScipyOptimizer

    found, places = {}, SimpleNamespace(test="", imitated=0)

    class Names:
        def pytest_runtest_logstart(self, nodeid: str) -> None:
            places.test = nodeid

    originals = ObjectiveFunction.__init__, ScipyOptimizer.__init__

    def noted(self: Any, *arguments: Any, **options: Any) -> None:
        originals[0](self, *arguments, **options)
        if type(self.engine).__module__.startswith("unittest") or self.forcefield is None:
            places.imitated += 1
        else:
            found.setdefault(_signature(self), SimpleNamespace(test=places.test, make=_maker(self)))

    def hurried(self: Any, *arguments: Any, **options: Any) -> None:
        originals[1](self, *arguments, **options)
        self.maxiter = 1

    ObjectiveFunction.__init__, ScipyOptimizer.__init__ = noted, hurried
    here = Path.cwd()
    os.chdir(folder)  # its tests find their data from there
    try:
        pytest.main(["-q", "--run-slow", "-p", "no:cacheprovider", "--tb=no", "-W", "ignore", "test"], plugins=[Names()])
        places.test = "the tutorial's"
        _make_the_tutorials(folder)
    finally:
        os.chdir(here)
        ObjectiveFunction.__init__, ScipyOptimizer.__init__ = originals
    print(f"{places.imitated} objectives on imitations are left out")
    return list(found.values())


def _make_the_tutorials(folder: Path) -> None:
    from q2mm.backends.mm.jax_engine import JaxEngine
    from q2mm.backends.mm.openmm import OpenMMEngine
    from q2mm.models.seminario import estimate_force_constants
    from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData

    for path in sorted(folder.glob("examples/**/*.fchk")):
        tolerance = 1.5 if "TS" in path.stem else 1.3
        for engine in (JaxEngine(), OpenMMEngine()):
            references, molecule = ReferenceData.from_fchk(path, bond_tolerance=tolerance)
            full = ReferenceData.from_molecule(molecule, include_eigenmatrix=True)
            for each in (references, full):
                ObjectiveFunction(estimate_force_constants(molecule), engine, [molecule], each)


def _maker(objective: Any) -> Callable[[], Any]:
    kind, forcefield = type(objective), copy.deepcopy(objective.forcefield)
    engine, molecules, reference = objective.engine, list(objective.molecules), copy.deepcopy(objective.reference)
    return lambda: kind(
        forcefield=copy.deepcopy(forcefield), engine=engine, molecules=molecules, reference=copy.deepcopy(reference)
    )


def _signature(objective: Any) -> tuple:
    """What tells two objectives apart."""
    values = [(v.kind, v.value, v.weight, v.molecule_idx, v.data_idx, v.atom_indices) for v in objective.reference.values]
    places = [(tuple(m.symbols), np.asarray(m.geometry).tobytes()) for m in objective.molecules]
    vector = np.asarray(objective.forcefield.get_param_vector()).tobytes()
    return type(objective.engine).__name__, vector, tuple(map(repr, values)), tuple(places)


def row_of(found: SimpleNamespace) -> dict:
    """All figures of an objective."""
    theirs = found.make()
    counts = Counter(value.kind for value in theirs.reference.values)
    row = {
        "test": found.test,
        "engine": type(theirs.engine).__name__,
        "molecules": [f"{m.name or 'unnamed'} ({len(m.symbols)})" for m in theirs.molecules],
        "references": dict(counts),
        "parameters": len(theirs.forcefield.get_param_vector()),
    }
    try:
        seconds, _ = _timed(lambda: values_of_q2mm(detached(theirs), theirs.forcefield.get_param_vector()))
    except Q2MMAccelError as error:
        return row | {"outcome": "q2mm cannot evaluate it", "why": str(error)}
    options: dict[str, Any]
    for options in ({}, {"clipped_angles": True}, {"check": "warn"}):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                ours = FusedObjective.from_q2mm(theirs, **options)
                break
            except Q2MMAccelError as error:
                row.setdefault("why", str(error))
    else:
        return row | {"outcome": "refused"}
    row["options"] = options
    row["warned"] = [str(each.message) for each in caught if each.category is DifferenceWarning]
    return row | _beside(theirs, ours) | {"q2mm_first_s": seconds}


def _beside(theirs: Any, ours: FusedObjective | EngineObjective) -> dict:
    x, rng = ours.x0, np.random.default_rng(0)
    other = beside(x, ours.bounds, np.ones(len(x)))
    losses = [(theirs(point), ours.fun(point)) for point in (x, other)]
    size = sum((value.weight * value.value) ** 2 for value in theirs.reference.values) + losses[0][0] + 1e-12
    # beside the start, where upstream's own fits are not perfect
    relaxed = any(value.kind in RELAXED for value in theirs.reference.values)
    step, direction = _STEPS[relaxed], rng.standard_normal(len(x)) * np.maximum(np.abs(x), 1.0)
    slope = (theirs(other + step * direction) - theirs(other - step * direction)) / (2.0 * step)
    terms = ours.jac(other) * direction
    moving = [x * (1.0 + 1e-9 * number) for number in range(1, 6)]
    return {
        "outcome": "carried over",
        "loss": losses[0][0],
        "loss_difference": [abs(a - b) / size for a, b in losses],
        "slope_difference": abs(slope - np.sum(terms)) / max(np.sum(np.abs(terms)), 1e-12),
        "q2mm_s": float(np.median([_timed(lambda point=point: theirs(point))[0] for point in moving])),
        "ours_s": float(np.median([_timed(lambda point=point: ours.fun_and_jac(point))[0] for point in moving])),
    }


def _timed(function: Callable) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


_HEAD = (
    f"{'':3} {'engine':13} {'molecules':28} {'n':>3} {'references':44} {'loss off':>8} {'1 % on':>8} {'slope':>8} "
    f"{'q2mm ms':>8} {'ours ms':>8}  remarks"
)
_SHORT = {
    "bond_length": "bonds",
    "bond_angle": "angles",
    "torsion_angle": "torsions",
    "frequency": "freq.",
    "energy": "energies",
}


def _line(number: int, row: dict) -> str:
    kinds = ", ".join(f"{count} {_SHORT.get(kind, kind)}" for kind, count in row["references"].items())
    molecules = ", ".join(f"{count} x {name}" if count > 1 else name for name, count in Counter(row["molecules"]).items())
    start = f"{number:3} {row['engine']:13} {molecules[:28]:28} {row['parameters']:3} {kinds[:44]:44}"
    if row["outcome"] != "carried over":
        return f"{start} {row['outcome']}: {' '.join(row['why'].split())[:160]}"
    remarks = [f"{name}={value}" for name, value in row["options"].items()]
    remarks += [message[:100] for message in row["warned"]]
    return (
        f"{start} {row['loss_difference'][0]:8.0e} {row['loss_difference'][1]:8.0e} {row['slope_difference']:8.0e} "
        f"{1e3 * row['q2mm_s']:8.2f} {1e3 * row['ours_s']:8.2f}  {'; '.join(remarks)}"
    )


if __name__ == "__main__":
    main()
