"""What a model knows of its confidence becomes figures of findings, by pencil."""

from dataclasses import replace

import numpy as np
import pytest

from segpipe.inference.confidence import Confidence
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.prompts.prompt import Prompt
from tests.inference.test_predictor import AFFINES, DIVISOR, RECIPE, VOI, Bright, two_boxes

STORED = {
    "origin": "these",
    "voxels": {"temperature": 2.0},
    "findings": {"slope": 2.0, "intercept": -1.0, "event": "right", "findings": 100, "patients": 90},
    "refer": {"below": 0.7, "share": 0.1, "dice_kept": 0.9, "dice_referred": 0.7},
    "volume": {
        "coverage": 0.9,
        "classes": [
            {"from_mm3": 0.0, "low": 0.5, "high": 3.0, "findings": 60, "patients": 55},
            {"from_mm3": 200.0, "low": 0.8, "high": 1.5, "findings": 60, "patients": 55},
        ],
    },
}


@pytest.fixture(scope="module")
def finding():
    case = two_boxes(AFFINES["RAS"])
    return predict_case(case, RECIPE, Bright(), PredictOptions(), divisor=DIVISOR).findings[0]


def known(finding, **changes):
    (one,) = Confidence.of(STORED).add_to([replace(finding, **changes)])
    return one.reliability


def test_the_calibrated_confidence(finding):
    """Log odds of 0.8 are 1.386: 2 · 1.386 − 1 = 1.773, which is 0.855; of 0.5 they are 0: 0.269."""
    sure, unsure = known(finding, mean_probability=0.8), known(finding, mean_probability=0.5)
    assert (sure.confidence, sure.refer) == (pytest.approx(0.8548, abs=1e-4), False)
    assert (unsure.confidence, unsure.refer) == (pytest.approx(0.2689, abs=1e-4), True)


@pytest.mark.parametrize(("volume", "expected"), [(100.0, (50.0, 300.0)), (200.0, (160.0, 300.0))])
def test_the_interval_is_that_of_the_size(finding, volume, expected):
    found = known(finding, volume_mm3=volume, cut_by=None)
    assert (found.volume_low_mm3, found.volume_high_mm3) == pytest.approx(expected)
    assert found.volume_coverage == 0.9


def test_a_lesion_that_a_border_cuts_has_no_interval(finding):
    found = known(finding, cut_by="window")
    assert found.volume_low_mm3 is None
    assert 0 < found.confidence < 1


def test_in_words(finding):
    assert known(finding, mean_probability=0.8, volume_mm3=100.0, cut_by=None).describe() == (
        "calibrated confidence in the outline 85 %; volume 50 to 300 mm³ (90 % prediction interval)"
    )
    assert known(finding, mean_probability=0.5, cut_by="window").describe() == (
        "calibrated confidence in the outline 27 %: a human should look at it"
    )


def test_a_model_that_knows_nothing_says_nothing(finding):
    assert Confidence.of(None) is None
    assert Confidence.of({}) is None
    (same,) = Confidence.of({"origin": "these", "voxels": {"temperature": 2.0}}).add_to([finding])
    assert same == finding
    assert "reliability" not in same.to_dict()


def test_an_interval_may_be_all_that_is_known(finding):
    (one,) = Confidence.of({"volume": STORED["volume"]}).add_to([replace(finding, volume_mm3=100.0, cut_by=None)])
    assert (one.reliability.confidence, one.reliability.refer) == (None, None)
    assert one.reliability.describe() == "volume 50 to 300 mm³ (90 % prediction interval)"


def test_predictions_have_it_and_their_masks_are_the_same():
    case = two_boxes(AFFINES["RAS"])
    plain = predict_case(case, RECIPE, Bright(), PredictOptions(), divisor=DIVISOR)
    found = predict_case(case, RECIPE, Bright(), PredictOptions(confidence=STORED), divisor=DIVISOR)
    np.testing.assert_array_equal(found.mask, plain.mask)
    assert [replace(one, reliability=None) for one in found.findings] == plain.findings
    first = found.findings[0].to_dict()["reliability"]
    assert set(first) == {"confidence", "refer", "volume_low_mm3", "volume_high_mm3", "volume_coverage"}


def test_what_a_reader_corrected_is_not_the_networks():
    case = two_boxes(AFFINES["RAS"])
    centre = (24.5 * 0.8, 25.5 * 0.8, 10.5 * 2.5)
    options = PredictOptions(confidence=STORED)
    (at_point,) = predict_case(case, VOI, Bright(), options, divisor=DIVISOR, at_mm=centre).findings
    assert at_point.reliability
    corrected = Prompt(positives=(centre, (24.5 * 0.8, 22.5 * 0.8, 10.5 * 2.5)))
    (by_reader,) = predict_case(case, VOI, Bright(), options, divisor=DIVISOR, at_mm=corrected).findings
    assert by_reader.reliability is None


def test_the_temperature_cools_the_maps_of_uncertainty():
    """Log odds halved: every voxel is less sure, and none changes sides."""
    case = two_boxes(AFFINES["RAS"])
    options = PredictOptions(uncertainty="flips")
    plain = predict_case(case, RECIPE, Bright(), options, divisor=DIVISOR)
    cooler = predict_case(case, RECIPE, Bright(), replace(options, confidence=STORED), divisor=DIVISOR)
    np.testing.assert_array_equal(cooler.mask, plain.mask)
    sure = plain.uncertainty.entropy > 0
    assert (cooler.uncertainty.entropy >= plain.uncertainty.entropy)[sure].mean() > 0.99
    assert cooler.uncertainty.entropy.mean() > plain.uncertainty.entropy.mean()
