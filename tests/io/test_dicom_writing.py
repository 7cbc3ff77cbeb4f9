"""What segpipe writes for radiology is valid, lies where it was found, and is opened by tools that are not ours."""

import shutil
import subprocess
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.sr.codedict import codes

from segpipe.errors import GeometryError, ImageError, OutputError
from segpipe.geometry import flip_ras_lps, to_voxel, to_world
from segpipe.inference.measurements.rating import PredictedRating
from segpipe.inference.measurements.reliability import Reliability
from segpipe.io.dicom.objects import Derivation, FindingMap, Maker
from segpipe.io.dicom.parametric_map import write_parametric_map
from segpipe.io.dicom.rtstruct.reading import read_rtstruct
from segpipe.io.dicom.rtstruct.writing import write_rtstruct
from segpipe.io.dicom.seg.reading import read_dicom_seg
from segpipe.io.dicom.seg.writing import write_dicom_seg
from segpipe.io.dicom.series.series import find_series, stack_series
from segpipe.io.dicom.sr import report_uids, write_dicom_sr
from segpipe.io.quiet import quiet_libraries
from segpipe.labels import NODULE, TUMOUR
from tests.samples.measured import Measured
from tests.samples.synthetic_dicom import AXIAL, PATIENT, ct_slices, enhanced_ct, oblique, save, set_odd, thorax

MAKER = Maker(model="lung_nodule", version="1.2.0", recipe="0123456789abcdef", software="0.1.0")


def _describe(measurement):
    """Name, kind of statistic, value and unit of a measurement in a report."""
    kind = "" if measurement.derivation is None else measurement.derivation.meaning
    return measurement.name.meaning, kind, measurement.value, measurement.unit.value


def _comments(group):
    return [
        item.TextValue
        for item in group[0].ContentSequence
        if item.ValueType == "TEXT" and item.name == codes.DCM.Comment
    ]


def _findings(shape=(40, 36, 9)):
    """Two findings with a gap between their slices; the second, number 3, has a hole."""
    findings = np.zeros(shape, np.uint8)
    findings[3:9, 4:11, 1:3] = 1
    findings[20:30, 15:22, 5:8] = 3
    findings[23:26, 17:19, 6] = 0
    return findings


def nodules(numbers, label=NODULE):
    return [FindingMap(label, numbers)]


def _flip(axis):
    affine = AXIAL.copy()
    affine[axis, axis] *= -1
    return affine


AFFINES = {"axial": AXIAL, "oblique": oblique(), "mirrored": _flip(0), "reversed": _flip(2)}


def _derivation(folder, **options):
    return Derivation(find_series(folder).series[0], (NODULE,), MAKER, **options)


@pytest.fixture(params=AFFINES)
def derivation(tmp_path, request):
    return _derivation(save(ct_slices(thorax(), AFFINES[request.param]), tmp_path / "ct"))


@pytest.fixture
def axial(tmp_path):
    return _derivation(save(ct_slices(thorax()), tmp_path / "ct"))


def _centroids(findings, derivation):
    """World position (LPS+) of each finding's centroid."""
    affine = flip_ras_lps(derivation.stack.upright.affine)
    return {n: to_world(affine, np.argwhere(findings == n)).mean(axis=0) for n in np.unique(findings) if n}


def _check_valid(path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    reported = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = [line for line in reported.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    own = ("DICOMDIR", "<99SEGPIPE>", "<99LIDCQIICR>")  # it knows the schemes of the standard alone
    assert [line for line in lines if not any(word in line for word in own)] == []
    assert reported.returncode == 0


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_highdicom_finds_each_segment_where_the_finding_is(tmp_path, derivation, kind):
    findings = _findings()

    path = write_dicom_seg(tmp_path / "seg.dcm", nodules(findings), derivation=derivation, kind=kind)

    segmentation = highdicom.seg.segread(path)
    volume = segmentation.get_volume(combine_segments=True)
    expected = _centroids(findings, derivation)
    for segment, number in ((1, 1), (2, 3)):
        found = to_world(volume.affine, np.argwhere(volume.array == segment)).mean(axis=0)
        assert_allclose(found, expected[number], atol=0.01)
        assert (volume.array == segment).sum() == (findings == number).sum()
    _check_valid(path)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_our_reader_gives_every_voxel_back(tmp_path, derivation, kind):
    path = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=derivation, kind=kind)

    masks = read_dicom_seg(path, derivation.series)

    assert_array_equal(masks["nodule 1"], _findings() == 1)
    assert_array_equal(masks["nodule 3"], _findings() == 3)


def test_itk_opens_one_segment_for_all_on_the_grid_of_the_series(tmp_path, derivation):
    path = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=derivation, per_finding=False)

    image = SimpleITK.ReadImage(path)

    array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    assert array.shape == (40, 36, 9)
    world = to_world(affine, np.argwhere(array > 0))
    expected = to_world(flip_ras_lps(derivation.stack.upright.affine), np.argwhere(_findings()))
    assert_allclose(world[np.lexsort(world.T.round(1))], expected[np.lexsort(expected.T.round(1))], atol=0.1)


