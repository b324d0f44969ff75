"""Sets of alkanes with made-up references, and fresh interpreters that find them."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from bare import perceive_bare

from q2mm_accel import FusedObjective, ReferenceData
from q2mm_accel.benchmark.cases import alkane


@cache
def alkanes(lengths, kind="frequencies", **options):
    """Alkanes of some numbers of carbons, with made-up references of a kind."""
    systems, field = perceive_bare([alkane(length, 0.01, seed) for seed, length in enumerate(lengths)], form="mm3", vdw=True)
    references = ReferenceData()
    for number, system in enumerate(systems):
        size = 3 * system.molecule.n_atoms
        matrix = np.diag(np.linspace(-0.1, 0.9, size))
        if kind == "frequencies":
            references.add_frequencies(np.full(10, 1000.0), range(size - 10, size), system=number)
        elif kind == "Hessians":
            references.add_hessian(matrix, system=number)
        elif kind == "eigenmatrices":
            systems[number] = replace(system, molecule=replace(system.molecule, hessian=matrix, check=False))
            references.add_eigenmatrix(matrix, system=number)
        else:
            references.add_energy(float(number), system=number)
    return FusedObjective(systems, field, references, **options)


def run(code, *arguments, **variables):
    """Run code in a fresh interpreter that finds the tests."""
    folder = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder.parent), str(folder)])} | variables
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
