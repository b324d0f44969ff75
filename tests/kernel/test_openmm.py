"""The harmonic form against OpenMM's Reference platform, kind of term by kind of term."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import evaluate, evaluate_all
from openmm import unit
from oracles.openmm_engine import OpenMMEngine

from q2mm_accel import ForceField, Molecule, System
from q2mm_accel.datasets import load_molecule

# with kinds of terms switched off, their parameters are unused on purpose
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

KINDS = ("bond", "angle", "torsion", "vdw", "urey_bradley")
SWITCHED_ON = [*((kind,) for kind in KINDS), tuple(KINDS[:3]), KINDS]


@cache
def system_and_forcefield(name):
    """Every kind of term at a distorted geometry, the force field as it was perceived."""
    molecule = load_molecule(name)
    noise = np.random.default_rng(11).normal(scale=0.05, size=molecule.coordinates.shape)
    molecule = replace(molecule, coordinates=molecule.coordinates + noise, hessian=None)
    (system,), forcefield = perceive_bare([molecule], vdw=True, urey_bradley=True)
    assert all(len(atoms) > 0 for atoms in (*(system.terms(k)[0] for k in KINDS if k != "vdw"), system.vdw_pairs))
    return system, forcefield


def drawn(forcefield, seed):
    """Other parameters, phases and periodicities kept."""
    rng = np.random.default_rng(seed)
    return replace(
        forcefield.with_parameters(forcefield.parameters * rng.uniform(0.9, 1.1, forcefield.n_parameters)),
        torsion_force_constants=rng.uniform(-3.0, 3.0, forcefield.n_types("torsion")),
    )


def only(system, kinds):
    """The system with these kinds of terms and no other."""
    empty = {}
    for kind in set(KINDS) - set(kinds):
        empty |= {"vdw_pairs": ()} if kind == "vdw" else {f"{kind}_atoms": (), f"{kind}_types": ()}
    return replace(system, **empty)


@cache
def evaluations(name):
    """Ours for every choice of `SWITCHED_ON`, in one program."""
    system, forcefield = system_and_forcefield(name)
    results = evaluate_all([only(system, kinds) for kinds in SWITCHED_ON], drawn(forcefield, seed=1))
    return dict(zip(SWITCHED_ON, results, strict=True))


def assert_agree(ours, engine, kinds):
    """Energy, forces and Hessian of both programs."""
    assert set(kinds) <= set(engine.kinds)
    scale = sum(abs(engine.energy([kind])) for kind in kinds)
    forces, hessian = engine.forces(kinds), engine.hessian(kinds)
    errors = {
        "OPENMM_ENERGY": abs(ours.energy - engine.energy(kinds)) / scale,
        "OPENMM_FORCE": np.abs(ours.gradient + forces).max() / np.abs(forces).max(),
        "OPENMM_HESSIAN": np.abs(ours.hessian - hessian).max() / np.abs(hessian).max(),
    }
    for name, error in errors.items():
        print(f"{'+'.join(kinds)} {name}: {error:.1e}, allowed {getattr(tolerances, name):.0e}")
        assert error <= getattr(tolerances, name), f"{name} of {'+'.join(kinds)}: {error:.2e}"


@pytest.mark.parametrize("kinds", SWITCHED_ON, ids="+".join)
@pytest.mark.parametrize("name", ["methanol", "ethane"])
def test_every_kind_of_term_agrees_with_openmm(name, kinds):
    system, forcefield = system_and_forcefield(name)
    assert_agree(evaluations(name)[kinds], OpenMMEngine(system, drawn(forcefield, seed=1)), kinds)


@pytest.mark.parametrize("name", ["methanol", "ethane"])
def test_parameters_changed_in_place_agree_with_openmm(name):
    system, forcefield = system_and_forcefield(name)
    engine = OpenMMEngine(system, drawn(forcefield, seed=1))
    before = engine.energy()
    for seed in (2, 3, 4):
        changed = drawn(forcefield, seed)
        engine.set_parameters(changed)
        assert engine.energy() != before
        assert_agree(evaluate(system, changed), engine, KINDS)


def test_torsions_with_any_phase_agree_with_openmm():
    system, forcefield = system_and_forcefield("ethane")
    phases = np.random.default_rng(8).uniform(-180.0, 180.0, forcefield.n_types("torsion"))
    forcefield = replace(drawn(forcefield, seed=1), torsion_phases=phases)
    ours = evaluate(only(system, ("torsion",)), forcefield)
    assert_agree(ours, OpenMMEngine(system, forcefield), ("torsion",))


LINE = Molecule("HF", [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
CORNER = Molecule("HOH", [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("kind", "system", "parameters", "expected"),
    [
        (
            "bond",
            System(LINE, bond_atoms=[(0, 1)], bond_types=[0]),
            {"bond_force_constants": [300.0], "bond_lengths": [0.8]},
            300.0 * 0.2**2,
        ),
        (
            "urey_bradley",
            System(LINE, urey_bradley_atoms=[(0, 1)], urey_bradley_types=[0]),
            {"urey_bradley_force_constants": [40.0], "urey_bradley_lengths": [1.5]},
            40.0 * 0.5**2,
        ),
        (
            "angle",
            System(CORNER, angle_atoms=[(0, 1, 2)], angle_types=[0]),
            {"angle_force_constants": [60.0], "angle_values": [120.0]},
            60.0 * (np.pi / 6.0) ** 2,
        ),
    ],
    ids=["bond", "urey_bradley", "angle"],
)
def test_a_force_constant_is_twice_as_strong_as_in_openmm(kind, system, parameters, expected):
    forcefield = ForceField(form="harmonic", **parameters)
    engine = OpenMMEngine(system, forcefield)
    assert evaluate(system, forcefield).energy == pytest.approx(expected, rel=tolerances.CLOSED_FORM)
    assert engine.energy([kind]) == pytest.approx(expected, rel=tolerances.CLOSED_FORM)
    force = engine.forces_by_kind[kind]
    *_, stiffness = force.getAngleParameters(0) if kind == "angle" else force.getBondParameters(0)
    in_kj_and_nm = 4.184 if kind == "angle" else 4.184 * 100.0
    ours = next(values for name, values in parameters.items() if name.endswith("force_constants"))[0]
    assert stiffness.value_in_unit_system(unit.md_unit_system) == pytest.approx(
        2.0 * ours * in_kj_and_nm, rel=tolerances.CLOSED_FORM
    )
