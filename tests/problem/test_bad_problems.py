"""References, fitting problems and parameter vectors that cannot be right are refused, by name and with a remedy."""

from dataclasses import replace

import numpy as np
from refusals import SYSTEM, WATER, assert_refused, forcefield, refusals

from q2mm_accel import FusedObjective, Molecule, Reference, ReferenceData, System
from q2mm_accel.errors import FormError, ReferenceDataError, TopologyError

WITHOUT_HESSIAN = replace(WATER, hessian=None)
ENERGY = Reference("energy", 0.0)


def one(*arguments, **fields):
    """A list of one reference."""
    return ReferenceData([Reference(*arguments, **fields)])


def loaded(method, *arguments, **options):
    """References from a loader."""
    getattr(ReferenceData(), method)(*arguments, **options)


MALFORMED = {
    "an unknown kind": (lambda: one("phonon", 1.0), ("phonon of system 0", "'phonon'", "known are energy")),
    "a list for the kind": (lambda: one(["energy"], 1.0), ("['energy']", "known are energy")),
    "a value that is NaN": (lambda: one("energy", np.nan), ("energy of system 0", "value", "nan", "must be finite")),
    "a value that is text": (lambda: one("energy", "low"), ("energy of system 0", "value", "'low'", "finite")),
    "no value": (lambda: one("energy", None), ("energy of system 0", "value", "None", "finite")),
    "a complex value": (lambda: one("energy", 1.0 + 1.0j), ("energy of system 0", "value", "1j", "real")),
    "two values": (lambda: one("energy", np.ones(2)), ("energy of system 0", "value", "[1., 1.]", "finite")),
    "a weight that is NaN": (lambda: one("energy", 0.0, np.nan), ("energy of system 0", "weight", "nan", "finite")),
    "a negative weight": (lambda: one("energy", 0.0, -2.0, label="dimer"), ("dimer", "weight is -2.0", "not negative")),
    "half a system": (lambda: one("energy", 0.0, system=0.5), ("system is 0.5", "number, from 0")),
    "a system by name": (lambda: one("energy", 0.0, system="water"), ("system is 'water'", "number, from 0")),
    "no mode": (lambda: one("frequency", 0.0), ("frequency of system 0", "index is None", "a mode number from 0")),
    "mode -1": (lambda: one("frequency", 0.0, index=-1), ("frequency", "index is -1", "a mode number from 0")),
    "half a mode": (lambda: one("frequency", 0.0, index=6.5), ("frequency", "index is 6.5", "a mode number from 0")),
    "a row without a column": (
        lambda: one("hessian_element", 0.0, index=3),
        ("hessian_element", "is 3", "needs 2"),
    ),
    "row -1": (lambda: one("hessian_element", 0.0, index=(-1, 0)), ("hessian_element", "(-1, 0)", "from 0")),
    "half a row": (lambda: one("hessian_element", 0.0, index=(0.5, 0)), ("hessian_element", "(0.5, 0)", "needs 2")),
    "a row by name": (lambda: one("eig_offdiagonal", 0.0, index=("a", 0)), ("eig_offdiagonal", "'a'", "needs 2")),
    "an index for an energy": (lambda: one("energy", 0.0, index=3), ("energy 3", "index is 3", "needs None")),
    "a relative energy without a group": (
        lambda: one("relative_energy", 0.0),
        ("relative_energy of system 0", "index is None", "the name of its group"),
    ),
    "fewer modes than frequencies": (
        lambda: loaded("add_frequencies", [1600.0, 3700.0], modes=[6], system=2),
        ("system 2", "2 values", "1 modes", "one mode for each"),
    ),
    "a frequency that is no list": (
        lambda: loaded("add_frequencies", 1600.0, system=2),
        ("frequencies of system 2", "1 dimension", "()"),
    ),
    "frequencies that are text": (
        lambda: loaded("add_frequencies", ["1600i"], system=2),
        ("frequencies of system 2", "real numbers", "<U5"),
    ),
    "a loaded frequency that is NaN": (
        lambda: loaded("add_frequencies", [1600.0, np.nan], system=2),
        ("frequencies of system 2", "finite", "(1,)", "nan"),
    ),
    "a loaded half mode": (
        lambda: loaded("add_frequencies", [1600.0], modes=[6.5], system=2),
        ("frequency 6.5 of system 2", "a mode number from 0"),
    ),
    "a loaded energy that is text": (
        lambda: loaded("add_energy", "low", system=2),
        ("energy of system 2", "'low'", "finite"),
    ),
    "fewer systems than relative energies": (
        lambda: loaded("add_relative_energies", [0.0, 1.0], [0], group="conformers"),
        ("'conformers'", "2 values", "1 systems", "one system for each"),
    ),
    "a rectangular Hessian": (
        lambda: loaded("add_hessian", np.zeros((9, 6)), system=2),
        ("system 2", "must be square", "(9, 6)"),
    ),
    "a Hessian with a NaN": (
        lambda: loaded("add_hessian", np.diag([1.0, np.nan]), system=2),
        ("system 2", "finite", "(1, 1)", "nan"),
    ),
    "a rectangular eigenmatrix": (
        lambda: loaded("add_eigenmatrix", np.zeros((9, 6)), system=2),
        ("system 2", "must be square", "(9, 6)"),
    ),
    "an eigenmatrix with a NaN": (
        lambda: loaded("add_eigenmatrix", np.diag([1.0, np.nan]), system=2),
        ("system 2", "finite", "(1, 1)", "nan"),
    ),
    "an eigenmatrix of None": (
        lambda: loaded("add_eigenmatrix", None, system=2),
        ("Hessian of system 2", "2 dimensions", "object"),
    ),
}


