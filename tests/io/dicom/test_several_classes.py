"""Findings of several classes as DICOM objects: each with its class's codes, nested ones whole, read back by others."""

import shutil
import subprocess

import highdicom
import numpy as np
import pydicom
import pytest

from segpipe.io.dicom.objects import Derivation, FindingMap, Maker
from segpipe.io.dicom.rtstruct.writing import write_rtstruct
from segpipe.io.dicom.seg.writing import write_dicom_seg
from segpipe.io.dicom.series.series import find_series
from segpipe.io.dicom.sr import write_dicom_sr
from segpipe.labels import LabelMap
from tests.samples.measured import Measured
from tests.samples.synthetic_dicom import AXIAL, ct_slices, enhanced_ct, save, thorax

MAKER = Maker(model="lung_nodule", version="1.2.0", recipe="0123456789abcdef", software="0.1.0")
EXCLUSIVE = LabelMap.build({1: "solid", 2: "ground_glass"}).classes
NESTED = LabelMap.build({1: "rim", 2: "core"}, regions={"nodule": [1, 2], "solid_core": [2]}).classes
SHAPE = (40, 36, 9)


@pytest.fixture
def series(tmp_path):
    return find_series(save(ct_slices(thorax()), tmp_path / "ct")).series[0]


def block(number, *start, edge=6):
    numbers = np.zeros(SHAPE, dtype=np.uint32)
    x, y, z = start
    numbers[x : x + edge, y : y + edge, z : z + 3] = number
    return numbers


def check_valid(path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    found = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert [line for line in found.stderr.splitlines() if line.startswith("Error")] == []


def nested_maps():
    """Nodule 1 of 6×6×3 voxels with a core, finding 3, of 2×2×3 inside; nodule 2 without one."""
    return [
        FindingMap(NESTED[0], block(1, 4, 5, 2) + block(2, 25, 20, 4)),
        FindingMap(NESTED[1], block(3, 6, 7, 2, edge=2)),
    ]


def test_each_segment_has_the_codes_and_colour_of_its_class(series, tmp_path):
    maps = [FindingMap(EXCLUSIVE[0], block(1, 4, 5, 2)), FindingMap(EXCLUSIVE[1], block(2, 25, 20, 4))]
    path = write_dicom_seg(tmp_path / "seg.dcm", maps, derivation=Derivation(series, EXCLUSIVE, MAKER))
    solid, glass = pydicom.dcmread(path).SegmentSequence
    assert (solid.SegmentLabel, glass.SegmentLabel) == ("solid 1", "ground_glass 2")
    assert solid.SegmentedPropertyTypeCodeSequence[0].CodeValue == "27925004"
    assert glass.SegmentedPropertyTypeCodeSequence[0].CodeValue == "112120"
    assert solid.RecommendedDisplayCIELabValue != glass.RecommendedDisplayCIELabValue
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True).array
    assert [(volume == number).sum() for number in (1, 2)] == [108, 108]
    check_valid(path)


@pytest.mark.parametrize("enhanced", [False, True])
def test_nested_findings_overlap_and_lose_nothing(tmp_path, enhanced):
    files = [enhanced_ct(thorax(), AXIAL)] if enhanced else ct_slices(thorax())
    derivation = Derivation(find_series(save(files, tmp_path / "ct")).series[0], NESTED, MAKER)
    path = write_dicom_seg(tmp_path / "seg.dcm", nested_maps(), derivation=derivation)
    segmentation = highdicom.seg.segread(path)
    assert [item.SegmentLabel for item in segmentation.SegmentSequence] == ["nodule 1", "nodule 2", "solid_core 3"]
    array = segmentation.get_volume().array
    assert [int(array[..., number].sum()) for number in range(3)] == [108, 108, 12]
    assert int((array[..., 0] & array[..., 2]).sum()) == 12
    check_valid(path)


def test_in_a_label_map_a_voxel_belongs_to_the_innermost_finding(series, tmp_path):
    derivation = Derivation(series, NESTED, MAKER)
    path = write_dicom_seg(tmp_path / "seg.dcm", nested_maps(), derivation=derivation, kind="LABELMAP")
    array = highdicom.seg.segread(path).get_volume(combine_segments=True).array
    assert [int((array == number).sum()) for number in (1, 2, 3)] == [96, 108, 12]
    whole = write_dicom_seg(tmp_path / "all.dcm", nested_maps(), derivation=derivation, per_finding=False)
    assert pydicom.dcmread(whole).SegmentSequence[0].SegmentLabel == "nodule, solid_core"
    assert highdicom.seg.segread(whole).get_volume(combine_segments=True).array.sum() == 216


def test_a_report_names_the_class_of_each_finding(series, tmp_path):
    derivation = Derivation(series, EXCLUSIVE, MAKER)
    maps = [FindingMap(EXCLUSIVE[0], block(1, 4, 5, 2)), FindingMap(EXCLUSIVE[1], block(2, 25, 20, 4))]
    seg = write_dicom_seg(tmp_path / "seg.dcm", maps, derivation=derivation)
    findings = [Measured(1, "solid"), Measured(2, "ground_glass")]
    path = write_dicom_sr(tmp_path / "sr.dcm", findings, derivation=derivation, segmentation=seg)
    groups = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["solid 1", "ground_glass 2"]
    assert [group.finding_type.value for group in groups] == ["27925004", "112120"]
    none = write_dicom_sr(tmp_path / "none.dcm", [], derivation=derivation)
    (count,) = highdicom.sr.srread(none).content.get_planar_roi_measurement_groups() or [None]
    assert count is None
    assert "solid, ground_glass" in str(pydicom.dcmread(none))
    check_valid(path)


def test_a_structure_set_has_a_region_for_each_finding_in_its_class_colour(series, tmp_path):
    path = write_rtstruct(tmp_path / "rt.dcm", nested_maps(), derivation=Derivation(series, NESTED, MAKER))
    structures = pydicom.dcmread(path)
    assert [region.ROIName for region in structures.StructureSetROISequence] == ["nodule 1", "nodule 2", "solid_core 3"]
    colours = [tuple(drawn.ROIDisplayColor) for drawn in structures.ROIContourSequence]
    assert colours == [NESTED[0].colour, NESTED[0].colour, NESTED[1].colour]
    assert [len(drawn.ContourSequence) for drawn in structures.ROIContourSequence] == [3, 3, 3]
    check_valid(path)


def test_any_name_of_a_class_makes_a_valid_object(series, tmp_path):
    classes = LabelMap.build({1: "Läsion (unklar) – rechts, sehr langer Name " * 2, 2: "x"}).classes
    maps = [FindingMap(classes[0], block(1, 4, 5, 2)), FindingMap(classes[1], block(2, 25, 20, 4))]
    derivation = Derivation(series, classes, MAKER)
    check_valid(write_rtstruct(tmp_path / "rt.dcm", maps, derivation=derivation))
    check_valid(write_dicom_seg(tmp_path / "seg.dcm", maps, derivation=derivation))
