"""The same loss, residuals, parameter vector and bounds as q2mm 5.0.0a2, which runs beside it.

Covered: CH3F, methanol (with van der Waals terms) and two Rh-enamide structures, every kind of reference at a fixed
geometry. Not covered: what 5.0.0a2's engine does not have (the form mm3, torsions, Urey-Bradley terms, references to
Hessian elements).
"""

import warnings
from contextlib import contextmanager

import jax
import numpy as np
import pytest
import tolerances
from q2mm.backends.mm.jax_engine import JaxEngine
from q2mm.models.forcefield import AngleParam, BondParam, VdwParam
from q2mm.models.forcefield import ForceField as Q2MMForceField
from q2mm.models.molecule import Q2MMMolecule
from q2mm.models.seminario import estimate_force_constants
from q2mm.optimizers.objective import ObjectiveFunction
from q2mm.optimizers.objective import ReferenceData as Q2MMReferenceData

from q2mm_accel import FusedObjective, Molecule
from q2mm_accel.datasets import load_molecule
from q2mm_accel.datasets.rh_enamide import rh_enamide_in_q2mm
from q2mm_accel.errors import InteropError, LinearityError, UnmatchedTermWarning, UnusedParameterWarning
from q2mm_accel.interop.pairing import match_as_q2mm
from q2mm_accel.units import HESSIAN_AU_TO_KJMOLA2

KINDS = ("energy", "frequency", "eig_diagonal", "eig_offdiagonal")
Q2MM_ANGLE_LIMIT = 179.974
"""[degrees] Beyond it q2mm clips the cosine of an angle, which leaves the angle without force and Hessian."""
Q2MM_NEAR_LINEAR = 1e-4
"""x largest residual. Close to 180 degrees the arccosine of the cosine loses digits, and its derivatives more."""


@contextmanager
def q2mm_running():
    """q2mm mixes dtypes and ranks, which our own code may not."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def residuals_of_q2mm(objective, x):
    """Those of references with weight, as ours."""
    with q2mm_running():
        residuals = objective.residuals(x)
    return residuals[[value.weight != 0.0 for value in objective.reference.values]]


def add_references(references, molecule, engine, forcefield, number, threshold):
    """An energy, the frequencies above the threshold [cm⁻¹] and the whole eigenmatrix.

    A mode that becomes imaginary moves the positions of those below it, but not of those well above 0.
    """
    quantum = Molecule(molecule.symbols, molecule.geometry, hessian=molecule.hessian).frequencies()
    with q2mm_running():
        computed = engine.frequencies(molecule, forcefield)
    for value, mode in zip(*match_as_q2mm(quantum, computed, threshold), strict=True):
        references.add_frequency(float(value), data_idx=int(mode), weight=0.001, molecule_idx=number)
    references.add_eigenmatrix_from_hessian(molecule.hessian, molecule_idx=number)
    references.add_energy(-3.0, weight=0.5, molecule_idx=number)


def only(objective, kind):
    """The objective with the references of one kind."""
    values = [value for value in objective.reference.values if value.kind == kind]
    return ObjectiveFunction(objective.forcefield, objective.engine, objective.molecules, Q2MMReferenceData(values))


def objective_of_q2mm(name, vdws=()):
    """All kinds of references to a shipped molecule, from q2mm's own first guess."""
    ours = load_molecule(name)
    molecule = Q2MMMolecule(list(ours.symbols), ours.coordinates, hessian=ours.hessian, name=name)
    forcefield = estimate_force_constants(molecule)
    forcefield.vdws = list(vdws)
    references, engine = Q2MMReferenceData(), JaxEngine()
    add_references(references, molecule, engine, forcefield, 0, threshold=300.0)
    return ObjectiveFunction(forcefield, engine, [molecule], references)


@pytest.fixture(scope="module")
def ch3f():
    return objective_of_q2mm("ch3f")


@pytest.fixture(scope="module")
def methanol():
    return objective_of_q2mm("methanol", [VdwParam("H", 1.2, 0.02), VdwParam("C", 1.9, 0.05), VdwParam("O", 1.8, 0.06)])


