"""A problem is known by its inputs: the same on every processor, another one as soon as any of them changes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from q2mm_accel import ForceField, FusedObjective, Prior, Reference, System, Tie
from q2mm_accel.datasets import load_molecule
from q2mm_accel.model.plausibility import CHECKS

H2O2 = load_molecule("h2o2")
SYSTEM = System(
    H2O2,
    bond_atoms=[(0, 1), (0, 2), (1, 3)],
    bond_types=[0, 1, 1],
    angle_atoms=[(1, 0, 2), (0, 1, 3)],
    angle_types=[0, 0],
    torsion_atoms=[(2, 0, 1, 3)],
    torsion_types=[0],
    vdw_pairs=[(2, 3), (0, 3)],
    vdw_types=[0, 0, 1, 1],
    urey_bradley_atoms=[(1, 2)],
    urey_bradley_types=[0],
)
FORCEFIELD = ForceField(
    form="harmonic",
    bond_force_constants=[250.0, 500.0],
    bond_lengths=[1.46, 0.97],
    angle_force_constants=[60.0],
    angle_values=[100.0],
    torsion_force_constants=[1.5],
    torsion_periodicities=[2],
    torsion_phases=[30.0],
    vdw_radii=[1.7, 1.4],
    vdw_epsilons=[0.06, 0.03],
    urey_bradley_force_constants=[10.0],
    urey_bradley_lengths=[2.0],
)
REFERENCES = [
    Reference("energy", -3.0, 0.5),
    Reference("frequency", 900.0, 0.1, index=6),
    Reference("hessian_element", 0.2, 2.0, index=(3, 1)),
    Reference("eig_diagonal", 0.1, 2.0, index=5),
    Reference("relative_energy", 1.0, index="pair"),
    Reference("relative_energy", 2.0, index="pair"),
]


def objective(molecule=None, system=None, forcefield=None, references=REFERENCES, more=(), **options):
    """An objective with one part of its inputs changed, or with more systems."""
    chosen = replace(SYSTEM, **(system or {}) | ({} if molecule is None else {"molecule": replace(H2O2, **molecule)}))
    return FusedObjective([chosen, *more], replace(FORCEFIELD, **(forcefield or {})), references, **options)


def with_reference(number, **changes):
    """The references with one of them changed."""
    return [replace(each, **changes) if place == number else each for place, each in enumerate(REFERENCES)]


PRINT = objective().fingerprint

THE_SAME = {
    "another name": {"molecule": {"name": "hydrogen peroxide"}},
    "other labels": {"forcefield": {"labels": [f"parameter {number}" for number in range(FORCEFIELD.n_parameters)]}},
    "another precision": {"precision": "mixed"},
    "another batch_size": {"batch_size": 1},
    "devices": {"devices": 1},
    "the energies of the molecule, which nothing reads": {"molecule": {"energy": -1.0}},
    "a reference of weight 0": {"references": [*REFERENCES, Reference("energy", 7.0, 0.0)]},
    "labels of references": {"references": with_reference(0, label="an energy")},
    "an index as a list": {"references": with_reference(2, index=[3, 1])},
    "an index of NumPy's integers": {"references": with_reference(2, index=(np.int64(3), np.int32(1)))},
    "references as a generator": {"references": (each for each in REFERENCES)},
    "the default bounds by name": {"bounds": FORCEFIELD.bounds},
    "another start": {"x0": 1.01 * FORCEFIELD.parameters},
}


@pytest.mark.parametrize("what", THE_SAME, ids=str)
def test_it_is_the_same_problem_with(what):
    assert objective(**THE_SAME[what]).fingerprint == PRINT


FIRST_LABEL, SECOND_LABEL = FORCEFIELD.labels[0], FORCEFIELD.labels[2]
ANOTHER = {
    "coordinates": {"molecule": {"coordinates": np.nextafter(H2O2.coordinates, 9.0), "waived": CHECKS}},
    "masses": {"molecule": {"masses": [16.0, 16.0, 1.0, 2.0]}},
    "the Hessian": {"molecule": {"hessian": 1.001 * H2O2.hessian}},
    "a bond's atoms": {"system": {"bond_atoms": [(0, 1), (0, 2), (2, 3)]}},
    "a bond's type": {"system": {"bond_types": [0, 1, 0]}},
    "the order of a bond's atoms": {"system": {"bond_atoms": [(1, 0), (0, 2), (1, 3)]}},
    "an angle's atoms": {"system": {"angle_atoms": [(1, 0, 2), (2, 1, 3)]}},
    "a torsion's atoms": {"system": {"torsion_atoms": [(3, 0, 1, 2)]}},
    "a pair": {"system": {"vdw_pairs": [(2, 3), (1, 2)]}},
    "a van der Waals type": {"system": {"vdw_types": [0, 1, 1, 1]}},
    "a Urey-Bradley term's atoms": {"system": {"urey_bradley_atoms": [(0, 3)]}},
    "a term less": {"system": {"bond_atoms": [(0, 1), (0, 2)], "bond_types": [0, 1]}},
    "the form": {"forcefield": {"form": "mm3"}},
    "a periodicity": {"forcefield": {"torsion_periodicities": [3]}},
    "a phase": {"forcefield": {"torsion_phases": [0.0]}},
    "a frozen parameter": {"active": "bond_lengths", "forcefield": {"angle_values": [101.0]}},
    "a reference's value": {"references": with_reference(0, value=-3.1)},
    "a reference's weight": {"references": with_reference(0, weight=0.6)},
    "a reference's kind": {"references": with_reference(3, kind="frequency")},
    "a reference's mode": {"references": with_reference(1, index=7)},
    "a reference's column": {"references": with_reference(2, index=(3, 2))},
    "the group of relative energies": {"references": with_reference(4, index="others")[:4] + REFERENCES[:1]},
    "another molecule": {"more": [SYSTEM]},
    "a reference less": {"references": REFERENCES[1:]},
    "the order of references": {"references": REFERENCES[::-1]},
    "bounds": {"bounds": [(0.0, 9000.0)] * FORCEFIELD.n_parameters},
    "active": {"active": "bond *"},
    "other parameters that are active": {"active": "angle *"},
    "a tie": {"ties": Tie.equal(FIRST_LABEL, SECOND_LABEL)},
    "another tie": {"ties": Tie.ratio(SECOND_LABEL, FIRST_LABEL, 2.0)},
    "a tie's constant": {"ties": Tie(SECOND_LABEL, {FIRST_LABEL: 1.0}, 5.0)},
    "a prior": {"priors": Prior("bond_lengths", 0.1)},
    "a prior's width": {"priors": Prior("bond_lengths", 0.2)},
    "a prior's center": {"priors": Prior("bond_lengths", 0.1, 1.2)},
    "a prior on others": {"priors": Prior("angle_values", 0.1)},
    "l2": {"l2": 0.1},
    "balance": {"balance": "count"},
    "the loss": {"loss": "huber"},
    "f_scale": {"f_scale": 2.0},
    "f_scale of another loss": {"loss": "huber", "f_scale": 2.0},
    "parameter_scale": {"parameter_scale": "typical"},
}


@pytest.mark.parametrize("what", ANOTHER, ids=str)
def test_it_is_another_problem_with_another(what):
    assert objective(**ANOTHER[what]).fingerprint != PRINT


def test_any_two_of_these_problems_differ():
    prints = [objective(**changes).fingerprint for changes in ANOTHER.values()]
    assert len(set(prints)) == len(prints)


def test_it_is_another_problem_with_another_molecule_behind_a_reference():
    first, second = (objective(references=with_reference(0, system=number), more=[SYSTEM]).fingerprint for number in (0, 1))
    assert first != second


def test_every_parameter_counts():
    values = FORCEFIELD.parameters
    for number in range(len(values)):
        changed = values.copy()
        changed[number] *= 1.0 + 2e-16
        assert changed[number] != values[number]
        other = FusedObjective([SYSTEM], FORCEFIELD.with_parameters(changed), REFERENCES)
        assert other.fingerprint != PRINT, FORCEFIELD.labels[number]


def test_it_is_the_same_where_numpy_rounds_otherwise():
    """Vector extensions and OpenBLAS' kernels decide the last digits of norms, angles and eigenvectors."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    finished = subprocess.run(
        [sys.executable, "-c", "import test_fingerprint; print(test_fingerprint.PRINT)"],
        cwd=Path(__file__).parent,
        env=os.environ | {"NPY_DISABLE_CPU_FEATURES": ",".join(extensions), "OPENBLAS_CORETYPE": "Prescott"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout.strip() == PRINT, finished.stderr
