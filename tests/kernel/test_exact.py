"""Energies, forces, Hessians, predictions and loss gradients against 150-digit arithmetic (`oracles/exact.py`).

Covered: every kind of term in both forms at 200 random geometries and parameters each, wall of MM3's van der Waals term
included; CH3F, HCN (exactly linear), H2O2 and water with all kinds of terms and nothing at equilibrium; every kind of
reference at a fixed geometry and its loss gradient for these four and C2H2 together.
Not covered: references of relaxed geometries; the derivative of the loss by θ0 = 180 of exactly linear angles, which
does not exist; near-linear angles and torsions along linear triples.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import evaluate, evaluate_all
from oracles import exact
from oracles.draws import DRAW, DRAWS

from q2mm_accel import ForceField, FusedObjective, Molecule, Reference, ReferenceData, System
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import UnmatchedTermWarning
from q2mm_accel.model.plausibility import CHECKS

# a single molecule has not every type of the set
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

FORMS = ("harmonic", "mm3")
KINDS_OF_REFERENCES = ("energy", "relative_energy", "frequency", "hessian_element", "eig_diagonal", "eig_offdiagonal")
MOLECULES = ("water", "ch3f", "hcn", "h2o2", "c2h2")


def errors(evaluation, system, forcefield):
    """Errors of energy, forces, Hessian and its symmetry, in the units of their tolerances."""
    gradient = exact.to_array(exact.gradient(system, forcefield)).reshape(-1, 3)
    hessian = exact.to_array(exact.hessian(system, forcefield))
    energy_error = abs(exact.mpf(float(evaluation.energy)) - exact.energy(system, forcefield))
    return {
        "ENERGY": float(energy_error / exact.energy_scale(system, forcefield)),
        "FORCE": np.abs(evaluation.gradient - gradient).max() / np.abs(gradient).max(),
        "HESSIAN": np.abs(evaluation.hessian - hessian).max() / np.abs(hessian).max(),
        "SYMMETRY": np.abs(evaluation.hessian - evaluation.hessian.T).max() / np.abs(hessian).max(),
    }


def assert_within_tolerances(found, where):
    """Compare named errors with the tolerances of the same names; `found` maps a name to an array over cases."""
    for name, values in found.items():
        worst = int(np.argmax(values))
        print(f"{where} {name}: worst {np.max(values):.1e}, allowed {getattr(tolerances, name):.0e}")
        assert np.max(values) <= getattr(tolerances, name), f"{where} {name}: case {worst} is wrong by {values[worst]:.2e}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", DRAW)
def test_single_terms_are_exact(kind, form):
    points, terms, parameters = DRAW[kind](np.random.default_rng(20))
    forcefield = ForceField(form=form, **parameters)
    systems = [
        System(Molecule("H" * len(coordinates), coordinates, waived=CHECKS), **term)
        for coordinates, term in zip(points, terms, strict=True)
    ]
    evaluations = evaluate_all(systems, forcefield)
    found = [errors(*pair, forcefield) for pair in zip(evaluations, systems, strict=True)]
    assert len(found) == DRAWS
    assert_within_tolerances({name: [error[name] for error in found] for name in found[0]}, f"{kind} {form}")


def moved(forcefield, rng):
    """Parameters so far from equilibrium that every term has energy, force and curvature; θ0 = 180 stays."""
    n = forcefield.n_types
    linear = forcefield.angle_values > 179.9
    return replace(
        forcefield,
        bond_force_constants=forcefield.bond_force_constants * rng.uniform(0.7, 1.3, n("bond")),
        bond_lengths=forcefield.bond_lengths * rng.uniform(0.93, 1.07, n("bond")),
        angle_force_constants=forcefield.angle_force_constants * rng.uniform(0.7, 1.3, n("angle")),
        angle_values=np.where(linear, 180.0, forcefield.angle_values + rng.uniform(-9.0, 9.0, n("angle"))),
        torsion_force_constants=rng.uniform(-2.0, 2.0, n("torsion")),
        torsion_phases=rng.uniform(0.0, 360.0, n("torsion")),
        vdw_radii=forcefield.vdw_radii * rng.uniform(0.9, 1.1, n("vdw")),
        vdw_epsilons=forcefield.vdw_epsilons * rng.uniform(0.5, 2.0, n("vdw")),
        urey_bradley_force_constants=rng.uniform(5.0, 40.0, n("urey_bradley")),
        urey_bradley_lengths=forcefield.urey_bradley_lengths * rng.uniform(0.93, 1.07, n("urey_bradley")),
    )


@cache
def all_molecules(form):
    """Systems with every kind of term, and their force field away from equilibrium."""
    with pytest.warns(UnmatchedTermWarning, match="c2h2"):
        systems, forcefield = perceive_bare(map(load_molecule, MOLECULES), form, vdw=True, urey_bradley=True)
    return systems, moved(forcefield, np.random.default_rng(5))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["ch3f", "hcn", "h2o2", "water"])
def test_whole_molecules_are_exact(name, form):
    systems, forcefield = all_molecules(form)
    system = systems[MOLECULES.index(name)]
    evaluation = evaluate(system, forcefield)
    found = errors(evaluation, system, forcefield)
    frequencies = exact.to_array(exact.frequencies(system, forcefield))
    real = np.abs(frequencies) >= tolerances.FREQUENCY_FLOOR
    found["FREQUENCY"] = np.abs(evaluation.frequencies - frequencies)[real].max()
    assert_within_tolerances({name: [error] for name, error in found.items()}, f"{name} {form}")


RELATIVE_ENERGIES = [
    ("first", 0, 0.0, 0.7),
    ("second", 2, 1.0, 0.3),
    ("first", 3, 4.0, 0.2),
    ("first", 1, -2.0, 1.1),
    ("second", 4, 9.0, 0.9),
]
"""Group, system, value, weight."""

ANSWERS = {form: {} for form in FORMS}
"""Exact spectra and matrices that the tests of a form share."""


def reference_data(kinds, form):
    """References of these kinds for all molecules, from the QM data; for energies, arbitrary values."""
    systems, forcefield = all_molecules(form)
    everything = ReferenceData()
    for number, system in enumerate(systems):
        molecule = system.molecule
        computed = exact.to_array(exact.frequencies(system, forcefield))
        modes = np.flatnonzero(np.abs(computed) >= tolerances.FREQUENCY_FLOOR)
        everything.add_frequencies(molecule.frequencies()[modes], modes, weight=0.02 + 0.01 * number, system=number)
        everything.add_hessian(molecule.hessian, system=number)
        everything.add_eigenmatrix(molecule.hessian, system=number, weight_first=0.2)
        everything.add_energy(3.0 - number, weight=0.5, system=number)
    for group, number, value, weight in RELATIVE_ENERGIES:
        everything.add(Reference("relative_energy", value, weight, number, group))
    return ReferenceData(reference for reference in everything if reference.kind in kinds)


def differentiable_places(forcefield):
    """Places in the parameter vector, but those of θ0 = 180: there the Hessian of a linear angle has a pole."""
    start = 2 * forcefield.n_types("bond")
    poles = {start + 2 * row + 1 for row in np.flatnonzero(forcefield.angle_values == 180.0)}
    return [place for place in range(forcefield.n_parameters) if place not in poles]


@pytest.mark.parametrize(
    ("kinds", "form"),
    [
        *(pytest.param((kind,), "mm3", marks=pytest.mark.exhaustive) for kind in KINDS_OF_REFERENCES),
        *(pytest.param(KINDS_OF_REFERENCES, form, marks=() if form == "mm3" else pytest.mark.exhaustive) for form in FORMS),
    ],
    ids=[*KINDS_OF_REFERENCES, *(f"all-{form}" for form in FORMS)],
)
def test_loss_and_gradient_are_exact(kinds, form):
    systems, forcefield = all_molecules(form)
    references, answers = reference_data(kinds, form), ANSWERS[form]
    objective = FusedObjective(systems, forcefield, references)
    places = differentiable_places(forcefield)
    loss = float(exact.loss(systems, forcefield, references, cache=answers))
    gradient = exact.to_array(exact.loss_gradient(systems, forcefield, references, places, answers))
    computed = objective.jac(forcefield.parameters)
    assert np.all(np.isfinite(computed))
    found = {
        "LOSS": [abs(objective.fun(forcefield.parameters) / loss - 1.0)],
        "JAC": np.abs(computed[places] - gradient) / np.abs(gradient).max(),
    }
    assert_within_tolerances(found, f"{'+'.join(kinds)} {form}")


@pytest.mark.parametrize("form", FORMS)
def test_predictions_are_exact(form):
    systems, forcefield = all_molecules(form)
    references = reference_data(KINDS_OF_REFERENCES, form)
    computed = FusedObjective(systems, forcefield, references).predictions(forcefield.parameters)
    expected = exact.predictions(systems, forcefield, references, cache=ANSWERS[form])
    kinds = np.array([reference.kind for reference in references])
    deviations = np.abs(computed - exact.to_array(expected))
    scale = float(max(exact.energy_scale(system, forcefield) for system in systems))
    largest = max(float(abs(value)) for value, kind in zip(expected, kinds, strict=True) if kind == "hessian_element")
    found = {
        "ENERGY": deviations[np.isin(kinds, ["energy", "relative_energy"])] / scale,
        "FREQUENCY": deviations[kinds == "frequency"],
        "HESSIAN": deviations[np.isin(kinds, ["hessian_element", "eig_diagonal", "eig_offdiagonal"])] / largest,
    }
    assert_within_tolerances(found, f"predictions {form}")
