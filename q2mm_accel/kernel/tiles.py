"""First derivatives of Hessians and eigenmatrices by the vector, tile by tile of their lower triangle.

An element of the vector changes only the terms whose parameters follow it, and each of these only the block of the Hessian
between its own atoms, by a small matrix K. In the basis V of an eigenmatrix that is Lᵀ K L, where L are the rows of V that
belong to the term's atoms: a product as large as a tile, but only three rows deep for each atom. Terms that an element
changes in the same molecule stand below each other in L and K L, so that one product sums them.

Tiles stay in the processor's cache. Each is (M, L, area): by the columns of its bucket's molecules, as `problem.columns`
lists them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from q2mm_accel.kernel.hessian import pair_blocks, term_updates
from q2mm_accel.kernel.slopes import Changes
from q2mm_accel.problem.arrays import Array, Batch, Bucket
from q2mm_accel.units import KCALMOLA2_TO_HESSIAN_AU

_WIDTH = 64
"""Largest number of rows and columns of a tile."""


class Tiling(NamedTuple):
    """The tiles of a symmetric matrix, row by row of tiles, those above the diagonal left out."""

    edge: int
    """Number of tiles along an edge."""
    width: int
    """Rows and columns of a tile."""

    @property
    def size(self) -> int:
        """Rows of the matrix, padded."""
        return self.edge * self.width

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return self.edge * (self.edge + 1) // 2

    @property
    def corners(self):
        """First row and first column of every tile, (n_tiles, 2)."""
        return self.width * jnp.array([(i, j) for i in range(self.edge) for j in range(i + 1)], dtype=jnp.int32)

    def place(self, row, column):
        """The tile of an element, and its place among those of the tile."""
        row, column = jnp.maximum(row, column), jnp.minimum(row, column)
        i, j = row // self.width, column // self.width
        return i * (i + 1) // 2 + j, row % self.width * self.width + column % self.width


def tiling(size: int) -> Tiling:
    """Equal tiles of a matrix with that number of rows."""
    edge = max(1, -(-size // _WIDTH))
    return Tiling(edge, -(-size // edge))


def local_changes(batch: Batch, found: Changes) -> dict[str, Array]:
    """By kind, of each use the change of its term's own block of the Hessian, (E, 3k, 3k) [hartree/bohr²]."""
    results = {}
    for kind, uses in batch.uses.items():
        by_parameter = jax.vmap(lambda along, curved, terms=batch.terms[kind]: term_updates(terms, along, curved)[1])
        values = jnp.asarray(by_parameter(found.terms[kind].along, found.terms[kind].curved))
        present = uses.element >= 0
        factor = jnp.where(present, uses.factor, 0.0).astype(values.dtype) * KCALMOLA2_TO_HESSIAN_AU
        own, term = jnp.where(present, uses.own, 0), jnp.where(present, uses.term, 0)
        results[kind] = jnp.where(present[:, None, None], factor[:, None, None] * values[own, term], 0.0)
    return results


class _PairChanges(NamedTuple):
    """How the pairs of one kind of a bucket change with elements of the vector."""

    columns: Array
    """(M, K) the columns; one that does not exist where there is none."""
    factors: Array
    """(M, K, width, N) change of an atom's own parameters."""
    matrix: Array
    """(M, width, D, D) blocks K_ij by parameters of the first atom i."""
    diagonal: Array
    """(M, K, 3, 3, N) change of each atom's own block."""


def _pair_changes(bucket: Bucket, found: Changes, number: int) -> list[_PairChanges]:
    """A pair with the block K adds it to the own blocks of both atoms, and -K between them."""
    results = []
    for kind, pairs in bucket.own_columns.pairs.items():
        of_bucket = found.pairs[kind][number]
        blocks = jax.vmap(pair_blocks, (None, 0, 0), 1)(bucket.distances, of_bucket.slope, of_bucket.curvature)
        blocks = blocks * KCALMOLA2_TO_HESSIAN_AU
        n_molecules, width, _, _, n_atoms, _ = blocks.shape
        present = pairs.columns >= 0
        factors = jnp.where(present[:, :, None, None], pairs.factors, 0.0).astype(blocks.dtype)
        own = (factors[:, :, :, None, None] * blocks.sum(axis=5)[:, None]).sum(axis=2)
        matrix = blocks.transpose(0, 1, 2, 4, 3, 5).reshape(n_molecules, width, 3 * n_atoms, 3 * n_atoms)
        diagonal = own + jnp.einsum("mkwi,mwxyij->mkxyj", factors, blocks)
        columns = jnp.where(present, pairs.columns, bucket.own_columns.elements.shape[1])
        results.append(_PairChanges(columns, factors, matrix, diagonal))
    return results


