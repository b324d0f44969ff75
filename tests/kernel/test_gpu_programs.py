"""Programs for a GPU, as JAX hands them to its compiler; none is needed for that."""

from functools import cache

import jax
import numpy as np
import pytest
from oracles.cases import references_of_all_kinds, systems_with_all_terms

from q2mm_accel import FusedObjective
from q2mm_accel import objective as programs
from q2mm_accel.solvers import fits as fit
from q2mm_accel.solvers.methods import METHODS
from q2mm_accel.solvers.native import fits_from
from q2mm_accel.solvers.options import Options

# some types of the set do not occur in the molecules chosen
pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning")

FUNCTIONS = ("value_and_gradient", "residuals", "jacobian", "normal_matrix", "hessian_product", "losses", "predictions")
EIGH = "@cusolver_syevd_ffi"


@cache
def every_kind(precision):
    """Two molecules with terms and references of every kind, one padded to the size of the other."""
    systems, field = systems_with_all_terms("mm3", ("formaldehyde", "h2o2"))
    return FusedObjective(systems, field, references_of_all_kinds(systems), precision=precision)


def lowered(program, *arguments):
    return program.trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


def assert_fit_for_gpus(program):
    """One batched eigenvalue problem, nothing that runs on the host, and the products of float32, none with 10 bits."""
    assert program.count(EIGH) == 1
    assert "callback" not in program and "lapack" not in program
    products = [line for line in program.splitlines() if "dot_general" in line and "f32>" in line]
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)
    return products


SHORT = ("value_and_gradient", "jacobian")


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *((name, "float32") for name in FUNCTIONS),
        *(pytest.param(name, "mixed", marks=() if name in SHORT else pytest.mark.exhaustive) for name in FUNCTIONS),
    ],
)
def test_everything_an_objective_computes_can_run_on_a_gpu(name, precision):
    objective = every_kind(precision)
    x = objective.x0
    arguments = {"hessian_product": (x, x), "losses": (np.stack([x, x]),)}.get(name, (x,))
    assert assert_fit_for_gpus(lowered(getattr(programs, name), objective.problem, *arguments)) or precision == "mixed"


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_pure_loss_inside_another_program_can_run_on_a_gpu(precision):
    objective = every_kind(precision)
    assert_fit_for_gpus(lowered(jax.jit(jax.grad(jax.jit(objective.loss))), objective.x0))


@pytest.mark.parametrize(
    "method",
    [method if method != "projected-gradient" else pytest.param(method, marks=pytest.mark.exhaustive) for method in METHODS],
)
def test_every_native_method_can_run_on_a_gpu(method):
    objective = every_kind("float32")
    fits = fits_from(objective.inputs, method, objective.x0, objective.bounds, Options(n_starts=3))
    arguments = (None, method, fits.history_size, fits.setting, fits.lanes, fits.lanes.nit + 10, np.asarray(5))
    promotion, ranks = fit.relaxed_promotion()
    with promotion, ranks:
        assert assert_fit_for_gpus(lowered(fit.run_segment, *arguments))
