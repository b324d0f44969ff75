"""The Amber form and the kinds of terms beyond the first five against OpenMM's Reference platform."""

from dataclasses import replace
from functools import cache

import numpy as np
import openmm
import pytest
import tolerances
from helpers import evaluate_all
from kinds_cases import everything
from oracles.openmm_amber import CHARGE_SCALE, COULOMB, KINDS, AmberEngine

from q2mm_accel import relax_systems
from q2mm_accel.kernel import potentials
from q2mm_accel.model.kinds import KINDS as OURS
from q2mm_accel.model.kinds import pair_kinds
from q2mm_accel.units import KCAL_TO_KJ


@cache
def system_and_forcefield():
    """Methanol off its minimum with all kinds but given pairs; some pairs in full, others with Amber's 1-4 factors."""
    (system,), forcefield = everything("amber", names=("methanol",))
    one_four = system.arrays["vdw_factors"] == 0.5
    assert one_four.any() and not one_four.all()
    factors = np.where(one_four, 1.0 / 1.2, 1.0)
    return replace(system, coulomb_factors=factors, special_vdw_atoms=(), special_vdw_types=()), forcefield


def only(system, kinds):
    """The system with these kinds of OpenMM's forces and no other."""
    wanted = {name for kind in kinds for name in (("vdw", "coulomb") if kind == "pairs" else (kind,))}
    counts = {kind: len(system.pairs(kind).atoms if kind in pair_kinds() else system.terms(kind)[0]) for kind in OURS}
    return system.without({kind: np.full(count, kind not in wanted) for kind, count in counts.items()})


SWITCHED_ON = [*((kind,) for kind in KINDS), KINDS]


@cache
def evaluations():
    """OpenMM's, and ours for every choice of `SWITCHED_ON` in one program."""
    system, forcefield = system_and_forcefield()
    results = evaluate_all([only(system, kinds) for kinds in SWITCHED_ON], forcefield)
    return AmberEngine(system, forcefield), dict(zip(SWITCHED_ON, results, strict=True))


@pytest.mark.parametrize("kinds", SWITCHED_ON, ids=lambda kinds: kinds[0] if len(kinds) == 1 else "all")
def test_every_kind_of_term_agrees_with_openmm(kinds):
    engine, found = evaluations()
    ours, scale = found[kinds], sum(abs(engine.energy([kind])) for kind in kinds)
    forces, hessian = engine.forces(kinds), engine.hessian(kinds)
    errors = {
        "OPENMM_ENERGY": abs(ours.energy - engine.energy(kinds)) / scale,
        "OPENMM_FORCE": np.abs(ours.gradient + forces).max() / np.abs(forces).max(),
        "OPENMM_HESSIAN": np.abs(ours.hessian - hessian).max() / np.abs(hessian).max(),
    }
    for name, error in errors.items():
        print(f"{'+'.join(kinds)} {name}: {error:.1e}, allowed {getattr(tolerances, name):.0e}")
        assert error <= getattr(tolerances, name), f"{name} of {'+'.join(kinds)}: {error:.2e}"


def changed(forcefield, seed):
    """Other parameters of every kind; phases, periodicities and signs are kept."""
    factors = np.random.default_rng(seed).uniform(0.9, 1.1, forcefield.n_parameters)
    return forcefield.with_parameters(forcefield.parameters * factors)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_parameters_changed_in_place_agree_with_openmm(seed):
    """Kind by kind, in the program that has evaluated all of them before, and in the context that has."""
    (system, forcefield), (first, before) = system_and_forcefield(), evaluations()
    engine, other = AmberEngine(system, forcefield), changed(forcefield, seed)
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
    engine = AmberEngine(system, forcefield)
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