@refusals({sentence: (call, ReferenceDataError, words) for sentence, (call, words) in MALFORMED.items()})
def test_references_are_refused_for(call, error, words):
    assert_refused(call, error, words)


def with_pairs(radius=1.5, epsilon=0.02):
    return forcefield(vdw_radii=[1.7, radius], vdw_epsilons=[0.1, epsilon])


def build(systems=(SYSTEM,), start=None, references=(ENERGY,), **options):
    return FusedObjective(systems, forcefield() if start is None else start, references, **options)


def referring(*arguments, **fields):
    return lambda: build(references=[Reference(*arguments, **fields)])


MISPLACED = {
    "no references": (lambda: build(references=()), ("no reference has a weight above 0", "add references")),
    "references of weight 0 only": (
        referring("energy", 0.0, 0.0),
        ("no reference has a weight above 0", "add references"),
    ),
    "a group of one relative energy": (
        referring("relative_energy", 0.0, index="conformers"),
        ("'conformers'", "single relative energy", "use kind 'energy' or add others"),
    ),
    "no system": (lambda: build(systems=()), ("energy of system 0", "there is no system 0", "there are 0")),
    "a system that does not exist": (
        referring("energy", 0.0, system=1),
        ("energy of system 1", "there is no system 1", "there are 1, from 0"),
    ),
    "system -1": (referring("energy", 0.0, system=-1), ("system is -1", "number, from 0")),
    "a mode that does not exist": (
        referring("frequency", 0.0, index=9),
        ("water", "frequency 9", "out of range", "0 to 8"),
    ),
    "a matrix element that does not exist": (
        referring("hessian_element", 0.0, index=(9, 0)),
        ("water", "hessian_element (9, 0)", "out of range", "0 to 8"),
    ),
    "an eigenmatrix without a QM Hessian": (
        lambda: build([replace(SYSTEM, molecule=WITHOUT_HESSIAN)], references=one("eig_diagonal", 0.0, index=1)),
        ("water", "eig_diagonal 1", "the QM Hessian", "with hessian="),
    ),
    "a normal mode without a QM Hessian": (
        lambda: build([replace(SYSTEM, molecule=WITHOUT_HESSIAN)], references=one("normal_mode", 0.0, index=(1, 0))),
        ("water", "normal_mode (1, 0)", "those of the QM Hessian", "with hessian="),
    ),
    "an angle of 0 degrees": (
        lambda: build(
            [System(Molecule("HCN", [[0.0, 0.0, -1.06], [0.0, 0.0, 0.0], [0.0, 0.0, 1.15]], name="hcn"))],
            references=one("bond_angle", 0.0, index=(1, 0, 2)),
        ),
        ("hcn", "bond_angle (1, 0, 2)", "[1, 0, 2] is 0 degrees", "Leave the reference out"),
    ),
    "a bond length of atoms that do not exist": (
        referring("bond_length", 1.0, index=(0, 3)),
        ("water", "bond_length (0, 3)", "different atoms of 0 to 2"),
    ),
    "a bond angle of an atom twice": (
        referring("bond_angle", 1.0, index=(1, 0, 1)),
        ("water", "bond_angle (1, 0, 1)", "different atoms of 0 to 2"),
    ),
    "a torsion of atoms that do not exist": (
        referring("torsion_angle", 1.0, index=(0, 1, 2, 3)),
        ("water", "torsion_angle", "different atoms of 0 to 2"),
    ),
}


def typed(start=None, **changes):
    return lambda: build([replace(SYSTEM, **changes)], start)


MISTYPED = {
    "a bond type that does not exist": (
        typed(bond_types=[0, 1]),
        TopologyError,
        ("water", "bond 1 has the type 1", "1 bond types", "correct bond_types"),
    ),
    "an angle type that does not exist": (
        typed(angle_types=[5]),
        TopologyError,
        ("water", "angle 0 has the type 5", "1 angle types", "correct angle_types"),
    ),
    "a van der Waals type that does not exist": (
        typed(with_pairs(), vdw_pairs=[(1, 2)], vdw_types=[0, 1, 2]),
        TopologyError,
        ("water", "vdw 2 has the type 2", "2 vdw types", "correct vdw_types"),
    ),
    "a molecule for a system": (
        lambda: build([SYSTEM, WATER]),
        TopologyError,
        ("systems[1]", "a Molecule", "make a System of it"),
    ),
    "an unknown form": (
        lambda: build(start=forcefield(form="charmm")),
        FormError,
        ("'charmm'", "known are amber, harmonic, "),
    ),
    "a list for the form": (
        lambda: build(start=forcefield(form=["mm3"])),
        FormError,
        ("['mm3']", "'harmonic' or 'mm3'"),
    ),
}


@refusals({sentence: (call, ReferenceDataError, words) for sentence, (call, words) in MISPLACED.items()}, MISTYPED)
def test_a_problem_is_refused_for(call, error, words):
    assert_refused(call, error, words)
