"""Every kind of term in every form, as `build_openmm` makes it, against OpenMM's Reference platform."""

from dataclasses import replace
from functools import cache

import numpy as np
import openmm
import pytest
import tolerances
from helpers import evaluate, evaluate_all
from kinds_cases import damped_form, everything, forgotten_after
from oracles.openmm_engine import OpenMMEngine

from q2mm_accel import (
    Background,
    Coordinate,
    ForceField,
    Kind,
    Molecule,
    Parameter,
    System,
    register_form,
    register_kind,
    relax_systems,
)
from q2mm_accel.errors import InteropError, ParameterError
from q2mm_accel.interop.openmm_build import CHARGE_SCALE, COULOMB, build_openmm
from q2mm_accel.kernel import potentials
from q2mm_accel.model.kinds import KINDS as OURS
from q2mm_accel.model.kinds import pair_kinds
from q2mm_accel.model.plausibility import CHECKS
from q2mm_accel.units import KCAL_TO_KJ

OWN = Kind("own", 2, Coordinate("distance", (0, 1)), Parameter("own_constants", "k", "kcal/mol Å", (0.0, 9.0), 1.0))
NONBONDED = {"amber": ("vdw", "coulomb")}
"""What OpenMM's force "nonbonded" holds in a form; only charges otherwise."""
KINDS = (*(kind for kind in OURS if kind not in ("vdw", "coulomb")), "nonbonded")
"""OpenMM's forces, in which Amber's pairs are a single one."""


@cache
def system_and_forcefield(form="amber"):
    """Methanol off its minimum with all kinds; some pairs in full, others with Amber's 1-4 factors."""
    (system,), forcefield = everything(form, names=("methanol",))
    one_four = system.arrays["vdw_factors"] == 0.5
    assert one_four.any() and not one_four.all()
    return replace(system, coulomb_factors=np.where(one_four, 1.0 / 1.2, 1.0)), forcefield


def only(system, kinds, form="amber"):
    """The system with these kinds of OpenMM's forces and no other."""
    pairs = NONBONDED.get(form, ("coulomb",))
    wanted = {name for kind in kinds for name in (pairs if kind == "nonbonded" else (kind,))}
    counts = {kind: len(system.pairs(kind).atoms if kind in pair_kinds() else system.terms(kind)[0]) for kind in OURS}
    return system.without({kind: np.full(count, kind not in wanted) for kind, count in counts.items()})


SWITCHED_ON = [*((kind,) for kind in KINDS), KINDS]


@cache
def evaluations():
    """OpenMM's, and ours for every choice of `SWITCHED_ON` in one program."""
    system, forcefield = system_and_forcefield()
    results = evaluate_all([only(system, kinds) for kinds in SWITCHED_ON], forcefield)
    engine = OpenMMEngine(system, forcefield)
    assert set(engine.kinds) == set(KINDS)
    return engine, dict(zip(SWITCHED_ON, results, strict=True))


def assert_agree(ours, engine, kinds):
    """Energy, forces and Hessian of both programs."""
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


@pytest.mark.parametrize("kinds", SWITCHED_ON, ids=lambda kinds: kinds[0] if len(kinds) == 1 else "all")
def test_every_kind_of_term_agrees_with_openmm(kinds):
    engine, found = evaluations()
    assert_agree(found[kinds], engine, kinds)


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["harmonic", "mm3"])
def test_every_kind_of_term_agrees_with_openmm_in_other_forms(form):
    system, forcefield = system_and_forcefield(form)
    engine = OpenMMEngine(system, forcefield)
    assert set(engine.kinds) == {*KINDS, "vdw"}
    for_openmm = [*((kind,) for kind in engine.kinds), engine.kinds]
    found = evaluate_all([only(system, kinds, form) for kinds in for_openmm], forcefield)
    for kinds, ours in zip(for_openmm, found, strict=True):
        assert_agree(ours, engine, kinds)


BENT = 7.0
"""[degrees] From a straight angle, where terms have faded to a part."""


def nearly_straight():
    """Four atoms in a chain, whose first angle is nearly straight and whose second is 110 degrees."""
    bent, wide = np.radians(BENT), np.radians(70.0)
    points = [[-np.cos(bent), np.sin(bent), 0.0], [0.0, 0.0, 0.0], [1.4, 0.0, 0.0], [1.4 + np.cos(wide), 0.4, np.sin(wide)]]
    return Molecule(["H", "C", "O", "H"], points, waived=CHECKS)


def test_terms_that_fade_near_straight_angles_agree_with_openmm():
    """Damped torsions, and MM3's couplings of bonds with angles."""
    bonds = {"bond_force_constants": [300.0], "bond_lengths": [1.1]}
    angles = {"angle_force_constants": [50.0], "angle_values": [150.0]}
    terms = {"bond_atoms": [(0, 1), (1, 2)], "bond_types": [0, 0], "angle_atoms": [(0, 1, 2)], "angle_types": [0]}
    couplings = {
        "stretch_bend_atoms": [(0, 1, 2)],
        "stretch_bend_types": [0],
        "bond_bend_atoms": [(2, 1, 0)],
        "bond_bend_types": [0],
    }
    faded = System(nearly_straight(), **terms, **couplings)
    mm3 = ForceField("mm3", **bonds, **angles, stretch_bend_force_constants=[40.0], bond_bend_force_constants=[-30.0])
    turned = System(nearly_straight(), torsion_atoms=[(0, 1, 2, 3)], torsion_types=[0])
    with forgotten_after():
        damped = ForceField(damped_form(), torsion_force_constants=[1.3], torsion_periodicities=[3], torsion_phases=[40.0])
        for system, forcefield in ((faded, mm3), (turned, damped)):
            engine = OpenMMEngine(system, forcefield)
            assert_agree(evaluate(system, forcefield), engine, engine.kinds)


