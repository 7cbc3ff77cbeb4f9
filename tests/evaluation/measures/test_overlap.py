import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from segpipe.evaluation.measures.foreground_crops import find_foreground_crops
from segpipe.evaluation.measures.overlap import OVERLAP_FIGURES, Overlap, count_overlap
from segpipe.geometry import Grid

counts = st.integers(min_value=0, max_value=1000)


def test_figures_of_counts_worked_out_by_pencil():
    # 6 in both, 2 only predicted, 4 only in the reference: reference 10, prediction 8, union 12.
    figures = Overlap(tp=6, fp=2, fn=4).figures()
    assert figures["dice"] == pytest.approx(12 / 18)
    assert figures["iou"] == pytest.approx(6 / 12)
    assert figures["precision"] == pytest.approx(6 / 8)
    assert figures["recall"] == pytest.approx(6 / 10)
    assert figures["f1"] == pytest.approx(12 / 18)
    assert figures["volume_error_pct"] == pytest.approx(-20.0)


def test_counts_of_two_masks():
    prediction, reference = np.zeros((2, 4, 4, 4), dtype=bool)
    prediction[:2, :2, :2] = True
    reference[1:3, :2, :2] = True
    crops = find_foreground_crops(prediction, reference, Grid((4, 4, 4), np.eye(4)))
    assert count_overlap(crops) == Overlap(tp=4, fp=4, fn=4)


@pytest.mark.parametrize(("fp", "kind"), [(0, "both"), (3, "reference")])
def test_an_empty_reference_leaves_every_figure_undefined(fp, kind):
    overlap = Overlap(tp=0, fp=fp, fn=0)
    assert overlap.empty == kind
    assert overlap.figures() == dict.fromkeys(OVERLAP_FIGURES)


def test_an_empty_prediction_scores_zero_and_loses_the_whole_volume():
    overlap = Overlap(tp=0, fp=0, fn=5)
    assert overlap.empty == "prediction"
    assert overlap.figures() == {
        "dice": 0.0, "iou": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0, "volume_error_pct": -100.0,
    }  # fmt: skip


@given(tp=counts, fp=counts, fn=st.integers(min_value=1, max_value=1000))
def test_dice_and_iou_determine_each_other_and_dice_is_symmetric(tp, fp, fn):
    assume(tp + fp > 0)
    figures = Overlap(tp, fp, fn).figures()
    assert figures["dice"] == pytest.approx(2 * figures["iou"] / (1 + figures["iou"]))
    assert Overlap(tp, fn, fp).figures()["dice"] == pytest.approx(figures["dice"])
