"""Local pieces at moving geometries: equal to those that NumPy makes once, and derivatives of each other.

All kinds of terms and pairs of the package in one batch, at geometries up to half an Å away; torsions of a form that damps
them; angles from 0 to a radian off straight. The pieces of NumPy are exact (`test_exact.py`), so those that are traced are.
"""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tolerances
from helpers import problem_of
from kinds_cases import damped_form, everything, forgotten_after
from oracles.cases import at

from q2mm_accel.kernel.coordinates import moved
from q2mm_accel.kernel.hessian import whole_mechanics
from q2mm_accel.problem.internal import angle_pieces, dihedral_pieces, distance_pieces

pytestmark = pytest.mark.filterwarnings("ignore::q2mm_accel.errors.LinearAngleWarning")

fixed = jax.jit(whole_mechanics)


@jax.jit
def moving(batch, coordinates, parameters):
    """Energies, gradients and Hessians at other coordinates."""
    return whole_mechanics(moved(batch, coordinates), parameters)


@pytest.fixture(scope="module", autouse=True)
def forms():
    with forgotten_after():
        damped_form()
        yield


def batch_of(systems, forcefield, fill=0.0):
    problem = problem_of(systems, forcefield, moving=True, fill=fill)
    return jax.tree.map(lambda leaf: leaf[0], problem.stacks[0])


def test_pieces_that_move_are_those_computed_there():
    systems, forcefield = everything("mm3")
    here, rng = batch_of(systems, forcefield, fill=np.nan), np.random.default_rng(2)
    for size in (0.0, 0.02, 0.1, 0.2):
        there = [
            replace(system, molecule=at(system.molecule, system.molecule.coordinates + rng.normal(size=(n, 3)) * size))
            for system, n in ((system, system.molecule.n_atoms) for system in systems)
        ]
        expected = batch_of(there, forcefield)
        found = moving(here, [bucket.coordinates for bucket in expected.buckets], forcefield.parameters)
        wanted = fixed(expected, forcefield.parameters)
        for name, ours, theirs in zip(("ENERGY", "FORCE", "HESSIAN"), found, wanted, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                scale = np.abs(other).max()
                assert np.abs(one - other).max() <= getattr(tolerances, name) * scale, (name, size)


def test_torsions_fade_at_straight_angles_as_they_do_where_nothing_moves():
    systems, forcefield = everything("damped")
    here = batch_of(systems, forcefield)
    straight = np.array(systems[1].molecule.coordinates)
    a, b, c, _ = systems[1].torsion_atoms[0]
    along = (straight[b] - straight[a]) / np.linalg.norm(straight[b] - straight[a])
    for offset in (0.0, 1e-4, 0.05, 0.2):  # [Å] off the line of the bond
        straight[c] = straight[b] + 1.4 * along + offset * np.cross(along, [0.6, 0.0, 0.8])
        changed = [systems[0], replace(systems[1], molecule=at(systems[1].molecule, straight))]
        # other kinds of terms that have the dihedral do not fade: only torsions are compared
        changed = [only_torsions(system) for system in changed]
        batch = batch_of(changed, forcefield)
        kept = replace(here, terms={"torsion": here.terms["torsion"]}, buckets=batch.buckets)
        found = moving(kept, [bucket.coordinates for bucket in batch.buckets], forcefield.parameters)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(fixed(batch, forcefield.parameters)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=tolerances.HESSIAN * max(np.abs(theirs).max(), 1.0))


def only_torsions(system):
    others = {kind: np.ones(len(system.terms(kind)[0]), dtype=bool) for kind in system.kinds if kind != "torsion"}
    others |= {kind: np.ones(len(system.pairs(kind).atoms), dtype=bool) for kind in system.pair_kinds}
    return system.without(others)


SUPPLEMENTS = np.array([1.0, 0.3, 0.1, 0.0999, 1e-2, 1e-3, 1e-5, 1e-7, 0.0])
"""[rad] The series of the arctangent begins at tan u = 0.1."""


@cache
def bent():
    """An angle with each of the supplements, turned and stretched at random; and two angles apart dihedrals."""
    rng = np.random.default_rng(1)
    points = []
    for u in SUPPLEMENTS:
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        points.append(np.array([[-1.1, 0.0, 0.0], [0.0, 0.0, 0.0], [1.3 * np.cos(u), 1.3 * np.sin(u), 0.0]]) @ turn.T)
    return np.array(points)


def traced(pieces):
    return jax.jit(lambda points: pieces(points, xp=jnp))


def test_angles_near_straight_are_traced_as_they_are_computed():
    for ours, theirs in zip(traced(angle_pieces)(bent()), angle_pieces(bent()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("pieces", [distance_pieces, angle_pieces, dihedral_pieces])
def test_pieces_are_derivatives_of_each_other(pieces):
    """By JAX; of u where it is no series too. So third derivatives, which need those of the second, are those of q."""
    width = {distance_pieces: 2, angle_pieces: 3, dihedral_pieces: 4}[pieces]
    rng = np.random.default_rng(7)
    points = rng.normal(size=(6, width, 3)) if width != 3 else bent()[:-1]

    @jax.jit
    @jax.vmap
    def differentiated(one):
        def flat(name):
            return lambda x: pieces(x.reshape(1, width, 3), xp=jnp)[name][0]

        x = one.reshape(-1)
        return jax.jacfwd(flat(0))(x), jax.jacfwd(flat(1))(x), jax.jacrev(flat(1))(x)

    slope, curvature, reverse = differentiated(points)
    value, first, second = pieces(points)
    if pieces is angle_pieces:  # ∂²(u²)/2 = ∂u ∂uᵀ + u ∂²u
        curvature, reverse = (value[:, None, None] * each for each in (curvature, reverse))
        second = second - first[:, :, None] * first[:, None, :]
    np.testing.assert_allclose(slope, first, rtol=0.0, atol=1e-9)
    for each in (curvature, reverse):
        np.testing.assert_allclose(each, second, rtol=0.0, atol=1e-9 * np.abs(second).max())
