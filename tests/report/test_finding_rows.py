"""What the table of findings says of one, next to the figures that it was given."""

import pytest

from segpipe.report.finding_rows import INPUTS, cells, columns

FINDING = {
    "label": "nodule",
    "axial_diameter_mm": 9.46,
    "perpendicular_diameter_mm": 7.25,
    "mean_diameter_mm": 8.355,
    "volume_mm3": 512.6,
    "nodule_type": "part-solid",
    "solid_axial_diameter_mm": 4.0,
    "solid_perpendicular_diameter_mm": 3.04,
    "solid_fraction": 0.247,
    "side": "left",
    "zone": "upper",
    "slice_number": 77,
    "mean_hu": -420.4,
    "p5_hu": -800.0,
    "p95_hu": 35.0,
    "mean_probability": 0.871,
    "slice_note": None,
    "cut_by": None,
}


def row(*, several_classes=False, **changes):
    finding = {**FINDING, **changes}
    has = {"relied": "reliability" in finding, "uncertainty": "uncertainty" in finding, "rated": "ratings" in finding}
    heads = columns(several_classes=several_classes, **has)
    return dict(zip([head.name for head in heads], cells(finding, several_classes=several_classes), strict=True))


def test_size_comes_first_in_the_decimals_of_the_guidelines():
    found = row()
    assert list(found.items())[:5] == [
        ("mean diameter, mm", "8.4"),
        ("longest × perpendicular, mm", "9.5 × 7.2"),
        ("volume, mm³", "513"),
        ("type", "part-solid"),
        ("solid part, mm", "4.0 × 3.0 (25 %)"),
    ]
    assert found["HU, mean (5 to 95 %)"] == "−420 (−800 to 35)"
    assert (found["slice"], found["confidence"], found["note"]) == ("77", "0.871", "")


@pytest.mark.parametrize(
    ("side", "zone", "expected"),
    [
        ("left", "upper", "left, upper zone"),
        ("right", "outside the lungs", "right, outside the lungs"),
        ("right", "unknown", "right"),
        (None, "unknown", "–"),
    ],
)
def test_a_place_is_said_as_far_as_it_is_known(side, zone, expected):
    assert row(side=side, zone=zone)["place"] == expected


def test_class_uncertainty_and_note_have_columns_where_they_are_needed():
    found = row(
        several_classes=True,
        uncertainty={"entropy_bits": 0.5, "mutual_information_bits": 0.1},
        slice_note="slices thicker than recommended",
    )
    assert found["class"] == "nodule"
    assert list(found)[-2:] == ["uncertainty (disagreement), bit", "note"]
    assert list(found.values())[-2:] == ["0.500 (0.100)", "slices thicker than recommended"]


def test_sizes_of_a_lesion_that_a_border_cuts_are_lower_limits():
    found = row(cut_by="upper end of the scan", slice_note="slices thicker than recommended")
    sizes = ("mean diameter, mm", "longest × perpendicular, mm", "volume, mm³")
    assert [found[name] for name in sizes] == ["≥ 8.4", "≥ 9.5 × 7.2", "≥ 513"]
    assert found["note"] == "cut by upper end of the scan; slices thicker than recommended"
    assert found["solid part, mm"] == row()["solid part, mm"]


def test_the_course_since_an_earlier_scan_has_a_column_where_there_is_one():
    heads = [head.name for head in columns(several_classes=False, followed=True)]
    found = dict(zip(heads, cells({**FINDING, "since": "new"}, several_classes=False), strict=True))
    assert list(found)[-2:] == ["since the earlier scan", "note"]
    assert found["since the earlier scan"] == "new"
    assert "since the earlier scan" not in row()


def test_ground_glass_has_no_solid_part():
    assert row(solid_axial_diameter_mm=None, solid_perpendicular_diameter_mm=None)["solid part, mm"] == "–"


def test_no_category_is_given():
    assert "inputs of Lung-RADS v2022" in INPUTS
    assert "diagnosis" in INPUTS


def test_predicted_ratings_have_grade_meaning_and_confidence():
    malignancy = {"grade": 4, "name": "moderately suspicious", "mean": 3.7, "confidence": 0.416}
    texture = {"grade": 4, "name": "", "mean": 3.9, "confidence": 0.55}
    found = row(ratings={"malignancy": malignancy, "texture": texture})
    assert found["predicted ratings of readers"] == "malignancy 4 moderately suspicious (42 %), texture 4 (55 %)"
    assert "predicted ratings of readers" not in row()


@pytest.mark.parametrize(
    ("refer", "low", "expected"),
    [(False, 410.4, "93 %; 410 to 700 mm³ (90 %)"), (True, None, "93 %, refer to a human")],
)
def test_how_far_a_finding_can_be_relied_on(refer, low, expected):
    known = {
        "confidence": 0.93,
        "refer": refer,
        "volume_low_mm3": low,
        "volume_high_mm3": 700.0,
        "volume_coverage": 0.9,
    }
    assert row(reliability=known)["calibrated confidence, volume interval"] == expected
