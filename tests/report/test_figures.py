import math

import pytest

from segpipe.report.figures import (
    MOST_POINTS,
    bland_altman,
    curve_panels,
    dice_by_diameter,
    froc_by_diameter,
    froc_curve,
    learning_curves,
    running_median,
)
from segpipe.report.reliability_figure import reliability_diagram
from segpipe.report.style import to_svg


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_train_and_validation_share_a_panel_and_every_metric_has_one():
    history = [
        {"step": 5, "train/loss": 1.0, "train/lr": 1e-3},
        {"step": 10, "train/loss": 0.5, "train/lr": 5e-4},
        {"step": 10, "val/loss": 0.7, "val/pseudo_dice": 0.6, "system/cpu": 90.0},
    ]
    figure = learning_curves(history, data="phantom")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["Loss", "Pseudo-Dice of patches", "Learning rate"]
    curves = lines(panels["Loss"])
    assert curves["train/loss"].get_xydata().tolist() == [[5, 1.0], [10, 0.5]]
    assert curves["val/loss"].get_xydata().tolist() == [[10, 0.7]]
    assert "phantom" in figure.get_suptitle()


def test_a_long_curve_is_drawn_raw_and_smoothed_and_gaps_are_left_out():
    history = [{"step": step, "train/loss": math.nan if step == 7 else float(step)} for step in range(100)]
    raw, smooth = learning_curves(history).axes[0].get_lines()
    assert len(raw.get_xdata()) == 99
    assert smooth.get_label() == "train/loss, smoothed"


def test_a_run_without_any_step_has_an_empty_figure():
    assert learning_curves([]).axes == []


def test_running_median_forgets_a_spike():
    assert running_median([1.0, 1.0, 100.0, 1.0, 1.0], half=1)[1] == [1.0, 1.0, 1.0, 1.0, 1.0]


def test_of_many_values_the_median_is_taken_at_some_places_with_the_last_one():
    places, medians = running_median([float(number) for number in range(1501)], half=2)
    assert (places[:3], places[-2:]) == ([0, 3, 6], [1497, 1500])
    assert (medians[0], medians[1], medians[-1]) == (1.0, 3.0, 1499.0)


def test_a_page_of_many_cases_holds_a_picture_of_the_points():
    rows = [{"reference_mm3": 100.0 + number, "predicted_mm3": 110.0} for number in range(MOST_POINTS + 1)]
    few, many = (to_svg(bland_altman(part), prefix="b") for part in (rows[:-1], rows))
    assert "data:image" not in few
    assert "data:image" in many
    assert len(many) < len(few) / 3


def test_lesions_are_drawn_with_the_dice_of_their_iou_and_missed_ones_apart():
    lesions = [
        {"kind": "reference", "diameter_mm": 6.0, "overlap": 0.5, "matched": 1},
        {"kind": "reference", "diameter_mm": 9.0, "overlap": 0.0, "matched": None},
        {"kind": "prediction", "diameter_mm": 5.0, "overlap": 0.0, "matched": None},
    ]
    figure = dice_by_diameter(lesions, data="phantom")
    found, missed = figure.axes[0].collections
    assert found.get_offsets().tolist() == [[6.0, pytest.approx(2 / 3)]]
    assert missed.get_offsets().tolist() == [[9.0, 0.0]]
    assert figure.axes[0].get_title(loc="left") == "Lesion Dice by size · phantom"


def test_volumes_are_compared_in_percent_of_their_mean():
    cases = [
        {"reference_mm3": 100.0, "predicted_mm3": 300.0},
        {"reference_mm3": 100.0, "predicted_mm3": 100.0},
        {"reference_mm3": 0.0, "predicted_mm3": 0.0},
    ]
    axes = bland_altman(cases).axes[0]
    assert axes.collections[0].get_offsets().tolist() == [[200.0, 100.0], [100.0, 0.0]]
    # differences 100 and 0: bias 50, standard deviation √5000 = 70.71, reach 1.96 × 70.71 = 138.6
    assert set(lines(axes)) >= {"bias +50 %", "95 % limits of agreement −89 … +189 %"}


def test_volumes_have_two_labels_in_each_power_of_ten():
    cases = [{"reference_mm3": volume, "predicted_mm3": volume} for volume in (250.0, 3500.0)]
    axis = bland_altman(cases).axes[0].xaxis
    low, high = axis.get_view_interval()
    labels = [label.get_text() for label in axis.get_ticklabels(which="both")]
    assert [text for text in labels if text and low <= float(text.replace(",", "")) <= high] == [
        "300",
        "1,000",
        "3,000",
    ]


