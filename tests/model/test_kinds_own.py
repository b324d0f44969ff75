"""Kinds of terms that a user adds: they work wherever those of the package do."""

import inspect
import pickle
from dataclasses import replace
from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from helpers import evaluate_all
from kinds_cases import displaced, forgotten_after

from q2mm_accel import (
    Coordinate,
    ForceField,
    FusedObjective,
    Kind,
    PairKind,
    Parameter,
    ReferenceData,
    System,
    Tie,
    register_form,
    register_kind,
)
from q2mm_accel.errors import FormError, ParameterError, TopologyError
from q2mm_accel.io.results import read_forcefield
from q2mm_accel.kernel.potentials import arithmetic_mean, geometric_mean
from q2mm_accel.model.kinds import FORMS, KINDS
from q2mm_accel.model.plausibility import CHECKS
from q2mm_accel.writers.forcefields import write_forcefield


def morse(deviation, depth, steepness, length):
    return depth * (1.0 - jnp.exp(-steepness * deviation)) ** 2


def register_morse():
    depth = Parameter("morse_depths", "D", "kcal/mol", (1.0, 300.0), 10.0, "positive")
    steepness = Parameter("morse_steepnesses", "a", "1/Å", (0.5, 5.0), 0.2, "positive")
    length = Parameter("morse_lengths", "r0", "Å", (0.5, 3.0), 0.1, "positive")
    stretch = Coordinate("distance", (0, 1), equilibrium=2)
    register_kind(Kind("morse", 2, (stretch,), (depth, steepness, length)), morse)


def stretch_torsion(stretch, angle, force_constant, length):
    return force_constant * stretch * jnp.cos(angle)


def register_stretch_torsion():
    strength = Parameter("stretch_torsion_constants", "k", "kcal/mol/Å", (-50.0, 50.0), 5.0)
    length = Parameter("stretch_torsion_lengths", "r0", "Å", (0.5, 3.0), 0.1, "positive")
    coordinates = (Coordinate("distance", (1, 2), equilibrium=1), Coordinate("dihedral", (0, 1, 2, 3)))
    register_kind(Kind("stretch_torsion", 4, coordinates, (strength, length)), stretch_torsion)


def register_repulsion():
    strength = Parameter("repulsion_strengths", "A", "kcal/mol", (0.0, 1e5), 100.0, "not negative")
    steepness = Parameter("repulsion_steepnesses", "B", "1/Å", (0.5, 8.0), 0.2, "positive")
    register_kind(
        PairKind("repulsion", (strength, steepness)),
        lambda distance, strength, steepness: strength * jnp.exp(-steepness * distance),
        repulsion_strengths=geometric_mean,
        repulsion_steepnesses=arithmetic_mean,
    )


REGISTRATIONS = (register_morse, register_stretch_torsion, register_repulsion)


@pytest.fixture(scope="module", autouse=True)
def registry():
    """These kinds are known in this module only."""
    with forgotten_after():
        for register in REGISTRATIONS:
            register()
        yield
    assert not {"morse", "stretch_torsion", "repulsion"} & {*KINDS, *FORMS["mm3"].energies}


OWN = {
    "morse_depths": [90.0, 110.0],
    "morse_steepnesses": [2.0, 2.2],
    "morse_lengths": [1.4, 0.95],
    "stretch_torsion_constants": [11.0],
    "stretch_torsion_lengths": [1.35],
    "repulsion_strengths": [900.0, 2500.0],
    "repulsion_steepnesses": [3.1, 3.6],
}
TERMS = {
    "morse_atoms": [(0, 1), (0, 2), (1, 3)],
    "morse_types": [0, 1, 1],
    "stretch_torsion_atoms": [(2, 0, 1, 3)],
    "stretch_torsion_types": [0],
    "repulsion_pairs": [(2, 3), (0, 3), (1, 2)],
    "repulsion_types": [1, 1, 0, 0],
    "repulsion_factors": [0.5, 1.0, 0.25],
}


