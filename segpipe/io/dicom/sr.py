"""Writes findings and their measurements as a DICOM structured report, template TID 1500."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import Comprehensive3DSRStorage

from segpipe.errors import OutputError
from segpipe.io.dicom.objects import (
    MANUFACTURER,
    SERIES_NUMBER,
    Derivation,
    Measured,
    cut_text,
    dicom_code,
    finding_name,
    read_sources,
    save,
    writing,
)
from segpipe.io.dicom.sr_growth import NOTHING_EARLIER, Changes, Compared, code_course, code_growth
from segpipe.io.dicom.sr_measurements import (
    code_comment,
    code_evaluations,
    code_measurements,
    code_sites,
    comments_on,
    describe_schemes,
)

_CT_CHEST = DicomCode("24627-2", "LN", "CT Chest")
_QUANTITY = DicomCode("246205007", "SCT", "Quantity")


def write_dicom_sr(
    path: Path,
    findings: Sequence[Measured],
    *,
    derivation: Derivation,
    segmentation: Path | None = None,
    changes: Changes = NOTHING_EARLIER,
    former: Derivation | None = None,
) -> Path:
    """Writes a measurement report; each finding names the segment that shows it.

    Args:
        path: Replaced whole or not at all.
        findings: In the order of the report; none gives a report that states a count of 0.
        derivation: Series, classes and model.
        segmentation: The DICOM SEG of the same findings, a segment for each; needed when there are findings.
        changes: What became of the findings since an earlier scan.
        former: Of the report that this one replaces, if there is one.

    Raises:
        OutputError: when a finding has no segment or the disk is full.
        ImageError: when the headers of the series are incomplete.

    Source: DICOM PS3.16, TID 1500 «Measurement Report» and TID 1411 «Volumetric ROI Measurements».
    """
    with writing():
        shown = pydicom.dcmread(segmentation, stop_before_pixels=True) if segmentation else None
        segments = _segments(shown)
    _check_shown(findings, derivation, segments)
    with writing():
        evidence = [*read_sources(derivation), *([shown] if shown is not None else [])]
        groups = [_group(finding, derivation, shown, segments, changes.courses) for finding in findings]
        report = _report(groups, derivation, changes.comments)
        document = _document(report, evidence, derivation, former)
        document.CodingSchemeIdentificationSequence = describe_schemes(
            rated=any(finding.ratings for finding in findings)
        )
    return save(document, path)


def report_uids(derivation: Derivation) -> tuple[str, str]:
    """The UIDs of the series and the instance of a report."""
    return str(derivation.uid("SR", "series")), str(derivation.uid("SR", "instance"))


def _check_shown(findings: Sequence[Measured], derivation: Derivation, segments: Mapping[str, int]) -> None:
    lacking = [finding.number for finding in findings if derivation.tracking_uid(finding.number) not in segments]
    if lacking:
        raise OutputError(
            "each finding of a report must have its segment",
            facts={"findings without": ", ".join(map(str, lacking))},
            hint="write the DICOM SEG of the same findings, one segment each, and pass it",
        )


def _report(groups: Sequence[Any], derivation: Derivation, comments: Sequence[str]) -> Any:
    """The content: what was measured of each finding, or that there is none."""
    import highdicom.sr

    report = highdicom.sr.MeasurementReport(
        observation_context=_observer(derivation),
        procedure_reported=_CT_CHEST,
        imaging_measurements=groups or [_none_found(derivation)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    report[0].ContentSequence.extend(map(code_comment, comments))
    return report


def _document(report: Any, evidence: Sequence[Dataset], derivation: Derivation, former: Derivation | None) -> Any:
    """The object around the content."""
    import highdicom.sr

    series_uid, instance_uid = report_uids(derivation)
    return highdicom.sr.Comprehensive3DSR(
        evidence=evidence,
        content=report,
        series_instance_uid=series_uid,
        series_number=SERIES_NUMBER["SR"],
        sop_instance_uid=instance_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        series_description=_description(derivation, former),
        manufacturer_model_name=derivation.maker.model,
        software_versions=derivation.maker.software,
        device_serial_number=derivation.maker.recipe,
        previous_versions=None if former is None else [_reference(former)],
    )


def _description(derivation: Derivation, former: Derivation | None) -> str:
    replaces = "" if former is None else ", replaces an earlier one"
    return cut_text(f"{MANUFACTURER} {derivation.title}", 64 - len(" report") - len(replaces)) + f" report{replaces}"


def _reference(former: Derivation) -> Dataset:
    """What names an earlier report (DICOM PS3.3, C.17.2: Predecessor Documents Sequence)."""
    reference = Dataset()
    reference.SOPClassUID, reference.StudyInstanceUID = Comprehensive3DSRStorage, former.series.identity.study_uid
    reference.SeriesInstanceUID, reference.SOPInstanceUID = report_uids(former)
    return reference


def _segments(shown: Dataset | None) -> dict[str, int]:
    """Tracking UID → segment number."""
    items = shown.SegmentSequence if shown is not None else []
    return {str(item.TrackingUID): int(item.SegmentNumber) for item in items if "TrackingUID" in item}


def _observer(derivation: Derivation) -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext

    maker = derivation.maker
    device = DeviceObserverIdentifyingAttributes(
        uid=derivation.uid("observer"),
        name=f"{MANUFACTURER} {maker.software}",
        manufacturer_name=MANUFACTURER,
        model_name=f"{maker.model} {maker.version}",
        serial_number=maker.recipe,
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _group(
    finding: Measured,
    derivation: Derivation,
    shown: Dataset | None,
    segments: dict[str, int],
    courses: Mapping[int, Compared],
) -> Any:
    from highdicom import sr

    assert shown is not None
    course = courses.get(finding.number)
    label, maker = derivation.label(finding.label), derivation.maker
    tracking = derivation.tracking_uid(finding.number)
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracking, identifier=finding_name(label, finding.number)),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=shown.SOPClassUID,
            sop_instance_uid=shown.SOPInstanceUID,
            segment_number=segments[tracking],
            source_series=sr.SourceSeriesForSegmentation(derivation.series.identity.series_uid),
        ),
        finding_type=dicom_code(label.type),
        finding_category=dicom_code(label.category),
        finding_sites=code_sites(finding, dicom_code(label.anatomy)),
        algorithm_id=sr.AlgorithmIdentification(maker.model, maker.version, parameters=[f"recipe {maker.recipe}"]),
        measurements=[*code_measurements(finding), *(code_growth(course) if course else [])],
        qualitative_evaluations=[*code_evaluations(finding), *([code_course(course)] if course else [])],
    )
    group[0].ContentSequence.extend(map(code_comment, comments_on(finding)))
    if course and course.obstacle:
        group[0].ContentSequence.append(code_comment(f"growth is not measurable: {course.obstacle}"))
    return group


def _none_found(derivation: Derivation) -> Any:
    """Says that there is no finding, as a count of 0 of the first class, in the name of all."""
    from highdicom import sr

    count = sr.Measurement(_QUANTITY, 0, codes.UCUM.NoUnits)
    tracking = sr.TrackingIdentifier(uid=derivation.uid("none found"), identifier=cut_text(derivation.title))
    kind = dicom_code(derivation.labels[0].type)
    return sr.MeasurementsAndQualitativeEvaluations(tracking, finding_type=kind, measurements=[count])
