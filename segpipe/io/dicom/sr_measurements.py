"""What a report says of one finding: its measurements, its type and place, in coded concepts."""

from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode

from segpipe.io.dicom.objects import MANUFACTURER, SCHEME, Measured, dicom_code
from segpipe.labels.ratings import LIDC_SCHEME, RATING_SCALES

_EQUIVALENT = DicomCode("sphere_diameter", SCHEME, "Diameter of the sphere with the same volume")
_SOLID_FRACTION = DicomCode("solid_fraction", SCHEME, "Part of the voxels above -300 HU")
_SOLID_DIAMETER = DicomCode("solid_diameter", SCHEME, "Mean axial diameter of the solid part")
_NODULE_TYPE = DicomCode("nodule_type", SCHEME, "Nodule type by attenuation")
_TYPES = {
    "solid": DicomCode("solid", SCHEME, "Solid"),
    "part-solid": DicomCode("part_solid", SCHEME, "Part-solid"),
    "ground glass": codes.DCM.GroundGlassOpacity,
    "calcified": DicomCode("calcified", SCHEME, "Calcified"),
}
_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}
_ZONES = {
    "upper": codes.SCT.UpperZoneOfLung,
    "middle": codes.SCT.MiddleZoneOfLung,
    "lower": codes.SCT.LowerZoneOfLung,
}
_PERCENTILES = {
    "p5_hu": DicomCode("371888009", "SCT", "5th percentile"),
    "p95_hu": DicomCode("371889001", "SCT", "95th percentile"),
}


def describe_schemes(*, rated: bool) -> list[Dataset]:
    """What explains local codes to readers of a report (DICOM PS3.3, C.12.1: Coding Scheme Identification).

    Args:
        rated: Whether there are predicted ratings, some of whose codes are LIDC's.
    """
    schemes = [_describe_scheme(SCHEME, "Measurements of segpipe", MANUFACTURER)]
    return [*schemes, *([_describe_scheme(LIDC_SCHEME, "Ratings of LIDC-IDRI in DICOM", "QIICR")] if rated else [])]


def _describe_scheme(designator: str, name: str, responsible: str) -> Dataset:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = designator
    scheme.CodingSchemeName = name
    scheme.CodingSchemeResponsibleOrganization = responsible
    return scheme


def code_measurements(finding: Measured) -> list[Any]:
    """The numbers: volume, diameters, attenuation and the network's certainty."""
    from highdicom.sr import Measurement

    mm, hu, percent = codes.UCUM.Millimeter, codes.UCUM.HounsfieldUnit, codes.UCUM.Percent
    attenuation = codes.DCM.AttenuationCoefficient
    solid = finding.solid_mean_diameter_mm
    return [
        Measurement(codes.SCT.Volume, round(finding.volume_mm3, 2), codes.UCUM.CubicMillimeter),
        Measurement(codes.SCT.LongAxis, round(finding.axial_diameter_mm, 2), mm),
        Measurement(codes.SCT.ShortAxis, round(finding.perpendicular_diameter_mm, 2), mm),
        Measurement(codes.SCT.Diameter, round(finding.mean_diameter_mm, 2), mm, derivation=codes.SCT.Mean),
        Measurement(_EQUIVALENT, round(finding.equivalent_diameter_mm, 2), mm),
        *([] if solid is None else [Measurement(_SOLID_DIAMETER, round(solid, 2), mm)]),
        Measurement(_SOLID_FRACTION, round(100 * finding.solid_fraction, 1), percent),
        Measurement(attenuation, round(finding.mean_hu, 1), hu, derivation=codes.SCT.Mean),
        Measurement(attenuation, round(finding.median_hu, 1), hu, derivation=codes.SCT.Median),
        *(
            Measurement(attenuation, round(getattr(finding, name), 1), hu, derivation=percentile)
            for name, percentile in _PERCENTILES.items()
        ),
        Measurement(codes.DCM.CertaintyOfFinding, round(100 * finding.mean_probability, 1), percent),
    ]


def code_evaluations(finding: Measured) -> list[Any]:
    """What is said in concepts: the type of the nodule, and the ratings that readers would probably give."""
    from highdicom.sr import QualitativeEvaluation

    rated = [_rating_codes(name, rating.grade) for name, rating in finding.ratings.items()]
    return [
        QualitativeEvaluation(_NODULE_TYPE, _TYPES[finding.nodule_type]),
        *(QualitativeEvaluation(concept, grade) for concept, grade in rated),
    ]


def _rating_codes(name: str, value: int) -> tuple[DicomCode, DicomCode]:
    """A scale and one of its grades, coded as TCIA codes the ratings of LIDC's readers."""
    scale = RATING_SCALES[name]
    grade = next(grade for grade in scale.grades if grade.value == value)
    return dicom_code(scale.concept), dicom_code(grade.code)


def code_sites(finding: Measured, anatomy: DicomCode) -> list[Any]:
    """Where it is: the organ of its class with the side, and the zone of the lung where it is known."""
    from highdicom.sr import FindingSite

    side = _SIDES.get(finding.side or "")
    zone = _ZONES.get(finding.zone)
    return [
        FindingSite(anatomy, laterality=side),
        *([] if zone is None else [FindingSite(zone, laterality=side)]),
    ]


def comments_on(finding: Measured) -> list[str]:
    """What a reader must know of the measurements, in words."""
    cut = f"cut by {finding.cut_by}: volume and diameters are at least these" if finding.cut_by else None
    outside = finding.zone if finding.zone == "outside the lungs" else None
    relied = finding.reliability.describe() if finding.reliability else None
    return [text for text in (cut, finding.slice_note, outside, relied, _describe_ratings(finding)) if text]


def _describe_ratings(finding: Measured) -> str | None:
    """Says that ratings are predictions, which their codes do not, and how sure they are."""
    if not finding.ratings:
        return None
    rated = (
        f"{name} {rating.grade} {rating.name}".strip() + f" ({100 * rating.confidence:.0f} %)"
        for name, rating in finding.ratings.items()
    )
    return f"Predicted ratings on the scales of LIDC's readers, no diagnosis: {', '.join(rated)}"


def code_comment(text: str) -> Any:
    """A comment as an item of a report."""
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return TextContentItem(codes.DCM.Comment, text, relationship_type=RelationshipTypeValues.CONTAINS)
