"""How many slices a lesion needs."""

import numpy as np
import pytest

from segpipe.geometry import Grid
from segpipe.inference.measurements.slices import THICK, TOO_THICK, measure_slices
from segpipe.lesions import Voxels


def column(slices, spacing_mm, across=2):
    indices = np.zeros((slices, 3), int)
    indices[:, across] = np.arange(slices)
    spacing = np.ones(3)
    spacing[across] = spacing_mm
    return Voxels.of(indices), Grid((40, 40, 40), np.diag([*spacing, 1.0]))


@pytest.mark.parametrize(
    ("slices", "spacing_mm", "note"),
    [(2, 1.0, TOO_THICK), (2, 5.0, TOO_THICK), (3, 1.5, None), (3, 1.51, THICK), (9, 5.0, THICK), (20, 0.6, None)],
)
def test_fewer_than_three_slices_are_too_few_and_more_than_one_and_a_half_millimetres_too_thick(
    slices, spacing_mm, note
):
    found = measure_slices(*column(slices, spacing_mm))
    assert (found.slice_count, found.slice_note) == (slices, note)
    assert found.slice_spacing_mm == pytest.approx(spacing_mm)


def test_axial_slices_are_counted_in_a_scan_of_another_order():
    voxels, _ = column(4, 1.0, across=1)
    sagittal = Grid((40, 40, 40), np.array([[0, 0, 0.7, 0], [0.7, 0, 0, 0], [0, -2.5, 0, 0], [0, 0, 0, 1]]))
    found = measure_slices(voxels, sagittal)
    assert (found.slice_count, found.slice_spacing_mm, found.slice_note) == (4, pytest.approx(2.5), THICK)
