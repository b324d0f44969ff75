"""Terms, backgrounds and declarations of kinds that cannot be right are refused, by name and with a remedy."""

from dataclasses import replace

import numpy as np
import pytest
from kinds_cases import forgotten_after
from refusals import START, SYSTEM, TERMS, WATER, assert_refused, forcefield, refusals

from q2mm_accel import (
    Background,
    Coordinate,
    ForceField,
    FusedObjective,
    Kind,
    PairKind,
    Parameter,
    Read,
    Reference,
    System,
    register_form,
    register_kind,
)
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import FormError, ParameterError, TopologyError
from q2mm_accel.kernel.potentials import Damped, cosine_torsion
from q2mm_accel.model.kinds import FORMS, KINDS

COUPLED = {"stretch_bend_atoms": [(1, 0, 2)], "stretch_bend_types": [0]}
CHARGED = {"coulomb_pairs": [(1, 2)], "coulomb_types": [0, 1, 1]}
TWO_BONDS = {"bond_force_constants": [START[0]] * 2, "bond_lengths": [START[1]] * 2}


def system(**changes):
    return System(WATER, **TERMS | changes)


def build(terms, **parameters):
    """An objective of a system with the force field of bonds and angles and these parameters."""
    return FusedObjective([terms], forcefield(**parameters), [Reference("energy", 0.0)])


def straight(kind):
    """C2H2 with a term through both of its straight angles."""
    field = {"torsion": "torsion_force_constants", "harmonic_dihedral": "harmonic_dihedral_force_constants"}[kind]
    parameters = {field: [1.0]} | ({} if kind == "torsion" else {"harmonic_dihedral_values": [180.0]})
    terms = System(load_molecule("c2h2"), **{f"{kind}_atoms": [(2, 0, 1, 3)], f"{kind}_types": [0]})
    return FusedObjective([terms], ForceField(form="harmonic", **parameters), [Reference("energy", 0.0)])


TOPOLOGY = {
    "a coupling without its bond": (
        lambda: build(system(bond_atoms=[(0, 1)], bond_types=[0], **COUPLED), stretch_bend_force_constants=[1.0]),
        ("water", "stretch_bend 0 reads the bond_lengths of the bond of the atoms [0, 2]", "no term", "leave"),
    ),
    "a coupling without its angle": (
        lambda: build(system(angle_atoms=(), angle_types=(), **COUPLED), stretch_bend_force_constants=[1.0]),
        ("stretch_bend 0 reads the angle_values of the angle of the atoms [1, 0, 2]", "no term", "leave"),
    ),
    "a coupling whose bond has two types": (
        lambda: build(
            system(bond_atoms=[(0, 1), (0, 2), (0, 2)], bond_types=[0, 0, 1], **COUPLED),
            stretch_bend_force_constants=[1.0],
            **TWO_BONDS,
        ),
        ("stretch_bend 0 reads", "bond of the atoms [0, 2]", "has 2 types", "Give that bond one type"),
    ),
    "a field that does not exist": (
        lambda: system(bnd_atoms=[(0, 1)]),
        ("water", "no 'bnd_atoms'", "did you mean 'bond_atoms' or ", "register_kind"),
    ),
    "a type of charge that does not exist": (
        lambda: build(system(**CHARGED), coulomb_charges=[0.1]),
        ("coulomb 1 has the type 1", "1 coulomb types", "Add the type"),
    ),
    "an atom without a type of charge": (
        lambda: system(**CHARGED | {"coulomb_types": [0, 1]}),
        ("coulomb_types has 2 entries for 3 atoms", "every atom needs a coulomb type"),
    ),
    "more factors than pairs": (
        lambda: system(**CHARGED, coulomb_factors=[1.0, 0.5]),
        ("coulomb_factors has 2 entries for 1 coulomb_pairs", "give one for each"),
    ),
    "a factor that is NaN": (
        lambda: system(**CHARGED, coulomb_factors=[np.nan]),
        ("water: coulomb_factors must be finite", "(0,) is nan"),
    ),
    "a matrix of factors": (
        lambda: system(**CHARGED, coulomb_factors=[[1.0]]),
        ("water: coulomb_factors must be real numbers", "1 dimension", "(1, 1)"),
    ),
    "a bend_bend given twice": (
        lambda: System(load_molecule("formaldehyde"), bend_bend_atoms=[(1, 0, 2, 3), (3, 0, 2, 1)], bend_bend_types=[0, 0]),
        ("bend_bend 1 repeats bend_bend 0", "Give each term once"),
    ),
    "a torsion through a straight angle": (
        lambda: straight("torsion"),
        ("c2h2: torsion 0", "straight angle", "Remove the term, or register a form with damped_torsions=True."),
    ),
    "a stiff torsion through a straight angle": (
        lambda: straight("harmonic_dihedral"),
        ("c2h2: harmonic_dihedral 0", "[2, 0, 1, 3]", "straight angle", "Remove the term."),
    ),
    "a background that is none": (lambda: replace(SYSTEM, background=3.0), ("water: background is a float", "make a Back")),
    "a background of another molecule": (
        lambda: replace(SYSTEM, background=Background(0.0, np.zeros((2, 3)), np.zeros((6, 6)))),
        ("water", "of 2 atoms", "the molecule has 3"),
    ),
    "a gradient in one row": (
        lambda: Background(0.0, np.zeros(9), np.zeros((9, 9))),
        ("a background's gradient", "2 dimensions", "(9,)"),
    ),
    "a gradient of two axes": (
        lambda: Background(0.0, np.zeros((3, 2)), np.zeros((9, 9))),
        ("a background's gradient", "(n_atoms, 3)", "(3, 2)"),
    ),
    "a background's Hessian of another size": (
        lambda: Background(0.0, np.zeros((3, 3)), np.zeros((3, 3))),
        ("a background's hessian", "(9, 9)", "(3, 3)"),
    ),
    "a background's Hessian that is not symmetric": (
        lambda: Background(0.0, np.zeros((1, 3)), np.triu(np.ones((3, 3)))),
        ("a background's hessian is not symmetric", "(H + Hᵀ) / 2"),
    ),
    "a background that is not finite": (
        lambda: Background(np.inf, np.zeros((1, 3)), np.zeros((3, 3))),
        ("a background's energy must be finite", "inf"),
    ),
}
PARAMETERS = {
    "a field that does not exist": (
        lambda: forcefield(bond_lenghts=[1.0]),
        ("no field 'bond_lenghts'", "did you mean 'bond_lengths' or ", "register_kind"),
    ),
    "an equilibrium that is missing": (
        lambda: forcefield(harmonic_dihedral_force_constants=[1.0]),
        ("harmonic_dihedral_force_constants has 1 entries but harmonic_dihedral_values has 0", "each type needs one"),
    ),
    "an improper's periodicity of 0": (
        lambda: forcefield(improper_force_constants=[1.0], improper_periodicities=[0]),
        ("improper_periodicities[0] is 0", "an integer from 1"),
    ),
    "constants without a type": (
        lambda: forcefield(improper_phases=[180.0]),
        ("improper_force_constants has 0 entries but improper_", "has 1"),
    ),
}
STRENGTH = Parameter("own_strengths", "k", "kcal/mol", (0.0, 1.0), 0.1)
BEND = Parameter("own_angles", "theta0", "degrees", (0.0, 180.0), 5.0)
DISTANCE = Coordinate("distance", (0, 1))