def matrix_tiles(batch: Batch, found: Changes, number: int, output: str, layout: Tiling):
    """The change of an output of a bucket that is a symmetric matrix, as a function of a tile's corner."""
    basis = batch.buckets[number].basis(output)
    if basis is None:
        return hessian_tiles(batch, found, number, layout)
    return tiles_in_basis(batch, found, number, basis, layout)


def hessian_tiles(batch: Batch, found: Changes, number: int, layout: Tiling):
    """The change of a bucket's Hessians, as a function of a tile's corner."""
    bucket, width = batch.buckets[number], layout.width
    first = sum(len(each.component_present) for each in batch.buckets[:number])
    n_molecules, n_columns = bucket.own_columns.elements.shape
    dtype = bucket.inverse_root_masses.dtype
    local, of_pairs = local_changes(batch, found), hessian_tiles_of_pairs(bucket, found, number, layout)

    def of_tile(corner):
        result = jnp.zeros((n_molecules, n_columns, width, width), dtype)
        for kind, values in local.items():
            uses, terms = batch.uses[kind], batch.terms[kind]
            term = jnp.maximum(uses.term, 0)
            molecule = terms.molecule[term] - first
            there = (uses.element >= 0) & (molecule >= 0) & (molecule < n_molecules)
            row, column = (terms.columns[term] - corner[axis].astype(terms.columns.dtype) for axis in (0, 1))
            rows, columns = ((each >= 0) & (each < width) for each in (row, column))
            there = there[:, None, None] & rows[:, :, None] & columns[:, None]
            molecule = jnp.where(there, molecule[:, None, None], n_molecules)
            place = (molecule, uses.column[:, None, None], row[:, :, None], column[:, None])
            result = result.at[place].add(values.astype(dtype), mode="drop")
        return _with_pairs(result, of_pairs, corner).reshape(n_molecules, n_columns, -1)

    return of_tile


def _with_pairs(result, functions, corner):
    for columns, function in functions:
        molecules = jnp.arange(len(columns), dtype=columns.dtype)[:, None]
        values = function(corner).reshape(*columns.shape, *result.shape[2:])
        result = result.at[molecules, columns].add(values.astype(result.dtype), mode="drop")
    return result


def hessian_tiles_of_pairs(bucket: Bucket, found: Changes, number: int, layout: Tiling) -> list:
    """Of each kind of pairs the columns (M, K), beyond L for none, and the change of the Hessians by them alone."""
    return [_hessian_tile_of_pairs(each, layout.width) for each in _pair_changes(bucket, found, number)]