@cache
def case():
    """H-O-O-H, atoms O O H H, with angles of the package's kinds, and all references; a tie by label."""
    molecule = displaced("h2o2", 3, size=0.02)
    assert molecule.symbols == ("O", "O", "H", "H")
    (system,), perceived = perceive_bare([molecule], torsions=False)
    angles = {name: array for name, array in {**system.arrays, **perceived.arrays}.items() if name.startswith("angle")}
    terms = {name: angles.pop(name) for name in ("angle_atoms", "angle_types")}
    references = ReferenceData()
    references.add_hessian(molecule.hessian)
    references.add_frequencies(molecule.frequencies()[8:], range(8, 12), weight=0.001)
    references.add_energy(2.0, weight=0.1)
    system, forcefield = System(molecule, **terms, **TERMS), ForceField(form="harmonic", **angles, **OWN)
    objective = FusedObjective(
        [system],
        forcefield,
        references,
        parameter_scale="typical",
        ties=Tie.ratio("morse 1 a", "morse 0 a", 1.1),
    )
    return system, forcefield, objective


def own_energy(molecule):
    """The energy of `TERMS` with `OWN`, in plain NumPy."""
    x = molecule.coordinates

    def distance(i, j):
        return np.linalg.norm(x[i] - x[j])

    energy = 90.0 * (1.0 - np.exp(-2.0 * (distance(0, 1) - 1.4))) ** 2
    energy += sum(110.0 * (1.0 - np.exp(-2.2 * (distance(*pair) - 0.95))) ** 2 for pair in ((0, 2), (1, 3)))
    axis = (x[1] - x[0]) / distance(0, 1)
    first, second = (v - (v @ axis) * axis for v in (x[2] - x[0], x[3] - x[1]))
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    energy += 11.0 * (distance(0, 1) - 1.35) * cosine
    for i, j, factor in ((2, 3, 0.5), (0, 3, 1.0), (1, 2, 0.25)):
        a, b = (OWN[f"repulsion_{name}"] for name in ("strengths", "steepnesses"))
        types = [TERMS["repulsion_types"][atom] for atom in (i, j)]
        strength, steepness = np.sqrt(a[types[0]] * a[types[1]]), (b[types[0]] + b[types[1]]) / 2.0
        energy += factor * strength * np.exp(-steepness * distance(i, j))
    return energy


@pytest.mark.parametrize("register", REGISTRATIONS)
def test_a_declaration_takes_at_most_15_lines(register):
    own = {"register_morse": morse, "register_stretch_torsion": stretch_torsion}.get(register.__name__)
    assert sum(len(inspect.getsource(part).splitlines()) for part in (register, own) if part) <= 15


def test_the_energy_is_that_of_the_formulas_in_every_form():
    system, forcefield, _ = case()
    only = replace(system, angle_atoms=(), angle_types=())
    (found,) = evaluate_all([only], replace(forcefield, form="mm3"))
    assert found.energy == pytest.approx(own_energy(system.molecule), rel=tolerances.CLOSED_FORM)
    for form in FORMS.values():
        assert form.energies["morse"] is morse and form.energies["stretch_torsion"] is stretch_torsion


def test_labels_bounds_and_scales_follow_from_the_declarations():
    _, forcefield, objective = case()
    own = ["morse 0 D", "morse 0 a", "morse 0 r0", "morse 1 D", "morse 1 a", "morse 1 r0", "stretch_torsion 0 k"]
    own += ["stretch_torsion 0 r0", "repulsion 0 A", "repulsion 0 B", "repulsion 1 A", "repulsion 1 B"]
    assert list(forcefield.labels[-12:]) == own
    assert objective.labels == tuple(label for label in forcefield.labels if label != "morse 1 a")
    assert objective.expand(objective.x0)[-8] == pytest.approx(2.2)
    assert forcefield.bounds.lb[-12:].tolist() == [1.0, 0.5, 0.5, 1.0, 0.5, 0.5, -50.0, 0.5, 0.0, 0.5, 0.0, 0.5]
    assert forcefield.typical_scale[-12:].tolist() == [10.0, 0.2, 0.1, 10.0, 0.2, 0.1, 5.0, 0.1, 100.0, 0.2, 100.0, 0.2]
    negative = replace(forcefield, morse_depths=[-1.0, 5.0])
    assert negative.unphysical() == {len(forcefield.labels) - 12: "above 0"}


def test_loss_gradient_and_jacobian_agree_with_finite_differences_of_residuals():
    *_, objective = case()
    x, step = objective.x0, 1e-4
    residuals, jacobian = objective.residuals(x), objective.residuals_jac(x)
    for column, unit in enumerate(np.eye(len(x))):
        near, far = (objective.residuals(x + n * step * unit) - objective.residuals(x - n * step * unit) for n in (1, 2))
        error = np.abs(jacobian[:, column] - (8.0 * near - far) / (12.0 * step)).max()
        assert error <= tolerances.STENCIL * np.abs(jacobian).max(), objective.labels[column]
    assert objective.fun(x) == pytest.approx(residuals @ residuals, rel=tolerances.REGROUP)
    gradient = objective.jac(x)
    assert np.abs(gradient - 2.0 * residuals @ jacobian).max() <= tolerances.JAC * np.abs(gradient).max()