def own(name="own", n_atoms=2, coordinates=(DISTANCE,), parameters=(STRENGTH,), **more):
    """Register a kind that would be right but for the given."""
    return lambda: register_kind(Kind(name, n_atoms, coordinates, parameters, **more), lambda *values: values[0])


def pair(energy=max, **combinations):
    """Register a kind of pairs."""
    return lambda: register_kind(PairKind("own", STRENGTH), energy, **combinations)


KINDS_OF_TERMS = {
    "a name that is taken": (own("bond"), ("'bond'", "taken", "another name")),
    "a name that is no identifier": (own("own kind"), ("'own kind'", "no identifier", "another name")),
    "a name that is a number": (own(7), ("named 7", "another name")),
    "a name that forms use": (own("like"), ("'like'", "the package's own", "another name")),
    "a field of another kind": (
        own(parameters=replace(STRENGTH, field="bond_lengths")),
        ("'own'", "'bond_lengths' is taken", "another name"),
    ),
    "a field that force fields have": (
        own(parameters=replace(STRENGTH, field="bounds")),
        ("'own'", "'bounds'", "the package's own", "another name"),
    ),
    "a field given twice": (own(parameters=(STRENGTH, STRENGTH)), ("'own'", "'own_strengths' is taken", "another name")),
    "no parameters": (own(parameters=()), ("'own' has no parameters", "at least one")),
    "a parameter that is a name": (own(parameters=("k",)), ("'own': parameters[0] is a str", "Parameter")),
    "bounds in the wrong order": (own(parameters=replace(STRENGTH, bounds=(1.0, 0.0))), ("own_strengths", "(1.0, 0.0)")),
    "a typical change of 0": (own(parameters=replace(STRENGTH, typical=0.0)), ("own_strengths", "change 0.0", "above 0")),
    "an unknown sign": (own(parameters=replace(STRENGTH, sign="up")), ("own_strengths", "'up'", "'positive'")),
    "no coordinates": (own(coordinates=()), ("'own' has no coordinates", "at least one")),
    "an unknown measure": (
        own(coordinates=Coordinate("volume", (0, 1))),
        ("'own'", "measures 'volume'", "distance, angle, clipped_angle, dihedral"),
    ),
    "a distance of three atoms": (
        own(n_atoms=3, coordinates=Coordinate("distance", (0, 1, 2))),
        ("'own': its distance is of the atoms (0, 1, 2)", "needs 2", "0 to 2"),
    ),
    "an atom that it does not have": (own(coordinates=Coordinate("distance", (0, 2))), ("(0, 2)", "0 to 1")),
    "a distance from an atom to itself": (own(coordinates=Coordinate("distance", (1, 1))), ("(1, 1)", "different")),
    "an equilibrium that is no parameter": (
        own(coordinates=replace(DISTANCE, equilibrium=1)),
        ("'own': the equilibrium of its distance is parameter 1", "has 1, from 0"),
    ),
    "a distance with an equilibrium in degrees": (
        own(coordinates=replace(DISTANCE, equilibrium=1), parameters=(STRENGTH, BEND)),
        ("'own': the equilibrium of its distance is parameter 1, in 'degrees'", "distances are not"),
    ),
    "an angle with an equilibrium in Å": (
        own(n_atoms=3, coordinates=Coordinate("angle", (0, 1, 2), equilibrium=0)),
        ("'own': the equilibrium of its angle is parameter 0, in 'kcal/mol'", "are in 'degrees'"),
    ),
    "a parameter read of a kind that does not exist": (
        own(reads=Read("bnd", "bond_lengths", (0, 1))),
        ("'own' reads Read(kind='bnd'", "no such parameter", "Name a field"),
    ),
    "a parameter read of atoms that it does not have": (
        own(reads=Read("bond", "bond_lengths", (1, 2))),
        ("'own' reads", "(1, 2)", "atoms 0 to 1"),
    ),
    "a parameter read of a kind of pairs": (own(reads=Read("vdw", "vdw_radii", (0,))), ("'own' reads", "kind of term")),
    "an equivalent order of other atoms": (own(equivalent=(1, 2)), ("'own'", "order is (1, 2)", "0 to 1, each once")),
    "something else than a kind": (
        lambda: register_kind("own", max),
        ("register_kind takes a Kind or PairKind, not 'own'",),
    ),
    "no function for the energy": (pair(energy=None, own_strengths=max), ("'own' needs a function for its energy", "None")),
    "no combination": (pair(), ("'own'", "for the combination of each of own_strengths", "given were", "[]")),
    "a combination that is none": (pair(own_strengths=1.0), ("'own'", "own_strengths")),
    "a combination of a kind of terms": (
        lambda: register_kind(Kind("own", 2, DISTANCE, STRENGTH), max, own_strengths=max),
        ("'own' needs a function for its energy", "['own_strengths']"),
    ),
    "an energy of a form that is no function": (
        lambda: register_form("other", bond=3.0),
        ("'other': bond is 3.0", "must be a function"),
    ),
}


