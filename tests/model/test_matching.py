"""Which mode a frequency is compared with, on spectra made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from q2mm_accel.datasets import load_molecule
from q2mm_accel.errors import MoleculeError, ReferenceDataError
from q2mm_accel.model.matching import match_frequencies
from q2mm_accel.model.molecule import Molecule


def pairs(quantum, computed, **options):
    values, modes = match_frequencies(quantum, computed, **options)
    return dict(zip(modes.tolist(), values.tolist(), strict=True))


def test_vibrations_are_paired_from_the_top_down_whatever_is_below():
    computed = [-500.0, -0.2, 0.0, 3.0, 4.0, 5.0, 900.0, 1500.0, 2800.0]
    assert pairs([3000.0, 30.0, 1200.0], computed) == {6: 30.0, 7: 1200.0, 8: 3000.0}
    # the imaginary mode has no partner: its position would be among the rigid motions
    assert pairs([3000.0, -800.0, 1200.0], computed) == {7: 1200.0, 8: 3000.0}
    assert pairs([3000.0, 30.0, 1200.0], computed, threshold=50.0) == {7: 1200.0, 8: 3000.0}


def test_a_rotation_left_over_by_a_numerical_hessian_is_no_vibration():
    along, across = np.array([[0.65, -0.65], [-0.65, 0.65]]), np.array([[1.2e-4, -1.2e-4], [-1.2e-4, 1.2e-4]])
    hessian = np.zeros((2, 3, 2, 3))
    for axis, block in enumerate((across, across, along)):
        hessian[:, axis, :, axis] = block
    molecule = Molecule("HF", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.92]], hessian)
    assert np.sum(molecule.frequencies() > 50.0) == 3
    ((mode, value),) = pairs(molecule, [-1.0, 0.0, 0.0, 0.0, 1.0, 4000.0]).items()
    assert mode == 5 and value == pytest.approx(4236.4, abs=0.1)


@pytest.mark.parametrize("name", ["ethane", "hcn"])
def test_all_vibrations_of_a_molecule_have_partners(name):
    molecule = load_molecule(name)
    n_rigid = 5 if name == "hcn" else 6
    values, modes = match_frequencies(molecule, np.zeros(3 * molecule.n_atoms))
    np.testing.assert_array_equal(values, molecule.normal_modes.frequencies)
    np.testing.assert_array_equal(modes, np.arange(n_rigid, 3 * molecule.n_atoms))
    assert values.dtype == np.float64 and modes.dtype.kind == "i"


NINE = np.arange(9.0)


@pytest.mark.parametrize(
    ("quantum", "computed", "message"),
    [
        ([100.0] * 3, NINE[::-1], "not ascending"),
        ([100.0, np.nan, 1.0], NINE, "quantum frequency 1 is nan"),
        ([100.0] * 3, [*NINE[:8], np.inf], "computed frequency 8 is inf"),
        ([[100.0]], NINE, r"must be one list, but have the shape \(1, 1\)"),
        ([100.0] * 2, NINE, "2 vibrations cannot belong to 9 computed"),
        ([100.0] * 3, NINE[:8], "3 vibrations cannot belong to 8 computed"),
        (NINE, NINE, "include rigid motions: give the Molecule"),
        ([], NINE[:6], "0 vibrations cannot belong to 6"),
        ([], [], "0 vibrations cannot belong to 0"),
        (load_molecule("water"), np.arange(12.0), "water: 3 vibrations cannot belong to 12"),
    ],
)
def test_spectra_that_cannot_be_paired_are_refused(quantum, computed, message):
    with pytest.raises(ReferenceDataError, match=message):
        match_frequencies(quantum, computed)


def test_a_molecule_without_hessian_is_named():
    with pytest.raises(MoleculeError, match="water: it has no Hessian"):
        match_frequencies(replace(load_molecule("water"), hessian=None), NINE)
