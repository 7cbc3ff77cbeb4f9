"""The lungs are found by air inside the body; lesions stay inside their box."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.geometry import Grid, to_voxel, to_world
from segpipe.preprocessing.lungs import MARGIN_MM, crop_to_lungs, find_lungs, lung_mask

SPACING = 4.0


def thorax(lung_hu: float = -850.0, axes: tuple[int, int, int] = (0, 1, 2)) -> Case:
    """A block of tissue, 320×240×200 mm, in air, with two box lungs of 80×120×120 mm."""
    image = np.full((100, 80, 60), -1000.0, dtype=np.float32)
    image[10:90, 10:70, 5:55] = 40
    image[20:40, 25:55, 15:45] = lung_hu
    image[60:80, 25:55, 15:45] = lung_hu
    image[::2, ::2, ::2] += 1  # not constant anywhere
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = (-200, -150, 30)
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[48:52, 30:34, 20:24] = 1  # between the lungs
    order = list(axes)
    return Case("thorax", image.transpose(order), Grid(tuple(np.array(image.shape)[order]), affine[:, [*order, 3]]),
                mask.transpose(order))  # fmt: skip


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_box_holds_both_lungs_and_the_margin(axes):
    region = find_lungs(thorax(axes=axes))
    reach = int(MARGIN_MM // SPACING)
    expected = [(20 - reach, 80 + reach), (25 - reach, 55 + reach), (15 - reach, 45 + reach)]
    assert [(span.start, span.stop) for span in region.box] == [expected[axis] for axis in axes]
    sizes = [stop - start for start, stop in expected]
    assert region.kept_fraction == pytest.approx(np.prod(sizes) / (100 * 80 * 60))


def test_a_lesion_between_the_lungs_is_inside():
    case = thorax()
    region = lung_mask(case)
    world = to_world(case.grid.affine, np.argwhere(case.mask))
    voxels = np.round(to_voxel(region.grid.affine, world)).astype(int)
    assert region.array[tuple(voxels.T)].all()


def test_cropping_keeps_world_positions_and_lesions():
    case = thorax()
    cropped, kept = crop_to_lungs(case)
    assert 0 < kept < 1
    assert cropped.mask.sum() == case.mask.sum()
    before = to_world(case.grid.affine, np.argwhere(case.mask))
    after = to_world(cropped.grid.affine, np.argwhere(cropped.mask))
    np.testing.assert_allclose(after, before)


@pytest.mark.parametrize("lung_hu", [-1000.0, 40.0])
def test_bowel_gas_and_tissue_are_no_lungs(lung_hu):
    case = thorax(lung_hu)
    assert find_lungs(case) is None
    assert lung_mask(case) is None
    assert crop_to_lungs(case)[1] is None


def test_a_small_crop_has_no_lungs():
    case = thorax()
    image = case.image[20:36, 25:41, 15:25]
    small = Case("crop", image, replace(case.grid, shape=image.shape))
    assert find_lungs(small) is None


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(("patient", "voxels"), [("LUNG1-001", 54449), ("LUNG1-002", 125204)])
def test_real_tumours_lie_inside_the_box(realdata, patient, voxels):
    from segpipe.io.dicom.rtstruct.reading import read_rtstruct
    from segpipe.io.dicom.series.series import find_series, read_series

    scan = find_series(realdata / "nsclc_radiomics" / patient)
    volume = read_series(scan.series[0])
    (structures,) = [file for file in scan.annotations if file.refers_to(scan.series[0])]
    tumour = read_rtstruct(structures.file, scan.series[0], roi="GTV-1")["GTV-1"]
    region = find_lungs(Case(patient, volume.array, volume.grid))
    assert region.kept_fraction < 0.4
    assert int(tumour.sum()) == pytest.approx(voxels, rel=0.01)
    assert int(tumour[region.box].sum()) == int(tumour.sum())


def _drawn_boxes(folder):
    """Slice's UID → first and last column and row of the box around the tumour."""
    boxes = {}
    for file in folder.glob("*.xml"):
        box = ElementTree.parse(file).find("object/bndbox")
        boxes[file.stem] = [int(box.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")]
    return boxes


@pytest.mark.realdata
@pytest.mark.slow
def test_both_kernels_of_a_scan_have_one_region_that_holds_the_tumour(realdata):
    from segpipe.io.dicom.series.series import find_series, read_series, stack_series

    boxes = _drawn_boxes(realdata / "lung_pet_ct_dx" / "annotation-A0001")
    fractions, found = [], 0
    for series in find_series(realdata / "lung_pet_ct_dx").series:
        volume = read_series(series)
        region = find_lungs(Case("A0001", volume.array, volume.grid))
        fractions.append(region.kept_fraction)
        for number, plane in enumerate(stack_series(series).planes):
            if plane.uid not in boxes:
                continue
            found += 1
            left, front, right, back = boxes[plane.uid]
            columns, rows, slices = region.box
            assert columns.start <= left <= right < columns.stop
            assert rows.start <= front <= back < rows.stop
            assert slices.start <= number < slices.stop
    assert found == len(boxes) > 0
    assert fractions[0] == pytest.approx(fractions[1], rel=0.05)
