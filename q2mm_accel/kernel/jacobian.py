"""Residuals and their exact Jacobian at about the price of a gradient, from one eigendecomposition of each Hessian.

The Jacobian is made the other way round, a row for each element of the vector: so it lies in memory as it is computed.
Derivatives of energies and eigenvalues are few. Those of matrices can be hundreds of megabytes, mostly zeros: they are
added, tile by tile, where the residuals that read them have their places, and exist nowhere else.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.batches import over_batches, waiting
from q2mm_accel.kernel.loss import deviations, expand, from_centers
from q2mm_accel.kernel.modes import eigenvalue_slopes
from q2mm_accel.kernel.observables import gather, mechanics, spectra
from q2mm_accel.kernel.relaxed import relaxed_slopes
from q2mm_accel.kernel.slopes import Changes, by_elements, changes, energy_slopes, gradient_slopes
from q2mm_accel.kernel.tiles import (
    Tiling,
    hessian_tiles_of_pairs,
    local_changes,
    matrix_tiles,
    tiling,
)
from q2mm_accel.problem.arrays import MATRICES, Array, Batch, Bucket, Expansion, Problem, output_size

_NOWHERE = 2**31 - 1
"""A column beyond the end of every row."""


def residuals_and_jacobian(problem: Problem, vector):
    """The residuals at a vector (n,) and their derivatives by its elements.

    Args:
        problem: the problem.
        vector: shape (n,).

    Returns:
        `loss.residuals`, and the Jacobian with a row for each of them and n columns.
    """
    residuals, slopes = _residuals_and_slopes(problem, vector)
    return residuals, slopes.T


def turned_jacobian(problem: Problem, vector, workspace=None):
    """The Jacobian alone, turned: n rows, and a column for each residual. It may be written over `workspace`."""
    del workspace  # what is in it does not count; compiled functions are given it for its memory
    return _residuals_and_slopes(problem, vector)[1]


def _residuals_and_slopes(problem: Problem, vector):
    parameters = expand(problem, vector)
    of_priors, prior_slopes = prior_rows(problem, vector)
    observed = partial(with_slopes, len(vector))

    def of_only_batch(batch, parameters, expansion):
        seen = observed(batch, parameters, expansion)
        found, push = jax.linearize(partial(deviations, problem), seen.computed)
        slopes = jnp.zeros((len(vector), len(found)), found.dtype) if seen.slopes is None else jax.vmap(push)(seen.slopes)
        # no reference to a matrix depends on anything but what it reads itself
        places = _Places(_readers(problem), push(jnp.ones_like(seen.computed)))
        return found, _with_matrices(batch, seen.changes, jnp.concatenate([slopes, prior_slopes], axis=1), places)

    def of_batch(batch, parameters, expansion):
        seen = observed(batch, parameters, expansion)
        n_reads, dtype = len(batch.read), seen.computed.dtype
        slopes = jnp.zeros((len(vector), n_reads), dtype) if seen.slopes is None else seen.slopes
        places = _Places(jnp.arange(n_reads, dtype=jnp.int32), jnp.ones(n_reads, dtype))
        slopes = _with_matrices(batch, seen.changes, slopes, places)
        return seen.computed, slopes if batch.distinct else slopes[:, _first_readers(batch)]

    if _is_single(problem):
        found, slopes = over_batches(problem, of_only_batch, parameters, problem.expansion)
    else:
        seen = [over_batches(problem, of_batch, parameters, problem.expansion)] if problem.stacks else []
        if problem.relaxing:
            observe = partial(relaxed_slopes, len(vector))
            parameters = waiting(parameters, seen)
            seen.append(over_batches(problem, observe, parameters, problem.expansion, stacks=problem.relaxing))
        found, slopes = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=-1), *seen)
        found, push = jax.linearize(partial(deviations, problem), found)
        slopes = jnp.concatenate([jax.vmap(push)(slopes), prior_slopes], axis=1)
    return jnp.concatenate([found, of_priors]), slopes


def _is_single(problem: Problem) -> bool:
    """Whether there is a single batch, nothing relaxes, and no element of a matrix is read twice."""
    single = not problem.relaxing and len(problem.stacks) == len(problem.stacks[0].read) == 1
    return single and problem.stacks[0].distinct


def prior_rows(problem: Problem, vector):
    """Residuals of the priors, (Q,), and their derivatives by the vector, (n, Q)."""
    found, by_vector = jax.linearize(lambda vector: from_centers(problem, expand(problem, vector)), vector)
    return found, jax.vmap(by_vector)(jnp.eye(len(vector), dtype=vector.dtype))


class Seen(NamedTuple):
    """What a batch computes, with derivatives."""

    computed: Array
    """(P,) what references read."""
    slopes: Array | None
    """(n, P) its derivatives by the vector, 0 for elements of matrices; None where all are."""
    changes: Changes
    """Those of all coefficients, for `tiles`."""


def with_slopes(n_elements: int, batch: Batch, parameters, expansion: Expansion) -> Seen:
    """What `observables.compute_batch` gives, and its derivatives."""
    mechanical = mechanics(batch, parameters)
    values, vectors = spectra(batch, mechanical.hessians)
    computed = gather(batch, mechanical, values)
    found = changes(batch, parameters.astype(batch.dtype))
    pieces = few_slopes(batch, found, vectors, expansion, n_elements)
    slopes = None
    for start, piece in pieces:
        there = (batch.read >= start) & (batch.read < start + piece.shape[1])
        read = jnp.where(there[None], piece[:, jnp.where(there, batch.read - start, 0)].astype(computed.dtype), 0.0)
        slopes = read if slopes is None else slopes + read
    return Seen(computed, slopes, found)


def few_slopes(batch: Batch, found: Changes, vectors, expansion: Expansion, n_elements: int) -> list[tuple[int, Array]]:
    """Derivatives of all outputs but matrices by the vector, (n, elements), and where these outputs begin."""
    outputs, slopes_of = outputs_of(batch), {}
    needed = {output for _, output, _ in outputs}
    if "energy" in needed:
        slopes_of["energy"] = energy_slopes(batch, found)
    if "eigenvalues" in needed:
        slopes_of["eigenvalues"] = eigenvalue_slopes(batch, found, vectors)
    if needed & {"gradient", "mode_gradient"}:
        slopes_of["gradient"] = gradient_slopes(batch, found)
    results = []
    for number, output, start in outputs:
        if output not in MATRICES:
            slopes = slopes_of["gradient" if output == "mode_gradient" else output][number]
            slopes = by_elements(expansion, slopes, n_elements)
            if output == "mode_gradient":
                basis = jnp.asarray(batch.buckets[number].basis(output))
                slopes = jnp.einsum("nmd,mdk->nmk", slopes.astype(basis.dtype), basis)
            results.append((start, slopes.reshape(n_elements, -1)))
    return results


def outputs_of(batch: Batch) -> list[tuple[int, str, int]]:
    """Of all outputs in the order of `gather` the number of the bucket, the name and the position of the first element."""
    results, start = [], 0
    for number, bucket in enumerate(batch.buckets):
        for output in bucket.outputs:
            results.append((number, output, start))
            start += _size(bucket, output)
    return results


def _size(bucket: Bucket, output: str) -> int:
    molecules, size = bucket.component_present.shape
    return molecules * (bucket.matrix_size(output) ** 2 if output in MATRICES else output_size(output, size))


class _Places(NamedTuple):
    """Where derivatives of what a batch reads belong in a row, and by what they are multiplied."""

    column: Array
    """(P,); beyond the row's end where nothing needs them."""
    factor: Array
    """Of each column."""


