"""What another engine computed, and terms whose parameters are all frozen, are constants that add to everything."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import evaluate_all
from kinds_cases import displaced

from q2mm_accel import Background, ForceField, FusedObjective, ReferenceData, System, frequencies
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU

ACTIVE = ["stretch_bend_force_constants", "bond H-O k"]
"""Frozen are other bonds and all angles, whose equilibria couplings read that may move."""


def background(n_atoms, seed):
    """Some energy, gradient and symmetric Hessian."""
    rng = np.random.default_rng(seed)
    half = rng.normal(scale=20.0, size=(3 * n_atoms, 3 * n_atoms))
    return Background(rng.normal(), rng.normal(size=(n_atoms, 3)), half + half.T)


@cache
def case():
    """Water and formaldehyde with bonds, angles and stretch-bends; the same with backgrounds; references by mode."""
    molecules = [displaced(name, 5, size=0.03) for name in ("water", "formaldehyde")]
    plain, perceived = perceive_bare(molecules, torsions=False)
    plain = [
        System(each.molecule, arrays=each.arrays, stretch_bend_atoms=each.angle_atoms, stretch_bend_types=each.angle_types)
        for each in plain
    ]
    n_types = perceived.n_types("angle")
    labels = [*perceived.labels, *(f"stretch_bend {number} k" for number in range(n_types))]
    coupled = np.linspace(-30.0, 40.0, n_types)
    moved = {"bond_lengths": 1.03 * perceived.bond_lengths, "angle_values": perceived.angle_values + 5.0}
    arrays = {**perceived.arrays, **moved, "stretch_bend_force_constants": coupled}
    forcefield = ForceField(form="harmonic", arrays=arrays, labels=labels)
    systems = [replace(each, background=background(each.molecule.n_atoms, 3 + n)) for n, each in enumerate(plain)]
    references = ReferenceData()
    for number, system in enumerate(systems):
        n = 3 * system.molecule.n_atoms
        references.add_frequencies(system.molecule.frequencies()[n - 3 :], range(n - 3, n), weight=0.01, system=number)
        references.add_hessian(system.molecule.hessian, system=number)
        references.add_energy(number + 0.5, weight=0.1, system=number)
    return plain, systems, forcefield, references


@cache
def evaluations():
    """Without and with backgrounds, in one program and one bucket."""
    plain, systems, forcefield, _ = case()
    found = evaluate_all([*plain, *systems], forcefield)
    return found[:2], found[2:]


def test_energy_gradient_and_hessian_add_up():
    _, systems, *_ = case()
    for system, without, found in zip(systems, *evaluations(), strict=True):
        own = system.background
        assert found.energy == pytest.approx(without.energy + own.energy, rel=tolerances.CLOSED_FORM)
        for name in ("gradient", "hessian"):
            expected = getattr(without, name) + getattr(own, name)
            error = np.abs(getattr(found, name) - expected).max()
            assert error <= tolerances.CLOSED_FORM * np.abs(expected).max()


def computed(reference):
    """What `evaluations` give for a reference."""
    found = evaluations()[1][reference.system]
    if reference.kind == "hessian_element":
        return found.hessian[reference.index] * KCALMOLA2_TO_HESSIAN_AU
    return found.energy if reference.kind == "energy" else found.frequencies[reference.index]


@cache
def whole():
    """The objective of all parameters."""
    _, systems, forcefield, references = case()
    return FusedObjective(systems, forcefield, references)


def test_frequencies_and_losses_follow_also_one_molecule_at_a_time():
    _, systems, forcefield, references = case()
    for found, expected in zip(frequencies(systems, forcefield), evaluations()[1], strict=True):
        real = np.abs(expected.frequencies) > tolerances.FREQUENCY_FLOOR
        assert np.abs(found - expected.frequencies)[real].max() <= tolerances.FREQUENCY
    expected = np.array([each.weight * (each.value - computed(each)) for each in references])
    assert whole().fun(whole().x0) == pytest.approx(expected @ expected, rel=tolerances.LOSS)
    turns = FusedObjective(systems, forcefield, references, batch_size=1)
    residuals = turns.residuals(turns.x0)
    assert np.abs(residuals - expected).max() <= tolerances.LOSS * np.abs(expected).max()


def test_frozen_terms_join_the_background_and_may_be_read_by_terms_that_move():
    _, systems, forcefield, references = case()
    objective = FusedObjective(systems, forcefield, references, active=ACTIVE)
    assert set(objective.problem.stacks[0].terms) == {"bond", "stretch_bend"}
    assert np.sum(objective.problem.stacks[0].terms["bond"].present) == 2
    for x in (objective.x0, 1.2 * objective.x0):
        full = whole().reduce(objective.expand(x))
        assert objective.fun(x) == pytest.approx(whole().fun(full), rel=tolerances.LOSS)
        columns = [whole().labels.index(label) for label in objective.labels]
        gradient = whole().jac(full)
        error = np.abs(objective.jac(x) - gradient[columns]).max()
        assert error <= tolerances.REGROUP_GRADIENT * np.abs(gradient).max()


def test_backgrounds_add_and_count_for_the_fingerprint():
    plain, systems, forcefield, references = case()
    first, second = systems[0].background, background(3, 9)
    both = first + second
    assert both.energy == first.energy + second.energy
    np.testing.assert_array_equal(both.hessian, first.hessian + second.hessian)
    other = FusedObjective([systems[0], plain[1]], forcefield, references)
    assert other.fingerprint != whole().fingerprint
