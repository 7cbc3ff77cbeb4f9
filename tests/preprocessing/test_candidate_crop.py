"""What is seen around a candidate, counted by hand."""

import numpy as np

from segpipe.case import Case
from segpipe.geometry import Grid
from segpipe.preprocessing.candidate_crop import CandidateCrop, cut_candidate
from segpipe.preprocessing.recipe import Recipe


def test_a_crop_has_the_voxels_and_the_window_of_the_recipe():
    recipe = Recipe("r", (1.25, 1.25, 2.0), (-1000.0, 400.0), (32, 32, 16))
    assert CandidateCrop.of(recipe, 32.0) == CandidateCrop((26, 26, 16), (1.25, 1.25, 2.0), (-1000.0, 400.0))
    assert CandidateCrop.of(recipe, 1.0).sides == (4, 4, 4)


def test_scan_and_probability_lie_along_the_patient_s_axes_around_the_centre():
    # voxels of 2 mm whose first axis runs to the left, so that x mm of the patient is voxel -x / 2
    grid = Grid((9, 9, 9), np.diag([-2.0, 2.0, 2.0, 1.0]))
    image = np.full((9, 9, 9), -1000, dtype=np.int16)
    image[4, 4, 4], image[3, 4, 4] = 400, -300  # at -8 mm and, further to the right, at -6 mm
    probability = np.zeros((9, 9, 9), dtype=np.float32)
    probability[4, 4, 4] = 0.5
    crop = CandidateCrop((4, 4, 4), (2.0, 2.0, 2.0), (-1000.0, 400.0))
    seen = cut_candidate(Case("c", image, grid), probability, (-7.0, 9.0, 9.0), crop)  # between voxels on all axes
    assert seen.shape == (2, 4, 4, 4)
    assert seen.dtype == np.float32
    # positions along x are at -10, -8, -6, -4 mm; along y and z at 6, 8, 10, 12 mm, of which the second is voxel 4
    assert seen[0, :, 1, 1].tolist() == [-1.0, 1.0, 0.0, -1.0]
    assert seen[1, :, 1, 1].tolist() == [0.0, 0.5, 0.0, 0.0]
    assert seen[1].sum() == 0.5


def test_beyond_the_scan_its_border_goes_on_and_nothing_is_probable():
    grid = Grid((4, 4, 4), np.eye(4))
    image = np.zeros((4, 4, 4), dtype=np.int16)
    image[0] = 400
    crop = CandidateCrop((4, 4, 4), (1.0, 1.0, 1.0), (-400.0, 400.0))
    seen = cut_candidate(Case("c", image, grid), np.ones((4, 4, 4), np.float32), (-0.5, 1.5, 1.5), crop)
    assert seen[0, :, 1, 1].tolist() == [1.0, 1.0, 1.0, 0.0]  # at -2, -1, 0 and 1 mm
    assert seen[1, :, 1, 1].tolist() == [0.0, 0.0, 1.0, 1.0]
