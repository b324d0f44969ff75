"""Warnings are given once, where a problem is made, and name the line of the user's that makes it."""

import inspect
import pickle
import warnings

import numpy as np
import pytest

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System, Tie, frequencies, perceive
from q2mm_accel.datasets import load_molecule
from q2mm_accel.datasets.problems import frequency_references
from q2mm_accel.errors import (
    BoundsWarning,
    CheckpointWarning,
    LinearAngleWarning,
    UnmatchedTermWarning,
    UnusedParameterWarning,
)

HCN = Molecule(["H", "C", "N"], [(0.0, 0.0, -1.06), (0.0, 0.0, 0.0), (0.0, 0.0, 1.15)], name="hcn")
LINEAR = System(HCN, angle_atoms=[(0, 1, 2)], angle_types=[0])
BENT = ForceField(form="harmonic", angle_force_constants=[40.0], angle_values=[109.5])
WATER = System(load_molecule("water"), bond_atoms=[(0, 1), (0, 2)], bond_types=[0, 1])
BONDS = ForceField(form="harmonic", bond_force_constants=[500.0, 510.0], bond_lengths=[0.97, 0.98])
ENERGY = Reference("energy", 1.0)


def linear():
    return FusedObjective([LINEAR], BENT, [ENERGY])


def linear_in_q2mm():
    """An objective function of q2mm for the same molecule, one of whose bonds has no parameters."""
    from q2mm.backends.mm.jax_engine import JaxEngine
    from q2mm.models.forcefield import AngleParam, BondParam
    from q2mm.models.forcefield import ForceField as Q2MMForceField
    from q2mm.models.molecule import Q2MMMolecule
    from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData

    references = ReferenceData()
    references.add_energy(1.0)
    forcefield = Q2MMForceField(bonds=[BondParam(("C", "H"), 1.06, 6.0)], angles=[AngleParam(("H", "C", "N"), 109.5, 0.5)])
    molecule = Q2MMMolecule(list(HCN.symbols), HCN.coordinates, name="hcn")
    return ObjectiveFunction(forcefield, JaxEngine(), [molecule], references)


def unused():
    return FusedObjective(
        [WATER], ForceField(form="harmonic", bond_force_constants=[5.0] * 3, bond_lengths=[1.0] * 3), [ENERGY]
    )


def leaving():
    first, second = BONDS.labels[::2]
    return FusedObjective([WATER], BONDS, [ENERGY], ties=Tie.total(second, first, "bond 0 r0", constant=1000.0))


GIVEN = {
    "an objective with a linear angle": (linear, [LinearAngleWarning]),
    "frequencies with a linear angle": (lambda: frequencies([LINEAR], BENT), [LinearAngleWarning]),
    "a loader that computes frequencies": (
        lambda: frequency_references([System(load_molecule("hcn"), **TERMS)], BENT, align="highest"),
        [LinearAngleWarning],
    ),
    "two linear angles": (lambda: FusedObjective([LINEAR, LINEAR], BENT, [ENERGY]), [LinearAngleWarning] * 2),
    "a parameter without terms": (unused, [UnusedParameterWarning]),
    "a tie that leaves the bounds": (leaving, [BoundsWarning]),
    "a torsion through a linear angle": (lambda: perceive([load_molecule("c2h2")]), [UnmatchedTermWarning]),
    "terms that q2mm leaves out": (
        lambda: FusedObjective.from_q2mm(linear_in_q2mm(), check=None),
        [UnmatchedTermWarning, LinearAngleWarning],
    ),
}
TERMS = {"angle_atoms": [(0, 1, 2)], "angle_types": [0]}


@pytest.mark.parametrize("what", GIVEN, ids=str)
def test_a_warning_is_given_once_and_names_the_line_that_made_it(what):
    call, categories = GIVEN[what]
    lines, first = inspect.getsourcelines(call)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert [warning.category for warning in caught] == categories
    for warning in caught:
        assert warning.filename == __file__
        assert first <= warning.lineno < first + len(lines)


def test_what_an_objective_is_used_for_afterwards_does_not_warn(tmp_path):
    with pytest.warns(LinearAngleWarning):
        objective = linear()
    copy = pickle.loads(pickle.dumps(objective))  # from here on a warning would be an error
    assert copy.fingerprint == objective.fingerprint
    objective.solve_native(maxiter=2, checkpoint=tmp_path / "fit", precision="mixed", polish=True)
    objective.solve_native(maxiter=4, resume=tmp_path / "fit")
    assert np.isfinite(copy.fun(copy.x0))


def test_a_fit_without_checkpoint_does_not_need_a_fingerprint():
    objective = FusedObjective([WATER], BONDS, [ENERGY])
    objective.solve_native(maxiter=1)
    assert "fingerprint" not in vars(objective.inputs), "it was computed"


def test_a_checkpoint_that_cannot_be_used_whole_is_said_where_it_is_resumed(tmp_path):
    objective = FusedObjective([WATER], BONDS, [ENERGY])
    objective.solve_native(maxiter=1, n_starts=3, checkpoint=tmp_path / "fit")
    with pytest.warns(CheckpointWarning) as caught:
        objective.solve_native("lbfgs", maxiter=1, resume=tmp_path / "fit")
    assert [warning.filename for warning in caught] == [__file__]
