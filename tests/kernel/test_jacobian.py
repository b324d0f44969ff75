"""The structured Jacobian of the residuals against forward differentiation, finite differences and formulas by hand."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
import tolerances
from helpers import problem_of
from oracles.cases import references_of_all_kinds, systems_with_all_terms

from q2mm_accel import ForceField, FusedObjective, Molecule, Prior, Reference, ReferenceData, System, Tie
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.kernel.jacobian import residuals_and_jacobian
from q2mm_accel.problem import layout
from q2mm_accel.problem.internal import NEARLY_LINEAR
from q2mm_accel.runtime import exclusive_eigh
from q2mm_accel.units import FREQUENCY_FACTOR, KCALMOLA2_TO_HESSIAN_AU

# some types of the set do not occur in every case
pytestmark = [
    pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning"),
    pytest.mark.filterwarnings("ignore:c2h2. 1 torsion:q2mm_accel.errors.UnmatchedTermWarning"),
]

NAMES = ("hcn", "formaldehyde", "h2o2")
"""Exactly linear, planar with an improper torsion, and with a proper one."""
PLAN = [[0, 1], [2]]
"""Two buckets, with a padded molecule in the first."""


def with_forward_differentiation(problem, vector):
    """Residuals and their Jacobian by JAX alone."""

    def twice(vector):
        found = kernel.residuals(problem, vector)
        return found, found

    found, aside = jax.jacfwd(twice, has_aux=True)(vector)
    return aside, found


structured = jax.jit(residuals_and_jacobian)
generic = jax.jit(with_forward_differentiation)
residuals = jax.jit(kernel.residuals)
gradient = jax.jit(jax.grad(kernel.loss, argnums=1))


def run(function, *arguments):
    """Results of a compiled function as NumPy arrays."""
    with exclusive_eigh():
        return jax.tree.map(np.asarray, function(*arguments))


def assert_agree(found, expected):
    """Residuals and Jacobians agree; derivatives by a parameter have a unit of their own, so each column is compared."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        scale = np.abs(other).max(axis=0)
        assert np.all(np.abs(one - other) <= tolerances.JAC * scale), np.max(np.abs(one - other) - tolerances.JAC * scale)


@cache
def case(form):
    """Molecules with every kind of term, and references of every kind."""
    systems, forcefield = systems_with_all_terms(form, NAMES)
    return systems, forcefield, list(references_of_all_kinds(systems))


@cache
def all_kinds(form):
    """The problem of the case, its parameters, and its residuals and Jacobian by forward differentiation."""
    systems, forcefield, references = case(form)
    problem = problem_of(systems, forcefield, references, plan=PLAN)
    return problem, forcefield.parameters, run(generic, problem, forcefield.parameters)


@cache
def by_structure(form):
    problem, vector, _ = all_kinds(form)
    return run(structured, problem, vector)


each_form = pytest.mark.parametrize("form", ["mm3", pytest.param("harmonic", marks=pytest.mark.exhaustive)])


@each_form
def test_all_kinds_of_references_and_terms_agree_with_forward_differentiation(form):
    expected = all_kinds(form)[2]
    labels = np.array(case(form)[1].labels)[np.any(expected[1] != 0.0, axis=0)]
    assert {label.split()[0] for label in labels} == {"bond", "angle", "torsion", "improper", "vdw", "urey_bradley"}
    assert_agree(by_structure(form), expected)


KINDS = {
    "energies": ("energy", "relative_energy"),
    "frequencies": ("frequency",),
    "Hessians": ("hessian_element",),
    "eigenmatrices": ("eig_diagonal", "eig_offdiagonal"),
}


@pytest.mark.parametrize(
    "kinds",
    ["frequencies", "Hessians", *(pytest.param(k, marks=pytest.mark.exhaustive) for k in ("energies", "eigenmatrices"))],
)
def test_the_rows_of_a_kind_of_references_do_not_depend_on_what_else_is_compared(kinds):
    systems, forcefield, references = case("mm3")
    expected = by_structure("mm3")
    rows = [number for number, reference in enumerate(references) if reference.kind in KINDS[kinds]]
    problem = problem_of(systems, forcefield, [references[row] for row in rows], plan=PLAN)
    found = run(structured, problem, forcefield.parameters)
    assert_agree([each[: len(rows)] for each in found], [each[rows] for each in expected])


