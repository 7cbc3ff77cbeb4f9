"""Figures of a case come back from their file as they were."""

import numpy as np

from segpipe.evaluation.classes import evaluate_label_maps
from segpipe.evaluation.kept_results import KeptResults
from segpipe.geometry import Grid
from segpipe.labels import LabelMap

GRID = Grid((20, 20, 10), np.diag([1.0, 1.0, 2.0, 1.0]))


def test_a_result_is_the_same_after_it_was_kept(tmp_path):
    labels = LabelMap.build({1: "solid", 2: "glass"})
    masks = np.zeros((2, *GRID.shape), np.uint8)
    masks[:, 2:6, 2:6, 2:5], masks[0, 10:14, 10:14, 2:5], masks[1, 11:14, 10:14, 2:5] = 1, 2, 2
    probability = [np.where(masks[0] == value, np.float32(0.9), np.float32(0.1)) for value in (1, 2)]
    result = evaluate_label_maps(
        "a", "p", (masks[0], masks[1]), GRID, labels=labels, probability=probability, extra={"texture": 5}
    )
    kept = KeptResults(tmp_path, {"flips": (0, 1)})
    assert kept.find("a") is None
    kept.keep(result, "stamp")
    assert result.classes
    assert result.detections
    assert KeptResults(tmp_path, {"flips": [0, 1]}).find("a", "stamp") == result
    assert kept.find("a", "other") is None
    assert KeptResults(tmp_path, {"flips": []}).find("a") is None
    assert KeptResults(tmp_path, {"flips": [0, 1]}, tmp_path / "masks").find("a") is None
