"""Gauss and Newton's approximation of the loss' Hessian, 2 JᵀJ, without the Jacobian J.

Each residual depends on one output of one molecule, but for relative energies. So JᵀJ is the sum of ∂o ∂oᵀ over all
outputs o, each weighted by the squares of what residuals change with it. Matrices are summed tile by tile, by the columns
of each molecule; batches one after the other.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.batches import over_batches, sum_over_batches
from q2mm_accel.kernel.hessian import energies
from q2mm_accel.kernel.jacobian import few_slopes, outputs_of, prior_rows, tile_places
from q2mm_accel.kernel.loss import deviations, expand
from q2mm_accel.kernel.observables import gather, mechanics, spectra
from q2mm_accel.kernel.relaxed import relaxed_slopes
from q2mm_accel.kernel.slopes import by_elements, changes, energy_slopes
from q2mm_accel.kernel.tiles import matrix_tiles, tiling
from q2mm_accel.problem.arrays import MATRICES, Batch, Expansion, Problem, References, Relaxing


def gauss_newton(problem: Problem, vector):
    """2 JᵀJ at a vector (n,): (n, n), symmetric."""
    with jax.default_matmul_precision("highest"):  # as in `over_batches`
        return _gauss_newton(problem, vector)


def _gauss_newton(problem: Problem, vector):
    parameters, n_elements = expand(problem, vector), len(vector)
    _, rows = prior_rows(problem, vector)
    total = rows @ rows.T
    if problem.references.n_groups:
        total = total + _of_relative_energies(problem, parameters, n_elements)
    weighed = partial(_of_batch, replace(problem, stacks=(), relaxing=(), mesh=None), n_elements)
    reads = _by_reads(problem)
    total = sum_over_batches(problem, weighed, reads[: len(problem.stacks)], total, parameters, problem.expansion)
    if problem.relaxing:
        weighed = partial(_of_relaxed, replace(problem, stacks=(), relaxing=(), mesh=None), n_elements)
        of_relaxed, stacks = reads[len(problem.stacks) :], problem.relaxing
        total = sum_over_batches(problem, weighed, of_relaxed, total, parameters, problem.expansion, stacks=stacks)
    return total + total.T  # twice, and symmetric in the last digit too


def _by_reads(problem: Problem) -> list[References]:
    """The references of each stack but relative energies, as (batches, P) of its reads: each read has one reference."""
    references = problem.references
    counts = [stack.read.shape for stack in (*problem.stacks, *problem.relaxing)]
    n_reads = sum(batches * reads for batches, reads in counts)
    alone = references.present & (references.group >= references.n_groups)
    source = jnp.where(alone, references.source, n_reads)

    def moved(values, nothing):
        return jnp.full(n_reads, nothing, values.dtype).at[source].set(values, mode="drop")

    columns = {"present": moved(alone, False), "is_frequency": moved(references.is_frequency, False)}
    columns["is_periodic"] = moved(references.is_periodic, False)
    columns |= {name: moved(getattr(references, name), 0.0) for name in ("value", "weight", "factor", "shift")}
    results, start = [], 0
    for batches, reads in counts:
        stop = start + batches * reads
        own = {name: each[start:stop].reshape(batches, reads) for name, each in columns.items()}
        numbers = jnp.broadcast_to(jnp.arange(reads)[None], (batches, reads))
        results.append(References(**own, source=numbers, group=jnp.zeros_like(numbers), n_groups=0))
        start = stop
    return results


def _of_batch(problem: Problem, n_elements: int, batch: Batch, references: References, parameters, expansion):
    """JᵀJ of the residuals that read this batch, (n, n)."""
    mechanical = mechanics(batch, parameters)
    values, vectors = spectra(batch, mechanical.hessians)
    computed = gather(batch, mechanical, values)
    own = replace(problem, references=references)
    factors = jax.jvp(partial(deviations, own), (computed,), (jnp.ones_like(computed),))[1]
    found = changes(batch, parameters.astype(batch.dtype))
    result = jnp.zeros((n_elements, n_elements), computed.dtype)
    for start, piece in few_slopes(batch, found, vectors, expansion, n_elements):
        place = jnp.where(batch.read >= start, batch.read - start, piece.shape[1])
        weights = jnp.zeros(piece.shape[1], computed.dtype).at[place].add(factors**2, mode="drop")
        rows = piece.astype(computed.dtype) * jnp.sqrt(weights)[None]
        result = result + rows @ rows.T
    for number, output, start in outputs_of(batch):
        if output in MATRICES:
            result = _with_matrices(batch, found, number, output, start, factors, result)
    return result


def _of_relaxed(problem: Problem, n_elements: int, relaxing: Relaxing, references: References, parameters, expansion):
    """JᵀJ of the residuals that read these relaxed molecules, (n, n)."""
    computed, rows = relaxed_slopes(n_elements, relaxing, parameters, expansion)
    own = replace(problem, references=references)
    factors = jax.jvp(partial(deviations, own), (computed,), (jnp.ones_like(computed),))[1]
    # padded reads may be of nothing
    rows = jnp.where(references.present[None], rows * factors[None], 0.0)
    return rows @ rows.T


def _with_matrices(batch: Batch, found, number: int, output: str, start: int, factors, result):
    """With JᵀJ of what is read of symmetric matrices added."""
    bucket = batch.buckets[number]
    elements, layout = bucket.own_columns.elements, tiling(bucket.matrix_size(output))
    molecules, count = elements.shape
    tiles = matrix_tiles(batch, found, number, output, layout)
    shape = (layout.n_tiles, molecules, layout.width**2)
    places = tile_places(batch, bucket, output, start)
    weights = jnp.zeros(shape, factors.dtype).reshape(-1).at[places].add(factors**2, mode="drop").reshape(shape)

    def step(tile, total):
        rows = tiles(layout.corners[tile]).astype(factors.dtype) * jnp.sqrt(weights[tile])[:, None]
        return total + rows @ jnp.swapaxes(rows, 1, 2)

    own = jax.lax.fori_loop(0, layout.n_tiles, step, jnp.zeros((molecules, count, count), factors.dtype))
    place = jnp.where(elements >= 0, elements, len(result))
    return result.at[place[:, :, None], place[:, None]].add(own, mode="drop")


def _of_relative_energies(problem: Problem, parameters, n_elements: int):
    """JᵀJ of the relative energies, (n, n): each depends on all molecules of its group."""

    def of_batch(batch: Batch, parameters, expansion: Expansion):
        vector, dtype = parameters.astype(batch.dtype), batch.buckets[0].inverse_root_masses.dtype
        slopes = jnp.concatenate(energy_slopes(batch, changes(batch, vector)), axis=1)
        found = (jnp.concatenate(energies(batch, vector)), by_elements(expansion, slopes, n_elements))
        return _molecules_read(batch), *(each.astype(dtype) for each in found)

    number, energy, slopes = over_batches(problem, of_batch, parameters, problem.expansion)
    number = number + _first_molecules(problem)
    references = problem.references
    relative = replace(references, present=references.present & (references.group < references.n_groups))
    own = replace(problem, references=relative)
    _, push = jax.linearize(lambda energy: deviations(own, energy[number]), energy)
    (pulled,) = jax.lax.map(lambda slope: jax.linear_transpose(push, energy)(push(slope)), slopes)
    return pulled @ slopes.T


def _molecules_read(batch: Batch):
    """The molecule whose energy is read, counted through all buckets, (P,); 0 where something else is."""
    result, first = jnp.zeros(len(batch.read), jnp.int32), 0
    starts = {number: start for number, output, start in outputs_of(batch) if output == "energy"}
    for number, bucket in enumerate(batch.buckets):
        molecules = len(bucket.component_present)
        if number in starts:
            own = batch.read - starts[number]
            result = jnp.where((own >= 0) & (own < molecules), own.astype(jnp.int32) + first, result)
        first += molecules
    return result


def _first_molecules(problem: Problem):
    """For each read of all batches the number of molecules of batches before, (sum of all P,)."""
    results, before = [], 0
    for stack in problem.stacks:
        batches, reads = stack.read.shape
        molecules = sum(bucket.component_present.shape[1] for bucket in stack.buckets)
        first = before + molecules * jnp.arange(batches, dtype=jnp.int32)
        results.append(jnp.repeat(first, reads))
        before += batches * molecules
    return jnp.concatenate(results)
