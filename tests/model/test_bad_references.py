"""Whatever is given to references and to the matching of frequencies, the error is one of the package's own."""

import numpy as np
import pytest
from refusals import SYSTEM, assert_refused, forcefield, refusals

from q2mm_accel import FusedObjective, Reference, ReferenceData
from q2mm_accel.errors import Q2MMAccelError, ReferenceDataError
from q2mm_accel.model.matching import match_frequencies

ODD = {
    "None": None,
    "text": "6",
    "bytes": b"6",
    "an integer": 7,
    "a negative integer": -3,
    "a huge integer": 10**400,
    "NaN": np.nan,
    "an infinity": -np.inf,
    "a complex number": 1.0 + 2.0j,
    "a truth value": True,
    "an object": object(),
    "a class": Reference,
    "a dictionary": {"a": 1},
    "an array without axes": np.array(1.5),
    "a ragged list": [[1.0], [2.0, 3.0]],
    "a nested list": [[[1.0, 2.0], [3.0, 4.0]]],
    "a list of None": [None, None],
    "a list of text": ["a", "b"],
    "a list of numbers that are text": ["1", "2"],
    "a list of NaN": [np.nan, np.nan],
    "a cube": np.zeros((2, 2, 2)),
    "a table of objects": np.array([[None, 1], [1, None]]),
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "numbers beyond float64": np.array([[np.longdouble("1e4000")]]),
    "numbers that overflow": [[1e308, 1e308], [1e308, 1e308]],
}
GOOD = [[1.0, 0.0], [0.0, 2.0]]
CALLS = {
    "ReferenceData": ReferenceData,
    "FusedObjective": lambda odd: FusedObjective([SYSTEM], forcefield(), odd),
    "add": lambda odd: ReferenceData().add(odd),
    **{
        f"add, {name}": lambda odd, name=name: ReferenceData().add(
            Reference(**{"kind": "hessian_element", "value": 1.0, "index": (1, 0)} | {name: odd})
        )
        for name in ("kind", "value", "weight", "system", "index", "label")
    },
    "add, a row": lambda odd: ReferenceData().add(Reference("hessian_element", 1.0, index=(odd, 0))),
    "add, a mode": lambda odd: ReferenceData().add(Reference("frequency", 1.0, index=odd)),
    "add, an energy's index": lambda odd: ReferenceData().add(Reference("energy", 1.0, index=odd)),
    "add, a group": lambda odd: ReferenceData().add(Reference("relative_energy", 1.0, index=odd)),
    "add_energy, value": lambda odd: ReferenceData().add_energy(odd),
    "add_energy, weight": lambda odd: ReferenceData().add_energy(1.0, weight=odd),
    "add_energy, system": lambda odd: ReferenceData().add_energy(1.0, system=odd),
    "add_energy, label": lambda odd: ReferenceData().add_energy(1.0, label=odd),
    "add_relative_energies, values": lambda odd: ReferenceData().add_relative_energies(odd, [0, 1]),
    "add_relative_energies, systems": lambda odd: ReferenceData().add_relative_energies([0.0, 1.0], odd),
    "add_relative_energies, a system": lambda odd: ReferenceData().add_relative_energies([0.0, 1.0], [0, odd]),
    "add_relative_energies, group": lambda odd: ReferenceData().add_relative_energies([0.0], [0], group=odd),
    "add_relative_energies, weight": lambda odd: ReferenceData().add_relative_energies([0.0], [0], weight=odd),
    "add_frequencies, values": lambda odd: ReferenceData().add_frequencies(odd),
    "add_frequencies, modes": lambda odd: ReferenceData().add_frequencies([1.0, 2.0], modes=odd),
    "add_frequencies, a mode": lambda odd: ReferenceData().add_frequencies([1.0, 2.0], modes=[0, odd]),
    "add_frequencies, weight": lambda odd: ReferenceData().add_frequencies([1.0], weight=odd),
    "add_frequencies, system": lambda odd: ReferenceData().add_frequencies([1.0], system=odd),
    "add_hessian, hessian": lambda odd: ReferenceData().add_hessian(odd),
    **{
        f"add_hessian, {name}": lambda odd, name=name: ReferenceData().add_hessian(GOOD, **{name: odd})
        for name in ("system", "weight_diagonal", "weight_offdiagonal")
    },
    "add_eigenmatrix, hessian": lambda odd: ReferenceData().add_eigenmatrix(odd),
    **{
        f"add_eigenmatrix, {name}": lambda odd, name=name: ReferenceData().add_eigenmatrix(GOOD, **{name: odd})
        for name in ("system", "diagonal_only", "weight_first", "weight_diagonal", "weight_offdiagonal")
    },
    "match_frequencies, quantum": lambda odd: match_frequencies(odd, [1.0, 2.0]),
    "match_frequencies, computed": lambda odd: match_frequencies([1.0, 2.0], odd),
    "match_frequencies, threshold": lambda odd: match_frequencies([1.0], [1.0] * 6, odd),
}
FINE = {
    **dict.fromkeys(["add, value", "add_energy, value"], {"an integer", "a negative integer", "an array without axes"}),
    **{name: {"an integer", "an array without axes"} for name in CALLS if "weight" in name},
    **{name: {"an integer"} for name in CALLS if name.endswith(("system", "a mode", "a row"))},
    **{name: {"None", "text"} for name in CALLS if "label" in name},
    **{name: {"text"} for name in ("add, a group", "add_relative_energies, group")},
    "add, an energy's index": {"None"},
    "add_frequencies, modes": {"None"},
    "add_hessian, hessian": {"numbers that overflow"},
    "add_eigenmatrix, diagonal_only": {"an integer", "a negative integer", "a huge integer", "a truth value"},
    "match_frequencies, threshold": {"an integer", "a negative integer", "an infinity", "an array without axes"},
}
"""What is not odd after all."""


