"""Terms and force fields that cannot be right are refused, by name and with a remedy."""

import numpy as np
import pytest
from refusals import TERMS, WATER, assert_refused, forcefield, refusals

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, System
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import ParameterError, TopologyError, UnusedParameterWarning
from q2mm_accel.model.kinds import parameter_fields
from q2mm_accel.model.plausibility import CHECKS


def system(**changes):
    return System(WATER, **TERMS | changes)


PAIR = {"vdw_pairs": [(1, 2)], "vdw_types": [0, 0, 0]}

FAULTS = {
    "a bond of three atoms": (
        lambda: system(bond_atoms=[(0, 1, 2), (0, 2, 1)]),
        ("bond_atoms", "integers of shape (n, 2)", "(2, 3)"),
    ),
    "one bond in one row": (lambda: system(bond_atoms=[0, 1]), ("bond_atoms", "integers of shape (n, 2)", "(2,)")),
    "a bond with a missing atom": (lambda: system(bond_atoms=[(0, 1), (0,)]), ("bond_atoms", "integers of shape (n, 2)")),
    "atoms that are not integers": (lambda: system(bond_atoms=[(0.0, 1.0)] * 2), ("bond_atoms", "integers", "float64")),
    "an atom that is NaN": (lambda: system(bond_atoms=[(0, np.nan), (0, 2)]), ("bond_atoms", "integers", "float64")),
    "bonds that are None": (lambda: system(bond_atoms=None), ("bond_atoms", "integers of shape (n, 2)", "object")),
    "an atom that does not exist": (
        lambda: system(bond_atoms=[(0, 1), (0, 3)]),
        ("bond 1", "[0, 3]", "3 atoms (0 to 2)"),
    ),
    "atom -1": (lambda: system(bond_atoms=[(0, 1), (0, -1)]), ("bond_atoms[1] is [0, -1]", "an integer from 0")),
    "a bond from an atom to itself": (lambda: system(bond_atoms=[(0, 1), (2, 2)]), ("bond 1", "[2, 2]", "Give different")),
    "a bond given twice": (
        lambda: system(bond_atoms=[(0, 1), (1, 0)]),
        ("bond 1 repeats bond 0", "[1, 0]", "Give each term once"),
    ),
    "an angle given twice": (
        lambda: system(angle_atoms=[(1, 0, 2), (2, 0, 1)], angle_types=[0, 0]),
        ("angle 1 repeats angle 0", "[2, 0, 1]", "Give each term once"),
    ),
    "fewer types than bonds": (
        lambda: system(bond_types=[0]),
        ("2 bond_atoms", "1 bond_types", "give one type per term"),
    ),
    "type -1": (lambda: system(bond_types=[0, -1]), ("bond_types[1] is -1", "an integer from 0")),
    "types that are not integers": (lambda: system(bond_types=[0.0, 0.0]), ("bond_types", "integers", "float64")),
    "pairs without van der Waals types": (
        lambda: system(vdw_pairs=[(1, 2)]),
        ("vdw_types has 0 entries", "3 atoms", "needs a van der Waals type"),
    ),
    "an atom without a van der Waals type": (
        lambda: system(**PAIR | {"vdw_types": [0, 0]}),
        ("vdw_types has 2 entries", "3 atoms", "needs a van der Waals type"),
    ),
    "van der Waals type -1": (
        lambda: system(**PAIR | {"vdw_types": [0, -1, 0]}),
        ("vdw_types[1] is -1", "an integer from 0"),
    ),
    "a pair given twice": (
        lambda: system(**PAIR | {"vdw_pairs": [(1, 2), (2, 1)]}),
        ("vdw pair 1 repeats vdw pair 0", "[2, 1]", "Give each term once"),
    ),
    "a pair with an atom that does not exist": (
        lambda: system(**PAIR | {"vdw_pairs": [(1, 7)]}),
        ("vdw pair 0", "[1, 7]", "3 atoms (0 to 2)"),
    ),
}


@refusals({sentence: (call, TopologyError, ("water", *words)) for sentence, (call, words) in FAULTS.items()})
def test_a_system_is_refused_for(call, error, words):
    assert_refused(call, error, words)


def torsion(**changes):
    return forcefield(torsion_force_constants=[1.0], **changes)


