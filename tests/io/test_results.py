"""Force fields in files: every number as it was, and files that are none refused by name."""

import json

import numpy as np
import pytest

from q2mm_accel import ForceField
from q2mm_accel.errors import ParameterError
from q2mm_accel.io.results import read_forcefield
from q2mm_accel.model.kinds import KINDS
from q2mm_accel.writers.forcefields import write_forcefield


def everything():
    """A force field with all kinds of terms and numbers of many digits."""
    rng = np.random.default_rng(8)
    lengths = {"bond": 3, "angle": 2, "torsion": 4, "vdw": 2, "urey_bradley": 1}
    arrays = {
        field: rng.uniform(0.1, 100.0, count)
        for kind, count in lengths.items()
        for field in (*KINDS[kind].fields, *(("torsion_phases",) if kind == "torsion" else ()))
    }
    arrays |= {"vdw_radii": np.array([1.0 / 3.0, 5e-324]), "torsion_periodicities": np.array([1, 2, 3, 6])}
    labels = [f'Å, "{number}"\n' for number in range(20)]
    return ForceField(form="mm3", labels=labels, **arrays)


def test_a_force_field_is_read_as_it_was_written(tmp_path):
    original = everything()
    write_forcefield(tmp_path / "forcefield.json", original)
    read = read_forcefield(tmp_path / "forcefield.json")
    assert read.arrays.keys() == original.arrays.keys()
    for field in original.arrays:
        np.testing.assert_array_equal(getattr(read, field), getattr(original, field), strict=True)
    assert read.labels == original.labels and read.form == original.form


def spoiled(**changes):
    """A written force field with changed fields; None removes one."""

    def content(path):
        write_forcefield(path, everything())
        fields_of_file = json.loads(path.read_text(encoding="utf-8")) | changes
        return json.dumps({key: value for key, value in fields_of_file.items() if value is not None}).encode()

    return content


UNREADABLE = {
    "an empty file": (lambda path: b"", ("is not JSON",)),
    "text": (lambda path: b"bond C-H 350.0", ("is not JSON",)),
    "bytes": (lambda path: bytes(range(256)), ("is not JSON",)),
    "a truncated file": (lambda path: spoiled()(path)[:-40], ("is not JSON",)),
    "a list": (lambda path: b"[1, 2]", ("is not a force field of q2mm_accel", "format must be")),
    "another format": (spoiled(format="q2mm_accel force field 9"), ("is not a force field", "q2mm_accel force field 1")),
    "a missing field": (spoiled(angle_values=None, labels=None), ("lacks angle_values, labels",)),
    "missing periodicities": (spoiled(torsion_periodicities=None), ("lacks torsion_periodicities",)),
    "lists of unequal length": (spoiled(bond_lengths=[1.0]), ("bond_lengths has 1", "each type needs one of both")),
    "NaN": (spoiled(bond_lengths=[1.0, float("nan"), 1.0]), ("bond_lengths[1] is nan",)),
    "text for a number": (spoiled(bond_lengths=[1.0, "long", 1.0]), ("bond_lengths", "long")),
}


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ParameterError, match="missing.json cannot be read: No such file"):
        read_forcefield(tmp_path / "missing.json")


@pytest.mark.parametrize("fault", UNREADABLE, ids=str)
def test_a_file_that_is_no_force_field_is_refused_by_name(fault, tmp_path):
    content, words = UNREADABLE[fault]
    path = tmp_path / "spoiled.json"
    path.write_bytes(content(path))
    with pytest.raises(ParameterError) as caught:
        read_forcefield(path)
    assert all(word in str(caught.value) for word in (str(path), *words)), caught.value
