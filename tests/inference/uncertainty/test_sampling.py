"""Several answers of one network, and what they come to, by pencil."""

from math import log2

import pytest
import torch
from torch import nn

from segpipe.cli.predict.flags import METHODS as FLAGS
from segpipe.errors import ConfigError
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.uncertainty.sampling import AUTO, METHODS, PASSES, Sampling, choose_method
from segpipe.inference.window.sliding import predict_flipped
from segpipe.labels import LabelMap
from segpipe.networks import build_network
from segpipe.networks.ensemble import Ensemble

ONE = LabelMap.of("nodule")
SHAPE = (2, 1, 4, 4, 4)


class Says(nn.Module):
    """Calls every voxel foreground with one probability."""

    def __init__(self, probability):
        super().__init__()
        self.logit = torch.logit(torch.tensor(float(probability)))

    def forward(self, images):
        return torch.cat([torch.zeros_like(images), self.logit + torch.zeros_like(images)], dim=1)


class LooksLeft(nn.Module):
    """Sure of the first half along x as it is shown, and says no to the other one."""

    def forward(self, images):
        logits = torch.full_like(images, -20.0)
        logits[:, :, :2] = 20.0
        return torch.cat([torch.zeros_like(images), logits], dim=1)


class Drops(nn.Module):
    """A convolution over features, of which half are dropped in training, and a norm that learns from what it sees."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm3d(1), nn.Dropout3d(0.5)

    def forward(self, images):
        seen = self.norm(images)
        parts = self.drop(seen.expand(-1, 16, -1, -1, -1).contiguous())
        return torch.cat([torch.zeros_like(images), parts.sum(1, keepdim=True)], dim=1)


def bits(p):
    return -p * log2(p) - (1 - p) * log2(1 - p)


def engine(network):
    return TorchEngine(network, ONE, device="cpu", precision="fp32")


def test_members_that_contradict_each_other():
    """0.9 and 0.1 come to 0.5, one bit; each alone has 0.469 bits, so that they disagree by 0.531."""
    planes = Sampling(engine(Ensemble([Says(0.9), Says(0.1)])), "ensemble", ONE)(torch.zeros(SHAPE))
    assert planes.shape == (2, 3, 4, 4, 4)
    counted, mean, information = planes.unbind(1)
    assert counted.flatten()[0] == pytest.approx(0.5)
    assert mean.flatten()[0] == pytest.approx(0.5)
    assert information.unique().tolist() == pytest.approx([1 - bits(0.9)], abs=1e-5)


def test_members_that_agree_are_unsure_and_do_not_disagree():
    _, mean, information = Sampling(engine(Ensemble([Says(0.7), Says(0.7)])), "ensemble", ONE)(
        torch.zeros(SHAPE)
    ).unbind(1)
    assert mean.flatten()[0] == pytest.approx(0.7)
    assert information.max() == pytest.approx(0, abs=1e-6)


def test_members_are_mirrored_back():
    """Mirrored along x, one that looks left says yes to all in half of its views; the other one says no."""
    both = Ensemble([LooksLeft(), Says(1e-9)])
    sampling = Sampling(engine(both), "ensemble", ONE, (0,))
    counted, mean, information = sampling(torch.zeros(SHAPE)).unbind(1)
    torch.testing.assert_close(mean, torch.full_like(mean, 0.25))
    torch.testing.assert_close(counted, mean, rtol=0, atol=1e-4)
    torch.testing.assert_close(information, torch.full_like(mean, bits(0.25) - 0.5), rtol=0, atol=1e-4)


@pytest.mark.parametrize("flips", [(), (0, 1)])
@pytest.mark.parametrize("method", METHODS)
def test_what_counts_is_the_same_to_the_bit(method, flips):
    torch.manual_seed(0)
    member = {
        "name": "unet",
        "channels": [4, 8],
        "strides": [2],
        "num_res_units": 0,
        "norm": "instance",
        "act": "relu",
        "dropout": 0.3,
    }
    networks = [build_network(member, out_channels=2) for _ in range(2)]
    asked, patches = engine(Ensemble(networks)), torch.rand(2, 1, 8, 8, 8)
    planes = Sampling(asked, method, ONE, flips)(patches)
    assert torch.equal(planes[:, :1], predict_flipped(asked, patches, flips))
    assert (planes[:, 2] > 0).any()


def test_mirrored_views_of_a_model_without_flips_are_along_all_axes():
    """Sure of one half, whichever that is: no in half of the views of each voxel, and what counts is the first one."""
    counted, mean, information = Sampling(engine(LooksLeft()), "flips", ONE)(torch.zeros(SHAPE)).unbind(1)
    assert counted[0, :, 0, 0].tolist() == pytest.approx([1, 1, 0, 0], abs=1e-6)
    torch.testing.assert_close(mean, torch.full_like(mean, 0.5))
    torch.testing.assert_close(information, torch.ones_like(mean), rtol=0, atol=1e-5)


def test_dropout_is_at_work_in_its_passes_alone():
    network = Drops()
    asked, patches = engine(network), torch.rand(SHAPE)
    state, random = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    first, second = (Sampling(asked, "dropout", ONE)(patches) for _ in range(2))
    assert torch.equal(first, second)  # one scan, one map
    assert (first[:, 2] > 0).any()
    assert torch.equal(first[:, :1], asked(patches))
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert PASSES == 10


@pytest.mark.parametrize(("regions", "expected"), [(None, 0.75), ({"rim": [1, 2], "core": [2]}, 0.5)])
def test_of_several_classes_the_foreground_counts(regions, expected):
    """Of two classes that exclude each other the sum; of regions the one around the other."""
    labels = LabelMap.build({1: "rim", 2: "core"}, regions=regions)

    def says(patches):
        shares = torch.tensor([0.5, 0.25]).reshape(1, 2, 1, 1, 1)
        return shares.expand(len(patches), 2, *patches.shape[2:])

    assert Sampling(says, "flips", labels)(torch.zeros(SHAPE))[:, 2].unique().tolist() == [expected]


def test_the_method_that_a_network_can_answer():
    assert (AUTO, *METHODS) == FLAGS
    assert choose_method(AUTO, engine(Ensemble([Says(0.9), Says(0.1)]))) == "ensemble"
    assert choose_method(AUTO, engine(Says(0.9))) == "flips"
    assert choose_method(AUTO, lambda patches: patches) == "flips"
    assert choose_method("dropout", engine(Drops())) == "dropout"


@pytest.mark.parametrize(
    ("method", "network", "message"),
    [
        ("ensemble", Says(0.9), "--uncertainty ensemble needs a network of several members"),
        ("dropout", Says(0.9), "--uncertainty dropout needs a network that was trained with dropout"),
        ("dropout", nn.Sequential(nn.Dropout3d(0.0), Says(0.9)), "was trained with dropout"),
    ],
)
def test_a_network_that_cannot_answer_so_is_refused(method, network, message):
    with pytest.raises(ConfigError, match=message) as caught:
        choose_method(method, engine(network))
    assert "--uncertainty flips" in caught.value.hint


def test_a_program_without_its_parts_is_refused():
    with pytest.raises(ConfigError, match="needs a network") as caught:
        choose_method("dropout", lambda patches: patches)
    assert "a program without its parts" in caught.value.facts["found"]