def test_what_openmm_cannot_compute_is_refused_by_name():
    system, forcefield = system_and_forcefield()
    size = system.molecule.n_atoms
    background = Background(0.0, np.zeros((size, 3)), np.zeros((3 * size, 3 * size)))
    with pytest.raises(InteropError, match=f"{system.molecule.name}: a background .*to_openmm"):
        build_openmm(system.with_background(background), forcefield)
    clipped = ForceField("harmonic-clipped", arrays=forcefield.arrays)
    with pytest.raises(InteropError, match="'angle' has no OpenMM formula. Take the form without clipping"):
        build_openmm(system, clipped)
    negative = replace(forcefield, vdw_epsilons=-forcefield.vdw_epsilons)
    with pytest.raises(ParameterError, match=r"vdw_epsilons\[\d\] is -.*below 0"):
        build_openmm(system, negative)
    with forgotten_after():
        register_form("steeper", like="amber", bond=lambda d, k, r0: k * d**4)
        with pytest.raises(InteropError, match="'steeper' the energy of the kind 'bond' has no OpenMM formula"):
            build_openmm(system, ForceField("steeper", arrays=forcefield.arrays))
        register_kind(OWN, lambda distance, k: k / distance)
        own = System(system.molecule, arrays=system.arrays, own_atoms=[(0, 1)], own_types=[0])
        with pytest.raises(InteropError, match="'own' is a kind of your own"):
            build_openmm(own, ForceField("amber", arrays=forcefield.arrays, own_constants=[1.0]))


def changed(forcefield, seed):
    """Other parameters of every kind; phases, periodicities and signs are kept."""
    factors = np.random.default_rng(seed).uniform(0.9, 1.1, forcefield.n_parameters)
    return forcefield.with_parameters(forcefield.parameters * factors)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_parameters_changed_in_place_agree_with_openmm(seed):
    """Kind by kind, in the program that has evaluated all of them before, and in the context that has."""
    (system, forcefield), (first, before) = system_and_forcefield(), evaluations()
    engine, other = OpenMMEngine(system, forcefield), changed(forcefield, seed)
    engine.set_parameters(other)
    found = evaluate_all([only(system, kinds) for kinds in SWITCHED_ON], other)
    for kinds, ours in zip(SWITCHED_ON, found, strict=True):
        scale, forces = sum(abs(engine.energy([kind])) for kind in kinds), engine.forces(kinds)
        assert ours.energy != before[kinds].energy and engine.energy(kinds) != first.energy(kinds)
        assert abs(ours.energy - engine.energy(kinds)) <= tolerances.OPENMM_ENERGY * scale, kinds
        assert np.abs(ours.gradient + forces).max() <= tolerances.OPENMM_FORCE * np.abs(forces).max(), kinds


@pytest.mark.exhaustive
def test_minima_with_every_kind_of_term_are_those_of_openmm():
    """Relaxed, and again with parameters changed in place; couplings so small that there is a minimum."""
    system, forcefield = system_and_forcefield()
    couplings = ("stretch_stretch", "stretch_bend", "bond_bend", "bend_bend")
    fields = {f"{kind}_force_constants": 0.2 * getattr(forcefield, f"{kind}_force_constants") for kind in couplings}
    forcefield = replace(forcefield, **fields)
    engine = OpenMMEngine(system, forcefield)
    for seed in (None, 1, 2):
        own = forcefield if seed is None else changed(forcefield, seed)
        engine.set_parameters(own)
        engine.set_positions(system.molecule.coordinates)
        (point,) = relax_systems([system], own)
        assert point.converged and point.n_negative == 0
        openmm.LocalEnergyMinimizer.minimize(engine.context, 1e-6, 0)
        assert abs(engine.energy(KINDS) - point.energy) <= tolerances.RELAXED_OPENMM
        engine.set_positions(point.coordinates)
        assert abs(engine.energy(KINDS) - point.energy) <= tolerances.OPENMM_ENERGY * abs(point.energy)
        assert np.abs(engine.forces(KINDS)).max() <= tolerances.RELAXED_GRADIENT


def test_our_coulomb_constant_is_smaller_than_that_of_openmm_by_a_part_in_90_000():
    ratio = potentials.COULOMB * KCAL_TO_KJ * 0.1 / COULOMB
    assert ratio == pytest.approx(CHARGE_SCALE**2, rel=tolerances.ROUNDING)
    assert 1.0 - ratio == pytest.approx(1.118e-5, abs=1e-8)
