"""Default bounds that a force field carries: given, copied, written, refused; and what pinned parameters do."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from refusals import assert_refused

from q2mm_accel import ForceField, FusedObjective, Reference, System
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import ParameterError
from q2mm_accel.io.results import read_forcefield
from q2mm_accel.writers.forcefields import write_forcefield

PLAIN = ForceField(
    "harmonic",
    bond_force_constants=[500.0, 400.0],
    bond_lengths=[0.97, 1.1],
    angle_force_constants=[50.0],
    angle_values=[104.0],
)
GIVEN = PLAIN.with_bounds(bond_force_constants=(-10.0, np.inf), bond_lengths=[(0.9, 1.0), (1.1, 1.1)])
WATER = System(load_molecule("water"), bond_atoms=[(0, 1), (0, 2)], bond_types=[0, 1])
ENERGY = [Reference("energy", 1.0)]


def test_bounds_are_those_of_the_kind_where_no_others_are_given():
    assert PLAIN.bounds.lb.tolist() == [0.0, 0.5, 0.0, 0.5, 0.0, 30.0]
    assert GIVEN.bounds.lb.tolist() == [-10.0, 0.9, -10.0, 1.1, 0.0, 30.0]
    assert GIVEN.bounds.ub.tolist() == [np.inf, 1.0, np.inf, 1.1, 720.0, 180.0]
    assert GIVEN.pinned.tolist() == [False, False, False, True, False, False]
    assert np.all(GIVEN.parameters == PLAIN.parameters) and not PLAIN.limits


def test_a_force_field_of_a_transition_state_has_the_bounds_of_q2mm():
    saddle = replace(PLAIN, bond_force_constants=[-16.0, 400.0])
    assert saddle.bounds.lb.tolist() == [-3600.0, 0.5, -3600.0, 0.5, 0.0, 30.0]
    assert saddle.with_bounds(bond_force_constants=(-20.0, 900.0)).bounds.lb.tolist()[:3] == [-20.0, 0.5, -20.0]


def test_bounds_stay_with_copies_files_and_other_values(tmp_path):
    write_forcefield(tmp_path / "forcefield.json", GIVEN)
    more = replace(GIVEN, torsion_force_constants=[1.0], labels=None)
    copies = [
        pickle.loads(pickle.dumps(GIVEN)),
        copy.deepcopy(GIVEN),
        read_forcefield(tmp_path / "forcefield.json"),
        GIVEN.with_parameters(1.01 * GIVEN.parameters),
        more,
    ]
    for each in copies:
        assert each.bounds.lb.tolist()[:6] == GIVEN.bounds.lb.tolist()
        assert each.bounds.ub.tolist()[:6] == GIVEN.bounds.ub.tolist()


FAULTS = {
    "an unknown field": (lambda: PLAIN.with_bounds(bond_length=(0.0, 1.0)), ("no adjustable 'bond_length'", "bond_lengths")),
    "a constant": (lambda: PLAIN.with_bounds(torsion_phases=(0.0, 1.0)), ("no adjustable 'torsion_phases'",)),
    "an unknown field in limits": (lambda: ForceField("harmonic", limits={"x": [(0.0, 1.0)]}), ("limits", "'x'")),
    "limits that are a list": (lambda: ForceField("harmonic", limits=[1]), ("limits is [1]", "map fields to arrays")),
    "reversed bounds": (lambda: PLAIN.with_bounds(bond_lengths=(1.0, 0.5)), ("bond_lengths[0]", "1.0 and 0.5")),
    "a bound that is NaN": (lambda: PLAIN.with_bounds(angle_values=(np.nan, 180.0)), ("angle_values[0]", "nan and 180.0")),
    "bounds of other types": (
        lambda: PLAIN.with_bounds(bond_lengths=[(0.5, 1.0)] * 3),
        ("bond_lengths", "(2, 2)", "(3, 2)"),
    ),
    "bounds that are text": (lambda: PLAIN.with_bounds(bond_lengths="short"), ("limits of bond_lengths", "real numbers")),
    "more types than bounds": (
        lambda: replace(GIVEN, bond_lengths=[1.0] * 3, bond_force_constants=[1.0] * 3, labels=None),
        ("limits of bond_", "(3, 2)", "(2, 2)"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bounds_are_refused_for(fault):
    call, words = FAULTS[fault]
    assert_refused(call, ParameterError, words)


def test_pinned_parameters_are_not_fitted():
    bonds = ForceField("harmonic", bond_force_constants=[500.0, 400.0], bond_lengths=[0.97, 1.1])
    pinned = bonds.with_bounds(bond_lengths=[(0.9, 1.0), (1.1, 1.1)])
    objective = FusedObjective([WATER], pinned, ENERGY)
    assert objective.labels == ("bond 0 k", "bond 0 r0", "bond 1 k")
    assert objective.forcefield([1.0, 0.95, 2.0]).parameters.tolist() == [1.0, 0.95, 2.0, 1.1]


def test_a_start_outside_its_bounds_is_quoted_in_physical_units():
    bonds = ForceField("harmonic", bond_force_constants=[500.0] * 2, bond_lengths=[0.97, 3.4])
    words = ("bond 1 r0", "starts at 3.4 Å", "0.5 to 3", "(x[3] is 34, in units of 0.1)")
    assert_refused(lambda: FusedObjective([WATER], bonds, ENERGY, parameter_scale="typical"), ParameterError, words)
