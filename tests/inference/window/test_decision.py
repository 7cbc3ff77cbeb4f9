"""The class of a voxel, from probabilities that fit on one line."""

import numpy as np
import pytest

from segpipe.inference.window.decision import decide_classes, foreground_probability, label_plane
from segpipe.labels import LabelMap

PARTS = {1: "rim", 2: "core"}
EXCLUSIVE = LabelMap.build(PARTS)
NESTED = LabelMap.build(PARTS, regions={"whole": [1, 2], "core": [2]})
FIRST = np.array([0.6, 0.3, 0.45, 0.2, 0.5], np.float32)
SECOND = np.array([0.1, 0.6, 0.5, 0.3, 0.5], np.float32)


@pytest.mark.parametrize(
    ("labels", "thresholds", "expected"),
    [
        (LabelMap(), (0.5,), [1, 0, 0, 0, 1]),
        (EXCLUSIVE, (0.5, 0.5), [1, 2, 2, 0, 1]),
        (EXCLUSIVE, (0.5, 0.95), [1, 1, 1, 0, 1]),
        (EXCLUSIVE, (0.7, 0.5), [0, 2, 2, 0, 1]),
        (EXCLUSIVE, (0.25, 0.25), [1, 2, 2, 2, 1]),
        (NESTED, (0.5, 0.5), [1, 0, 0, 0, 2]),
        (NESTED, (0.4, 0.5), [1, 0, 2, 0, 2]),
        (NESTED, (0.15, 0.3), [1, 2, 2, 2, 2]),
    ],
)
def test_the_class_of_each_voxel(labels, thresholds, expected):
    probabilities = [FIRST, SECOND][: len(thresholds)]
    assert label_plane(decide_classes(probabilities, thresholds, labels), labels).tolist() == expected


def test_regions_are_painted_with_the_values_of_their_masks():
    labels = LabelMap.build({1: "core", 2: "rim"}, regions={"whole": [1, 2], "core": [1]})
    assert label_plane(decide_classes([FIRST, SECOND], (0.4, 0.5), labels), labels).tolist() == [2, 0, 1, 0, 1]


def test_the_foreground_is_any_class():
    found = foreground_probability([FIRST, SECOND], EXCLUSIVE)
    np.testing.assert_allclose(found, [0.7, 0.9, 0.95, 0.5, 1.0], rtol=1e-6)
    assert foreground_probability([FIRST, SECOND], NESTED) is FIRST
    assert foreground_probability([FIRST], LabelMap()) is FIRST