@pytest.mark.parametrize("name", CALLS)
def test_odd_things_are_refused_or_make_sense(name):
    for odd, value in ODD.items():
        if odd in FINE.get(name, ()):
            CALLS[name](value)
            continue
        with pytest.raises(Q2MMAccelError) as caught:
            CALLS[name](value)
            pytest.fail(f"{name} accepts {odd}")
        assert type(caught.value) is ReferenceDataError, f"{odd}: {caught.value!r}"
        assert len(str(caught.value)) > 20, odd


NAMED = {
    "no references": (lambda: ReferenceData(None), ("references is None", "sequence of Reference")),
    "a number among references": (lambda: ReferenceData([1]), ("references[0] is a int", "make a Reference of it")),
    "a number to add": (lambda: ReferenceData().add(1), ("1 is a int", "make a Reference of it")),
    "an objective without references": (
        lambda: FusedObjective([SYSTEM], forcefield(), None),
        ("references is None", "sequence of Reference"),
    ),
    "a label that is a number": (
        lambda: ReferenceData([Reference("energy", 0.0, label=3)]),
        ("energy of system 0", "label is 3", "give text"),
    ),
    "modes that are a number": (
        lambda: ReferenceData().add_frequencies([1.0], modes=6, system=2),
        ("system 2", "modes is 6", "a list of mode numbers"),
    ),
    "systems that are a number": (
        lambda: ReferenceData().add_relative_energies([1.0], 6, "rings"),
        ("'rings'", "systems is 6", "the number of each energy's system"),
    ),
    "a diagonal_only that is text": (
        lambda: ReferenceData().add_eigenmatrix(GOOD, 2, diagonal_only="no"),
        ("system 2", "diagonal_only is 'no'", "True or False"),
    ),
    "frequencies that are text": (
        lambda: match_frequencies(["a"], [1.0]),
        ("the quantum frequencies", "real numbers", "<U1"),
    ),
    "a threshold that is text": (lambda: match_frequencies([1.0], [1.0] * 6, "low"), ("threshold", "real numbers", "low")),
    "a threshold that is NaN": (lambda: match_frequencies([1.0], [1.0] * 6, np.nan), ("threshold is nan", "cm⁻¹")),
}


@refusals({sentence: (call, ReferenceDataError, words) for sentence, (call, words) in NAMED.items()})
def test_references_are_refused_by_name_for(call, error, words):
    assert_refused(call, error, words)


def test_a_single_reference_is_a_list_of_one():
    assert list(ReferenceData(Reference("energy", 1.0))) == [Reference("energy", 1.0)]