def test_a_segmentation_reports_what_it_shows_and_who_made_it(tmp_path, axial):
    path = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=axial)

    segmentation = highdicom.seg.segread(path)
    description = segmentation.get_segment_description(2)
    assert description.segment_label == "nodule 3"
    assert description.segmented_property_type.value == NODULE.type.value
    assert description.segmented_property_category.value == NODULE.category.value
    assert description.anatomic_regions[0].value == NODULE.anatomy.value
    assert description.algorithm_identification.version == "1.2.0"
    assert description.algorithm_identification.parameters == {"recipe": "0123456789abcdef"}
    assert description.tracking_uid == axial.tracking_uid(3)
    assert segmentation.ManufacturerModelName == "lung_nodule"
    assert list(segmentation.SoftwareVersions) == ["0.1.0", "1.2.0"]
    assert segmentation.DeviceSerialNumber == "0123456789abcdef"
    assert segmentation.PatientID == "SECRET-ID"


def test_frames_refer_to_the_slices_they_lie_on(tmp_path, derivation):
    path = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=derivation)

    positions = {plane.uid: plane.position_mm for plane in derivation.series.planes}
    frames = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    assert len(frames) == 5
    for frame in frames:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        found = [float(value) for value in frame.PlanePositionSequence[0].ImagePositionPatient]
        assert_allclose(found, positions[source], atol=1e-4)


def test_an_object_made_twice_has_one_uid_and_another_model_another(tmp_path, axial):
    first = pydicom.dcmread(write_dicom_seg(tmp_path / "a.dcm", nodules(_findings()), derivation=axial))
    again = pydicom.dcmread(write_dicom_seg(tmp_path / "b.dcm", nodules(_findings()), derivation=axial))
    other_maker = Maker("lung_nodule", "2.0.0", "0123456789abcdef", "0.1.0")
    other = Derivation(axial.series, (NODULE,), other_maker)
    third = pydicom.dcmread(write_dicom_seg(tmp_path / "c.dcm", nodules(_findings()), derivation=other))

    assert first.SOPInstanceUID == again.SOPInstanceUID
    assert first.SeriesInstanceUID == again.SeriesInstanceUID
    assert len({first.SOPInstanceUID, first.SeriesInstanceUID, third.SOPInstanceUID, third.SeriesInstanceUID}) == 4


def test_an_enhanced_ct_is_segmented_frame_by_frame(tmp_path):
    derivation = _derivation(save([enhanced_ct(thorax(), oblique())], tmp_path / "ct"))

    path = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=derivation)

    assert_array_equal(read_dicom_seg(path, derivation.series)["nodule 3"], _findings() == 3)


@pytest.mark.parametrize("defect", ["missing", "tilt"])
def test_findings_of_a_mended_series_keep_their_place(tmp_path, defect):
    affine = AXIAL.copy()
    if defect == "tilt":
        affine[1, 2] = 0.7
    slices = ct_slices(thorax(), affine)
    if defect == "missing":
        del slices[4]
    derivation = _derivation(save(slices, tmp_path / "ct"), repair=(defect,))
    findings = np.zeros(derivation.stack.upright.shape, np.uint8)
    findings[20:30, 15:22, 3:7] = 1

    seg = write_dicom_seg(tmp_path / "seg.dcm", nodules(findings), derivation=derivation)
    rtstruct = write_rtstruct(tmp_path / "rt.dcm", nodules(findings), derivation=derivation)

    volume = highdicom.seg.segread(seg).get_volume(combine_segments=True)
    found = to_world(volume.affine, np.argwhere(volume.array)).mean(axis=0)
    assert_allclose(found, _centroids(findings, derivation)[1], atol=0.01)
    points = [c.ContourData for c in pydicom.dcmread(rtstruct).ROIContourSequence[0].ContourSequence]
    centres = [np.array(p, float).reshape(-1, 3)[:, 2].mean() for p in points]
    assert_allclose(sorted(centres), [7.5, 10.0, 12.5, 15.0])
    _check_valid(seg)
    _check_valid(rtstruct)


