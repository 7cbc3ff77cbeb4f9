import numpy as np

from segpipe.evaluation.comparison.text import p_value, verdict
from segpipe.evaluation.evaluate import evaluate_pair, summarise
from segpipe.evaluation.text_summary import align, describe, interval, number
from segpipe.geometry import Grid

GRID = Grid((12, 12, 8), np.eye(4))


def block(start):
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    mask[start : start + 4, 2:6, 2:6] = 1
    return mask


def test_an_evaluation_in_a_few_lines():
    results = [evaluate_pair(f"c{n}", f"p{n}", block(2 + n), block(2), GRID) for n in (0, 2)]
    lines = describe({"failed_cases": 1, **summarise(results)}).splitlines()
    assert lines[0] == "2 cases of 2 patients, 1 left out, in each scan's own space"
    assert lines[2].split() == ["Dice", "0.750", "0.500", "…", "1.000", "0.750", "2"]
    assert "lesions: 2 found, 0 missed, 0 false" in lines
    assert "  F1 1.000 (1.000 … 1.000), recall 1.000 (1.000 … 1.000), precision 1.000 (1.000 … 1.000)" in lines


def test_undefined_figures_are_dashes():
    empty = np.zeros(GRID.shape, dtype=np.uint8)
    lines = describe(summarise([evaluate_pair("c", "p", empty, empty, GRID)])).splitlines()
    assert lines[2].split() == ["Dice", "–", "–", "–", "0"]
    assert lines[-1].startswith("empty masks: both masks in 1")
    assert (number(None), interval(None)) == ("–", "–")


def test_columns_are_flush():
    assert align([("a", "mean", ""), ("bcd", "1", "x")]) == ["a    mean", "bcd     1  x"]


def pair(**row):
    figures = {"difference": 0.1, "ci95": [0.05, 0.15], "p_holm": 0.01, **row}
    return {"first": "old", "second": "new", "metrics": {"dice": figures, "hd95_mm": figures}}


def test_verdicts():
    bounds = "(95 % interval +0.050 … +0.150), p = 0.010"
    assert verdict(pair(), "dice") == f"new is better than old: Dice +0.100 {bounds} (new minus old)."
    assert verdict(pair(), "hd95_mm") == f"old is better than new: HD95, mm +0.100 {bounds} (new minus old)."
    luck = verdict(pair(p_holm=0.2), "dice")
    assert luck.startswith("No difference beyond luck between old and new: Dice +0.100")
    assert verdict(pair(), "nsd") == "NSD is not known for any shared case."
    assert [p_value(p) for p in (None, 0.0004, 0.05)] == ["–", "< 0.001", "0.050"]


def test_the_confidence_of_findings_is_said_where_it_is_known():
    """Two findings at 0.75 of which one is right: 0.25 off; calibrated to one half: not off at all."""
    probability = np.full(GRID.shape, 0.75)
    good = evaluate_pair("a", "p1", block(2), block(2), GRID, probability=probability)
    bad = evaluate_pair("b", "p2", block(2), block(5), GRID, probability=probability)
    lines = describe(summarise([good, bad])).splitlines()
    # risks of 0 and 1 - 0.25, equally sure: 0.375 at every coverage
    assert "confidence of findings, not calibrated: error (ECE) 0.250 (0.250 … 0.750), AURC 0.375" in lines
    known = {"findings": {"slope": 0.0, "intercept": 0.0}}
    lines = describe(summarise([good, bad], confidence=known)).splitlines()
    assert any(line.startswith("confidence of findings, calibrated: error (ECE) 0.000") for line in lines)
    assert not any(
        "confidence" in line
        for line in describe(summarise([evaluate_pair("a", "p", block(2), block(2), GRID)])).splitlines()
    )
