import numpy as np
import pytest

from segpipe.case import Case
from segpipe.geometry import Grid
from segpipe.report.overlays import lesion_region, overlay, upright
from segpipe.report.style import PREDICTION, REFERENCE

RAS = np.diag([1.0, 1.0, 2.0, 1.0])


def scan(shape, mask, affine=RAS):
    image = np.full(shape, -800, dtype=np.int16)
    image[0, 0, 0] = 0
    return Case("a", image, Grid(shape, affine), mask)


def block(shape, corner, size):
    mask = np.zeros(shape, dtype=np.uint8)
    mask[tuple(slice(start, start + n) for start, n in zip(corner, size, strict=True))] = 1
    return mask


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_scan_in_any_orientation_is_shown_in_the_same_way(signs, order):
    """The voxel nearest to the patient's right, front and head ends up in the first corner."""
    shape = tuple((4, 5, 6)[axis] for axis in order)
    affine = np.eye(4)
    affine[:3, :3] = np.zeros((3, 3))
    for axis, world in enumerate(order):
        affine[world, axis] = signs[world] * (1.0, 2.0, 3.0)[world]
    corner = tuple(n - 1 if signs[world] > 0 else 0 for world, n in zip(order, shape, strict=True))
    array = np.zeros(shape)
    array[corner] = 1
    turned, spacing_mm = upright(array, Grid(shape, affine))
    assert turned.shape == (4, 5, 6)
    assert turned[0, 0, 0] == 1
    assert spacing_mm == (1.0, 2.0, 3.0)


def test_the_axial_slice_is_the_one_with_most_reference_counted_as_in_the_file():
    shape = (40, 40, 20)
    mask = block(shape, (10, 10, 3), (4, 4, 1)) | block(shape, (10, 10, 4), (2, 2, 1))
    assert titles(overlay(scan(shape, mask), mask, "t"))[0] == "axial\nslice 4 of 20"
    upside_down = RAS * np.array([1, 1, -1, 1])
    assert titles(overlay(scan(shape, mask, upside_down), mask, "t"))[0] == "axial\nslice 4 of 20"


def test_a_small_lesion_of_a_whole_scan_is_enlarged_and_framed():
    shape = (200, 200, 40)
    mask = block(shape, (100, 100, 20), (6, 6, 3))
    figure = overlay(scan(shape, mask), mask, "median case a", data="phantom")
    assert [title.partition("\n")[0] for title in titles(figure)] == ["axial", "enlarged", "coronal"]
    assert len(figure.axes[0].patches) == 1
    # 6 voxels of 1 mm and a margin of 15 mm on either side
    assert figure.axes[1].get_images()[0].get_array().shape == (36, 36)
    assert figure.get_suptitle() == "median case a · phantom"


def test_a_crop_is_shown_whole_with_and_without_contours():
    shape = (40, 40, 12)
    mask = block(shape, (15, 15, 4), (10, 10, 3))
    figure = overlay(scan(shape, mask), mask, "t")
    assert titles(figure) == ["axial\nslice 6 of 12", "without contours\nslice 6 of 12", "coronal\nslice 20 of 40"]
    assert [len(axes.collections) for axes in figure.axes] == [2, 0, 2]


def test_the_right_of_the_patient_is_left_of_the_picture():
    shape = (40, 40, 2)
    mask = block(shape, (35, 18, 0), (3, 3, 1))  # x grows to the right in RAS+
    contour = overlay(scan(shape, mask), np.zeros(shape), "t").axes[0].collections[0]
    assert contour.get_paths()[0].vertices[:, 0].max() < 6


def test_both_contours_have_their_own_colour_and_an_empty_mask_has_none():
    from matplotlib.colors import to_hex

    shape = (40, 40, 12)
    mask = block(shape, (15, 15, 4), (10, 10, 3))
    both = overlay(scan(shape, mask), np.roll(mask, 2, axis=0), "t").axes[0].collections
    assert [to_hex(contour.get_edgecolor()[0]) for contour in both] == [REFERENCE, PREDICTION]
    missed = overlay(scan(shape, mask), np.zeros(shape), "t").axes[0].collections
    assert [to_hex(contour.get_edgecolor()[0]) for contour in missed] == [REFERENCE]
    assert len(overlay(scan(shape, None), np.zeros(shape), "t").axes[0].collections) == 0


def test_of_several_lesions_all_panels_show_the_one_with_most_reference_in_a_slice():
    shape = (200, 150, 40)
    flat, tall = block(shape, (20, 20, 10), (8, 8, 1)), block(shape, (150, 100, 20), (6, 6, 15))
    false_alarm = block(shape, (80, 60, 8), (20, 20, 5))
    at, box = lesion_region(flat + tall > 0, false_alarm > 0, (1.0, 1.0, 2.0))
    assert at == (24, 24, 10)
    assert box == (slice(5, 43), slice(5, 43), slice(2, 19))


def test_without_reference_the_prediction_leads_and_without_both_the_whole_scan_is_shown():
    shape = (50, 40, 20)
    nothing = np.zeros(shape, dtype=bool)
    assert lesion_region(nothing, block(shape, (10, 10, 5), (3, 3, 3)) > 0, (1.0, 1.0, 1.0))[0] == (11, 11, 6)
    assert lesion_region(nothing, nothing, (1.0, 1.0, 1.0))[1] == (slice(0, 50), slice(0, 40), slice(0, 20))
