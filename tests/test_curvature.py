"""`hess` and `hessp` against differences of gradients, and as SciPy's minimizers use them."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tolerances
from bare import perceive_bare
from native_problems import ch3f, scipy_minimum
from oracles.cases import references_of_all_kinds, systems_with_all_terms
from refusals import assert_refused
from scipy.optimize import minimize

from q2mm_accel import FusedObjective, Prior, ReferenceData, Tie
from q2mm_accel import objective as programs
from q2mm_accel.datasets import load_molecule
from q2mm_accel.datasets.problems import load_problem
from q2mm_accel.errors import NonFiniteError, ParameterError
from q2mm_accel.model.plausibility import CHECKS

pytestmark = [
    pytest.mark.filterwarnings("ignore::q2mm_accel.errors.UnusedParameterWarning"),
    pytest.mark.filterwarnings("ignore:c2h2. 1 torsion:q2mm_accel.errors.UnmatchedTermWarning"),
]

OPTIONS = {
    "squares": {},
    "a robust loss": {"loss": "cauchy", "f_scale": 0.05},
    "priors and ties": {
        "priors": [Prior("bond_lengths", width=0.02)],
        "ties": Tie.equal("bond C-O k", "bond C-F k"),
    },
}


def distorted(**options):
    """CH3F and methanol, displaced so that no mode is degenerate, with stiff modes and Hessian elements."""
    rng, molecules = np.random.default_rng(2), [load_molecule(name) for name in ("ch3f", "methanol")]
    systems, field = perceive_bare(molecules, form="mm3")
    references = ReferenceData()
    for number, molecule in enumerate(molecules):
        points = molecule.coordinates + 0.05 * rng.standard_normal(molecule.coordinates.shape)
        systems[number] = replace(systems[number], molecule=replace(molecule, coordinates=points, waived=CHECKS))
        modes = range(3 * molecule.n_atoms - 6, 3 * molecule.n_atoms)
        references.add_frequencies(molecule.frequencies()[-6:], modes, weight=0.001, system=number)
        references.add_hessian(molecule.hessian, system=number)
    return FusedObjective(systems, field, references, parameter_scale="typical", **options)


@cache
def plain():
    return distorted()


@cache
def linear():
    """CH3F with its Hessian, in which force constants are linear."""
    problem, references = load_problem("ch3f", "harmonic"), ReferenceData()
    references.add_hessian(problem.systems[0].molecule.hessian)
    options = {"active": "* k", "parameter_scale": "typical", "l2": 1e-4}
    return FusedObjective(problem.systems, problem.forcefield, references, **options)


@cache
def linear_molecules(batch_size=None):
    """Molecules that have degenerate modes, for parameters that split none."""
    problem = load_problem("small", "mm3")
    numbers = [number for number, system in enumerate(problem.systems) if system.molecule.name in ("hcn", "c2h2")]
    references = [replace(r, system=numbers.index(r.system)) for r in problem.references if r.system in numbers]
    systems = [problem.systems[number] for number in numbers]
    return FusedObjective(systems, problem.forcefield, references, active="bond *", batch_size=batch_size)


def direction(objective, seed=3):
    return np.random.default_rng(seed).standard_normal(len(objective.x0))


def by_differences(objective, x, p, step=1e-5):
    return (objective.jac(x + step * p) - objective.jac(x - step * p)) / (2.0 * step)


def assert_close(found, expected, tolerance=tolerances.JAC):
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_products_with_the_hessian_are_differences_of_gradients(options):
    objective = distorted(**options)
    x, p = objective.x0, direction(objective)
    product = objective.hessp(x, p)
    assert product.shape == x.shape and product.dtype == np.float64 and product.flags.writeable
    assert_close(product, by_differences(objective, x, p), tolerances.CHECK_GRAD)


def test_the_hessian_is_symmetric_and_linear():
    x, first, second = plain().x0, direction(plain()), direction(plain(), 4)
    products = [plain().hessp(x, p) for p in (first, second, 2.0 * first - second)]
    assert second @ products[0] == pytest.approx(first @ products[1], rel=tolerances.JAC)
    assert_close(products[2], 2.0 * products[0] - products[1])


def test_where_residuals_are_linear_gauss_newton_is_the_hessian():
    x, hessian = linear().x0, linear().hess(linear().x0)
    assert_close(hessian, hessian.T, tolerances.SYMMETRY)
    assert np.linalg.eigvalsh(hessian)[0] > 0.0
    for unit, row in zip(np.eye(len(x)), hessian, strict=True):
        assert_close(linear().hessp(x, unit), row)
        assert_close(by_differences(linear(), x, unit, 0.1), row)


def test_elsewhere_gauss_newton_is_not_the_hessian_and_never_negative():
    x, p = plain().x0, direction(plain())
    assert np.linalg.eigvalsh(plain().hess(x))[0] > -tolerances.JAC * np.abs(plain().hess(x)).max()
    assert np.linalg.norm(plain().hess(x) @ p - plain().hessp(x, p)) > 0.01 * np.linalg.norm(plain().hessp(x, p))


def test_molecules_with_degenerate_modes_have_the_same_second_derivatives_in_batches():
    x, p = linear_molecules().x0, direction(linear_molecules())
    expected = linear_molecules().hessp(x, p)
    assert_close(linear_molecules(1).hessp(x, p), expected)
    assert_close(by_differences(linear_molecules(), x, p, 1e-4), expected, tolerances.CHECK_GRAD)


@pytest.mark.parametrize("batch_size", [None, 1])
def test_a_product_takes_one_eigendecomposition_of_each_matrix(batch_size):
    objective = linear_molecules(batch_size)
    text = programs.hessian_product.lower(objective.problem, objective.x0, objective.x0).as_text()
    assert text.count("custom_call @lapack_dsyevd") == 1


@pytest.mark.parametrize(
    ("method", "curvature"),
    [("Newton-CG", "hessp"), ("trust-constr", "hessp"), ("trust-constr", "hess"), ("dogleg", "hess")],
)
def test_minimizers_that_take_second_derivatives_end_at_the_minimum(method, curvature):
    scaled = linear() if method == "dogleg" else ch3f(parameter_scale="typical")
    options = {"xtol": 1e-10} if method in ("Newton-CG", "trust-constr") else {}
    second = {curvature: getattr(scaled, curvature)}
    result = minimize(scaled.fun, scaled.x0, jac=scaled.jac, method=method, options=options, **second)
    assert result.fun == pytest.approx(scipy_minimum(scaled, scaled.x0).fun, rel=tolerances.SAME_MINIMUM)


EVERYTHING = {
    "one batch": {},
    "batches": {"batch_size": 2},
    "frozen, tied and with priors": {
        "active": ["bond *", "vdw *"],
        "ties": Tie.equal("vdw H epsilon", "vdw O epsilon"),
        "priors": Prior("bond_lengths", width=0.02),
        "loss": "cauchy",
        "f_scale": 0.05,
    },
}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, marks=pytest.mark.exhaustive if "batch" in name else (), id=name)
        for name, options in EVERYTHING.items()
    ],
)
def test_gauss_newton_is_twice_the_square_of_the_jacobian(options):
    systems, field = systems_with_all_terms("mm3", ("formaldehyde", "h2o2", "hcn"))
    references = references_of_all_kinds(systems)
    references.add_hessian(systems[0].molecule.hessian)  # read twice
    references.add_relative_energies([0.0, 7.0], [0, 2], group="another")
    objective = FusedObjective(systems, field, references, parameter_scale="typical", **options)
    jacobian, found = objective.residuals_jac(objective.x0), objective.hess(objective.x0)
    expected = 2.0 * jacobian.T @ jacobian
    np.testing.assert_array_equal(found, found.T)
    scale = np.sqrt(np.where(np.diag(expected) > 0.0, np.diag(expected), 1.0))  # some parameters change nothing
    np.testing.assert_allclose(found / np.outer(scale, scale), expected / np.outer(scale, scale), atol=tolerances.JAC)


def test_gauss_newton_does_not_hold_the_jacobian():
    """Its memory is that of one batch, and of what references are."""
    molecule = load_molecule("methanol")
    systems, field = perceive_bare([molecule], form="mm3")
    used, sizes = [], []
    for count in (8, 24):
        references = ReferenceData()
        for number in range(count):
            references.add_hessian(molecule.hessian, system=number)
            references.add_eigenmatrix(molecule.hessian, system=number)
        objective = FusedObjective(systems * count, field, references, batch_size=1)
        program = programs.normal_matrix.lower(objective.problem, objective.x0).compile()
        used.append(program.memory_analysis().temp_size_in_bytes)
        sizes.append(8 * len(objective.references) * len(objective.x0))
    assert used[1] < 0.6 * sizes[1]
    assert used[1] - used[0] < 0.3 * (sizes[1] - sizes[0])


REFUSED = {
    "a direction of another length": ([1.0, 2.0], ("p must have the shape (8,)", "(2,)")),
    "a direction that is not finite": ([1.0] * 7 + [np.nan], ("p", "nan")),
}


@pytest.mark.parametrize(("p", "words"), REFUSED.values(), ids=REFUSED)
def test_directions_that_cannot_be_right_are_refused(p, words):
    assert_refused(lambda: ch3f().hessp(ch3f().x0, p), ParameterError, words)


def test_second_derivatives_that_are_not_finite_are_an_error():
    words = ("a second derivative is not finite",)
    assert_refused(lambda: ch3f().hessp(ch3f().x0 * 1e200, np.ones(8)), NonFiniteError, words)