@pytest.fixture(scope="module")
def rh_enamide():
    """The first and the fourth structure (36 and 62 atoms), as q2mm 5.0.0a2 reads them, Hessians in hartree/bohr²."""
    everything, forcefield = rh_enamide_in_q2mm()
    molecules = [everything[0], everything[3]]
    forcefield = estimate_force_constants(molecules, forcefield)
    references, engine = Q2MMReferenceData(), JaxEngine()
    for number, molecule in enumerate(molecules):
        add_references(references, molecule, engine, forcefield, number, threshold=50.0)
    return ObjectiveFunction(forcefield, engine, molecules, references)


def assert_agrees(theirs, ours, x):
    """Loss and residuals at x, each compared with the largest residual."""
    expected = residuals_of_q2mm(theirs, x)
    assert ours.fun(x) == pytest.approx(np.sum(expected**2), rel=tolerances.Q2MM_LOSS)
    allowed = tolerances.Q2MM_LOSS * np.max(np.abs(expected))
    np.testing.assert_allclose(ours.residuals(x), expected, rtol=0.0, atol=allowed)


def from_q2mm(theirs):
    """Carry over; that van der Waals parameters of atoms without 1-4 neighbours are unused is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedParameterWarning)
        return FusedObjective.from_q2mm(theirs, check=None)


def points_near(x, count):
    """x, and random points about a percent away."""
    noise = 0.01 * np.random.default_rng(20261123).standard_normal((count, len(x)))
    return [x, *(x * (1.0 + noise))]


@pytest.mark.parametrize(
    ("molecule", "kind"),
    [
        *(pytest.param("ch3f", kind, marks=pytest.mark.exhaustive) for kind in KINDS),
        ("ch3f", "all"),
        pytest.param("methanol", "all", marks=pytest.mark.exhaustive),
    ],
)
def test_a_small_molecule_has_the_loss_and_residuals_of_q2mm(molecule, kind, request):
    complete = request.getfixturevalue(molecule)
    theirs = complete if kind == "all" else only(complete, kind)
    start = complete.forcefield.get_param_vector()
    ours = from_q2mm(theirs)
    for x in points_near(start, 5):
        assert_agrees(theirs, ours, x)
    complete.forcefield.set_param_vector(start)


def test_parameter_vector_and_bounds_are_those_of_q2mm(methanol):
    ours = from_q2mm(methanol)
    np.testing.assert_array_equal(ours.x0, methanol.forcefield.get_param_vector())
    np.testing.assert_array_equal(np.stack([ours.bounds.lb, ours.bounds.ub], axis=1), methanol.forcefield.get_bounds())
    assert ours.labels[:4] == ("bond C-O k", "bond C-O r0", "bond C-H k", "bond C-H r0")
    assert ours.labels[-2:] == ("vdw O radius", "vdw O epsilon")


def test_the_gradient_of_the_energies_is_that_of_q2mm(ch3f):
    theirs = only(ch3f, "energy")
    x = 1.02 * ch3f.forcefield.get_param_vector()
    with q2mm_running():
        expected = theirs.gradient(x)
    allowed = tolerances.JAC * np.max(np.abs(expected))
    np.testing.assert_allclose(FusedObjective.from_q2mm(theirs).jac(x), expected, rtol=0.0, atol=allowed)


def test_the_objective_of_q2mm_is_only_read(ch3f):
    before = ch3f.forcefield.get_param_vector(), ch3f.n_eval, len(ch3f.reference.values)
    ours = FusedObjective.from_q2mm(ch3f)
    ours.fun(1.1 * ours.x0)
    assert np.array_equal(before[0], ch3f.forcefield.get_param_vector())
    assert before[1:] == (ch3f.n_eval, len(ch3f.reference.values))


def test_a_hessian_in_other_units_leaves_the_loss_as_it_is_in_q2mm(ch3f):
    molecule = ch3f.molecules[0].with_hessian(HESSIAN_AU_TO_KJMOLA2 * ch3f.molecules[0].hessian)
    references = Q2MMReferenceData()
    references.add_eigenmatrix_from_hessian(molecule.hessian)
    theirs = ObjectiveFunction(ch3f.forcefield, ch3f.engine, [molecule], references)
    assert_agrees(theirs, FusedObjective.from_q2mm(theirs), ch3f.forcefield.get_param_vector())


def test_a_direct_solve_of_an_objective_of_q2mm_is_its_minimum_or_says_why_not(ch3f):
    """Elements of eigenmatrices are linear; frequencies are not."""
    references, molecule = Q2MMReferenceData(), ch3f.molecules[0]
    references.add_eigenmatrix_from_hessian(molecule.hessian)
    theirs = ObjectiveFunction(ch3f.forcefield, ch3f.engine, [molecule], references)
    ours = FusedObjective.from_q2mm(theirs)
    found = ours.solve_linear()
    assert found.success and found.fun == pytest.approx(
        np.sum(residuals_of_q2mm(theirs, found.x) ** 2), rel=tolerances.Q2MM_LOSS
    )
    # the whole gradient vanishes: no bound is in the way of a quadratic function's minimum
    assert found.at_bounds == () and np.abs(found.jac).max() <= tolerances.JAC * np.abs(ours.jac(ours.x0)).max()
    with pytest.raises(LinearityError, match=r"frequency \d+ of system 0 \(molecule 0 \(ch3f\)\).*add_normal_modes"):
        FusedObjective.from_q2mm(only(ch3f, "frequency")).solve_linear()


@pytest.mark.network
def test_rh_enamide_has_the_loss_and_residuals_of_q2mm(rh_enamide):
    start = rh_enamide.forcefield.get_param_vector()
    with pytest.warns(UnmatchedTermWarning, match="22 bonds, 120 angles; the first is the bond O1-C2 of molecule 0"):
        ours = from_q2mm(rh_enamide)
    kinds = np.array([reference.kind for reference in ours.references])
    for x in points_near(start, 1):
        assert_agrees(rh_enamide, ours, x)
        expected, residuals = residuals_of_q2mm(rh_enamide, x), ours.residuals(x)
        for kind in KINDS:
            loss = np.sum(expected[kinds == kind] ** 2)
            assert np.sum(residuals[kinds == kind] ** 2) == pytest.approx(loss, rel=tolerances.Q2MM_LOSS), kind
    rh_enamide.forcefield.set_param_vector(start)


@pytest.mark.parametrize(("angle", "same"), [(179.9, True), (Q2MM_ANGLE_LIMIT - 0.001, True), (179.98, False)])
def test_q2mm_still_has_no_stiffness_in_angles_that_are_nearly_linear(angle, same):
    """By default that is an error; by option the angle is clipped here too."""
    bend = np.radians(180.0 - angle)
    geometry = np.array([[0.0, 0.0, -1.06], [0.0, 0.0, 0.0], [1.15 * np.sin(bend), 0.0, 1.15 * np.cos(bend)]])
    forcefield = Q2MMForceField(
        bonds=[BondParam(("C", "H"), 1.06, 6.0), BondParam(("C", "N"), 1.15, 15.0)],
        angles=[AngleParam(("H", "C", "N"), 180.0, 0.5)],
    )
    molecule = Q2MMMolecule(["H", "C", "N"], geometry, hessian=np.diag(np.arange(1.0, 10.0)), name="hcn")
    references = Q2MMReferenceData()
    references.add_eigenmatrix_from_hessian(molecule.hessian, diagonal_only=True, weights={"eig_i": 0.1})
    theirs = ObjectiveFunction(forcefield, JaxEngine(), [molecule], references)
    x = forcefield.get_param_vector()
    expected = residuals_of_q2mm(theirs, x)
    clipped = FusedObjective.from_q2mm(theirs, clipped_angles=True, check=None)
    assert clipped.space.forcefield.form == "harmonic-clipped"
    np.testing.assert_allclose(clipped.residuals(x), expected, rtol=0.0, atol=Q2MM_NEAR_LINEAR * np.max(np.abs(expected)))
    difference = np.max(np.abs(FusedObjective.from_q2mm(theirs, check=None).residuals(x) - expected))
    if same:
        assert difference <= Q2MM_NEAR_LINEAR * np.max(np.abs(expected))
    else:
        assert difference > 0.01 * np.max(np.abs(expected))
        with q2mm_running(), pytest.raises(InteropError, match="the angle H0-C1-N2 of .* is 179.98 .*clipped_angles=True"):
            FusedObjective.from_q2mm(theirs)