def _readers(problem: Problem):
    """The reference that reads for itself at each position of a single batch, (P,)."""
    references, n_reads = problem.references, len(problem.stacks[0].read[0])
    source = jnp.where(references.present, references.source, n_reads)
    numbers = jnp.arange(len(source), dtype=jnp.int32)
    return jnp.full(n_reads, _NOWHERE, jnp.int32).at[source].set(numbers, mode="drop")


def tile_places(batch: Batch, bucket: Bucket, output: str, start: int):
    """Of each read the place among all elements of a matrix output's tiles, (P,); beyond them where it reads another.

    Args:
        batch: the batch.
        bucket: whose output it is.
        output: its name.
        start: position of its first element.
    """
    molecules, size = len(bucket.component_present), bucket.matrix_size(output)
    layout = tiling(size)
    own = batch.read - start
    there = (own >= 0) & (own < molecules * size**2)
    molecule, element = jnp.divmod(jnp.where(there, own, 0), size**2)
    tile, place = layout.place(element // size, element % size)
    total = layout.n_tiles * molecules * layout.width**2
    return jnp.where(there, (tile * molecules + molecule) * layout.width**2 + place, total)


def _tile_readers(batch: Batch, bucket: Bucket, output: str, start: int):
    """For each element of the tiles the first read of it, (tiles, M, area); P where there is none."""
    molecules, n_reads, layout = len(bucket.component_present), len(batch.read), tiling(bucket.matrix_size(output))
    shape = (layout.n_tiles, molecules, layout.width**2)
    places = tile_places(batch, bucket, output, start)
    # padded reads stand behind the real ones
    numbers = jnp.arange(n_reads, dtype=jnp.int32)
    return jnp.full(shape, n_reads, jnp.int32).reshape(-1).at[places].min(numbers, mode="drop").reshape(shape)


def _first_readers(batch: Batch):
    """For each read, (P,), the first one of the same element of a matrix; itself if it reads something else."""
    result = jnp.arange(len(batch.read), dtype=jnp.int32)
    for number, output, start in outputs_of(batch):
        if output in MATRICES:
            bucket = batch.buckets[number]
            places = tile_places(batch, bucket, output, start)
            readers = _tile_readers(batch, bucket, output, start).reshape(-1)
            result = jnp.where(places < len(readers), readers[jnp.minimum(places, len(readers) - 1)], result)
    return result


def _with_matrices(batch: Batch, found: Changes, slopes, places: _Places):
    """Rows (n, width) with the derivatives of elements of matrices added."""
    for number, output, start in outputs_of(batch):
        if output not in MATRICES:
            continue
        bucket = batch.buckets[number]
        elements, layout = bucket.own_columns.elements, tiling(bucket.matrix_size(output))
        readers = _tile_readers(batch, bucket, output, start)
        if output != "hessian" or not batch.distinct:
            parts = [(elements, matrix_tiles(batch, found, number, output, layout))]
        else:
            slopes = _with_terms(batch, found, number, start, slopes, places)
            parts = [
                (jnp.take_along_axis(elements, columns, axis=1, mode="fill", fill_value=-1), tiles)
                for columns, tiles in hessian_tiles_of_pairs(bucket, found, number, layout)
            ]
        for each, tiles in parts:
            slopes = _with_tiles(each, tiles, layout, readers, slopes, places)
    return slopes


def _with_tiles(elements, tiles, layout: Tiling, readers, slopes, places: _Places):
    """With derivatives by elements (M, L) of the vector added, -1 for none."""
    columns, factors = _with_end(places, readers)
    elements = jnp.where(elements >= 0, elements, len(slopes))[:, :, None]

    def step(tile, slopes):
        values = tiles(layout.corners[tile]).astype(slopes.dtype) * factors[tile][:, None]
        return slopes.at[elements, columns[tile][:, None]].add(values, mode="drop")

    return jax.lax.fori_loop(0, layout.n_tiles, step, slopes)


def _with_end(places: _Places, readers):
    """Columns and factors of reads, of which P is none."""
    columns = jnp.append(places.column, _NOWHERE)[readers]
    inside = columns < len(places.factor)
    return columns, jnp.where(inside, places.factor[jnp.where(inside, columns, 0)], 0.0)


def _with_terms(batch: Batch, found: Changes, number: int, start: int, slopes, places: _Places):
    """With derivatives of Hessian elements by way of terms added: so few that they need no tiles."""
    bucket, n_reads = batch.buckets[number], len(batch.read)
    molecules, size = bucket.component_present.shape
    first = sum(_size(each, "hessian") for each in batch.buckets[:number])
    own = jnp.where((batch.read >= start) & (batch.read < start + molecules * size**2), batch.read - start, _NOWHERE)
    numbers = jnp.arange(n_reads, dtype=jnp.int32)
    readers = jnp.full(molecules * size**2, n_reads, jnp.int32).at[own].min(numbers, mode="drop")
    columns, factors = _with_end(places, readers)
    for kind, local in local_changes(batch, found).items():
        uses, terms = batch.uses[kind], batch.terms[kind]
        term = jnp.maximum(uses.term, 0)
        element = terms.rows[term][:, :, None] + terms.columns[term][:, None] - first
        there = (uses.element >= 0)[:, None, None] & (element >= 0) & (element < len(columns))
        element = jnp.where(there, element, 0)
        place = (uses.element[:, None, None], jnp.where(there, columns[element], _NOWHERE))
        slopes = slopes.at[place].add(local.astype(slopes.dtype) * factors[element], mode="drop")
    return slopes