def _hessian_tile_of_pairs(pairs: _PairChanges, width: int):
    """Columns (M, K), and a function of a tile's corner that gives the change with each of them, (M, K, area)."""
    n_molecules, count, _, _, n_atoms = pairs.diagonal.shape
    by_atom = pairs.diagonal.reshape(n_molecules, count, 9 * n_atoms)

    def of_tile(corner):
        row, column = (corner[axis] + jnp.arange(width, dtype=corner.dtype) for axis in (0, 1))
        inside = (row < 3 * n_atoms)[:, None] & (column < 3 * n_atoms)[None]
        row, column = jnp.minimum(row, 3 * n_atoms - 1), jnp.minimum(column, 3 * n_atoms - 1)
        by_first, by_second = pairs.factors[..., row % n_atoms], pairs.factors[..., column % n_atoms]
        below, above = (pairs.matrix[:, :, i, j] for i, j in ((row[:, None], column[None]), (column[None], row[:, None])))
        between = sum(
            by_first[:, :, own, :, None] * below[:, None, own] + by_second[:, :, own, None, :] * above[:, None, own]
            for own in range(pairs.matrix.shape[1])
        )
        same = (row % n_atoms)[:, None] == (column % n_atoms)[None]
        axes = 3 * (row // n_atoms)[:, None] + (column // n_atoms)[None]
        diagonal = jnp.where(same[None, None], by_atom[:, :, axes * n_atoms + (row % n_atoms)[:, None]], 0.0)
        return jnp.where(inside[None, None], diagonal - between, 0.0).reshape(n_molecules, count, -1)

    return pairs.columns, of_tile


def tiles_in_basis(batch: Batch, found: Changes, number: int, basis, layout: Tiling):
    """The change of Wᵀ H W with the Hessians H of a bucket, as a function of a tile's corner.

    Args:
        batch: the batch.
        found: the changes of its coefficients.
        number: of the bucket.
        basis: W, any constant matrix of each molecule, (M, D, K).
        layout: tiles of K rows and columns.

    Returns:
        Corner -> (M, L, area).
    """
    bucket, width = batch.buckets[number], layout.width
    first = sum(len(each.component_present) for each in batch.buckets[:number])
    n_molecules, n_columns = bucket.own_columns.elements.shape
    basis = jnp.pad(basis, ((0, 0), (0, 0), (0, layout.size - basis.shape[2])))
    local, groups = local_changes(batch, found), bucket.own_columns.groups
    sides = [_sides(batch, kind, group, local[kind], basis, first) for kind, group in groups.items() if len(group)]
    of_pairs = [_tile_of_pairs_in_basis(each, basis, width) for each in _pair_changes(bucket, found, number)]

    def of_tile(corner):
        result = jnp.zeros((n_molecules, n_columns, width, width), basis.dtype)
        for molecule, column, rows, own in sides:
            below, beside = (_strip(rows, start, width) for start in corner)
            together = (len(rows), -1, width)
            product = jnp.swapaxes(below.reshape(together), 1, 2) @ (own @ beside).reshape(together)
            result = result.at[molecule, column].add(product, mode="drop")
        return _with_pairs(result, of_pairs, corner).reshape(n_molecules, n_columns, -1)

    return of_tile


def _strip(array, start, width: int):
    return jax.lax.dynamic_slice_in_dim(array, start, width, array.ndim - 1)


def _sides(batch: Batch, kind: str, group, local, basis, first: int):
    """Molecule and column of each of a kind's groups, (G,), and of its uses L, (G, uses, rows, D), and K.

    No coordinate changes when all its atoms move alike: differences of rows from those of a term's last atom are enough.
    """
    uses, terms = batch.uses[kind], batch.terms[kind]
    present = group >= 0
    use = jnp.where(present, group, 0)
    term = jnp.maximum(uses.term[use], 0)
    molecule = jnp.where(present[:, 0], terms.molecule[term[:, 0]] - first, len(basis))
    rows = basis[jnp.minimum(molecule, len(basis) - 1)[:, None, None], terms.columns[term]]
    atoms = rows.reshape(*group.shape, -1, 3, basis.shape[2])
    rows = (atoms[:, :, :-1] - atoms[:, :, -1:]).reshape(*group.shape, -1, basis.shape[2])
    own = jnp.where(present[:, :, None, None], local[use, :-3, :-3], 0.0).astype(basis.dtype)
    return molecule, uses.column[use[:, 0]], rows, own


def _tile_of_pairs_in_basis(pairs: _PairChanges, basis, width: int):
    """As `_hessian_tile_of_pairs`: Σ_j v_jᵀ C_j v_j - Σ_i (v_iᵀ y_i + y_iᵀ v_i) over all atoms.

    C_j is the change of the own block of j; y_i = Σ_j K_ij v_j times the change of the parameters of i.
    """
    n_molecules, count, _, _, n_atoms = pairs.diagonal.shape
    factors, diagonal = pairs.factors.astype(basis.dtype), pairs.diagonal.astype(basis.dtype)
    turned = (pairs.matrix.astype(basis.dtype) @ basis[:, None]).reshape(n_molecules, -1, 3, n_atoms, basis.shape[2])

    def mixed(start):
        between = jnp.einsum("mkwi,mwxis->mkxis", factors, _strip(turned, start, width))
        return between.reshape(n_molecules, count, 3 * n_atoms, width)

    def of_tile(corner):
        left, right = (_strip(basis, start, width) for start in corner)
        own = jnp.einsum("mkxyj,myjs->mkxjs", diagonal, right.reshape(n_molecules, 3, n_atoms, width))
        own = own.reshape(n_molecules, count, 3 * n_atoms, width) - mixed(corner[1])
        return jnp.einsum("mdr,mkds->mkrs", left, own) - jnp.einsum("mkdr,mds->mkrs", mixed(corner[0]), right)

    return pairs.columns, of_tile