def test_a_structure_set_gives_every_voxel_back(tmp_path, derivation):
    path = write_rtstruct(tmp_path / "rt.dcm", nodules(_findings()), derivation=derivation)

    masks = read_rtstruct(path, derivation.series)

    assert_array_equal(masks["nodule 1"], _findings() == 1)
    assert_array_equal(masks["nodule 3"], _findings() == 3)
    _check_valid(path)


def test_a_structure_set_names_its_regions_slices_and_maker(tmp_path, axial):
    path = write_rtstruct(
        tmp_path / "rt.dcm", nodules(_findings(), TUMOUR), derivation=Derivation(axial.series, (TUMOUR,), MAKER)
    )

    structures = pydicom.dcmread(path)
    assert [region.ROIName for region in structures.StructureSetROISequence] == ["tumour 1", "tumour 3"]
    assert list(structures.ROIContourSequence[0].ROIDisplayColor) == list(TUMOUR.colour)
    contours = structures.ROIContourSequence[1].ContourSequence
    assert len(contours) == 3 + 1
    heights = {plane.uid: plane.position_mm[2] for plane in axial.series.planes}
    for contour in contours:
        uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        assert float(contour.ContourData[2]) == pytest.approx(heights[uid])
    assert structures.DeviceSerialNumber == "0123456789abcdef"
    assert structures.PatientName == PATIENT


def test_a_report_measures_each_finding_and_points_to_its_segment(tmp_path, axial):
    seg = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=axial)
    findings = [
        Measured(1),
        Measured(
            3,
            volume_mm3=20.0,
            side=None,
            zone="outside the lungs",
            nodule_type="ground glass",
            solid_mean_diameter_mm=None,
            slice_note="slices too thick to measure this nodule's volume",
            cut_by="upper end of the scan",
            reliability=Reliability(0.5, True),
        ),
    ]

    path = write_dicom_sr(tmp_path / "sr.dcm", findings, derivation=axial, segmentation=seg)

    report = highdicom.sr.srread(path).content
    groups = report.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["nodule 1", "nodule 3"]
    assert [group.tracking_uid for group in groups] == [axial.tracking_uid(1), axial.tracking_uid(3)]
    shown = [group.referenced_segment[0].ReferencedSOPSequence[0] for group in groups]
    assert [int(item.ReferencedSegmentNumber) for item in shown] == [1, 2]
    assert {item.ReferencedSOPInstanceUID for item in shown} == {pydicom.dcmread(seg).SOPInstanceUID}
    assert groups[0].finding_type.value == NODULE.type.value
    places = [[(site.value.value, site.laterality) for site in group.finding_sites] for group in groups]
    assert places[0] == [(NODULE.anatomy.value, codes.SCT.Left), ("281392002", codes.SCT.Left)]
    assert places[1] == [(NODULE.anatomy.value, None)]
    first, third = ([_describe(m) for m in group.get_measurements()] for group in groups)
    assert first == [
        ("Volume", "", 512.34, "mm3"),
        ("Long axis", "", 9.5, "mm"),
        ("Short axis", "", 7.25, "mm"),
        ("Diameter", "Mean", 8.38, "mm"),
        ("Diameter of the sphere with the same volume", "", 9.93, "mm"),
        ("Mean axial diameter of the solid part", "", 7.5, "mm"),
        ("Part of the voxels above -300 HU", "", 81.2, "%"),
        ("Attenuation Coefficient", "Mean", -33.0, "[hnsf'U]"),
        ("Attenuation Coefficient", "Median", 12.0, "[hnsf'U]"),
        ("Attenuation Coefficient", "5th percentile", -412.0, "[hnsf'U]"),
        ("Attenuation Coefficient", "95th percentile", 88.5, "[hnsf'U]"),
        ("Certainty of Finding", "", 87.6, "%"),
    ]
    assert "Mean axial diameter of the solid part" not in {name for name, *_ in third}
    evaluations = [{e.name.meaning: e.value.meaning for e in g.get_qualitative_evaluations()} for g in groups]
    assert [each["Nodule type by attenuation"] for each in evaluations] == ["Solid", "Ground glass opacity"]
    assert [_comments(group) for group in groups] == [
        [],
        [
            "cut by upper end of the scan: volume and diameters are at least these",
            "slices too thick to measure this nodule's volume",
            "outside the lungs",
            "calibrated confidence in the outline 50 %: a human should look at it",
        ],
    ]
    (scheme,) = pydicom.dcmread(path).CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99SEGPIPE"
    _check_valid(path)


