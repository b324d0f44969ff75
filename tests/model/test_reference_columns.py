"""References as columns: rows look like the objects that were added, and nothing can change a table."""

import copy
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from refusals import SYSTEM, WATER, forcefield

from q2mm_accel import FusedObjective, Reference, ReferenceData
from q2mm_accel.errors import ReferenceDataError
from q2mm_accel.model.reference_table import REFERENCE_KINDS, ReferenceTable

ALL_KINDS = [
    Reference("relative_energy", 1.5, 0.3, 4, "conformers", label="the first"),
    Reference("energy", -12.0, 2.0, 3),
    Reference("frequency", -450.0, 0.001, 0, 0),
    Reference("relative_energy", 0.0, 0.0, 2, "dimers"),
    Reference("eig_diagonal", 0.25, 0.1, 1, 7, "a mode"),
    Reference("eig_offdiagonal", 0.0, 0.05, 1, (7, 3)),
    Reference("hessian_element", 0.5, 0.05, 70000, (8, 2**31 - 1)),
    Reference("bond_length", 1.4, 10.0, 0, (0, 1)),
    Reference("bond_angle", 109.0, 1.0, 0, (1, 0, 2)),
    Reference("torsion_angle", 180.0, 1.0, 0, (3, 1, 0, 2)),
    Reference("force", 0.5, 1.0, 0, 4),
    Reference("normal_mode", 1700.0, 0.02, 0, (3, 3), floor=200.0),
    Reference("mode_displacement", 0.0, 100.0, 1, 2),
    Reference("relaxed_frequency", 1600.0, 0.02, 0, 1),
    Reference("relative_energy", 2.5, 0.3, 5, "conformers"),
]


def test_all_kinds_occur_above():
    assert {reference.kind for reference in ALL_KINDS} == set(REFERENCE_KINDS)


def test_rows_are_the_references_that_were_added():
    data = ReferenceData(ALL_KINDS)
    assert list(data) == ALL_KINDS and len(data) == len(ALL_KINDS)
    assert [data[number] for number in range(len(data))] == ALL_KINDS
    assert list(map(str, data)) == list(map(str, ALL_KINDS))


def test_many_rows_come_in_order():
    references = [Reference("frequency", float(mode), 1.0, 0, mode, f"mode {mode}") for mode in range(10_000)]
    assert list(ReferenceData(references)) == references


def test_rows_hold_plain_numbers_whatever_was_given():
    given = Reference("hessian_element", np.float32(0.5), np.array(2), np.int16(1), [np.int64(4), 3], None)
    (row,) = ReferenceData([given])
    assert row == Reference("hessian_element", 0.5, 2.0, 1, (4, 3))
    assert [type(each) for each in (row.value, row.weight, row.system, *row.index)] == [float, float, int, int, int]


def test_columns():
    table = ReferenceData(ALL_KINDS).table
    assert [REFERENCE_KINDS[code] for code in table.kind] == [reference.kind for reference in ALL_KINDS]
    for name in ("value", "weight", "system", "floor"):
        np.testing.assert_array_equal(getattr(table, name), [getattr(reference, name) for reference in ALL_KINDS])
    np.testing.assert_array_equal(table.indices[[1, 2, 5, 9]], [[-1] * 4, [0, -1, -1, -1], [7, 3, -1, -1], [3, 1, 0, 2]])
    assert table.groups == ("conformers", "dimers") and table.group[[0, 1, 3, 14]].tolist() == [0, -1, 1, 0]
    assert table.kind_counts() == {"relative_energy": 3} | dict.fromkeys([each.kind for each in ALL_KINDS[1:3]], 1) | {
        each.kind: 1 for each in ALL_KINDS[4:14]
    }
    assert repr(table[1:3]) == "<references: 1 energy, 1 frequency>" and repr(table[:0]) == "<references: none>"


@pytest.mark.parametrize("chosen", [slice(2, 5), slice(None, None, -1), slice(-3, None), slice(5, 2), slice(None, 50, 4)])
def test_a_slice_is_a_table_of_the_same_rows(chosen):
    part = ReferenceData(ALL_KINDS).table[chosen]
    assert isinstance(part, ReferenceTable) and list(part) == ALL_KINDS[chosen]
    assert part.groups == tuple(dict.fromkeys(each.index for each in part if each.kind == "relative_energy"))
    assert list(ReferenceData(part)) == ALL_KINDS[chosen]