@refusals(
    {f"system: {sentence}": (call, TopologyError, words) for sentence, (call, words) in TOPOLOGY.items()},
    {f"force field: {sentence}": (call, ParameterError, words) for sentence, (call, words) in PARAMETERS.items()},
    {f"kind: {sentence}": (call, FormError, words) for sentence, (call, words) in KINDS_OF_TERMS.items()},
)
def test_it_is_refused(call, error, words):
    before = dict(KINDS), dict(FORMS)
    with forgotten_after():
        assert_refused(call, error, words)
        assert before == (KINDS, FORMS)


def test_a_declaration_that_is_right_is_not_refused():
    with forgotten_after():
        own()()
        assert list(KINDS)[-1] == "own" and all("own" in form.energies for form in FORMS.values())
    assert "own" not in KINDS


@pytest.fixture
def forms():
    """Forms with torsions of one's own, damped and not."""
    with forgotten_after():
        register_form("own", torsion=max)
        register_form("own damped", like="own", damped_torsions=True)
        register_form("other damped", like="own damped", torsion=min)
        register_form("own undamped", like="own damped", damped_torsions=False)
        register_form("damped at once", torsion=min, damped_torsions=True)
        register_form("like damped", like="own damped", bond=max)
        yield FORMS


def test_damping_wraps_the_torsion_that_a_form_has(forms):
    energies = {name: form.energies["torsion"] for name, form in forms.items()}
    assert energies["own"] is max and energies["own undamped"] is max and energies["mm3"] is cosine_torsion
    assert energies["own damped"] == energies["like damped"] == Damped(max)
    assert energies["other damped"] == energies["damped at once"] == Damped(min)
    for name, form in forms.items():
        assert ("torsion" in form.coordinates) == isinstance(energies[name], Damped)
