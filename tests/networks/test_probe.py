"""What a network demands of its input is found by trying, and agrees with what shipped networks say of themselves."""

import pytest
import torch
from monai.networks import nets
from torch import nn

from segpipe.networks import build_network, network_divisor
from segpipe.networks.probe import InputSizes, probe_mistakes, probe_sizes
from tests.networks.test_registry import small

PATCH = (16, 16, 8)


class Down(nn.Module):
    """Halves x and y, thirds z, and brings them back."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.down = nn.Conv3d(1, 4, (2, 2, 3), stride=(2, 2, 3))
        self.up = nn.ConvTranspose3d(4, channels, (2, 2, 3), stride=(2, 2, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.up(self.down(image))
        return logits


class Numbers(Down):
    """Looks at its numbers, so that it cannot run on meta tensors."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image * (2.0 if float(image.sum()) > 1 else 1.0))


class OneSize(nn.Module):
    """Takes 8³ only."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, 2, 8, 8, 8))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.place


class Deep(Down):
    def forward(self, image: torch.Tensor):
        logits = super().forward(image)
        return [logits, logits[:, :, ::2]] if self.training else logits


class AlwaysDeep(Down):
    def forward(self, image: torch.Tensor):
        return [super().forward(image)]


@pytest.mark.parametrize("name", ["unet", "segresnet", "dynunet"])
def test_shipped_networks_are_found_to_be_what_they_say(name):
    network = build_network(small(name))
    network._forward_pre_hooks.clear()
    del network.divisor
    assert probe_sizes(network, (16, 16, 16)) == InputSizes(network_divisor(small(name)))
    assert probe_mistakes(network, (16, 16, 16), in_channels=1, out_channels=2) == []


@pytest.mark.parametrize("kind", [Down, Numbers, Deep])
def test_the_divisor_is_the_smallest_that_works_along_each_axis(kind):
    network = kind()
    assert probe_sizes(network, (12, 16, 18)) == InputSizes((2, 2, 3))
    assert probe_mistakes(network, (12, 16, 18), in_channels=1, out_channels=2) == []


def test_a_network_that_takes_one_size_is_known_by_that():
    assert probe_sizes(OneSize(), (8, 8, 8)) == InputSizes((8, 8, 8), fixed=True)


def test_a_network_may_say_its_divisor():
    network = Down()
    network.divisor = 6
    assert probe_sizes(network, (12, 12, 12)) == InputSizes((6, 6, 6))
    network.divisor = (2, 2, 3)
    assert probe_sizes(network, (12, 12, 12)) == InputSizes((2, 2, 3))
    assert probe_mistakes(network, (12, 11, 10), in_channels=1, out_channels=2) == []


def test_a_network_that_pads_by_itself_divides_nothing():
    network = nets.BasicUNet(3, 1, 2, features=(4, 4, 8, 8, 8, 4))
    assert probe_sizes(network, (32, 32, 32)) == InputSizes((1, 1, 1))


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Down(3), "must give logits of 2×2×12×12×12 for a batch of two patches; found 2×3×12×12×12 in eval mode"),
        (OneSize(), "must take the patch 12×12×12 (RuntimeError: The size of tensor a (12) must match"),
        (AlwaysDeep(), "found a list in eval mode"),
        (nn.Conv3d(2, 2, 1), "to have 2 channels, but got 1 channels"),
    ],
)
def test_a_network_that_does_not_fit_is_explained(network, expected):
    (mistake,) = probe_mistakes(network, (12, 12, 12), in_channels=1, out_channels=2)
    assert expected in mistake


def test_a_probe_changes_neither_the_network_nor_the_random_numbers():
    network = nn.Sequential(Down(), nn.BatchNorm3d(2), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    probe_mistakes(network, (12, 12, 12), in_channels=1, out_channels=2)
    probe_sizes(network, (12, 12, 12))
    assert torch.equal(torch.rand(1), expected)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
