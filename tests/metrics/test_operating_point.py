import pytest

from segpipe.metrics.operating_point import choose_operating_point, froc_table
from segpipe.metrics.results import CaseResult, PredictedLesion, ReferenceLesion


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
    ]
    point = choose_operating_point(results)
    assert point["min_probability"] == pytest.approx(0.8)
    assert point["min_volume_mm3"] == 0.0
    assert point["threshold"] == 0.5


def test_volume_separates_hits_from_alarms_and_the_smallest_sufficient_one_is_taken():
    results = [case("a", 2, [(60.0, 0.6, 1), (12.0, 0.9, None), (55.0, 0.7, 2), (9.0, 0.8, None)])]
    point = choose_operating_point(results)
    assert point["min_volume_mm3"] == 15.0
    assert point["min_probability"] == 0.0


def test_what_helps_nothing_is_not_filtered():
    point = choose_operating_point([case("a", 2, [(4.0, 0.55, 1), (60.0, 0.9, 2)])], threshold=0.4)
    assert (point["threshold"], point["min_volume_mm3"], point["min_probability"]) == (0.4, 0.0, 0.0)


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
    "results",
    [[], [case("a", 0, [(60.0, 0.9, None)])], [case("a", 1, [(60.0, None, 1)])]],
    ids=["no case", "no lesion", "no confidence"],
)
def test_without_lesions_or_confidences_nothing_is_filtered(results):
    assert choose_operating_point(results) == {
        "threshold": 0.5, "min_volume_mm3": 0.0, "min_probability": 0.0, "froc": [],
    }  # fmt: skip


def test_a_prediction_that_finds_nothing_has_a_point_too():
    point = choose_operating_point([case("a", 1, [])])
    assert (point["min_volume_mm3"], point["min_probability"], point["froc"]) == (0.0, 0.0, [])
