"""The model's own operating point, or another of its stored curve."""

import pytest

from segpipe.errors import ConfigError, ModelError
from segpipe.inference.operating_point import OperatingPoint, OperatingPointRequest, choose_point

STORED = {
    "threshold": 0.4,
    "min_volume_mm3": 10.0,
    "min_probability": 0.6,
    "flips": [0],
    "froc": [
        {"threshold": 0.9, "sensitivity": 0.5, "fp_per_scan": 0.1},
        {"threshold": 0.7, "sensitivity": 0.8, "fp_per_scan": 0.5},
        {"threshold": 0.6, "sensitivity": 0.9, "fp_per_scan": 1.0},
        {"threshold": 0.3, "sensitivity": 0.95, "fp_per_scan": 4.0},
    ],
}


def test_without_a_wish_the_models_own_point_counts():
    assert choose_point(STORED, OperatingPointRequest()) == OperatingPoint(0.4, 10.0, 0.6)


def test_a_model_without_a_point_gets_the_plain_one():
    assert choose_point({}, OperatingPointRequest()) == OperatingPoint(0.5, 0.0, 0.0)


@pytest.mark.parametrize(("sensitivity", "confidence"), [(0.9, 0.6), (0.85, 0.6), (0.5, 0.9), (0.95, 0.3)])
def test_a_sensitivity_is_reached_with_as_few_false_findings_as_possible(sensitivity, confidence):
    assert choose_point(STORED, OperatingPointRequest(sensitivity=sensitivity)) == OperatingPoint(0.4, 10.0, confidence)


@pytest.mark.parametrize(("fp", "confidence"), [(1.0, 0.6), (0.9, 0.7), (100.0, 0.3), (0.1, 0.9)])
def test_a_rate_of_false_findings_is_used_up_for_sensitivity(fp, confidence):
    assert choose_point(STORED, OperatingPointRequest(fp_per_scan=fp)).min_probability == confidence


def test_threshold_and_volume_can_be_set_by_hand():
    assert choose_point(STORED, OperatingPointRequest(threshold=0.2, min_volume_mm3=50.0)) == OperatingPoint(
        0.2, 50.0, 0.6
    )


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (OperatingPointRequest(sensitivity=0.99), "does not reach this sensitivity"),
        (OperatingPointRequest(fp_per_scan=0.01), "more false findings at every point"),
        (OperatingPointRequest(sensitivity=0.9, fp_per_scan=1.0), "only one wish"),
        (OperatingPointRequest(sensitivity=0.9, threshold=0.5), "only one wish"),
        (OperatingPointRequest(sensitivity=90.0), "a sensitivity lies in"),
        (OperatingPointRequest(fp_per_scan=-1.0), "cannot be negative"),
    ],
)
def test_impossible_requests_are_refused(wish, message):
    with pytest.raises(ConfigError, match=message):
        choose_point(STORED, wish)


def test_both_wishes_are_named_by_their_flags():
    with pytest.raises(ConfigError) as caught:
        choose_point(STORED, OperatingPointRequest(sensitivity=0.9, min_volume_mm3=5.0))
    assert caught.value.facts == {"found": "--sensitivity and --min-volume"}


def test_a_model_without_a_curve_has_nothing_to_choose_from():
    with pytest.raises(ModelError, match="holds no FROC curve"):
        choose_point({"threshold": 0.5, "froc": []}, OperatingPointRequest(sensitivity=0.9))


CLASSES = {
    "classes": {
        "solid": {**STORED, "threshold": 0.3},
        "ground glass": {**STORED, "min_volume_mm3": 30.0},
    }
}


def test_each_class_has_its_own_point():
    point = choose_point(CLASSES, OperatingPointRequest())
    assert point.of("solid") == OperatingPoint(0.3, 10.0, 0.6)
    assert point.of("ground glass") == OperatingPoint(0.4, 30.0, 0.6)
    assert point.of("other") == OperatingPoint(0.5, 0.0, 0.0, point.classes)
    assert choose_point(point.to_dict(), OperatingPointRequest()) == point


def test_a_wish_holds_for_every_class():
    point = choose_point(CLASSES, OperatingPointRequest(min_volume_mm3=50.0))
    assert [point.of(name).min_volume_mm3 for name in CLASSES["classes"]] == [50.0, 50.0]
    point = choose_point(CLASSES, OperatingPointRequest(fp_per_scan=1000.0))
    assert point.of("solid") == OperatingPoint(0.3, 10.0, 0.3)


def test_a_point_of_one_class_is_stored_as_ever():
    stored = {"threshold": 0.4, "min_volume_mm3": 10.0, "min_probability": 0.6}
    assert OperatingPoint(0.4, 10.0, 0.6).to_dict() == stored


def test_a_class_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="0 < threshold < 1"):
        OperatingPoint(classes={"solid": OperatingPoint(threshold=1.5)}).check()


def test_what_is_known_of_the_confidence_holds_for_the_models_own_threshold():
    stored = {**STORED, "confidence": {"origin": "these"}}
    assert choose_point(stored, OperatingPointRequest()).confidence == {"origin": "these"}
    assert choose_point(stored, OperatingPointRequest(sensitivity=0.9)).confidence == {"origin": "these"}
    assert choose_point(stored, OperatingPointRequest(threshold=0.4)).confidence == {"origin": "these"}
    assert choose_point(stored, OperatingPointRequest(threshold=0.3)).confidence is None