PARAMETERS = {
    "force constants and lengths of unequal number": (
        lambda: forcefield(bond_lengths=[0.9, 1.0]),
        ("bond_force_constants has 1", "bond_lengths has 2", "each type needs one of both"),
    ),
    "a number for a list": (lambda: forcefield(bond_lengths=0.97), ("bond_lengths", "must be one-dimensional", "()")),
    "a matrix for a list": (lambda: forcefield(bond_lengths=[[0.97]]), ("bond_lengths", "one-dimensional", "(1, 1)")),
    "None for a list": (lambda: forcefield(bond_lengths=None), ("bond_lengths", "must be one-dimensional", "()")),
    "a length that is NaN": (lambda: forcefield(bond_lengths=[np.nan]), ("bond_lengths[0] is nan", "must be finite")),
    "a length that is text": (lambda: forcefield(bond_lengths=["long"]), ("bond_lengths", "real numbers", "long")),
    "a complex length": (lambda: forcefield(bond_lengths=np.array([1j])), ("bond_lengths", "real numbers", "complex")),
    "a periodicity that is no integer": (
        lambda: torsion(torsion_periodicities=[1.5]),
        ("torsion_periodicities[0] is 1.5", "an integer from 1"),
    ),
    "a periodicity of 0": (
        lambda: torsion(torsion_periodicities=[0]),
        ("torsion_periodicities[0] is 0", "an integer from 1"),
    ),
    "more phases than torsions": (
        lambda: torsion(torsion_phases=[0.0, 180.0]),
        ("torsion_force_constants has 1", "torsion_phases has 2", "each type needs one of both"),
    ),
    "too few labels": (lambda: forcefield(labels=["k"]), ("labels", "1 were given for 4", "give one for each")),
    "labels in one text": (lambda: forcefield(labels="abcd"), ("labels", "'abcd'", "must be a list of names")),
    "new parameters of another number": (
        lambda: forcefield().with_parameters([1.0]),
        ("parameters has 1 entries", "this force field has 4"),
    ),
    "a new parameter that is NaN": (
        lambda: forcefield().with_parameters([500.0, np.nan, 50.0, 105.0]),
        ("parameters[1] is nan", "must be finite"),
    ),
}


@refusals({sentence: (call, ParameterError, words) for sentence, (call, words) in PARAMETERS.items()})
def test_a_force_field_is_refused_for(call, error, words):
    assert_refused(call, error, words)


@pytest.mark.parametrize("field", list(parameter_fields()))
def test_every_field_of_a_force_field_is_checked(field):
    assert_refused(lambda: forcefield(**{field: [np.inf]}), ParameterError, (f"{field}[0] is inf", "must be finite"))


STRAIGHT = {
    "an angle of 0 degrees": (
        Molecule("HOH", [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]], waived=CHECKS),
        {"angle_atoms": [(0, 1, 2)], "angle_types": [0]},
        {"angle_force_constants": [50.0], "angle_values": [105.0]},
        ("H2O", "angle 0", "[0, 1, 2]", "0 degrees", "Remove the term"),
    ),
    "a torsion through a straight angle": (
        load_molecule("c2h2"),
        {"torsion_atoms": [(2, 0, 1, 3)], "torsion_types": [0]},
        {"torsion_force_constants": [1.0]},
        ("c2h2", "torsion 0", "[2, 0, 1, 3]", "straight angle", "Remove the term"),
    ),
}


@pytest.mark.parametrize("fault", STRAIGHT, ids=str)
def test_a_term_without_derivatives_is_refused(fault):
    molecule, terms, parameters, words = STRAIGHT[fault]
    arguments = ([System(molecule, **terms)], ForceField(form="harmonic", **parameters), [Reference("energy", 0.0)])
    assert_refused(lambda: FusedObjective(*arguments), TopologyError, words)


UNUSED = {
    "a bond type": ({"bond_force_constants": [500.0, 300.0], "bond_lengths": [0.97, 1.5]}, "bond 1 k, bond 1 r0"),
    "a torsion": ({"torsion_force_constants": [1.0]}, "torsion 0 k"),
    "a van der Waals type without pairs": ({"vdw_radii": [1.5], "vdw_epsilons": [0.02]}, "vdw 0 radius, vdw 0 epsilon"),
}


@pytest.mark.parametrize("unused", UNUSED, ids=str)
def test_parameters_without_a_term_are_named_in_a_warning(unused):
    changes, labels = UNUSED[unused]
    start = forcefield(**changes)
    count = start.n_parameters - 4
    with pytest.warns(UnusedParameterWarning, match=rf"{count} of {start.n_parameters} parameters .*: {labels}\.$"):
        objective = FusedObjective([system()], start, [Reference("energy", 0.0)])
    others = [number for number, label in enumerate(objective.labels) if label in labels]
    assert len(others) == count and not np.any(objective.jac(objective.x0)[others])