def test_a_pickled_objective_is_the_same_and_is_refused_where_the_kind_is_not_known():
    system, forcefield, objective = case()
    pickled = pickle.dumps(objective)
    copied, x = pickle.loads(pickled), objective.x0 + 0.01
    assert copied.fun(x) == objective.fun(x) and copied.fingerprint == objective.fingerprint
    alone = [pickle.dumps(each) for each in (system, forcefield)]
    with forgotten_after():
        for kind in ("morse", "stretch_torsion", "repulsion"):
            del KINDS[kind]
        with pytest.raises(TopologyError, match="h2o2: a system has no 'morse_atoms'.*register_kind"):
            pickle.loads(alone[0])
        with pytest.raises(ParameterError, match="a force field has no field 'morse_depths'.*register_kind"):
            pickle.loads(alone[1])
        with pytest.raises((TopologyError, ParameterError), match="register_kind"):
            pickle.loads(pickled)


def test_frozen_terms_of_these_kinds_are_a_constant():
    system, forcefield, objective = case()
    active = ["angle_force_constants", "repulsion 1 A"]  # that of the oxygen atoms
    frozen = FusedObjective([system], forcefield, objective.references, active=active, parameter_scale="typical")
    assert set(frozen.problem.stacks[0].terms) == {"angle"}
    (bucket,) = frozen.problem.stacks[0].buckets
    assert np.argwhere(np.triu(bucket.pairs["repulsion"].present[0, 0])).tolist() == [[0, 3], [1, 2]]
    assert frozen.fun(frozen.x0) == pytest.approx(objective.fun(objective.x0), rel=tolerances.REGROUP)
    columns = [objective.labels.index(label) for label in frozen.labels]
    gradient = objective.jac(objective.x0)
    error = np.abs(frozen.jac(frozen.x0) - gradient[columns]).max()
    assert error <= tolerances.REGROUP_GRADIENT * np.abs(gradient).max()


def test_a_force_field_in_a_file_is_the_same(tmp_path):
    _, forcefield, _ = case()
    write_forcefield(tmp_path / "own.json", forcefield)
    read = read_forcefield(tmp_path / "own.json")
    np.testing.assert_array_equal(read.parameters, forcefield.parameters)
    assert read.labels == forcefield.labels and read.arrays.keys() == forcefield.arrays.keys()


def test_a_form_may_have_another_energy_and_other_combinations_for_them():
    def quadratic(deviation, depth, steepness, length):
        return depth * steepness**2 * deviation**2

    register_form(
        "own", like="amber", morse=quadratic, combine_strengths=arithmetic_mean, combine_repulsion_steepnesses=geometric_mean
    )
    x = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]])
    molecule = replace(case()[0].molecule, symbols=("O", "O"), coordinates=x, hessian=None, masses=None, waived=CHECKS)
    terms = ({"morse_atoms": [(0, 1)], "morse_types": [0]}, {"repulsion_pairs": [(0, 1)], "repulsion_types": [0, 1]})
    found = evaluate_all([System(molecule, **each) for each in terms], ForceField(form="own", **OWN))
    expected = 90.0 * 2.0**2 * 0.1**2, 0.5 * (900.0 + 2500.0) * np.exp(-np.sqrt(3.1 * 3.6) * 1.5)
    np.testing.assert_allclose([each.energy for each in found], expected, rtol=tolerances.CLOSED_FORM)


def test_short_names_of_combinations_stay_those_of_the_kind_that_had_them_first():
    with forgotten_after():
        size = Parameter("soft_radii", "s", "Å", (0.1, 5.0), 0.1)
        register_kind(PairKind("soft", size), lambda distance, size: size / distance, soft_radii=arithmetic_mean)
        register_form("softer", combine_radii=max, combine_soft_radii=min)
        assert FORMS["softer"].combinations["vdw_radii"] is max and FORMS["softer"].combinations["soft_radii"] is min


def test_a_kind_is_registered_once():
    with pytest.raises(FormError, match="'morse'.*taken.*another name"):
        register_morse()
