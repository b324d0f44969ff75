"""Objectives of q2mm with references to relaxed geometries, on JaxEngine and OpenMMEngine, beside the originals."""

import dataclasses
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tolerances
from q2mm.backends.mm.jax_engine import JaxEngine
from q2mm.backends.mm.openmm import OpenMMEngine
from q2mm.models.forcefield import VdwParam
from q2mm.models.molecule import Q2MMMolecule
from q2mm.models.seminario import estimate_force_constants
from q2mm.optimizers.objective import ObjectiveFunction, ReferenceData
from scipy.optimize import Bounds

from q2mm_accel import EngineObjective, FusedObjective, accelerate, compare
from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import BoundsWarning, DifferenceWarning, InteropError, OptionError
from q2mm_accel.interop.engines import engine_terms
from q2mm_accel.interop.original import come_to_ours, detached, rounding, values_of_q2mm
from q2mm_accel.interop.q2mm import beside, problem_from_q2mm, weighed
from q2mm_accel.model.reference_table import RELAXED


@pytest.fixture(autouse=True)
def _as_q2mm_needs_it():
    """q2mm mixes dtypes and ranks, which our own code may not."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def objective(name, engine, vdws=()):
    """q2mm's default references, the torsion of hydrogen peroxide, an energy, frequencies and the eigenmatrix."""
    ours = load_molecule(name)
    molecule = Q2MMMolecule(list(ours.symbols), ours.coordinates, hessian=ours.hessian, name=name)
    forcefield = estimate_force_constants(molecule)
    forcefield.vdws = list(vdws)
    references = ReferenceData.from_molecule(molecule, frequencies=ours.frequencies(), include_eigenmatrix=True)
    references.add_bond_length(1.0, data_idx=1)
    references.add_bond_angle(100.0, data_idx=0)
    if name == "h2o2":
        references.add_torsion_angle(150.0, atom_indices=(2, 0, 1, 3), weight=0.3)
    references.add_energy(-1.0)
    return ObjectiveFunction(forcefield, engine, [molecule], references)


@pytest.fixture(scope="module")
def peroxide():
    return objective("h2o2", JaxEngine())


def converted(theirs, **options):
    """With what is warned of, as (category, message)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fused = FusedObjective.from_q2mm(theirs, **options)
    return fused, [(each.category, str(each.message)) for each in caught]


def test_relaxed_references_are_carried_over(peroxide):
    """q2mm's minimizer stops where the energy changes by 2e-9 of itself: lengths are some 1e-6 Å off, soft torsions more."""
    fused, _ = converted(peroxide, check="warn")
    theirs = values_of_q2mm(detached(peroxide), fused.x0)
    kinds, ours = np.array([value.kind for _, value in weighed(peroxide)]), fused.predictions(fused.x0)
    for kind, allowed in tolerances.RELAXED_BY_Q2MM.items():
        np.testing.assert_allclose(ours[kinds == kind], theirs[kinds == kind], rtol=0.0, atol=allowed, err_msg=kind)
    assert {*tolerances.RELAXED_BY_Q2MM, "energy", "frequency", "eig_diagonal", "eig_offdiagonal"} == {*kinds.tolist()}
    # the residual of a torsion has the other sign, for ours are IUPAC's
    torsion = next(value for value in peroxide.reference.values if value.kind == "torsion_angle")
    (own,) = (reference for reference in fused.references if reference.kind == "torsion_angle")
    assert (own.value, own.index) == (-torsion.value, (2, 0, 1, 3))


def test_the_original_is_only_read(peroxide):
    vector, history = peroxide.forcefield.get_param_vector(), list(peroxide.history)
    handles, count = dict(peroxide._handles), peroxide.n_eval
    values_of_q2mm(detached(peroxide), 1.01 * vector)
    assert np.array_equal(peroxide.forcefield.get_param_vector(), vector)
    assert (peroxide.history, peroxide._handles, peroxide.n_eval) == (history, handles, count)


