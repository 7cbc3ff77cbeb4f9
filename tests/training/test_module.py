"""What the Lightning module counts on validation patches."""

import pytest
import torch

from segpipe.labels import LabelMap
from segpipe.training.module import count_overlap

PARTS = {1: "rim", 2: "core"}


def row(*channels):
    return torch.tensor(channels, dtype=torch.float32).reshape(1, len(channels), -1, 1, 1)


LABEL = torch.tensor([0, 1, 2, 2, 255], dtype=torch.uint8).reshape(1, 1, 5, 1, 1)


@pytest.mark.parametrize(
    ("labels", "logits", "counts"),
    [
        (LabelMap(), row([0] * 5, [-1, 1, 1, -1, -1]), [[1, 2, 1]]),
        (LabelMap.build(PARTS, ignore=255), row([0] * 5, [1, 1, -1, 2, 1], [-1, -1, 1, 1, 1]), [[1, 3, 1], [1, 1, 2]]),
        (
            LabelMap.build(PARTS, regions={"whole": [1, 2], "core": [2]}, ignore=255),
            row([1, 1, 1, -1, 1], [-1, 1, 1, -1, 1]),
            [[2, 3, 3], [1, 2, 2]],
        ),
    ],
    ids=["one class", "two classes", "regions"],
)
def test_voxels_of_each_class_in_both_predicted_and_reference(labels, logits, counts):
    assert count_overlap(logits, LABEL, labels).tolist() == counts
