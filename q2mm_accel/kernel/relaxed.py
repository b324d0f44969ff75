"""What references read at a force field's own stationary points, with exact derivatives of any order.

Where ∂E/∂x = 0 for all parameters p, ∂x = -H⁺ ∂²E/∂x∂p by the implicit function theorem. No step of the relaxation is
differentiated: a gradient costs one solution with H per molecule, whatever the number of parameters.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from q2mm_accel.kernel.coordinates import HARMLESS, closed, moved, straight
from q2mm_accel.kernel.hessian import gradients, hessians
from q2mm_accel.kernel.relaxation import Relaxed, relax
from q2mm_accel.kernel.rigid import rigid_motions
from q2mm_accel.kernel.slopes import by_elements
from q2mm_accel.kernel.spectrum import KEPT, eigenpairs, mass_weighted
from q2mm_accel.kernel.trust_region import Limits, Outcome, flatness
from q2mm_accel.problem.arrays import MEASURES, Bucket, Expansion, Internals, Relaxing
from q2mm_accel.problem.internal import PIECES
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU

LIMITS = Limits(largest_gradient=1e-8, n_steps=200, farthest=3.0)
"""Of relaxations inside of an objective."""
_DIRECTIONS_AT_A_TIME = 16
"""In which derivatives are taken together, to save memory."""


def relaxed_batch(relaxing: Relaxing, parameters):
    """What references read of relaxed molecules, (P,); NaN, or a penalty, of those that have not converged.

    Eigenvalues [hartree/(bohr² u)], distances [Å], supplements of angles and dihedrals [rad]. The same where there is no
    such coordinate any more: an angle of 0, a dihedral through a straight angle; NaN of a vibration that is lost.

    Args:
        relaxing: the molecules.
        parameters: (n_parameters,).

    Returns:
        The values.
    """
    batch = relaxing.batch
    places, found = stationary(relaxing, parameters)
    converged = [each.outcome == Outcome.CONVERGED for each in found]
    results, after = [], 0.0
    if any(relaxing.spectra):
        matrices = hessians(moved(batch, places), parameters)
        for number, bucket in enumerate(batch.buckets):
            if relaxing.spectra[number]:
                values = _vibrations(bucket, places[number], matrices[number], after)
                after = 0.0 * jax.lax.stop_gradient(jnp.nan_to_num(values[0, 0]))
                # a molecule that was linear and is no longer has a vibration less
                vibrates = jnp.arange(values.shape[1])[None] < found[number].free.sum(axis=1)[:, None]
                missing = 0.0 if relaxing.penalized else jnp.nan
                held = jnp.where(vibrates, values, jnp.nan)
                results.append(jnp.where(converged[number][:, None], held, missing).reshape(-1))
    flat, held = _flat(places), jnp.concatenate(converged)
    instead = _penalties(relaxing, parameters) if relaxing.penalized else None
    for measure in MEASURES:  # a dictionary's own order is lost where it passes through JAX
        if measure in relaxing.internals:
            internals = relaxing.internals[measure]
            molecule, other = jnp.where(internals.present, internals.molecule, 0), jnp.nan
            if instead is not None:
                start = _flat([bucket.start for bucket in batch.buckets])
                other = _values(measure, internals, start)[0] + instead[molecule]
            values, defined = _values(measure, internals, flat)
            results.append(jnp.where(held[molecule] & defined, values, other))
    return jnp.concatenate(results)[relaxing.read]


def _flat(places):
    return jnp.concatenate([place.reshape(-1) for place in places])


def _penalties(relaxing: Relaxing, parameters):
    """By how much coordinates of each molecule are off if it does not converge, (molecules,): smooth in parameters."""
    batch = relaxing.batch
    forces = gradients(moved(batch, [bucket.start for bucket in batch.buckets]), parameters)
    return relaxing.penalty * jnp.sqrt(1.0 + jnp.concatenate([(each**2).sum(axis=1) for each in forces]))


def _values(measure: str, internals: Internals, flat):
    """Internal coordinates (K,) from all components, and whether each has derivatives where the molecule is."""
    components = jnp.where(internals.present[:, None], internals.components, 0)
    points = flat[components].reshape(len(components), -1, 3)
    harmless = jnp.asarray(HARMLESS[: points.shape[1]], flat.dtype)[None]
    points = jnp.where(internals.present[:, None, None], points, harmless)
    defined = {"angle": ~closed(points), "dihedral": ~straight(points)}.get(measure, internals.present)
    return PIECES[measure](jnp.where(defined[:, None, None], points, harmless), xp=jnp)[0], defined


def _vibrations(bucket: Bucket, place, hessian, after):
    """Eigenvalues (M, D) of the mass-weighted Hessians at stationary points, rigid motions and padding last.

    There rigid motions are eigenvectors of eigenvalue 0 anyway: moving them up changes no derivative.
    """
    weighted = mass_weighted(bucket, hessian * KCALMOLA2_TO_HESSIAN_AU)
    scale = jnp.where(bucket.component_present, bucket.inverse_root_masses, 1.0)
    basis = jax.lax.stop_gradient(jax.vmap(rigid_motions)(place, bucket.component_present, 1.0 / scale))
    bound = jax.lax.stop_gradient(jnp.maximum(jnp.abs(weighted).sum(axis=-1).max(axis=-1), 1e-3))
    return eigenpairs(weighted + bound[:, None, None] * (jnp.swapaxes(basis, 1, 2) @ basis) + after)[0]


def outcomes(relaxing: Relaxing, parameters):
    """How the relaxation of every molecule ended, (molecules of all buckets,) `Outcome`, and its largest gradient."""
    found = relax(relaxing.batch, parameters, LIMITS, relaxing.upward)
    ends = jnp.concatenate([each.outcome for each in found])
    return jnp.stack(
        [ends.astype(parameters.dtype), jnp.concatenate([jnp.abs(each.gradient).max(axis=1) for each in found])]
    )


@jax.custom_jvp
def stationary(relaxing: Relaxing, parameters) -> tuple[list, list[Relaxed]]:
    """Coordinates of stationary points, of each bucket (M, D), and all that is known of them.

    Only the coordinates have derivatives, and only by the parameters.
    """
    found = relax(relaxing.batch, parameters, LIMITS, relaxing.upward)
    return [each.coordinates for each in found], found


@stationary.defjvp
def _stationary_jvp(primals, tangents):
    relaxing, parameters = primals
    # named, so that batches in turn keep them and do not relax again for the gradient (`over_batches`)
    places, found = jax.tree.map(lambda each: checkpoint_name(each, KEPT), stationary(relaxing, parameters))
    there = moved(relaxing.batch, places)
    _, pulls = jax.jvp(partial(gradients, there), (parameters,), (tangents[1],))
    matrices = hessians(there, parameters)
    moves = [
        jax.vmap(_move)(*each)
        for each in zip(found, places, matrices, pulls, [b.component_present for b in relaxing.batch.buckets], strict=True)
    ]
    return (places, found), (moves, jax.tree.map(_no_tangent, found))


def _no_tangent(leaf):
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _move(found: Relaxed, place, hessian, pull, present):
    """-H⁺ times a change of the gradient, (D,) of one molecule: no rigid motion, nothing along flat modes.

    The matrix has derivatives, the decomposition with which it is inverted needs none.
    """
    rigid = jax.lax.stop_gradient(rigid_motions(place, present))

    def without_rigid(vectors):
        return vectors - (vectors @ rigid.T) @ rigid

    def times(vector):
        return without_rigid(hessian @ without_rigid(vector))

    curvatures, modes = (jax.lax.stop_gradient(each) for each in (found.curvatures, found.modes))
    steep = found.free & (jnp.abs(curvatures) > flatness(curvatures, found.free))

    def solve(_, vector):
        return modes @ jnp.where(steep, (vector @ modes) / jnp.where(steep, curvatures, 1.0), 0.0)

    return -jax.lax.custom_linear_solve(times, without_rigid(pull), solve, symmetric=True)


def relaxed_slopes(n_elements: int, relaxing: Relaxing, parameters, expansion: Expansion):
    """What `relaxed_batch` gives, (P,), and its derivatives by the vector (n, P): NaN of what is NaN itself."""
    found, push = jax.linearize(partial(relaxed_batch, relaxing), parameters)
    directions = by_elements(expansion, jnp.eye(len(parameters), dtype=parameters.dtype), n_elements)
    slopes = jax.lax.map(push, directions, batch_size=_DIRECTIONS_AT_A_TIME)
    return found, jnp.where(jnp.isnan(found)[None], jnp.nan, slopes)
