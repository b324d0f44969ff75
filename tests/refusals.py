"""What bad input must lead to: one of the package's own errors, with a message that helps. And water, to spoil."""

import pytest

from q2mm_accel import ForceField, System
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import Q2MMAccelError

WATER = load_molecule("water")
TERMS = {"bond_atoms": [(0, 1), (0, 2)], "bond_types": [0, 0], "angle_atoms": [(1, 0, 2)], "angle_types": [0]}
SYSTEM = System(WATER, **TERMS)
LABELS = ("bond 0 k", "bond 0 r0", "angle 0 k", "angle 0 theta0")
START = [500.0, 0.97, 50.0, 105.0]


def forcefield(**changes):
    """A force field for `SYSTEM`, with some fields changed."""
    bond = {"bond_force_constants": [START[0]], "bond_lengths": [START[1]]}
    angle = {"angle_force_constants": [START[2]], "angle_values": [START[3]]}
    return ForceField(**{"form": "harmonic"} | bond | angle | changes)


def assert_refused(call, error, words):
    """Check that `call` raises exactly `error`, and that its message holds all words: who, what, which value, what to do."""
    with pytest.raises(Q2MMAccelError) as caught:
        call()
    assert type(caught.value) is error, f"{type(caught.value).__name__}: {caught.value}"
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"the message lacks {missing}: {caught.value}"


def refusals(*tables):
    """Parametrization over tables of sentence -> (call, error, words); the sentences are the tests' ids."""
    table = {sentence: case for each in tables for sentence, case in each.items()}
    return pytest.mark.parametrize(("call", "error", "words"), list(table.values()), ids=list(table))