def test_buckets_that_need_different_outputs_or_have_no_pairs_agree_with_forward_differentiation():
    systems, forcefield, references = case("harmonic")
    wanted = [("energy", "frequency"), ("hessian_element",), ("frequency",)]
    chosen = [reference for reference in references if reference.kind in wanted[reference.system]]
    systems = [replace(systems[0], vdw_pairs=()), *systems[1:]]
    problem = problem_of(systems, forcefield, chosen, plan=[[0], [1], [2]])
    assert [bucket.outputs for bucket in problem.stacks[0].buckets] == [
        ("energy", "eigenvalues"),
        ("hessian",),
        ("eigenvalues",),
    ]
    assert [bucket.geometry is None for bucket in problem.stacks[0].buckets] == [True, False, False]
    assert_agree(run(structured, problem, forcefield.parameters), run(generic, problem, forcefield.parameters))


def test_the_gradient_of_the_loss_is_twice_the_residuals_times_the_jacobian():
    problem, vector, _ = all_kinds("mm3")
    found_residuals, found = by_structure("mm3")
    assert_agree([2.0 * found_residuals @ found], [run(gradient, problem, vector)])


def test_what_padded_entries_hold_changes_no_bit(monkeypatch):
    monkeypatch.setattr(layout, "quantised", lambda count: count + 1)
    systems, forcefield, references = case("mm3")
    problems = [problem_of(systems, forcefield, references, plan=PLAN, fill=fill) for fill in (0.0, 1e30, np.nan, -np.inf)]
    assert not any(np.all(terms.present) for terms in problems[0].stacks[0].terms.values())
    clean, *poisoned = [run(structured, problem, forcefield.parameters) for problem in problems]
    real = slice(len(references))
    assert_agree([each[real] for each in clean], [each[real] for each in by_structure("mm3")])
    for number, found in enumerate(poisoned):
        for one, other in zip(found, clean, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"fill {number}")


def test_each_bucket_with_frequencies_is_diagonalized_once():
    problem, vector, _ = all_kinds("mm3")
    program = str(jax.make_jaxpr(residuals_and_jacobian)(problem, vector))
    assert program.count(" eigh[") == len(PLAN)


@pytest.mark.exhaustive
def test_many_vectors_at_once_give_what_single_ones_give():
    problem, vector, _ = all_kinds("mm3")
    vectors = vector * (1.0 + 1e-3 * np.arange(3.0)[:, None])
    lanes = run(jax.jit(jax.vmap(residuals_and_jacobian, (None, 0))), problem, vectors)
    for number, single in enumerate(vectors):
        assert_agree([each[number] for each in lanes], run(structured, problem, single))


@each_form
def test_an_epsilon_of_zero_switches_its_type_off_and_harms_no_other_derivative(form):
    problem, vector, _ = all_kinds(form)
    labels = list(case(form)[1].labels)
    own = next(number for number, label in enumerate(labels) if label.endswith("epsilon"))
    off = np.where(np.arange(len(vector)) == own, 0.0, vector)
    found, expected = run(structured, problem, off), run(generic, problem, off)
    assert_agree(found, expected)
    assert labels[own - 1].endswith("radius")
    assert np.all(found[1][:, own - 1 : own + 1] == 0.0)


@cache
def data_set():
    """All small minima and their frequencies, with bonds under tension and torsional barriers: no mode is soft."""
    loaded = load_problem("small")
    start = loaded.forcefield
    torsions = np.full_like(start.torsion_force_constants, 0.5)
    forcefield = replace(start, bond_lengths=0.97 * start.bond_lengths, torsion_force_constants=torsions)
    objective = FusedObjective(loaded.systems, forcefield, loaded.references, parameter_scale=forcefield.typical_scale)
    return objective.problem, objective.x0


def test_frequencies_of_a_data_set_agree_with_finite_differences():
    problem, x = data_set()
    angles = problem.stacks[0].terms["angle"]
    assert np.any(np.asarray(angles.coordinates[0])[np.asarray(angles.present)] < NEARLY_LINEAR), (
        "a linear angle is among them"
    )
    found, step = run(structured, problem, x)[1], 1e-4
    for column, unit in enumerate(np.eye(len(x))):
        near, far = (
            run(residuals, problem, x + n * step * unit) - run(residuals, problem, x - n * step * unit) for n in (1, 2)
        )
        expected = (8.0 * near - far) / (12.0 * step)
        error = np.abs(found[:, column] - expected).max()
        assert error <= tolerances.STENCIL * np.abs(found).max(), f"column {column}: {error:.1e}"


