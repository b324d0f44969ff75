"""Some of the parameters of an objective of q2mm, in its units: the same loss where q2mm has the same values."""

import numpy as np
import pytest
import tolerances
from q2mm.backends.mm.jax_engine import JaxEngine
from q2mm.models.forcefield import ForceField
from q2mm.models.molecule import Q2MMMolecule
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData, ReferenceValue

from q2mm_accel import FusedObjective, Prior, Tie
from q2mm_accel.datasets import load_molecule

K, R0, ANGLE = "bond C-H k", "bond C-H r0", "angle H-C-H k"


@pytest.fixture(scope="module")
def theirs():
    """CH3F with frequencies; its bond constants are in mdyn/Å."""
    ours = load_molecule("ch3f")
    molecule = Q2MMMolecule(list(ours.symbols), ours.coordinates, hessian=ours.hessian, name="ch3f")
    values = [
        ReferenceValue("frequency", value, weight=0.01, data_idx=mode)
        for mode, value in enumerate(ours.frequencies())
        if value > 50.0
    ]
    return ObjectiveFunction(ForceField.create_for_molecule(molecule), JaxEngine(), [molecule], ReferenceData(values))


def test_a_reduced_vector_is_in_the_units_of_q2mm(theirs):
    full = FusedObjective.from_q2mm(theirs)
    reduced = FusedObjective.from_q2mm(theirs, active=(name for name in (K, R0)))
    places = [full.labels.index(label) for label in reduced.labels]
    assert reduced.labels == (K, R0)
    np.testing.assert_array_equal(reduced.x0, full.x0[places])
    np.testing.assert_array_equal(reduced.bounds.lb, full.bounds.lb[places])
    np.testing.assert_array_equal(reduced.bounds.ub, full.bounds.ub[places])


def test_ties_and_regularization_are_those_of_the_force_field_of_q2mm(theirs):
    full = FusedObjective.from_q2mm(theirs)
    other = "angle F-C-H k" if "angle F-C-H k" in full.labels else "angle H-C-F k"
    reduced = FusedObjective.from_q2mm(theirs, ties=Tie.ratio(ANGLE, other, 1.25), l2=0.5, priors=Prior(K, 20.0))
    x = 1.02 * reduced.x0
    values = np.insert(x, full.labels.index(ANGLE), 1.25 * x[reduced.labels.index(other)])
    place = full.labels.index(K)
    start = full.forcefield(full.x0).parameters[place]
    prior = ((full.forcefield(values).parameters[place] - start) / 20.0) ** 2
    expected = theirs(values) + 0.5 * np.sum((values - full.x0) ** 2) + prior
    assert reduced.fun(x) == pytest.approx(expected, rel=tolerances.Q2MM_LOSS)