def test_openmm_is_carried_over_to_its_differences():
    vdws = [VdwParam("H", 1.2, 0.02), VdwParam("C", 1.9, 0.05), VdwParam("O", 1.8, 0.06)]
    theirs = objective("methanol", OpenMMEngine("Reference"), vdws)
    fused, caught = converted(theirs)
    assert fused.space.forcefield.form == "mm3" and len(fused.systems[0].vdw_pairs) == 3
    (early,) = (message for category, message in caught if category is DifferenceWarning)
    assert "whose minimizer stops early; run on, it comes to ours" in early
    comparison = compare(theirs, fused, n=1)
    assert comparison.values_agree and comparison.engine == "OpenMMEngine"
    values = dict(zip([v.kind for _, v in weighed(theirs)], values_of_q2mm(detached(theirs), fused.x0), strict=True))
    ours = dict(zip([reference.kind for reference in fused.references], fused.predictions(fused.x0), strict=True))
    assert ours["energy"] == pytest.approx(values["energy"], rel=tolerances.OPENMM_ENERGY_RELATIVE)
    assert ours["eig_offdiagonal"] == pytest.approx(values["eig_offdiagonal"], abs=1e-6)  # its differences


class Wrong(ObjectiveFunction):
    """A q2mm whose formulas have changed."""

    def _compute_residuals(self):
        residuals = super()._compute_residuals()
        residuals[-1] += 1e-3
        return residuals


@pytest.fixture(scope="module")
def wrong():
    ours = load_molecule("water")
    molecule = Q2MMMolecule(list(ours.symbols), ours.coordinates, hessian=ours.hessian, name="water")
    references = ReferenceData()
    references.add_frequency(1600.0, data_idx=6, weight=0.01)
    references.add_energy(0.0, label="of water")
    return Wrong(estimate_force_constants(molecule), JaxEngine(), [molecule], references)


def test_values_that_differ_are_errors_or_warned_of(wrong):
    words = r"2 values are not those of q2mm, .*molecule 0 \(water\), energy of water \(reference 1\).*other formulas"
    with pytest.raises(InteropError, match=f"{words}.* check='warn'"):
        FusedObjective.from_q2mm(wrong)
    with pytest.warns(DifferenceWarning, match=words):
        FusedObjective.from_q2mm(wrong, check="warn")
    assert converted(wrong, check=None)[1] == []
    with pytest.raises(OptionError, match="check is 'no'; choose one of 'error', 'warn', None"):
        FusedObjective.from_q2mm(wrong, check="no")


def test_a_molecule_that_q2mm_treats_otherwise_among_others_is_named(wrong):
    class Batched(ObjectiveFunction):
        def _compute_residuals(self):
            residuals = super()._compute_residuals()
            return residuals + 1e-3 * (len(self.molecules) > 1)

    references = ReferenceData()
    for number in range(2):
        references.add_energy(0.0, molecule_idx=number)
    theirs = Batched(wrong.forcefield, wrong.engine, wrong.molecules * 2, references)
    with pytest.raises(InteropError, match="this molecule alone: commit 0c795729"):
        FusedObjective.from_q2mm(theirs)


def test_an_objective_that_q2mm_cannot_evaluate_is_refused(wrong):
    references = ReferenceData()
    hydrogens = [number for number, symbol in enumerate(wrong.molecules[0].symbols) if symbol == "H"]
    references.add_bond_length(1.5, atom_indices=tuple(hydrogens))
    theirs = ObjectiveFunction(wrong.forcefield, wrong.engine, wrong.molecules, references)
    with pytest.raises(InteropError, match="q2mm itself cannot evaluate this objective: KeyError.*No bond found"):
        FusedObjective.from_q2mm(theirs)


@pytest.mark.parametrize(("factor", "cause"), [(-10.0, "reaction coordinate"), (2600.0, "Jaguar reader")])
def test_a_start_outside_the_bounds_of_q2mm_is_held_and_warned_of(wrong, factor, cause):
    forcefield = wrong.forcefield.copy()
    forcefield.bonds = [dataclasses.replace(bond, force_constant=factor * bond.force_constant) for bond in forcefield.bonds]
    theirs = ObjectiveFunction(forcefield, wrong.engine, wrong.molecules, wrong.reference)
    with pytest.warns(BoundsWarning, match=f"1 of q2mm's 4 parameters start outside .*bond H-O k at .*{cause}"):
        problem = problem_from_q2mm(theirs)
    assert problem.x0[0] in (problem.bounds.lb[0], problem.bounds.ub[0])
    np.testing.assert_array_equal(problem.x0, forcefield.get_param_vector())


class Exceptions:
    """The pairs that OpenMM's NonbondedForce treats otherwise: left out, left out, halved."""

    def getNumExceptions(self):
        return 3

    def getExceptionParameters(self, number):
        return ([(0, 1), (0, 2), (3, 0)][number], None)[0]