def test_a_report_codes_predicted_ratings_as_those_of_lidc_and_says_that_they_are_predicted(tmp_path, axial):
    seg = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=axial)
    ratings = {
        "malignancy": PredictedRating(4, "moderately suspicious", 3.7, 0.416),
        "texture": PredictedRating(4, "", 3.9, 0.55),
        "calcification": PredictedRating(0, "absent", 0.02, 0.98),
    }

    path = write_dicom_sr(
        tmp_path / "sr.dcm", [Measured(1, ratings=ratings), Measured(3)], derivation=axial, segmentation=seg
    )

    first, third = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    coded = {evaluation.name.value: evaluation.value for evaluation in first.get_qualitative_evaluations()}
    assert {name: (value.scheme_designator, value.value) for name, value in coded.items()} == {
        "276214006": ("SCT", NODULE.category.value),
        "nodule_type": ("99SEGPIPE", "solid"),
        "RID36042": ("99LIDCQIICR", "904"),
        "C41144": ("99LIDCQIICR", "004"),
        "C3672": ("RADLEX", "RID28473"),
    }
    assert _comments(first) == [
        "Predicted ratings on the scales of LIDC's readers, no diagnosis: "
        "malignancy 4 moderately suspicious (42 %), texture 4 (55 %), calcification 0 absent (98 %)"
    ]
    assert (len(third.get_qualitative_evaluations()), _comments(third)) == (2, [])
    schemes = pydicom.dcmread(path).CodingSchemeIdentificationSequence
    assert [scheme.CodingSchemeDesignator for scheme in schemes] == ["99SEGPIPE", "99LIDCQIICR"]
    _check_valid(path)


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dsrdump is not installed (Debian: dcmtk)")
def test_dcmtk_reads_the_measurements_of_a_report(tmp_path, axial):
    seg = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=axial)
    note = "slices thicker than recommended"
    findings = [Measured(1, slice_note=note), Measured(3)]
    path = write_dicom_sr(tmp_path / "sr.dcm", findings, derivation=axial, segmentation=seg)
    read = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, text=True, check=True).stdout
    assert read.count('NUM:(,,"Diameter")="8.38" (mm') == 2
    assert read.count('NUM:(,,"Mean axial diameter of the solid part")="7.5" (mm') == 2
    assert read.count("Upper zone of lung") == 2
    assert read.count(note) == 1


def test_a_report_names_the_one_that_it_replaces(tmp_path, axial):
    grown = replace(
        axial, series=replace(axial.series, identity=replace(axial.series.identity, instances="20 of them"))
    )
    first = pydicom.dcmread(write_dicom_sr(tmp_path / "first.dcm", [], derivation=axial))

    path = write_dicom_sr(tmp_path / "second.dcm", [], derivation=grown, former=axial)

    second = pydicom.dcmread(path)
    (study,) = second.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == first.StudyInstanceUID
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == first.SOPClassUID
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.SeriesDescription == "segpipe nodule report, replaces an earlier one"
    assert first.SeriesDescription == "segpipe nodule report"
    assert report_uids(grown) == (second.SeriesInstanceUID, second.SOPInstanceUID)
    _check_valid(path)


