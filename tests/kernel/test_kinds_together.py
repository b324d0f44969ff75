"""All kinds of terms and pairs at once, with a background: derivatives by every parameter, padding, precision, batches."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
import tolerances
from helpers import poisoned, problem_of
from kinds_cases import damped_form, everything, forgotten_after
from oracles import exact
from oracles.cases import references_of_all_kinds

from q2mm_accel import Background, Reference, System
from q2mm_accel.datasets import load_molecule
from q2mm_accel.kernel import loss as kernel
from q2mm_accel.kernel.jacobian import residuals_and_jacobian
from q2mm_accel.model.kinds import KINDS, pair_kinds, term_kinds
from q2mm_accel.parameters.space import parameter_space
from q2mm_accel.problem import layout
from q2mm_accel.problem.build import build_problem
from q2mm_accel.problem.layout import Stack
from q2mm_accel.problem.precision import in_precision
from q2mm_accel.runtime import exclusive_eigh

QUICK = {"xla_backend_optimization_level": 0}
"""For programs that run few times, and take seconds to compile."""

structured = jax.jit(residuals_and_jacobian, compiler_options=QUICK)
residuals = jax.jit(kernel.residuals, compiler_options=QUICK)


@pytest.fixture(scope="module", autouse=True)
def registry():
    """The damped form is forgotten afterwards."""
    with forgotten_after():
        yield


def run(problem, vector):
    """Residuals and Jacobian as NumPy arrays."""
    with exclusive_eigh():
        return [np.asarray(array) for array in structured(problem, vector)]


def background(n_atoms, seed):
    """Some energy, gradient and symmetric Hessian."""
    rng = np.random.default_rng(seed)
    hessian = rng.normal(scale=5.0, size=(3 * n_atoms, 3 * n_atoms))
    return Background(rng.normal(), rng.normal(size=(n_atoms, 3)), hessian + hessian.T)


@cache
def case():
    """Two molecules of different size in one bucket with all kinds, the smaller one with a background.

    And C2H2, exactly straight, with nothing but a damped torsion, of which a Hessian element and the energy are compared.
    """
    systems, forcefield = everything(damped_form())
    systems[0] = replace(systems[0], background=background(systems[0].molecule.n_atoms, 8))
    references = list(references_of_all_kinds(systems))
    systems.append(System(load_molecule("c2h2"), torsion_atoms=[(0, 1, 2, 3)], torsion_types=[0]))
    references += [Reference("hessian_element", 1.0, system=2, index=(0, 0)), Reference("energy", 1.0, system=2)]
    space = parameter_space(forcefield, parameter_scale="typical")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "quantised", lambda count: count + 1)  # everything is padded
        problem = problem_of(systems, forcefield, references, plan=[[0, 1, 2]], space=space)
    return systems, forcefield, references, problem, space.start


@cache
def found():
    """Residuals and Jacobian there."""
    *_, problem, vector = case()
    return run(problem, vector)


def test_every_kind_occurs_in_both_molecules_and_every_parameter_is_used():
    systems, forcefield, references, *_ = case()
    for system in systems[:2]:
        assert all(len(system.terms(kind)[0]) for kind in term_kinds())
        assert all(len(np.unique(system.pairs(kind).factors)) == 2 for kind in pair_kinds())
    assert len({reference.kind for reference in references}) == 6
    jacobian = found()[1][: len(references)]
    assert np.all(np.any(jacobian != 0.0, axis=0)) and np.all(np.isfinite(jacobian))
    assert {label.rsplit(" ", 2)[0] for label in forcefield.labels} == set(KINDS)


def test_a_torsion_that_is_gone_leaves_no_trace():
    values, jacobian = (array[len(case()[2]) - 2 : len(case()[2])] for array in found())
    np.testing.assert_array_equal(values, [1.0, 1.0])
    assert not np.any(jacobian)


def test_derivatives_by_every_parameter_are_exact():
    systems, forcefield, references, *_ = case()
    scale = forcefield.typical_scale
    rows = [row for row, r in enumerate(references) if r.system == 0 and r.kind in ("energy", "hessian_element")]
    jacobian, start = found()[1], exact.exact_parameters(forcefield)
    functions = {"energy": exact.energy, "hessian_element": exact.atomic_units_hessian}
    here = {kind: function(systems[0], forcefield, start) for kind, function in functions.items()}
    for place, label in enumerate(forcefield.labels):
        moved = (*start[:place], start[place] + exact.PARAMETER_STEP, *start[place + 1 :])
        for kind, function in functions.items():
            own = [row for row in rows if references[row].kind == kind]
            difference = (function(systems[0], forcefield, moved) - here[kind]) / exact.PARAMETER_STEP
            slopes = [difference if kind == "energy" else difference[references[row].index] for row in own]
            weights = np.array([references[row].weight for row in own])
            expected = -weights * exact.to_array(slopes) * scale[place]
            error = np.abs(jacobian[own, place] - expected).max()
            assert error <= tolerances.JAC * np.abs(expected).max(), f"{label} {kind}: {error:.1e}"


def test_the_jacobian_of_all_references_agrees_with_finite_differences():
    _, forcefield, references, problem, vector = case()
    (values, jacobian), step, real = found(), 1e-4, slice(len(references))
    assert np.all(np.isfinite(values))
    for column, label in enumerate(forcefield.labels):
        unit = np.eye(len(vector))[column]
        near, far = (run(problem, vector + n * step * unit)[0] - run(problem, vector - n * step * unit)[0] for n in (1, 2))
        expected = ((8.0 * near - far) / (12.0 * step))[real]
        error = np.abs(jacobian[real, column] - expected).max()
        assert error <= tolerances.STENCIL * np.abs(jacobian[real]).max(), f"{label}: {error:.1e}"


@pytest.mark.parametrize("fill", [np.nan, -np.inf], ids=str)
def test_what_padded_entries_hold_changes_no_bit(fill):
    *_, problem, vector = case()
    terms, (bucket,) = problem.stacks[0].terms, problem.stacks[0].buckets
    assert not any(np.all(each.present) for each in terms.values()) and not np.all(bucket.component_present)
    for one, other in zip(run(poisoned(problem, fill), vector), found(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_in_mixed_precision_one_molecule_at_a_time_has_the_same_residuals():
    systems, forcefield, references, _, vector = case()
    space = parameter_space(forcefield, parameter_scale="typical")
    turns = [Stack(((1, 6),), (((0,),), ((1,),), ((2,),)))]
    problem = in_precision(build_problem(systems, space, references, turns), "mixed")
    assert {terms.first[0].dtype for terms in problem.stacks[0].terms.values()} == {np.dtype(np.float32)}
    with exclusive_eigh():
        values = np.asarray(residuals(problem, vector))[: len(references)]
    expected = found()[0][: len(references)]
    assert np.abs(values - expected).max() <= tolerances.LOSS_SINGLE * np.abs(expected).max()
