"""What the Lightning module learns from a batch, and what it counts on validation patches."""

import pytest
import torch
from torch import nn

from segpipe.labels import LabelMap
from segpipe.training.module import SegmentationModule, count_overlap

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


def test_the_loss_of_a_mixed_batch_is_that_of_each_label_by_its_weight(monkeypatch):
    """An image of 3 faded to a quarter, against labels of 1 and 5 by 0.25 and 0.75: |0.75 - 1|/4 + |0.75 - 5| 3/4."""
    module = SegmentationModule(
        nn.Identity(), nn.L1Loss(), make_optimizer=None, make_scheduler=None, seed=0, provenance={}
    )
    monkeypatch.setattr(module, "log", lambda *given, **more: None)
    batch = {"image": torch.full((1, 1, 2, 2, 2), 3.0), "label": torch.ones(1, 1, 2, 2, 2)}
    assert float(module.training_step(batch, 0)) == 2.0
    module.mixing = lambda image, label: (image / 4, [(0.25, label), (0.75, 5 * label)])
    assert float(module.training_step(batch, 0)) == pytest.approx(0.25 * 0.25 + 4.25 * 0.75)