def test_a_table_is_a_sequence():
    table = ReferenceData(ALL_KINDS).table
    assert table[-1] == ALL_KINDS[-1] and table[np.int64(2)] == ALL_KINDS[2]
    assert ALL_KINDS[3] in table and replace(ALL_KINDS[3], value=1.0) not in table
    assert table.index(ALL_KINDS[4]) == 4 and table.count(ALL_KINDS[4]) == 1
    assert list(reversed(table)) == ALL_KINDS[::-1]
    assert table == ReferenceData(ALL_KINDS).table == tuple(ALL_KINDS) and table != table[1:] != tuple(ALL_KINDS)
    assert table[:3] != tuple("abc") and table != 3
    for number in (len(table), -len(table) - 1):
        with pytest.raises(IndexError):
            table[number]


def test_nothing_changes_a_table():
    data = ReferenceData(ALL_KINDS[:2])
    table = data.table
    for name in ("kind", "value", "weight", "system", "group", "indices"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(table, name)[0] = 1
    with pytest.raises(TypeError):
        table.labels[0] = "another"
    for reference in ALL_KINDS[2:]:
        data.add(reference)
    assert list(table) == ALL_KINDS[:2] and list(data) == ALL_KINDS
    assert table.labels == {0: "the first"} and table.groups == ("conformers",)


@pytest.mark.parametrize("again", [lambda each: pickle.loads(pickle.dumps(each)), copy.deepcopy, copy.copy, ReferenceData])
def test_copies_are_the_same_and_independent(again):
    data = ReferenceData(ALL_KINDS)
    copied = again(data)
    assert list(copied) == ALL_KINDS
    copied.add(Reference("energy", 0.0))
    copied.add(Reference("relative_energy", 0.0, index="rings"))
    assert list(data) == ALL_KINDS and copied[-1].index == "rings"
    assert not again(data).table.rows.flags.writeable


def test_loaders_are_the_same_as_adding_element_by_element():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(9, 9))
    matrix += matrix.T
    _, vectors = np.linalg.eigh(matrix)
    product = vectors.T @ matrix @ vectors
    lower = [(row, column) for row in range(9) for column in range(row + 1)]
    data = ReferenceData([Reference("energy", 1.0)])
    data.add_hessian(matrix, 3, weight_diagonal=0.7)
    data.add_eigenmatrix(matrix.tolist(), 4, weight_first=0.01, weight_diagonal=0.2, weight_offdiagonal=0.3)
    data.add_eigenmatrix(matrix, 5, diagonal_only=True)
    data.add_frequencies([100.0, 90.0], np.array([6, 8]), 0.5, 6)
    data.add_frequencies(range(3), system=7)
    data.add_frequencies([])
    data.add_hessian(np.zeros((0, 0)))
    data.add_eigenmatrix(np.zeros((0, 0)), weight_diagonal=0.5)
    data.add_eigenmatrix([[2.0]], 8, weight_first=0.5, weight_diagonal=-1.0)
    data.add_relative_energies([1.0, 2.0], (0, np.int64(4)), "conformers")
    assert list(data) == [
        Reference("energy", 1.0),
        *(Reference("hessian_element", matrix[at], 0.7 if at[0] == at[1] else 0.05, 3, at) for at in lower),
        *(
            Reference("eig_diagonal", product[at], 0.2 if at[0] else 0.01, 4, at[0])
            if at[0] == at[1]
            else Reference("eig_offdiagonal", product[at], 0.3, 4, at)
            for at in lower
        ),
        *(Reference("eig_diagonal", product[mode, mode], 0.1 if mode else 0.0, 5, mode) for mode in range(9)),
        Reference("frequency", 100.0, 0.5, 6, 6),
        Reference("frequency", 90.0, 0.5, 6, 8),
        *(Reference("frequency", float(mode), 1.0, 7, mode) for mode in range(3)),
        Reference("eig_diagonal", 2.0, 0.5, 8, 0),
        Reference("relative_energy", 1.0, 1.0, 0, "conformers"),
        Reference("relative_energy", 2.0, 1.0, 4, "conformers"),
    ]


def test_matrices_take_no_object_per_element():
    data, matrix = ReferenceData(), np.eye(400)
    tracemalloc.start()
    data.add_hessian(matrix)
    data.add_eigenmatrix(matrix, system=1)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) == 400 * 401 and kept < 100 * len(data)  # 56 bytes each, and room to grow


