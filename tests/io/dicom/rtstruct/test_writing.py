"""Where the contours of a structure set lie, worked out from its numbers alone and from the headers of the slices."""

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_allclose

from segpipe.io.dicom.objects import Derivation, FindingMap, Maker
from segpipe.io.dicom.rtstruct.writing import write_rtstruct
from segpipe.io.dicom.series.series import find_series, read_series
from segpipe.labels import NODULE
from tests.samples.synthetic_dicom import AXIAL, ct_slices, oblique, save

MAKER = Maker(model="lung_nodule", version="1.2.0", recipe="0123456789abcdef", software="0.1.0")
MIRRORED, REVERSED = AXIAL * [[-1], [1], [1], [1]], AXIAL * [[1], [1], [-1], [1]]
AFFINES = {"straight": AXIAL, "mirrored": MIRRORED, "oblique": oblique(), "reversed": REVERSED}
BOX, HOLED, LOPSIDED, COMET, TINY = FINDINGS = 1, 2, 3, 4, 5
OUTLINES = {BOX: 2, HOLED: 3 - 1, LOPSIDED: 3, COMET: 5, TINY: 1}  # of all slices, less the holes
PIXEL_MM2 = 0.8 * 0.7


def shapes():
    """Numbers (x, y, z) of a box, one with a hole off its centre, an L that grows, a comet and an L of three pixels."""
    numbers = np.zeros((48, 44, 10), np.int16)
    numbers[3:9, 4:11, 1:3] = BOX
    numbers[20:30, 15:22, 5:8] = HOLED
    numbers[26:29, 16:18, 6] = 0
    for z, arm in enumerate((4, 8, 12)):
        numbers[5 : 5 + arm, 25:28, 2 + z] = numbers[5:8, 25 : 25 + arm, 2 + z] = LOPSIDED
    x, y, z = np.meshgrid(*[np.arange(count) for count in numbers.shape], indexing="ij")
    tail = np.hypot(y - 32, 2 * (z - 5)) < 6 - 0.45 * (x - 26)
    numbers[tail & (x > 25) & (numbers == 0)] = COMET
    numbers[40:42, 5, 8] = numbers[40, 5:7, 8] = TINY
    return numbers


def fan(points):
    """Twice the vector areas (n, 3) and the centres (n, 3) of the triangles from the first point to each edge."""
    first, second, third = points[0], points[1:-1], points[2:]
    return np.cross(second - first, third - first), (first + second + third) / 3


def area_and_centre(points):
    """Of a plane polygon in space, by the shoelace formula."""
    vectors, centres = fan(points)
    whole = vectors.sum(axis=0)
    shares = vectors @ whole / (whole @ whole)
    return np.linalg.norm(whole) / 2, shares @ centres


def is_inside(point, polygon, across, down):
    """Whether a point lies in a polygon of its plane, by the crossings of a ray along `across`."""
    u, v = (polygon - point) @ across, (polygon - point) @ down
    later_u, later_v = np.roll(u, -1), np.roll(v, -1)
    cut = (v > 0) != (later_v > 0)
    return np.count_nonzero(u[cut] + (later_u - u)[cut] * v[cut] / (v - later_v)[cut] > 0) % 2 == 1


def drawn(structures, across, down):
    """Region number → area (mm²) summed over its slices and centre (LPS+ mm); a contour in another one is a hole."""
    found = {}
    for region in structures.ROIContourSequence:
        polygons = [np.array(item.ContourData, dtype=float).reshape(-1, 3) for item in region.ContourSequence]
        normal = np.cross(across, down)
        total, moment = 0.0, np.zeros(3)
        for polygon in polygons:
            same = [other for other in polygons if other is not polygon and abs((other[0] - polygon[0]) @ normal) < 0.5]
            area, centre = area_and_centre(polygon)
            signed = area * (-1) ** sum(is_inside(polygon[0], other, across, down) for other in same)
            total, moment = total + signed, moment + signed * centre
        found[int(region.ReferencedROINumber)] = total, moment / total
    return found


def shown(folder):
    """Number → pixels and centre (LPS+ mm) as the headers of the slices place them (DICOM PS3.3 C.7.6.2.1.1)."""
    places = {number: [] for number in FINDINGS}
    for file in folder.iterdir():
        image = pydicom.dcmread(file)
        across, down = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
        between_rows, between_columns = (float(value) for value in image.PixelSpacing)
        numbers = image.pixel_array.astype(int) + int(image.RescaleIntercept)
        for number, positions in places.items():
            rows, columns = np.nonzero(numbers == number)
            steps = np.outer(columns * between_columns, across) + np.outer(rows * between_rows, down)
            positions.append(np.array(image.ImagePositionPatient, dtype=float) + steps)
    joined = {number: np.concatenate(positions) for number, positions in places.items()}
    return {number: (len(positions), positions.mean(axis=0)) for number, positions in joined.items()}, across, down


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_the_contours_lie_around_their_pixels(tmp_path, affine):
    """The lines run half-way between pixel centres and cut an eighth of a pixel off each corner.

    An outline has four corners more that turn out than turn in, so it holds half a pixel less than its pixels. That
    moves no centre of a shape with two axes of symmetry, and the three pixels of an L by a sixtieth of a pixel.
    """
    folder = save(ct_slices(shapes(), affine), tmp_path / "ct")
    expected, across, down = shown(folder)
    series = find_series(folder).series[0]
    numbers = read_series(series).array
    path = write_rtstruct(
        tmp_path / "rt.dcm", [FindingMap(NODULE, numbers)], derivation=Derivation(series, (NODULE,), MAKER)
    )

    found = drawn(pydicom.dcmread(path), across, down)

    assert set(found) == set(expected) == set(FINDINGS)
    for number, (pixels, centre) in expected.items():
        area, middle = found[number]
        assert area == pytest.approx((pixels - OUTLINES[number] / 2) * PIXEL_MM2, rel=1e-3)
        assert_allclose(middle, centre, atol=0.02)
    assert_allclose(found[BOX][1], expected[BOX][1], atol=1e-3)
    off = np.array([(found[TINY][1] - expected[TINY][1]) @ axis for axis in (across, down)])
    assert_allclose(np.abs(off), [0.8 / 60, 0.7 / 60], atol=1e-3)
