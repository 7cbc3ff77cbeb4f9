"""What clicks do to the probabilities of one class, of several that exclude each other, and of nested regions."""

import numpy as np
import pytest

from segpipe.geometry import Grid
from segpipe.inference.prompts.clicks import UNKNOWN_DEPTH_MM, find_clicks
from segpipe.inference.prompts.correction import MARGIN, follow_prompt
from segpipe.inference.prompts.geodesic import geodesic_mm
from segpipe.inference.prompts.prompt import Prompt
from segpipe.inference.window.decision import decide_classes
from segpipe.labels import NODULE, LabelMap

PARTS = {1: "rim", 2: "core"}
ONE = LabelMap((NODULE,))
EXCLUSIVE = LabelMap.build(PARTS)
NESTED = LabelMap.build(PARTS, regions={"whole": [1, 2], "core": [2]})
GRID = Grid((15, 15, 15), np.eye(4))
SHAPE, MIDDLE, CORNER = GRID.shape, (7.0, 7.0, 7.0), (1.0, 1.0, 1.0)
TISSUE = np.zeros(SHAPE, np.int16)


def follow(boxes, labels, *, positives=(), negatives=(), threshold=0.5):
    prompt, limits = Prompt(positives, negatives), [threshold] * len(boxes)
    return follow_prompt(boxes, TISSUE, GRID, prompt, thresholds=limits, labels=labels)


def constant(*values):
    return [np.full(SHAPE, value, np.float32) for value in values]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_a_click_changes_what_it_takes_and_no_more(threshold):
    (after,) = follow(constant(0.1), ONE, positives=(MIDDLE,), threshold=threshold)
    odds = threshold / (1 - threshold) * np.exp(MARGIN)
    assert after[7, 7, 7] == pytest.approx(odds / (1 + odds), rel=1e-5)
    assert after[7, 7, 7] >= after[7, 7, 9] >= after[7, 7, 13] >= np.float32(0.1)


@pytest.mark.parametrize("labels", [EXCLUSIVE, NESTED], ids=["exclusive", "nested"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("before", [(0.1, 0.1), (0.3, 0.05), (0.0, 0.0), (0.5, 0.4), (1.0, 0.0)])
def test_clicks_decide_with_several_classes(labels, threshold, before):
    boxes = follow(constant(*before), labels, positives=(MIDDLE,), negatives=(CORNER,), threshold=threshold)
    placed = decide_classes(boxes, [threshold] * 2, labels)
    assert any(where[7, 7, 7] for where in placed)
    assert not any(where[1, 1, 1] for where in placed)
    assert all(np.isfinite(box).all() for box in boxes)


def test_classes_that_exclude_each_other_share_as_before():
    rim, core = follow(constant(0.06, 0.02), EXCLUSIVE, positives=(MIDDLE,))
    np.testing.assert_allclose(rim / core, 3, rtol=1e-4)
    assert (rim + core <= 1).all()


def test_the_deeper_a_click_lies_in_what_is_wrong_the_farther_it_reaches():
    found = np.zeros(SHAPE, np.bool_)
    found[:5] = True
    prompt = Prompt((MIDDLE, (10.0, 7.0, 7.0)), ((2.0, 7.0, 7.0),))
    clicks = find_clicks(prompt, GRID, foreground=found)
    assert [(click.voxel, click.sign) for click in clicks] == [((7, 7, 7), 1), ((10, 7, 7), 1), ((2, 7, 7), -1)]
    assert [click.depth_mm for click in clicks] == [3.0, 3.0, 3.0]  # to the found, to the other point, to the not found
    assert clicks[0].reach_mm == 13.5
    assert clicks[0].weight(np.float32([0, 4.5, 9, 13.5, np.inf])).tolist() == [1, 1, 0.5, 0, 0]


def test_the_depth_of_a_click_has_bounds():
    found = np.zeros(SHAPE, np.bool_)
    (nothing,) = find_clicks(Prompt((MIDDLE,)), GRID, foreground=found)
    assert nothing.depth_mm == UNKNOWN_DEPTH_MM
    found[7, 7, 7] = found[0] = True
    (agreed,) = find_clicks(Prompt((MIDDLE,)), GRID, foreground=found)
    assert agreed.depth_mm == 1.0
    found[7, 7, 7] = False
    (deep,) = find_clicks(Prompt((MIDDLE,)), GRID, foreground=found)
    assert deep.depth_mm == 6.0


def test_points_outside_the_window_are_no_clicks():
    clicks = find_clicks(Prompt((MIDDLE,), ((-30.0, 0.0, 0.0),)), GRID, foreground=np.zeros(SHAPE, np.bool_))
    assert len(clicks) == 1


def test_a_way_through_other_tissue_is_longer():
    image = TISSUE.copy()
    image[9:] = 800  # of which 400 HU count once more
    distance = geodesic_mm(image, (7, 7, 7), (1.0, 1.0, 2.0), reach_mm=6.0)
    assert distance[7, 7, 7] == 0
    assert distance[4, 7, 7] == pytest.approx(3, abs=1e-3)
    assert distance[7, 7, 9] == pytest.approx(4, abs=1e-3)
    assert distance[8, 7, 7] == pytest.approx(1, abs=1e-3)
    assert distance[9, 7, 7] == pytest.approx(1 + 3, abs=1e-3)
    assert np.isinf(distance[10, 7, 7])
    assert np.isinf(distance[0, 7, 7])
