import numpy as np
import pytest

from segpipe.case import Case
from segpipe.geometry import Grid
from segpipe.preprocessing.rating_crop import RatingCrop, cut_crop

CROP = RatingCrop(side=8, spacing_mm=1.0, window_hu=(-1000.0, 600.0), margin_mm=2.0)


def cube(affine) -> tuple[Case, np.ndarray]:
    """4³ voxels of 200 HU in the middle of 20³ voxels of −200 HU."""
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[8:12, 8:12, 8:12] = True
    return Case("cube", np.where(mask, 200, -200).astype(np.int16), Grid(mask.shape, affine)), mask


def test_window_margin_and_mask_by_hand():
    case, mask = cube(np.eye(4))
    scan, inside = cut_crop(case, mask, (9.5, 9.5, 9.5), CROP)
    assert scan.shape == inside.shape == (8, 8, 8)
    np.testing.assert_array_equal(inside.sum(), 64)
    # 200 HU is half of the window above its middle, −200 HU is the middle; what is 3 mm away is hidden
    assert (scan[2:6, 2:6, 2:6] == 0.5).all()
    assert (scan[0, 2:6, 2:6] == 0.0).all()
    assert scan[0, 0, 0] == -1.0


@pytest.mark.parametrize("flip", [(-1, 1, 1), (1, 1, -1), (-1, -1, -1)])
def test_the_order_of_the_array_does_not_matter(flip):
    case, mask = cube(np.eye(4))
    mask[11, 11, 11] = False  # no symmetry
    signs = np.array(flip)
    affine = np.diag([*flip, 1.0])
    affine[:3, 3] = np.where(signs < 0, 19.0, 0.0)
    axes = tuple(slice(None, None, sign) for sign in flip)
    flipped = Case("cube", case.image[axes], Grid(mask.shape, affine))
    np.testing.assert_allclose(
        cut_crop(flipped, mask[axes], (9.5, 9.5, 9.5), CROP), cut_crop(case, mask, (9.5, 9.5, 9.5), CROP), atol=1e-6
    )


def test_a_scan_looks_as_a_crop_that_ends_at_the_margin():
    case, mask = cube(np.eye(4))
    case.image[:5], case.image[:, :5], case.image[..., :5] = 900, 900, 900
    part = (slice(5, 15),) * 3
    small = Case(
        "part",
        case.image[part],
        Grid((10, 10, 10), np.array([[1, 0, 0, 5.0], [0, 1, 0, 5.0], [0, 0, 1, 5.0], [0, 0, 0, 1]])),
    )
    whole = cut_crop(case, mask, (9.5, 9.5, 9.5), CROP)
    np.testing.assert_array_equal(cut_crop(small, mask[part], (9.5, 9.5, 9.5), CROP), whole)


def test_a_nodule_at_the_border_of_the_scan():
    case, mask = cube(np.eye(4))
    mask[:], mask[0, 0, 0] = False, True
    scan, inside = cut_crop(case, mask, (0.0, 0.0, 0.0), CROP)
    assert np.isfinite(scan).all()
    assert inside.max() == pytest.approx(0.125)  # the nodule's one voxel has the crop's nearest centres at its corners