@pytest.mark.parametrize(
    "call",
    [
        lambda data: data.add_hessian(np.eye(3), weight_offdiagonal=-1.0),
        lambda data: data.add_eigenmatrix(np.eye(3), weight_diagonal=np.nan),
        lambda data: data.add_frequencies([1.0, 2.0], [6, 7.5]),
        lambda data: data.add(Reference("relative_energy", np.inf, index="rings")),
    ],
)
def test_what_is_refused_leaves_nothing_behind(call):
    data = ReferenceData(ALL_KINDS)
    with pytest.raises(ReferenceDataError):
        call(data)
    assert list(data) == ALL_KINDS and data.table.groups == ("conformers", "dimers")


def build(references, **options):
    return FusedObjective([SYSTEM, SYSTEM], forcefield(), references, **options)


def test_an_objective_holds_those_with_weight_in_their_order():
    references = ReferenceData()
    references.add_eigenmatrix(WATER.hessian, system=1)
    references.add(Reference("relative_energy", 5.0, 0.0, 0, "silent"))
    references.add_relative_energies([1.0, 2.0], [1, 0], "loud")
    objective = build(references)
    expected = [reference for reference in references if reference.weight]
    assert list(objective.references) == expected and objective.references.groups == ("loud",)
    assert objective.references[3:5] == tuple(expected[3:5])
    assert objective.reference_labels == tuple(f"water: {reference}" for reference in expected)


def test_the_order_of_references_is_that_of_predictions_and_nothing_else():
    references = ReferenceData(Reference("energy", 1.0, 0.1, system) for system in (1, 0))
    for system in (0, 1):
        references.add_hessian(WATER.hessian, system)
        references.add_eigenmatrix(WATER.hessian, system, weight_first=0.1)
        references.add_frequencies(WATER.frequencies()[6:], (6, 7, 8), weight=0.001, system=system)
    references.add_relative_energies([0.0, 1.0], [0, 1])
    order = np.random.default_rng(1).permutation(len(references))
    first, second = build(references), build(references.table.take(order), batch_size=1)
    x = 1.01 * first.x0
    np.testing.assert_allclose(second.predictions(x), first.predictions(x)[order], rtol=1e-9, atol=1e-9)
    assert second.reference_labels == tuple(first.reference_labels[number] for number in order)


def test_a_fingerprint_depends_on_every_column_but_the_label():
    first = Reference("eig_offdiagonal", 0.5, 0.1, 0, (3, 2))
    energies = [Reference("relative_energy", 1.0, 0.1, system, "a") for system in (0, 1)]

    def fingerprint(reference, others=energies):
        return build([reference, *others]).fingerprint

    changes = [
        {"kind": "hessian_element"},
        {"value": 0.6},
        {"weight": 0.2},
        {"system": 1},
        {"index": (2, 3)},
        {"kind": "eig_diagonal", "index": 3},
    ]
    prints = [fingerprint(replace(first, **change)) for change in ({}, *changes)]
    prints += [fingerprint(first, [replace(each, index="b") for each in energies]), fingerprint(first, energies[::-1])]
    assert len(set(prints)) == len(prints)
    assert fingerprint(replace(first, label="named", index=[np.int64(3), 2])) == prints[0]
    assert fingerprint(first, [Reference("relative_energy", 1.0, 0.0, 0, "silent"), *energies]) == prints[0]


FIRST = "frequency 9 of system 1"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([Reference("frequency", 1.0, 1.0, 1, 9), Reference("energy", 1.0, 1.0, 2)], FIRST),
        ([Reference("frequency", 1.0, 1.0, 1, 9), Reference("bond_length", 1.0, 1.0, 0, (0, 1))], FIRST),
        ([Reference("energy", 1.0, 1.0, 2), Reference("frequency", 1.0, 1.0, 1, 9)], "there is no system 2"),
        ([Reference("bond_length", 1.0, 1.0, 0, (0, 1)), Reference("frequency", 1.0, 1.0, 1, 9)], FIRST),
        ([Reference("relative_energy", 1.0, 1.0, 0, "lonely"), Reference("frequency", 1.0, 1.0, 1, 9)], FIRST),
        (
            [Reference("relative_energy", 1.0, 1.0, i % 2, name) for i, name in enumerate("abba")]
            + [Reference("relative_energy", 1.0, 1.0, 0, name) for name in "dc"],
            "the group 'd'",
        ),
    ],
)
def test_the_first_of_several_wrong_references_is_named(bad, message):
    good = [Reference("hessian_element", 1.0, 1.0, 0, (row, 0)) for row in range(9)]
    with pytest.raises(ReferenceDataError, match=message):
        build([*good, *bad, *good])
