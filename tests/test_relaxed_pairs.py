"""References at own minima that are known on paper: all that an objective computes, fits, copies, and what has no value."""

import pickle
from functools import cache

import numpy as np
import pytest
import relaxed_pairs
import tolerances
from relaxed_pairs import FORCEFIELD, LABELS, SYSTEMS, VALUES, WEIGHTS, on_paper

from q2mm_accel import FusedObjective, Reference, Status
from q2mm_accel.errors import ReferenceDataError, RelaxationError

objective = cache(relaxed_pairs.objective)


def changed(**values) -> np.ndarray:
    """The start with other values, named as labels are, with _ for blanks."""
    x = objective().x0.copy()
    for name, value in values.items():
        x[LABELS.index(name.replace("_", " "))] = value
    return x


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=tolerances.RELAXED_JAC * np.abs(expected).max())


def test_all_that_is_computed_is_as_on_paper():
    own = objective()
    x, direction = own.x0, np.array([-30.0, 0.02, 10.0, 0.01])
    assert own.labels == LABELS
    values, slopes, second = on_paper(x)
    residuals, jacobian = WEIGHTS * (VALUES - values), -WEIGHTS[:, None] * slopes
    assert_close(own.predictions(x), values)
    assert_close(own.residuals(x), residuals)
    assert_close(own.residuals_jac(x), jacobian)
    assert own.fun(x) == pytest.approx(residuals @ residuals, rel=tolerances.RELAXED_JAC)
    assert_close(own.jac(x), 2.0 * jacobian.T @ residuals)
    assert_close(own.hess(x), 2.0 * jacobian.T @ jacobian)
    exact = 2.0 * jacobian.T @ jacobian
    exact[0, 0] -= 2.0 * WEIGHTS[1] * residuals[1] * second
    assert_close(own.hessp(x, direction), exact @ direction)
    others = np.stack([x, changed(bond_1_r0=1.0), changed(bond_0_k=900.0)])
    assert_close(own.fun_batch(others), [np.sum((WEIGHTS * (VALUES - on_paper(each)[0])) ** 2) for each in others])


FUNCTIONS = {
    "fun": lambda own, x: own.fun(x),
    "jac": lambda own, x: own.jac(x),
    "predictions": lambda own, x: own.predictions(x),
    "residuals": lambda own, x: own.residuals(x),
    "residuals_jac": lambda own, x: own.residuals_jac(x),
    "hess": lambda own, x: own.hess(x),
    "hessp": lambda own, x: own.hessp(x, np.ones(len(x))),
    "fun_batch": lambda own, x: own.fun_batch(np.stack([own.x0, x, own.x0])),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_molecules_that_are_not_held_are_never_used(function):
    """A length alone is read of them, whose derivative would be 0: neither that nor anything else is a result."""
    own = objective()
    value = own.fun(own.x0)
    with pytest.raises(RelaxationError, match=r"hold 1 molecule\(s\).*: hf: .* bounds: none\. Best.*in \.best"):
        FUNCTIONS[function](own, changed(bond_1_k=-600.0))
    assert own.best is not None and own.best.fun <= value
    assert own.fun(own.x0) == value


def test_atoms_that_nothing_holds_stay_where_they_are():
    assert_close(objective().predictions(changed(bond_1_k=0.0)), [*on_paper(objective().x0)[0][:2], 0.97])


def test_a_fit_finds_them_and_one_that_starts_without_is_an_error():
    fit = objective().solve_native("levenberg-marquardt")
    assert fit.success and fit.fun <= tolerances.RECOVERED_LOSS * objective().fun(objective().x0)
    np.testing.assert_allclose(on_paper(fit.x)[0], VALUES, rtol=tolerances.RECOVERED)
    with pytest.raises(RelaxationError, match=r"hf: "):
        objective().solve_native("levenberg-marquardt", x0=changed(bond_1_k=-600.0))


@pytest.mark.exhaustive
def test_of_many_starts_those_that_do_not_hold_their_molecules_end_without_a_result():
    """Half of them have a force constant below 0."""
    fit = objective().solve_native("levenberg-marquardt", n_starts=8, spread=3.0)
    bad = (fit.starts["x0"][:, [0, 2]] < 0.0).any(axis=1)
    assert 0 < bad.sum() < len(bad)
    assert np.isinf(fit.starts["fun"][bad]).all() and (fit.starts["status"][bad] == Status.NON_FINITE).all()
    assert fit.success and fit.fun <= tolerances.RECOVERED_LOSS * objective().fun(objective().x0)


def test_copies_have_the_same_bits():
    own, copied = objective(), pickle.loads(pickle.dumps(objective()))
    x = changed(bond_1_r0=0.96, bond_0_k=1200.0)
    assert copied.fun(x) == own.fun(x)
    for name in ("jac", "predictions", "residuals_jac", "hess"):
        np.testing.assert_array_equal(getattr(copied, name)(x), getattr(own, name)(x))
    with pytest.raises(RelaxationError, match=r"hf: "):
        copied.fun(changed(bond_1_k=-600.0))


@pytest.mark.parametrize(
    "system, message", [(1, r"\(hf\): index 1 .* 2 atoms have 1 vibrations"), (3, "there is no system 3; there are 2")]
)
def test_vibrations_that_do_not_exist_are_refused(system, message):
    with pytest.raises(ReferenceDataError, match=message):
        FusedObjective(SYSTEMS, FORCEFIELD, [Reference("relaxed_frequency", 1.0, 1.0, system, 1)])
