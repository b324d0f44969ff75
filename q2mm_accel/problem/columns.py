"""Which elements of the vector change which terms: the columns in which the residuals' Jacobian is not zero.

A term depends on few elements, and a molecule on some of all. Here they are listed, once and on the host: frozen
parameters have disappeared, and tied ones stand under the element that they follow. -1 stands for nothing in all arrays.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import KINDS
from q2mm_accel.model.system import System
from q2mm_accel.problem import layout
from q2mm_accel.problem.arrays import Array, Columns, PairColumns, Terms, Uses
from q2mm_accel.problem.layout import Slot

TOGETHER = 3
"""How many uses of an element in a molecule one matrix product sums. With more, products have places for uses that do not
exist; with fewer, there are more results to add."""


class Followed(NamedTuple):
    """The elements of the vector that parameters follow, each of them offset + Σ coefficients elements."""

    columns: np.ndarray
    """(n_parameters, K) the elements."""
    coefficients: np.ndarray
    """(n_parameters, K), 0 for none."""

    @property
    def n_elements(self) -> int:
        """A number that no element reaches."""
        return int(self.columns.max(initial=0)) + 1

    def by(self, parameters: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of terms or atoms with these parameters (T, P): which of them, which parameter, the element, its coefficient."""
        coefficients = self.coefficients[parameters]
        found = np.nonzero(coefficients)
        return found[0], found[1], self.columns[parameters][found].astype(np.int64), coefficients[found]


def batch_columns(
    terms: Mapping[str, Terms],
    systems: Sequence[System],
    forcefield: ForceField,
    slots: Sequence[Slot],
    shapes: Sequence[tuple[int, int]],
    pair_kinds: Sequence[Iterable[str]],
    followed: Followed,
) -> tuple[dict[str, Uses], list[Columns]]:
    """The uses of a batch's terms by kind, and the columns of each of its buckets.

    Args:
        terms: of the batch, by kind.
        systems: of the batch.
        forcefield: where parameters of pairs stand.
        slots: of the systems.
        shapes: of each bucket the number of molecules and of atoms.
        pair_kinds: of each bucket its kinds of pairs.
        followed: what parameters follow.

    Returns:
        NumPy arrays, their lengths quantised.
    """
    # an element that changes a molecule has the key molecule * n_elements + element
    n, found, keys = followed.n_elements, {}, {}
    for kind, each in terms.items():
        real = np.flatnonzero(each.present)  # real terms come first
        found[kind] = followed.by(np.asarray(each.parameters)[real])
        keys[kind] = np.asarray(each.molecule)[found[kind][0]].astype(np.int64) * n + found[kind][2]
    atoms: dict[tuple[str, int], tuple[np.ndarray, ...]] = {}
    for system, slot in zip(systems, slots, strict=True):
        for kind in system.pair_kinds:
            atoms[kind, slot.molecule] = followed.by(forcefield.positions(kind)[system.pairs(kind).types])
    of_atoms = [molecule * n + each[2] for (_, molecule), each in atoms.items()]
    distinct = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *keys.values(), *of_atoms]))
    n_molecules = sum(count for count, _ in shapes)
    first = np.searchsorted(distinct, n * np.arange(n_molecules + 1))

    def column(key):
        return np.searchsorted(distinct, key) - first[key // n]

    uses, groups = {}, {}
    for kind, (term, own, element, factor) in found.items():
        numbers = (term, own, element, column(keys[kind]))
        places = [_extended(each.astype(np.int32)) for each in numbers]
        uses[kind] = Uses(places[0], places[1], places[2], places[3], _extended(factor))
        groups[kind] = _groups(keys[kind])
    elements = [distinct[start:stop] % n for start, stop in zip(first[:-1], first[1:], strict=True)]
    buckets, start = [], 0
    for (count, n_atoms), kinds in zip(shapes, pair_kinds, strict=True):
        inside = range(start, start + count)
        in_bucket: dict[str, Array] = {}
        for kind, group in groups.items():
            in_bucket[kind] = _extended(group[np.isin(keys[kind][group[:, 0]] // n, inside)])
        pairs = {}
        for kind in kinds:
            found_pairs = {molecule * n: atoms.get((kind, molecule)) for molecule in inside}
            pairs[kind] = _pair_columns(kind, found_pairs, column, n_atoms)
        buckets.append(Columns(_rows([elements[molecule] for molecule in inside]), in_bucket, pairs))
        start += count
    return uses, buckets


def _groups(keys: np.ndarray) -> np.ndarray:
    """Positions of equal keys in rows of up to `TOGETHER`, filled up with -1."""
    order = np.argsort(keys, kind="stable")
    opens = np.diff(keys[order], prepend=-1) != 0
    rank = np.arange(len(keys)) - np.flatnonzero(opens)[np.cumsum(opens) - 1] if len(keys) else keys
    row = np.cumsum(rank % TOGETHER == 0) - 1
    result = np.full((row[-1] + 1 if len(row) else 0, TOGETHER), -1, dtype=np.int32)
    result[row, rank % TOGETHER] = order
    return result


def _pair_columns(kind: str, found: Mapping, column: Callable, n_atoms: int) -> PairColumns:
    """Of what the atoms of a bucket's molecules follow, by the key of the molecule's element 0."""
    numbers, rows = [], []
    for key, each in found.items():
        element = np.zeros(0, dtype=np.int64) if each is None else each[2]
        distinct, row = np.unique(element, return_inverse=True)
        numbers.append(column(key + distinct))
        rows.append(row)
    columns = _rows(numbers)
    factors = np.zeros((*columns.shape, len(KINDS[kind].parameters), n_atoms))
    for own_factors, each, row in zip(factors, found.values(), rows, strict=True):
        if each is not None:
            atom, own, _, factor = each
            np.add.at(own_factors, (row, own, atom), factor)
    return PairColumns(columns, factors)


def _rows(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Integers of different number in rows, filled up with -1."""
    result = np.full((len(rows), layout.quantised(max(map(len, rows), default=0))), -1, dtype=np.int32)
    for number, row in enumerate(rows):
        result[number, : len(row)] = row
    return result


def _extended(values: np.ndarray) -> np.ndarray:
    """Filled up with -1, factors with 0, to a quantised length."""
    result = np.full((layout.quantised(len(values)), *values.shape[1:]), -1, values.dtype)
    result[: len(values)] = values
    return result


def filled_up(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of equal rank below each other, each filled up with -1 to the largest along every axis."""
    shape = np.max([array.shape for array in arrays], axis=0)
    result = np.full((len(arrays), *shape), -1, arrays[0].dtype)
    for row, array in zip(result, arrays, strict=True):
        row[tuple(map(slice, array.shape))] = array
    return result
