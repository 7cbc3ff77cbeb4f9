"""How much is lost, by hand."""

import pytest

from segpipe.evaluation.results import CaseResult, PredictedLesion, ReferenceLesion
from segpipe.evaluation.robustness import CLEAN, Condition, curves_of, summarise_robustness, worst_cases

NOISE_1, NOISE_3, BLUR = Condition("noise", 1, 0.5), Condition("noise", 3, 0.1), Condition("blur", 2, 1.5)


def result(case, dice, *, found=1, missed=0, false=0):
    lesions = [ReferenceLesion(n + 1, 1.0, 1.0, (0, 0, 0), n + 1 if n < found else None) for n in range(found + missed)]
    candidates = [PredictedLesion(n + 1, 1.0, 1.0, (0, 0, 0), None) for n in range(false)]
    figures = {} if dice is None else {"dice": dice}
    return CaseResult(case, f"patient of {case}", "no", figures, 1.0, 1.0, tuple(lesions), tuple(candidates))


@pytest.fixture
def results():
    """Two cases with a lesion or two, and a healthy one, whose Dice is undefined."""
    healthy = {
        condition: result("c", None, found=0, false=n) for n, condition in enumerate((CLEAN, NOISE_1, NOISE_3, BLUR))
    }
    return {
        CLEAN: [result("a", 0.9), result("b", 0.8, found=2), healthy[CLEAN]],
        NOISE_1: [result("a", 0.9), result("b", 0.7, found=2), healthy[NOISE_1]],
        NOISE_3: [result("a", 0.6), result("b", 0.4, found=1, missed=1), healthy[NOISE_3]],
        BLUR: [result("a", 0.0, found=0, missed=1), result("b", 0.7, found=2), healthy[BLUR]],
    }


def test_each_corruption_has_the_figures_of_its_severities(results):
    summary = summarise_robustness(results)
    assert summary["clean"]["dice"]["mean"] == pytest.approx(0.85)
    assert summary["clean"]["recall"]["mean"] == 1
    assert summary["clean"]["false_positives"]["mean"] == 0
    assert list(summary["corruptions"]) == ["blur", "noise"]
    first, third = summary["corruptions"]["noise"]["severities"]
    assert (first["severity"], first["level"], third["severity"]) == (1, 0.5, 3)
    assert first["dice"] == {"mean": pytest.approx(0.8), "ci95": pytest.approx((0.7, 0.9)), "n": 2}
    assert third["recall"]["mean"] == pytest.approx(2 / 3)
    assert third["false_positives"]["mean"] == pytest.approx(2 / 3)
    assert summary["corruptions"]["noise"]["mean_dice"] == pytest.approx((0.8 + 0.5) / 2)
    assert summary["corruptions"]["noise"]["mean_drop"]["mean"] == pytest.approx((0.9 - 0.75 + 0.8 - 0.55) / 2)


def test_the_mean_over_all_counts_every_corruption_and_severity_equally(results):
    mean = summarise_robustness(results)["mean_corrupted"]
    assert mean["dice"]["mean"] == pytest.approx((0.9 + 0.6 + 0.0 + 0.7 + 0.4 + 0.7) / 6)
    assert mean["drop"]["mean"] == pytest.approx(0.85 - 3.3 / 6)
    assert mean["drop"]["ci95"] == pytest.approx((0.8 - 0.6, 0.9 - 0.5))
    assert mean["recall"]["mean"] == pytest.approx(7 / 9)  # 1 + 1 + 0 of a's lesion, 2 + 1 + 2 of b's two
    assert mean["false_positives"]["mean"] == pytest.approx((1 + 2 + 3) / 9)


def test_each_case_stands_once_among_the_worst_with_its_largest_loss(results):
    rows = worst_cases(results)
    assert [(row["case"], row["corruption"], row["severity"]) for row in rows] == [("a", "blur", 2), ("b", "noise", 3)]
    assert [row["drop"] for row in rows] == pytest.approx([0.9, 0.4])
    assert [row["dice"] for row in rows] == pytest.approx([0.0, 0.4])
    assert worst_cases(results, count=1) == rows[:1]


def test_an_attack_is_no_part_of_the_mean_over_corruptions(results):
    """Case a falls from 0.9 to 0.2 and b from 0.8 to 0.5: 0.35 in the mean, by 0.7 and 0.3."""
    attack = Condition("pgd", 2, 5.0, "attacks")
    attacked = [result("a", 0.2), result("b", 0.5, found=1, missed=1), result("c", None, found=0, false=4)]
    summary, before = summarise_robustness({**results, attack: attacked}), summarise_robustness(results)
    for name in ("clean", "corruptions", "mean_corrupted", "worst"):
        assert summary[name] == before[name]
    (row,) = summary["attacks"]["pgd"]["severities"]
    assert (row["severity"], row["level"], row["dice"]["mean"]) == (2, 5.0, pytest.approx(0.35))
    mean = summary["mean_attacked"]
    assert mean["dice"]["mean"] == pytest.approx(0.35)
    assert mean["drop"] == {"mean": pytest.approx(0.5), "ci95": pytest.approx((0.3, 0.7)), "n": 2}
    assert mean["recall"]["mean"] == pytest.approx(2 / 3)
    assert mean["false_positives"]["mean"] == pytest.approx(4 / 3)
    assert [(row["case"], row["drop"]) for row in summary["worst_attacked"]] == [
        ("a", pytest.approx(0.7)),
        ("b", pytest.approx(0.3)),
    ]
    assert list(curves_of(summary)) == ["blur", "noise", "pgd"]


def test_attacks_may_be_all_that_is_tried(results):
    attack = Condition("fgsm", 1, 3.0, "attacks")
    summary = summarise_robustness({CLEAN: results[CLEAN], attack: results[NOISE_1]})
    assert summary["corruptions"] == {}
    assert summary["mean_corrupted"]["dice"] == {"mean": None, "ci95": None, "n": 0}
    assert summary["mean_corrupted"]["recall"]["mean"] is None
    assert summary["mean_attacked"]["dice"]["mean"] == pytest.approx(0.8)


def test_what_nobody_defines_is_none():
    healthy = {condition: [result("c", None, found=0)] for condition in (CLEAN, BLUR)}
    summary = summarise_robustness(healthy)
    for part in (summary["clean"], summary["mean_corrupted"]):
        assert part["dice"] == {"mean": None, "ci95": None, "n": 0}
        assert part["recall"]["mean"] is None
    assert summary["worst"] == []