@pytest.mark.parametrize("cases", [[], [{"reference_mm3": 0.0, "predicted_mm3": 0.0}]])
def test_nothing_to_compare_is_still_a_figure(cases):
    assert len(bland_altman(cases).axes) == 1
    assert len(dice_by_diameter([]).axes) == 1


FROC = [
    {"rule": "overlap", "fp_per_scan": 0.0, "sensitivity": 0.25},
    {"rule": "overlap", "fp_per_scan": 0.5, "sensitivity": 0.5},
    {"rule": "centre", "fp_per_scan": 1.0, "sensitivity": 0.75},
]


def test_froc_has_one_curve_per_rule_that_starts_at_nothing_and_ends_flat():
    axes = froc_curve(FROC, data="phantom").axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1/8", "1/4", "1/2", "1", "2", "4", "8"]
    curves = lines(axes)
    assert list(curves) == ["by overlap", "by centre"]
    assert curves["by overlap"].get_xydata().tolist() == [[0, 0], [0, 0.25], [0.5, 0.5], [16, 0.5]]
    assert axes.get_title(loc="left") == "FROC · phantom"


def test_froc_reports_cpm_and_the_intervals_that_are_known():
    detection = {"overlap": {"cpm": 0.4567, "sensitivity_at_fp_per_scan_ci95": {"0.125": [0.2, 0.4], "8": None}}}
    axes = froc_curve(FROC, detection).axes[0]
    assert list(lines(axes)) == ["by overlap, CPM 0.457", "by centre"]
    (bar,) = axes.collections
    assert bar.get_segments()[0].tolist() == [[0.125 * 0.95, 0.2], [0.125 * 0.95, 0.4]]  # aside of the other rule's


def test_froc_by_diameter_has_a_line_for_each_diameter_with_its_lesions_and_mean():
    rates = dict(zip(("0.125", "0.25", "0.5", "1", "2", "4", "8"), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), strict=True))
    sizes = {"6-8 mm": {"lesions": 3, "sensitivity_at_fp_per_scan": rates, "cpm": 0.4}}
    axes = froc_by_diameter({"centre": {"by_diameter": sizes}}, data="phantom").axes[0]
    (curve,) = axes.get_lines()
    assert curve.get_label() == "6-8 mm (3), CPM 0.400"
    assert curve.get_xydata()[:2].tolist() == [[0.125, 0.1], [0.25, 0.2]]
    assert axes.get_title(loc="left") == "Sensitivity by diameter, by centre · phantom"


def test_froc_without_confidences_is_an_empty_figure():
    assert len(froc_curve([]).axes[0].get_lines()) == 0


def test_each_panel_of_the_curves_is_a_figure_of_its_own():
    history = [{"step": step, "train/loss": 1.0, "val/loss": 2.0, "train/lr": 3e-4 * step} for step in range(3)]
    panels = curve_panels(history)
    assert list(panels) == ["curve_loss", "curve_lr"]
    assert set(lines(panels["curve_loss"].axes[0])) >= {"train/loss", "val/loss"}
    figure = panels["curve_lr"]
    figure.canvas.draw()
    assert "0.0006" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_two_rules_of_matching_that_agree_are_both_seen():
    points = [{"rule": rule, "fp_per_scan": 0.5, "sensitivity": 0.8} for rule in ("overlap", "centre")]
    first, second = froc_curve(points).axes[0].get_lines()
    assert first.get_linestyle() == "-"
    assert second.get_linestyle() == "--"


def test_reliability_is_drawn_of_what_is_calibrated_and_risk_of_findings():
    rows = [{"confidence": 0.55, "right": 0.5, "count": 4}, {"confidence": 0.9, "right": 0.8, "count": 40}]
    voxels = {"ece": 0.02, "ece_calibrated": 0.01, "reliability": rows}
    findings = {
        "event": "right",
        "ece": 0.1,
        "ece_calibrated": 0.03,
        "reliability": rows,
        "risk": {"0.5": 0.1, "1": 0.2},
    }
    figure = reliability_diagram({"voxels": voxels, "findings": findings}, data="phantom")
    reliability, risk = figure.axes
    assert set(lines(reliability)) >= {"voxels, ECE 0.020", "findings, ECE 0.030"}
    assert lines(reliability)["findings, ECE 0.030"].get_xydata().tolist() == [[0.55, 0.5], [0.9, 0.8]]
    assert risk.get_lines()[0].get_xydata().tolist() == [[0.5, 0.1], [1, 0.2]]
    assert len(reliability_diagram({"voxels": voxels}).axes) == 1
