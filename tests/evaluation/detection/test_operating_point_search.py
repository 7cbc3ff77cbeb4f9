from dataclasses import replace

import pytest

from segpipe.evaluation.detection.operating_point_search import at_point, choose_operating_point, froc_table
from segpipe.evaluation.results import CaseResult, PredictedLesion, ReferenceLesion


def case(name, lesions, candidates):
    """Each candidate is (volume_mm3, confidence, number of its lesion or None)."""
    matched = {lesion: number for number, (_, _, lesion) in enumerate(candidates, start=1) if lesion}
    return CaseResult(
        name,
        name,
        "no",
        {},
        0.0,
        0.0,
        tuple(ReferenceLesion(n, 100.0, 6.0, (0.0, 0.0, 0.0), matched.get(n)) for n in range(1, lesions + 1)),
        tuple(
            PredictedLesion(n, volume, 6.0, (0.0, 0.0, 0.0), lesion, probability=confidence)
            for n, (volume, confidence, lesion) in enumerate(candidates, start=1)
        ),
    )


def test_confidence_separates_hits_from_alarms():
    results = [
        case("a", 1, [(100.0, 0.9, 1), (100.0, 0.6, None)]),
        case("b", 1, [(100.0, 0.8, 1), (100.0, 0.7, None)]),
        case("c", 3, [(100.0, 0.95, 1), (100.0, 0.9, 2), (100.0, 0.85, 3)]),
    ]
    point = choose_operating_point(results)
    assert point["min_probability"] == pytest.approx(0.8)
    assert point["min_volume_mm3"] == 0.0
    assert point["threshold"] == 0.5
    assert point["origin"] == "chosen on 5 lesions of 3 validation cases"


def test_volume_separates_hits_from_alarms_and_the_smallest_sufficient_one_is_taken():
    large = [(60.0, 0.9, 1), (60.0, 0.9, 2), (60.0, 0.9, 3)]
    results = [case("a", 2, [(60.0, 0.6, 1), (12.0, 0.9, None), (55.0, 0.7, 2), (9.0, 0.8, None)]), case("b", 3, large)]
    point = choose_operating_point(results)
    assert point["min_volume_mm3"] == 15.0
    assert point["min_probability"] == 0.0


def test_a_volume_of_exactly_the_bound_is_kept():
    hits = [(10.0, 0.9, number) for number in range(1, 6)]
    point = choose_operating_point([case("a", 5, [*hits, (9.0, 0.95, None)])])
    assert point["min_volume_mm3"] == 10.0


def test_what_helps_nothing_is_not_filtered():
    candidates = [(4.0, 0.55, 1), (60.0, 0.9, 2), (60.0, 0.9, 3), (60.0, 0.9, 4), (60.0, 0.9, 5)]
    point = choose_operating_point([case("a", 5, candidates)], threshold=0.4)
    assert (point["threshold"], point["min_volume_mm3"], point["min_probability"]) == (0.4, 0.0, 0.0)


def test_too_few_lesions_choose_nothing_and_say_so():
    point = choose_operating_point([case("a", 4, [(60.0, 0.9, 1), (60.0, 0.8, None)])])
    assert (point["threshold"], point["min_volume_mm3"], point["min_probability"]) == (0.5, 0.0, 0.0)
    assert point["origin"].startswith("default: 4 lesions in 1 validation cases are too few to choose on")
    assert [row["sensitivity"] for row in point["froc"]] == [0.25, 0.25]  # reported, though not chosen on


def test_the_table_is_the_curve_after_the_volume_filter():
    results = [case("a", 2, [(60.0, 0.9, 1), (1.0, 0.8, None), (60.0, 0.7, None)]), case("b", 0, [])]
    assert froc_table(results, min_volume_mm3=5.0) == [
        {"threshold": 0.9, "sensitivity": 0.5, "fp_per_scan": 0.0},
        {"threshold": 0.7, "sensitivity": 0.5, "fp_per_scan": 0.5},
    ]


def test_a_long_curve_is_thinned_but_keeps_its_ends():
    candidates = [(60.0, 1 - index / 1000, None) for index in range(200)]
    table = froc_table([case("a", 1, candidates)])
    assert len(table) == 50
    assert table[0]["threshold"] == pytest.approx(1.0)
    assert table[-1]["fp_per_scan"] == pytest.approx(200.0)


@pytest.mark.parametrize(
    ("results", "origin"),
    [
        ([], "not chosen on any case"),
        ([case("a", 0, [(60.0, 0.9, None)])], "0 lesions in 1 validation cases are too few"),
        ([case("a", 5, [(60.0, None, 1)])], "the validation cases hold no confidences"),
    ],
    ids=["no case", "no lesion", "no confidence"],
)
def test_without_lesions_or_confidences_nothing_is_filtered(results, origin):
    point = choose_operating_point(results)
    assert point.pop("origin").startswith(f"default: {origin}")
    assert point == {"threshold": 0.5, "min_volume_mm3": 0.0, "min_probability": 0.0, "froc": []}


def test_a_prediction_that_finds_nothing_has_a_point_too():
    point = choose_operating_point([case("a", 5, [])])
    assert (point["min_volume_mm3"], point["min_probability"], point["froc"]) == (0.0, 0.0, [])


def test_only_lesions_that_the_point_shows_are_findings():
    shown = case("a", 1, [(60.0, 0.9, 1), (60.0, 0.5, None), (5.0, 0.9, None)])
    point = {"min_volume_mm3": 10.0, "min_probability": 0.7}
    assert [one.number for one in at_point(shown, point).candidates] == [1]
    assert at_point(shown, {}) == shown
    several = replace(shown, classes={"solid": shown, "other": shown})
    of_classes = at_point(several, {"classes": {"solid": point}}).classes
    assert [len(of_classes[name].candidates) for name in ("solid", "other")] == [1, 3]
