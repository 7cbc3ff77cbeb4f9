"""What a report says of one finding: its measurements, its type and place, in coded concepts."""

from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode

from segpipe.io.dicom.objects import MANUFACTURER, SCHEME, Measured

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


def describe_scheme() -> Dataset:
    """What explains our own codes to readers of a report (DICOM PS3.3, C.12.1: Coding Scheme Identification)."""
    scheme = Dataset()
    scheme.CodingSchemeDesignator = SCHEME
    scheme.CodingSchemeName = "Measurements of segpipe"
    scheme.CodingSchemeResponsibleOrganization = MANUFACTURER
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
    """What is said in concepts: the type of the nodule."""
    from highdicom.sr import QualitativeEvaluation

    return [QualitativeEvaluation(_NODULE_TYPE, _TYPES[finding.nodule_type])]


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
    return [text for text in (cut, finding.slice_note, outside) if text]


def code_comment(text: str) -> Any:
    """A comment as an item of a report."""
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return TextContentItem(codes.DCM.Comment, text, relationship_type=RelationshipTypeValues.CONTAINS)