def test_segmentations_that_differ_are_two_objects_of_one_series(tmp_path, axial):
    """Two backends may differ in a voxel; a report must never refer to the segmentation of the other one."""
    other = _findings()
    other[3, 4, 1] = 0
    written = [
        pydicom.dcmread(write_dicom_seg(tmp_path / f"{number}.dcm", nodules(findings), derivation=axial))
        for number, findings in enumerate([_findings(), _findings(), other])
    ]
    instances = [one.SOPInstanceUID for one in written]
    assert instances[0] == instances[1] != instances[2]
    assert len({one.SeriesInstanceUID for one in written}) == 1


def test_a_report_without_findings_reports_a_count_of_zero(tmp_path, axial):
    path = write_dicom_sr(tmp_path / "sr.dcm", [], derivation=axial)

    (group,) = highdicom.sr.srread(path).content.get_image_measurement_groups()
    (count,) = group.get_measurements()
    assert (count.name.meaning, count.value) == ("Quantity", 0)
    _check_valid(path)


def test_a_finding_without_a_segment_is_reported(tmp_path, axial):
    seg = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=axial)

    with pytest.raises(OutputError, match="each finding of a report must have its segment") as caught:
        write_dicom_sr(tmp_path / "sr.dcm", [Measured(1), Measured(2)], derivation=axial, segmentation=seg)

    assert caught.value.facts["findings without"] == "2"


@pytest.mark.parametrize("write", [write_dicom_seg, write_rtstruct])
def test_what_cannot_be_written_is_reported_and_leaves_nothing(tmp_path, axial, write):
    with pytest.raises(OutputError, match="must hold a finding"):
        write(tmp_path / "out" / "a.dcm", nodules(np.zeros((40, 36, 9), np.uint8)), derivation=axial)
    with pytest.raises(GeometryError, match="on one grid"):
        write(tmp_path / "out" / "a.dcm", nodules(np.ones((40, 36, 8), np.uint8)), derivation=axial)
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "blocked" / "a.dcm", nodules(_findings()), derivation=axial)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("write", [write_dicom_seg, write_rtstruct])
def test_headers_that_lack_optional_attributes_do_not_matter(tmp_path, write):
    slices = ct_slices(thorax())
    for dataset in slices:
        for name in ("StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientSex", "SliceThickness"):
            delattr(dataset, name)
        broken = pydicom.Dataset()
        broken.ReferencedSOPInstanceUID = "1.2.3"
        dataset.ReferencedStudySequence = [broken]
    derivation = _derivation(save(slices, tmp_path / "ct"))

    _check_valid(write(tmp_path / "a.dcm", nodules(_findings()), derivation=derivation))


@pytest.mark.parametrize("write", [write_dicom_seg, write_rtstruct])
def test_headers_without_a_frame_of_reference_are_reported(tmp_path, write):
    slices = ct_slices(thorax())
    for dataset in slices:
        del dataset.FrameOfReferenceUID
    derivation = _derivation(save(slices, tmp_path / "ct"))

    with pytest.raises(ImageError, match="lacks what a derived object must name") as caught:
        write(tmp_path / "a.dcm", nodules(_findings()), derivation=derivation)

    assert caught.value.facts["missing"] == "FrameOfReferenceUID"


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("name", ["nsclc_radiomics/LUNG1-002", "lung_pet_ct_dx/A0001-series2"])
def test_objects_of_a_real_series_are_valid_and_in_place(tmp_path, realdata, name):
    derivation = _derivation(realdata / name)
    findings = np.zeros(stack_series(derivation.series).upright.shape, np.uint8)
    findings[200:230, 100:120, 40:50] = 1
    findings[100:120, 300:310, 20:25] = 2

    seg = write_dicom_seg(tmp_path / "seg.dcm", nodules(findings), derivation=derivation)
    report = write_dicom_sr(tmp_path / "sr.dcm", [Measured(1), Measured(2)], derivation=derivation, segmentation=seg)
    structures = write_rtstruct(tmp_path / "rt.dcm", nodules(findings), derivation=derivation)

    for path in (seg, report, structures):
        reported = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        assert [line for line in reported.stderr.splitlines() if line.startswith("Error")] == []
    assert np.array_equal(read_dicom_seg(seg, derivation.series)["nodule 2"], findings == 2)
    assert np.array_equal(read_rtstruct(structures, derivation.series)["nodule 1"], findings == 1)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 144", "Люкceмбypг^"),
        ("ISO_IR 166", "นามสกุล^"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Müller^José"),
        (None, "Doe^J"),
    ],
)
def test_names_in_every_character_set_are_written_in_utf_8(tmp_path, charset, name):
    slices = ct_slices(thorax())
    for dataset in slices:
        dataset.PatientName = name
        if charset is not None:
            dataset.SpecificCharacterSet = charset
    derivation = _derivation(save(slices, tmp_path / "ct"))

    seg = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=derivation)
    structures = write_rtstruct(tmp_path / "rt.dcm", nodules(_findings()), derivation=derivation)
    report = write_dicom_sr(tmp_path / "sr.dcm", [], derivation=derivation)

    for path in (seg, structures, report):
        written = pydicom.dcmread(path)
        assert written.SpecificCharacterSet == "ISO_IR 192"
        assert str(written.PatientName) == name
        _check_valid(path)


