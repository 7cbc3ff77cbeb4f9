"""Findings measured on shapes whose figures a pencil gives."""

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.geometry import Grid, to_world
from segpipe.inference.findings import ClassComponents, measure_findings
from segpipe.inference.measurements.place import BodySides
from segpipe.labels import NODULE
from segpipe.lesions import find_components

SHAPE = (60, 50, 20)
LPS = np.array([[-5.0, 0, 0, 150], [0, -5.0, 0, 120], [0, 0, 4.0, -300], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, 5.0, -150], [5.0, 0, 0, -120], [0, -4.0, 0, 80], [0, 0, 0, 1]])


def thorax(affine=LPS, shape=SHAPE):
    """An ellipse of tissue, 50 voxels wide, in air."""
    image = np.full(shape, -1000, np.int16)
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    image[((x - 30) / 25) ** 2 + ((y - 25) / 18) ** 2 <= 1] = 40
    return Case("thorax", image, Grid(shape, affine))


def found(case, mask, confidence=(0.75, 0.875)):
    components = find_components(mask)
    kept = list(range(1, components.count + 1))
    return measure_findings(case, [ClassComponents(NODULE, components, kept, [confidence] * components.count)])


def test_a_box_in_a_thorax():
    case = thorax()
    mask = np.zeros(SHAPE, np.uint8)
    mask[15:19, 20:23, 5:7] = 1  # 4 × 3 × 2 voxels of 5 × 5 × 4 mm
    case.image[15:19, 20:23, 5:7] = -700
    case.image[15:17, 20:23, 5:7] = 60
    (finding,) = found(case, mask)
    assert (finding.number, finding.label, finding.value) == (1, "nodule", 1)
    assert finding.volume_mm3 == pytest.approx(24 * 100)
    assert finding.longest_diameter_mm == pytest.approx(np.sqrt(15**2 + 10**2 + 4**2) + 14 / 3)
    assert finding.axial_diameter_mm == pytest.approx(np.sqrt(15**2 + 10**2) + 5)
    assert finding.equivalent_diameter_mm == pytest.approx((6 * 2400 / np.pi) ** (1 / 3))
    assert finding.mean_hu == pytest.approx((-700 + 60) / 2)
    assert finding.solid_fraction == 0.5
    assert finding.slice_index == 5
    assert finding.slice_number == 6
    assert finding.centre_mm == pytest.approx((150 - 16.5 * 5, 120 - 21 * 5, -300 + 5.5 * 4))
    assert finding.centre_lps_mm == pytest.approx((-67.5, -15.0, -278.0))
    assert (finding.mean_probability, finding.max_probability) == (0.75, 0.875)


def test_exactly_minus_300_hu_is_not_solid():
    case = thorax()
    mask = np.zeros(SHAPE, np.uint8)
    mask[15:17, 20, 5] = 1
    case.image[15, 20, 5], case.image[16, 20, 5] = -300, -299
    assert found(case, mask)[0].solid_fraction == 0.5


def test_sides_are_those_of_the_patient_in_every_array_order():
    for affine, right_voxel, left_voxel in (
        (LPS, (15, 25, 5), (45, 25, 5)),
        (np.diag([5.0, 5.0, 4.0, 1.0]), (45, 25, 5), (15, 25, 5)),
    ):
        case = thorax(affine)
        mask = np.zeros(SHAPE, np.uint8)
        mask[right_voxel] = mask[left_voxel] = 1
        sides = {finding.side: finding.centre_mm for finding in found(case, mask)}
        assert sides["right"] == pytest.approx(tuple(to_world(affine, right_voxel)))
        assert sides["left"] == pytest.approx(tuple(to_world(affine, left_voxel)))
        assert sides["right"][0] > sides["left"][0], "right is positive in RAS+"


def test_sides_of_a_scan_in_another_order():
    """(a, b, c) runs to the front, to the feet and to the right: axial slices lie along the second axis."""
    image = np.transpose(thorax().image, (1, 2, 0)).copy()
    case = Case("turned", image, Grid(image.shape, SAGITTAL))
    mask = np.zeros(image.shape, np.uint8)
    mask[25, 7, 45] = 1
    (finding,) = found(case, mask)
    assert finding.side == "right"
    assert finding.slice_index == 7


def test_a_crop_shows_no_side():
    case = thorax(np.diag([-0.7, -0.7, 4.0, 1.0]))  # the ellipse is 35 mm wide here
    mask = np.zeros(SHAPE, np.uint8)
    mask[15, 25, 5] = 1
    assert found(case, mask)[0].side is None


def test_a_slice_of_air_shows_no_side():
    case = thorax()
    case.image[:, :, 3] = -1000
    assert BodySides(case).find((0.0, 0.0, 0.0), slice_index=3) is None


def test_findings_are_plain_data():
    mask = np.zeros(SHAPE, np.uint8)
    mask[15, 20, 5] = 1
    finding = found(thorax(), mask)[0].to_dict()
    assert finding["centre_mm"] == pytest.approx((75.0, 20.0, -280.0))
    assert finding["side"] == "right"
