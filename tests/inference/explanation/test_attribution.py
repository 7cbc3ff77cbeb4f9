"""What counts for a score, of networks of which a pencil knows that."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from segpipe.errors import ConfigError
from segpipe.inference.explanation.attribution import (
    METHODS,
    Question,
    attribute,
    coarse_convolutions,
)
from segpipe.inference.explanation.scores import RatingScore, RegionScore
from segpipe.labels import LabelMap
from segpipe.networks import build_network
from segpipe.networks.ensemble import Ensemble
from segpipe.networks.rating_network import RatingNetwork
from tests.samples.small_models import RESNET, UNET

ONE = LabelMap.of("nodule")
SHAPE = (12, 12, 6)
DYNUNET = {
    "name": "dynunet", "channels": [4, 8, 8], "strides": [1, 2, 2], "deep_supervision": 0, "residual": False,
    "norm": "batch", "act": "relu", "dropout": 0.0,
}  # fmt: skip


class Weighs(nn.Module):
    """A weighted sum of the voxels."""

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, images):
        return (images[:, 0] * self.weights).sum((1, 2, 3))


class Bright(nn.Module):
    """Log odds of 20 for each unit above 0.4."""

    def forward(self, images):
        return torch.cat([torch.zeros_like(images), (images - 0.4) * 20], dim=1)


def test_integrated_gradients_of_a_sum_are_its_terms():
    weights, image = torch.randn(SHAPE), torch.rand(1, 1, *SHAPE)
    found = attribute(Question(Weighs(weights), image, air=0.25, neutral=0.5), "gradients")
    torch.testing.assert_close(found, weights * (image[0, 0] - 0.25), rtol=1e-4, atol=1e-5)


def test_integrated_gradients_sum_to_the_difference_to_air():
    torch.manual_seed(0)
    region = torch.zeros(16, 16, 8, dtype=torch.bool)
    region[6:10, 6:10, 3:5] = True
    score = RegionScore(build_network({**UNET, "norm": "batch"}, out_channels=2).eval(), ONE, 0, region)
    image = torch.rand(1, 1, 16, 16, 8)
    found = attribute(Question(score, image, air=0.0, neutral=0.5), "gradients")
    with torch.no_grad():
        apart = score(image) - score(torch.zeros_like(image))
    assert float(found.sum()) == pytest.approx(float(apart), rel=0.1)


def test_occlusion_is_how_far_the_score_falls():
    """A bright voxel of weight 1 in the dark: hidden by any box over it the score falls by 0.9, else not at all."""
    weights, image = torch.ones(SHAPE), torch.zeros(1, 1, *SHAPE)
    image[0, 0, 4, 4, 2] = 0.9
    found = attribute(Question(Weighs(weights), image, air=0.0, neutral=0.0), "occlusion")
    assert found[4, 4, 2] == pytest.approx(0.9)
    assert found[0, 0, 0] == 0
    assert found[11, 11, 5] == 0


def test_the_score_is_the_mean_log_odds_of_the_region():
    region = torch.zeros(SHAPE, dtype=torch.bool)
    region[:2] = True
    image = torch.full((1, 1, *SHAPE), 0.5)
    image[:, :, 0] = 0.7
    assert float(RegionScore(Bright(), ONE, 0, region)(image)) == pytest.approx((2 + 6) / 2)


def test_a_class_among_several_has_log_odds_of_its_own():
    """Logits 0, 1, 3: class 2 has the share e³ / (1 + e + e³), whose log odds are 3 − log(1 + e)."""

    class Says(nn.Module):
        def forward(self, images):
            return torch.tensor([0.0, 1.0, 3.0]).reshape(1, 3, 1, 1, 1).expand(len(images), 3, 2, 2, 2)

    score = RegionScore(Says(), LabelMap.build({1: "solid", 2: "other"}), 1, torch.ones(2, 2, 2, dtype=torch.bool))
    assert float(score(torch.zeros(1, 1, 2, 2, 2))) == pytest.approx(3 - np.log(1 + np.e), abs=1e-4)


@pytest.mark.parametrize("spec", [UNET, RESNET, DYNUNET], ids=lambda spec: spec["name"])
def test_gradcam_explains_networks_that_are_shipped(spec):
    torch.manual_seed(0)
    size = (32, 32, 16)
    region = torch.zeros(size, dtype=torch.bool)
    region[12:20, 12:20, 6:10] = True
    score = RegionScore(build_network(spec, out_channels=2).eval(), ONE, 0, region)
    found = attribute(Question(score, torch.rand(1, 1, *size), air=0.0, neutral=0.5), "gradcam")
    assert found.shape == size
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert all(parameter.grad is None for parameter in score.parameters())


def test_gradcam_asks_each_member_of_an_ensemble():
    members = [build_network(UNET, out_channels=2).eval() for _ in range(2)]
    region, image = torch.ones(16, 16, 8, dtype=torch.bool), torch.rand(1, 1, 16, 16, 8)
    layers = coarse_convolutions(RegionScore(Ensemble(members), ONE, 0, region), image)
    assert len(layers) == 2
    for layer, member in zip(layers, members, strict=True):
        assert layer in list(member.modules())
    assert len(coarse_convolutions(RegionScore(members[0], ONE, 0, region), image)) == 1


def test_a_network_without_a_coarser_level_has_no_gradcam():
    score = RegionScore(nn.Conv3d(1, 2, 3, padding=1), ONE, 0, torch.ones(SHAPE, dtype=torch.bool))
    with pytest.raises(ConfigError, match="needs a network with a coarser level") as caught:
        attribute(Question(score, torch.rand(1, 1, *SHAPE), air=0.0, neutral=0.5), "gradcam")
    assert "gradients or occlusion" in caught.value.hint


@pytest.mark.parametrize("method", METHODS)
def test_a_rating_is_explained(method):
    """Its score is the expected grade; what the measurements say is in it and stays as it is."""
    torch.manual_seed(0)
    network = RatingNetwork([5, 2], 3, channels=[4, 8], hidden=4, dropout=0.2).eval()
    crop, mask, measurements = torch.rand(1, 1, 8, 8, 8), torch.rand(8, 8, 8), torch.rand(1, 3)
    score = RatingScore(network, 0, mask, measurements)
    with torch.no_grad():
        probabilities = network(torch.cat([crop, mask[None, None]], dim=1), measurements)[0, 0]
        assert float(score(crop)) == pytest.approx(float((probabilities * torch.arange(5)).sum()), rel=1e-5)
    found = attribute(Question(score, crop, air=-1.0, neutral=-1.0), method)
    assert found.shape == (8, 8, 8)
    assert torch.isfinite(found).all()


def test_without_captum_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ConfigError, match="needs captum") as caught:
        attribute(Question(nn.Identity(), torch.zeros(1, 1, 2, 2, 2), air=0.0, neutral=0.0), "gradients")
    assert "segpipe[explain]" in caught.value.hint