def test_the_harmonic_form_of_later_openmm_engines(monkeypatch):
    """Its objects are imitated: arithmetic radii, 1-4 pairs at half, impropers among torsions, Urey-Bradley pairs."""

    def term(**atoms):
        names = {f"atom_{letter}": atom for letter, atom in atoms.items()}
        return SimpleNamespace(**names, elements=(), env_id="", ff_row=None, periodicity=2, is_improper=True)

    types = [SimpleNamespace(ub_force_constant=None), SimpleNamespace(ub_force_constant=3.0)]
    dihedrals = [SimpleNamespace(periodicity=n) for n in (1, 2)]
    forcefield = SimpleNamespace(
        bonds=types,
        angles=types,
        torsions=dihedrals,
        vdws=types,
        match_bond=lambda *_, **__: types[1],
        match_angle=lambda *_, **__: types[1],
        match_torsion=lambda *_, is_improper, **__: dihedrals if is_improper else [],
        match_vdw=lambda *, atom_type, **_: types[atom_type],
    )
    handle = SimpleNamespace(
        functional_form=SimpleNamespace(value="harmonic"),
        bond_terms=[term(i=0, j=1)],
        angle_terms=[term(i=0, j=1, k=2)],
        torsion_terms=[term(i=0, j=1, k=2, l=3)],
        ub_terms=[term(i=0, k=2)],
        vdw_terms=[SimpleNamespace(atom_type=n % 2, element="", ff_row=None) for n in range(4)],
        vdw_force=Exceptions(),
        exceptions_14=[SimpleNamespace(exception_index=2)],
        cmap_terms=[],
    )
    engine = OpenMMEngine("Reference")
    monkeypatch.setattr(engine, "create_context", lambda *_: handle)
    found = engine_terms(engine, forcefield, None, "x")
    terms = {name: np.asarray(value).tolist() for name, value in found.terms.items()}
    assert found.form == "amber"
    assert [terms[f"{kind}_types"] for kind in ("bond", "angle", "torsion", "urey_bradley")] == [[1], [1], [1], [0]]
    assert terms["vdw_pairs"] == [[0, 3], [1, 2], [1, 3], [2, 3]] and terms["vdw_factors"] == [0.5, 1.0, 1.0, 1.0]
    assert terms["vdw_types"] == [0, 1, 0, 1] and terms["urey_bradley_atoms"] == [[0, 2]]
    handle.cmap_terms = [1]
    with pytest.raises(InteropError, match="x: q2mm's engine evaluates 1 terms of the kind 'cmap'"):
        engine_terms(engine, forcefield, None, "x")


def test_what_accelerate_made_of_an_objective_is_carried_over_as_the_original(wrong):
    accelerated = accelerate(wrong, check=None)
    again = FusedObjective.from_q2mm(accelerated, check=None, l2=0.1)
    assert again.fun(again.x0) == accelerated(again.x0) and EngineObjective(accelerated).fun(again.x0) == wrong(again.x0)


def test_a_difference_of_parameters_that_are_0_is_found(wrong):
    """A percent of nothing would be nothing."""
    x = beside(np.array([0.0, 2.0]), Bounds([-1.0, 0.0], [1.0, 2.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(x, [0.01, 2.0])


def test_minimizers_that_end_elsewhere_are_not_excused(peroxide):
    """What running q2mm's minimizer on changes is no licence: its values must come to ours."""
    probe, patient = detached(peroxide), detached(peroxide, patient=True)
    x = peroxide.forcefield.get_param_vector()
    theirs, on = values_of_q2mm(probe, x), values_of_q2mm(patient, x)
    allowed, relaxed = rounding(probe, theirs), np.array([value.kind in RELAXED for _, value in weighed(peroxide)])
    far = np.where(relaxed, 2.0 * theirs - on - 10.0 * allowed, theirs)  # as far as it moves, the other way
    assert not come_to_ours(patient, x, theirs, far, allowed).any()
    assert come_to_ours(patient, x, theirs + 10.0 * allowed * relaxed, on, allowed)[relaxed].all()


def test_options_that_an_engine_cannot_have_are_refused():
    theirs = objective("water", OpenMMEngine("Reference"))
    with pytest.raises(InteropError, match="clipped_angles is for q2mm's JaxEngine; those of OpenMMEngine"):
        FusedObjective.from_q2mm(theirs, clipped_angles=True)
    theirs.engine = object()
    with pytest.raises(OptionError, match="clipped_angles: objectives on a object cannot have that"):
        FusedObjective.from_q2mm(theirs, clipped_angles=True)
    with pytest.raises(OptionError, match="check is 'no'"):
        FusedObjective.from_q2mm(theirs, check="no")
