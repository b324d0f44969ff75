"""Which mode q2mm compares a frequency with, on spectra made by hand."""

import numpy as np
import pytest

from q2mm_accel.errors import ReferenceDataError
from q2mm_accel.interop.pairing import match_as_q2mm


def pairs(quantum, computed, **options):
    values, modes = match_as_q2mm(quantum, computed, **options)
    return dict(zip(modes.tolist(), values.tolist(), strict=True))


def test_vibrations_are_paired_from_the_lowest_up_and_rigid_motions_skipped():
    quantum = [3000.0, 0.1, 1200.0, -800.0]
    computed = [-500.0, -0.2, 0.0, 3.0, 900.0, 2800.0]
    assert pairs(quantum, computed) == {4: 1200.0, 5: 3000.0}


@pytest.mark.parametrize(
    ("quantum", "computed", "expected"),
    [
        ([100.0, 200.0, 300.0], [0.0, 150.0, 250.0], {1: 100.0, 2: 200.0}),
        ([100.0], [150.0, 250.0], {0: 100.0}),
        ([10.0, 50.0], [150.0, 250.0], {}),
        ([], [150.0], {}),
    ],
)
def test_the_shorter_list_decides_how_many_pairs_there_are(quantum, computed, expected):
    assert pairs(quantum, computed) == expected


def test_the_threshold_itself_is_no_vibration_and_can_be_moved():
    assert pairs([50.0, 51.0], [50.0, 51.0]) == {1: 51.0}
    assert pairs([50.0, 51.0], [-20.0, 5.0], threshold=-30.0) == {0: 50.0, 1: 51.0}


def test_computed_modes_that_are_not_in_order_are_refused():
    with pytest.raises(ReferenceDataError, match="not ascending"):
        match_as_q2mm(np.array([100.0]), np.array([200.0, 100.0]))