def test_objects_of_two_patients_never_share_a_uid(tmp_path):
    slices = ct_slices(thorax())
    save(slices, tmp_path / "a")
    for dataset in slices:
        dataset.PatientID = "OTHER"
    save(slices, tmp_path / "b")

    written = [
        write_dicom_seg(tmp_path / f"{name}.dcm", nodules(_findings()), derivation=_derivation(tmp_path / name))
        for name in ("a", "b")
    ]

    assert len({str(pydicom.dcmread(path).SOPInstanceUID) for path in written}) == 2


@pytest.mark.parametrize(
    "odd",
    [
        {"PatientBirthDate": "19.05.1950"},
        {"PatientSex": "unbekannt"},
        {"StudyDate": "2020-13-45"},
        {"StudyTime": "noon"},
        {"SliceThickness": "5,0"},
        {"InstanceNumber": "abc"},
        {"SpecificCharacterSet": "ISO_IR 999"},
        {"ReferencedStudySequence": "none"},
        {"AccessionNumber": "x" * 40},
    ],
)
def test_a_garbled_value_of_the_series_is_left_out_of_its_results(tmp_path, odd):
    with quiet_libraries():
        folder = save(set_odd(ct_slices(thorax()), **odd), tmp_path / "ct")
    derivation = _derivation(folder)

    seg = write_dicom_seg(tmp_path / "seg.dcm", nodules(_findings()), derivation=derivation)
    write_rtstruct(tmp_path / "rt.dcm", nodules(_findings()), derivation=derivation)
    write_dicom_sr(tmp_path / "sr.dcm", [], derivation=derivation)

    assert_array_equal(read_dicom_seg(seg, derivation.series)["nodule 1"], _findings() == 1)


def test_a_parametric_map_has_its_values_where_they_are(tmp_path, derivation):
    """Two slices of the series show it; frames name their places, and values are those of the scan's voxels."""
    grid = derivation.stack.upright
    volume = np.zeros(grid.shape, np.float32)
    volume[2:5, 3:6, 1] = np.linspace(-0.5, 1.0, 9).reshape(3, 3)
    volume[4, 4, 2] = 0.25
    path = write_parametric_map(tmp_path / "x.map.dcm", volume, derivation=derivation, name="gradcam", unit="a part")
    _check_valid(path)
    made = highdicom.imread(path)
    shown = made.get_volume(dtype=np.float32)
    affine = flip_ras_lps(grid.affine)
    for index in np.argwhere(volume):
        place = np.rint(to_voxel(shown.affine, to_world(affine, index))).astype(int)
        assert shown.array[tuple(place)] == pytest.approx(volume[tuple(index)])
    assert np.count_nonzero(shown.array) == np.count_nonzero(volume)
    again = write_parametric_map(tmp_path / "y.map.dcm", volume, derivation=derivation, name="gradcam", unit="a part")
    assert pydicom.dcmread(again).SOPInstanceUID == made.SOPInstanceUID


def test_an_empty_parametric_map_is_refused(tmp_path, derivation):
    nothing = np.zeros(derivation.stack.upright.shape, np.float32)
    with pytest.raises(OutputError, match="must hold a value"):
        write_parametric_map(tmp_path / "x.dcm", nothing, derivation=derivation, name="gradcam", unit="a part")