def test_ties_frozen_parameters_priors_and_robust_losses_agree_with_forward_differentiation():
    systems, forcefield, references = case("mm3")
    bonds = [label for label in forcefield.labels if label.startswith("bond") and label.endswith("k")]
    objective = FusedObjective(
        systems,
        forcefield,
        ReferenceData(references),
        parameter_scale=forcefield.typical_scale,
        active=[label for label in forcefield.labels if not label.endswith("theta0")],
        ties=[Tie(bonds[1], {bonds[0]: 0.5, bonds[2]: 0.25}, 10.0), *Tie.equal("vdw H radius", "vdw O radius")],
        priors=[Prior("bond_force_constants", 50.0), Prior("vdw_radii", 0.2)],
        loss="cauchy",
        f_scale=0.1,
    )
    problem, x = objective.problem, objective.x0 + 0.01
    assert problem.stacks[0].distinct and len(problem.priors.present)
    assert len(x) < len(forcefield.labels) and {reference.kind for reference in references} == set().union(*KINDS.values())
    assert_agree(run(structured, problem, x), run(generic, problem, x))


def diatomic(force_constant, length=1.13, equilibrium=1.13):
    """C-O with one harmonic bond and a reference to each of its six modes; all of it and its reduced mass [u]."""
    molecule = Molecule("CO", [[0.0, 0.0, 0.0], [0.3 * length, 0.4 * length, np.sqrt(0.75) * length]])
    system = System(molecule, bond_atoms=[(0, 1)], bond_types=[0])
    forcefield = ForceField(form="harmonic", bond_force_constants=[force_constant], bond_lengths=[equilibrium])
    problem = problem_of([system], forcefield, [Reference("frequency", 0.0, 1.0, index=mode) for mode in range(6)])
    return problem, forcefield.parameters, 1.0 / np.sum(1.0 / molecule.masses)


def test_the_stretch_of_a_diatomic_follows_the_root_of_its_force_constant():
    problem, vector, reduced = diatomic(900.0)
    frequency = FREQUENCY_FACTOR * np.sqrt(2.0 * 900.0 * KCALMOLA2_TO_HESSIAN_AU / reduced)
    found_residuals, found = run(structured, problem, vector)
    assert -found_residuals[5] == pytest.approx(frequency, rel=tolerances.CLOSED_FORM)
    assert -found[5, 0] == pytest.approx(frequency / 1800.0, rel=tolerances.CLOSED_FORM)
    assert abs(found[5, 1]) <= tolerances.CLOSED_FORM * frequency


def test_modes_without_any_stiffness_have_the_derivatives_at_the_smallest_frequency():
    """All six eigenvalues are 0, so that single derivatives depend on the choice of eigenvectors; their sum does not."""
    problem, vector, reduced = diatomic(0.0)
    slope = FREQUENCY_FACTOR**2 / 2.0  # of a frequency of 1 cm⁻¹, by its eigenvalue
    found = run(structured, problem, vector)[1]
    assert np.all(np.isfinite(found))
    assert -found[:, 0].sum() == pytest.approx(slope * 2.0 * KCALMOLA2_TO_HESSIAN_AU / reduced, rel=tolerances.CLOSED_FORM)
    assert np.all(found[:, 1] == 0.0)


def test_elements_of_matrices_that_several_references_read_agree_with_forward_differentiation():
    systems, forcefield, _ = case("mm3")
    places = [(3, 1), (1, 3), (3, 1), (4, 4), (4, 4), (5, 2)]
    references = [
        Reference(kind, 0.1 * number, 1.0 + number, system=system, index=place)
        for kind in ("hessian_element", "eig_offdiagonal")
        for system in (0, 2)
        for number, place in enumerate(places)
        if kind == "hessian_element" or place != (4, 4)
    ]
    problem = problem_of(systems, forcefield, references, plan=PLAN)
    assert not problem.stacks[0].distinct
    assert_agree(run(structured, problem, forcefield.parameters), run(generic, problem, forcefield.parameters))


def test_matrices_in_any_basis_agree_with_forward_differentiation():
    systems, forcefield, references = case("mm3")
    of_eigenmatrices = [reference for reference in references if reference.kind in KINDS["eigenmatrices"]]
    problem = problem_of(systems, forcefield, of_eigenmatrices, plan=PLAN)
    (stack,) = problem.stacks
    rng, count, buckets = np.random.default_rng(5), 5, []
    for bucket in stack.buckets:
        mixed = bucket.eigenvectors @ rng.standard_normal((bucket.eigenvectors.shape[-1], count))
        buckets.append(replace(bucket, eigenvectors=mixed))
    buckets = tuple(buckets)
    elements = sum(bucket.component_present.shape[1] * count**2 for bucket in buckets)
    read = np.arange(stack.read.size).reshape(stack.read.shape) % elements  # some elements above and below the diagonal
    problem = replace(problem, stacks=(replace(stack, buckets=buckets, read=read, distinct=False),))
    assert_agree(run(structured, problem, forcefield.parameters), run(generic, problem, forcefield.parameters))
