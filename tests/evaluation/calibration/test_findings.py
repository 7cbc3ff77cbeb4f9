"""Confidences of findings by pencil: their errors, their calibration, and the risk of keeping the surest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.evaluation.calibration.findings import EvaluatedFindings, calibrated, fit_findings
from segpipe.evaluation.calibration.fitting import fit_confidence
from segpipe.evaluation.calibration.reliability import aurc, excess_aurc, finding_error, risk_along_coverage
from segpipe.evaluation.calibration.summary import calibration_summary
from segpipe.evaluation.results import CaseResult, PredictedLesion, ReferenceLesion


def found(probability, overlap, *, number=1):
    matched = number if overlap else None
    return PredictedLesion(number, 100.0, 6.0, (0.0, 0.0, 0.0), matched, overlap, probability)


def case(name, *candidates, patient=None, extra=None):
    lesions = tuple(ReferenceLesion(one.number, 90.0, 6.0, (0.0, 0.0, 0.0)) for one in candidates if one.matched)
    return CaseResult(name, patient or name, "no", {}, 0.0, 0.0, lesions, tuple(candidates), extra)


def many(slope, intercept, count=4000):
    """Findings whose confidence is off by a known slope and intercept."""
    rng = np.random.default_rng(0)
    said = rng.uniform(0.5, 0.97, count)
    right = rng.random(count) < calibrated(said, slope, intercept)
    return [
        case(f"c{number}", found(p, 0.9 if ok else 0.3)) for number, (p, ok) in enumerate(zip(said, right, strict=True))
    ]


def test_a_finding_is_right_from_a_dice_of_four_fifths():
    """IoU 2/3 is a Dice of 0.8; a false positive has 0."""
    findings = EvaluatedFindings.of([case("a", found(0.9, 2 / 3), found(0.8, 0.66, number=2), found(0.7, 0, number=3))])
    assert findings.dice.tolist() == pytest.approx([0.8, 2 * 0.66 / 1.66, 0.0])
    assert findings.right.tolist() == [1, 0, 0]
    assert findings.reference_mm3.tolist()[:2] == [90, 90]
    assert np.isnan(findings.reference_mm3[2])


def test_findings_without_a_confidence_or_an_outline_do_not_count():
    sphere = case("b", found(0.9, 0.5), extra={"sphere": True})
    assert len(EvaluatedFindings.of([case("a", found(None, 0.9)), sphere])) == 0
    assert calibration_summary([case("a", found(None, 0.9)), sphere]) is None


def test_the_error_of_weighted_findings():
    """0.9 said of two of which one is right: 0.4; with the right one counted four times |0.9 − 0.8| is left."""
    sure, right = np.array([0.9, 0.9]), np.array([1.0, 0.0])
    assert finding_error(sure, right, np.array([[1.0, 1.0], [4.0, 1.0]])).tolist() == pytest.approx([0.4, 0.1])


def test_a_calibration_that_was_put_in_is_found():
    slope, intercept = fit_findings(EvaluatedFindings.of(many(2.0, -3.0)))
    assert slope == pytest.approx(2.0, abs=0.25)
    assert intercept == pytest.approx(-3.0, abs=0.5)


def test_a_calibration_makes_the_error_small():
    results = many(2.0, -3.0)
    known = fit_confidence(results, origin="these")
    summary = calibration_summary(results, known)["findings"]
    assert summary["ece"] > 0.1
    assert summary["ece_calibrated"] < 0.02
    low, high = summary["ece_calibrated_ci95"]
    assert low <= high
    assert known["origin"] == "these"
    assert (known["findings"]["findings"], known["findings"]["patients"]) == (4000, 4000)
    assert "voxels" not in known  # no case has any


def test_too_few_findings_of_a_kind_calibrate_nothing():
    results = [case(f"c{number}", found(0.9, 0.9)) for number in range(49)]
    assert fit_confidence(results, origin="these") == {}
    wrong = [case(f"w{number}", found(0.8, 0.1)) for number in range(9)]
    assert fit_findings(EvaluatedFindings.of(results + wrong)) is None


def test_a_surer_finding_never_becomes_the_less_sure_one():
    """The less sure the better: chance, of which no calibration is made."""
    results = [case(f"a{number}", found(0.6, 0.9)) for number in range(20)]
    results += [case(f"b{number}", found(0.9, 0.1)) for number in range(20)]
    slope, intercept = fit_findings(EvaluatedFindings.of(results))
    assert slope == 0
    assert calibrated(np.array([0.9]), slope, intercept)[0] == pytest.approx(0.5)


def test_risk_along_coverage_by_pencil():
    """Risks 0, 0.3, 0.6 from the surest on: means 0, 0.15 and 0.3, whose mean is 0.15."""
    sure, risk = np.array([0.7, 0.9, 0.8]), np.array([0.6, 0.0, 0.3])
    coverage, along = risk_along_coverage(sure, risk)
    assert coverage.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert along.tolist() == pytest.approx([0, 0.15, 0.3])
    assert aurc(sure, risk) == pytest.approx(0.15)
    assert excess_aurc(sure, risk) == pytest.approx(0)
    assert excess_aurc(-sure, risk) == pytest.approx((0.6 + 0.45 + 0.3) / 3 - 0.15)


@given(st.permutations([0.0, 0.2, 0.5, 0.5, 1.0]))
def test_equally_sure_findings_have_no_order(risk):
    assert aurc(np.full(5, 0.9), np.array(risk)) == pytest.approx(np.mean(risk))
