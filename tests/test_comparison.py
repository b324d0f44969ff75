"""`compare` agrees where nothing differs, and names what was made to differ."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from q2mm_cases import water_objective
from refusals import assert_refused

from q2mm_accel import FusedObjective, accelerate, compare
from q2mm_accel.comparison import Row
from q2mm_accel.errors import InteropError, OptionError
from q2mm_accel.interop.original import DIFFERENCES, EXACT, RELAXED_BY


@pytest.fixture(scope="module")
def theirs():
    return water_objective()


@pytest.fixture(scope="module")
def fused(theirs):
    return FusedObjective.from_q2mm(theirs)


def rebuilt(fused, systems=None, references=None, **options):
    """The same problem with something planted."""
    return FusedObjective(
        fused.systems if systems is None else systems,
        fused.space.forcefield,
        list(fused.references) if references is None else references,
        x0=fused.x0,
        bounds=fused.bounds,
        parameter_scale=fused.space.scale,
        **options,
    )


def test_equal_objectives_agree_and_the_original_stays_as_it_is(theirs, fused):
    before = theirs.forcefield.get_param_vector().copy(), theirs.n_eval, list(theirs.history), dict(theirs._handles)
    found = compare(theirs, fused, n=3)
    np.testing.assert_array_equal(theirs.forcefield.get_param_vector(), before[0])
    assert (theirs.n_eval, theirs.history, theirs._handles) == before[1:]
    assert found.agrees and found.values_agree and found.loss_agrees and found.slope_agrees and found.unequal == ()
    assert {(row.kind, row.n) for row in found.rows} == {("frequency", 3), ("eig_diagonal", 8)}
    assert len(found.losses) == 3 and found.losses[0][0] == pytest.approx(theirs(before[0]), rel=EXACT)
    assert len({pair[0] for pair in found.losses}) == 3
    assert min(found.seconds) > 0.0 and found.n_parameters == 4
    text = str(found).splitlines()
    assert len(text) <= 25 and max(map(len, text)) <= 160 and text[-1].startswith("They agree")
    with pytest.raises(FrozenInstanceError):
        found.rows = ()


def test_an_accelerated_objective_is_compared_with_its_original(theirs):
    accelerated = accelerate(theirs)
    assert compare(accelerated, accelerated, n=1).agrees
    assert accelerated.n_eval == 0


def test_the_points_are_within_bounds_and_the_seed_makes_them(theirs):
    narrow = FusedObjective.from_q2mm(theirs)
    narrow.bounds.lb[:], narrow.bounds.ub[:] = narrow.x0, narrow.x0
    at_start = compare(theirs, narrow, n=2).losses
    assert at_start[0] == at_start[1]
    fused = FusedObjective.from_q2mm(theirs)
    assert compare(theirs, fused, n=2, seed=1).losses == compare(theirs, fused, n=2, seed=1).losses
    assert compare(theirs, fused, n=2, seed=1).losses != compare(theirs, fused, n=2, seed=2).losses


def test_a_planted_mass_is_found_where_it_acts(theirs, fused):
    (system,) = fused.systems
    masses = system.molecule.masses * np.array([1.0, 1.00001, 1.0])
    other = rebuilt(fused, systems=[replace(system, molecule=replace(system.molecule, masses=masses))])
    found = compare(theirs, other, n=2)
    assert not found.agrees and not found.values_agree
    assert [row.excess > 1.0 for row in found.rows] == [True, False]
    assert found.rows[0].kind == "frequency" and found.rows[0].molecule == "molecule 0 (water)"
    for words in ("They differ: the frequency", "(mode ", "molecule 0 (water)", "mass"):
        assert words in str(found)


@pytest.mark.parametrize(("what", "number"), [("weight", 2), ("value", 5)])
def test_a_planted_weight_or_reference_value_is_named(theirs, fused, what, number):
    references = list(fused.references)
    references[number] = replace(references[number], **{what: 1.001 * getattr(references[number], what)})
    found = compare(theirs, rebuilt(fused, references=references), n=1)
    assert not found.agrees and found.values_agree and len(found.unequal) == 1
    label = references[number].label
    assert f"the {what} of" in found.verdict and label in found.verdict and "before anything is computed" in found.verdict


def test_a_changed_loss_is_found(theirs, fused):
    assert compare(theirs, rebuilt(fused, l2=1e-6), n=1).agrees  # 0 at the start
    found = compare(theirs, rebuilt(fused, l2=1.0), n=2)
    assert found.values_agree and not found.loss_agrees and not found.agrees
    assert "an option such as loss, l2 or priors" in found.verdict


def test_a_wrong_gradient_is_found(theirs, fused, monkeypatch):
    right = fused.fun_and_jac
    monkeypatch.setattr(fused, "fun_and_jac", lambda x: (right(x)[0], 1.001 * right(x)[1]))
    found = compare(theirs, fused, n=1)
    assert found.values_agree and found.loss_agrees and not found.slope_agrees and not found.agrees
    assert "slopes do not" in found.verdict


def test_what_q2mm_cannot_evaluate_is_said(theirs, fused):
    class Failing(type(theirs)):
        def residuals(self, vector):
            if not np.allclose(vector, fused.x0, rtol=1e-6):
                raise KeyError("No bond found for atoms (0, 1).")
            return super().residuals(vector)

    failing = Failing(theirs.forcefield, theirs.engine, theirs.molecules, theirs.reference)
    assert compare(failing, fused, n=1).agrees
    assert_refused(lambda: compare(failing, fused, n=2), InteropError, ["q2mm itself", "No bond found", "n=1"])


def test_torsion_angles_differ_by_the_shorter_way_round():
    row = Row("torsion_angle", "molecule 0", 1, "0", 0, 179.9, -179.8, 1e-3)
    assert row.difference == pytest.approx(0.3) and row.excess == pytest.approx(300.0)


def test_tolerances_follow_kinds_and_engines(theirs, fused):
    class Differencing(type(theirs.engine)):
        """As JaxEngine, but nothing says that its Hessians are exact."""

    loose = water_objective()
    loose.engine = Differencing()
    exact, rough = compare(theirs, fused, n=1), compare(loose, fused, n=1)
    assert [row.kind for row in exact.rows] and rough.agrees
    for row in rough.rows:
        strict = next(other for other in exact.rows if other.kind == row.kind)
        if row.reference == strict.reference:
            assert row.allowed > 1e3 * strict.allowed
    assert EXACT < min(RELAXED_BY.values()) <= max(RELAXED_BY.values()) < DIFFERENCES


def test_what_cannot_be_compared_is_refused(theirs, fused):
    references = list(fused.references)
    others = water_objective()
    others.molecules.append(others.molecules[0])
    others.reference.values[0].molecule_idx = 1
    for call, error, words in (
        (lambda: compare(theirs, fused, n=0), OptionError, ["n is 0"]),
        (lambda: compare(theirs, fused, n=1.5), OptionError, ["n"]),
        (lambda: compare(theirs, theirs), InteropError, ["fused"]),
        (lambda: compare(None, fused), InteropError, ["NoneType", "forcefield"]),
        (lambda: compare(theirs, FusedObjective.from_q2mm(theirs, active="bond *")), OptionError, ["active"]),
        (lambda: compare(theirs, rebuilt(fused, references=references[1:])), InteropError, ["references with a weight"]),
        (lambda: compare(others, fused), InteropError, ["molecule 1 in q2mm, and to 0"]),
    ):
        assert_refused(call, error, words)
