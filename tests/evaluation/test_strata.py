import pytest

from segpipe.evaluation.results import CaseResult, ReferenceLesion
from segpipe.evaluation.strata import diameter_stratum, rating_stratum, stratify


def case(name, *lesions, extra=None):
    """Each lesion is (diameter_mm, IoU of its match or None)."""
    found = tuple(
        ReferenceLesion(n, 100.0, diameter, (0.0, 0.0, 0.0), None if iou is None else n, iou or 0.0)
        for n, (diameter, iou) in enumerate(lesions, start=1)
    )
    return CaseResult(name, name, "no", {}, 0.0, 0.0, found, (), extra)


@pytest.mark.parametrize(
    ("diameter", "stratum"),
    [
        (2.0, "under 6 mm"),
        (5.99, "under 6 mm"),
        (6.0, "6-8 mm"),
        (8.0, "8-15 mm"),
        (15.0, "over 15 mm"),
        (90, "over 15 mm"),
    ],
)
def test_strata_of_diameters(diameter, stratum):
    assert diameter_stratum(diameter) == stratum


@pytest.mark.parametrize(
    ("value", "stratum"),
    [(1, "ground glass"), (2.4, "ground glass"), (2.5, "part-solid"), (3, "part-solid"), (3.5, "solid"), (5, "solid"),
     ("part-solid", "part-solid"), ("", None), (None, None), (float("nan"), None), (True, None)],
)  # fmt: skip
def test_strata_of_ratings(value, stratum):
    assert rating_stratum("texture", value) == stratum


def test_lesions_by_diameter_by_pencil():
    strata = stratify([case("a", (4.0, 0.5), (20.0, 1.0)), case("b", (5.0, None))])["diameter"]
    assert list(strata) == ["under 6 mm", "over 15 mm"]
    small = strata["under 6 mm"]
    assert (small["lesions"], small["found"], small["sensitivity"]) == (2, 1, 0.5)
    assert small["dice"] == pytest.approx((2 / 3 + 0) / 2)  # IoU 0.5 is Dice 2/3; a missed lesion counts 0
    assert small["sensitivity_ci95"] == [0.0, 1.0]
    assert strata["over 15 mm"]["sensitivity_ci95"] is None  # one patient


def test_sensitivity_is_the_share_of_lesions_that_are_found():
    strata = stratify([case("a", (4.0, 0.5), (4.0, 0.5)), case("b", (4.0, None))])["diameter"]
    assert strata["under 6 mm"]["sensitivity"] == pytest.approx(2 / 3)
    assert strata["under 6 mm"]["dice"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_ratings_count_where_a_case_has_a_single_lesion():
    strata = stratify(
        [
            case("a", (9.0, 0.5), extra={"texture": 5, "malignancy": 1}),
            case("b", (9.0, None), extra={"texture": 1}),
            case("c", (9.0, 0.5), (9.0, 0.5), extra={"texture": 3}),
        ]
    )
    assert {name: row["found"] for name, row in strata["texture"].items()} == {"ground glass": 0, "solid": 1}
    assert list(strata["malignancy"]) == ["unlikely"]


def test_strata_come_in_the_order_one_reads_them():
    ratings = ("suspicious", "unlikely", "spiculated", "indeterminate")
    results = [case(word, (9.0, 0.5), extra={"malignancy": word}) for word in ratings]
    assert list(stratify(results)["malignancy"]) == ["unlikely", "indeterminate", "suspicious", "spiculated"]


def test_without_ratings_there_are_no_such_strata():
    assert list(stratify([case("a", (9.0, 0.5))])) == ["diameter"]
