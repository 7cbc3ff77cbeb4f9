"""What of a source fits a network: names, shapes, axes, channels, and kernels of two dimensions."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv3d

from segpipe.networks import build_network
from segpipe.training.transfer.matching import inflate, match_weights
from tests.samples.small_models import RESNET, UNET


def layers(**parts):
    return nn.ModuleDict(parts)


def test_names_are_compared_without_the_prefixes_of_wrappers():
    network = layers(encoder=layers(conv1=nn.Conv3d(1, 2, 1, bias=False)), head=nn.Conv3d(2, 2, 1, bias=False))
    weight = torch.full((2, 1, 1, 1, 1), 3.0)
    match = match_weights({"module.backbone.conv1.weight": weight, "fc.weight": torch.ones(4)}, network)
    assert list(match.weights) == ["encoder.conv1.weight"]
    assert torch.equal(match.weights["encoder.conv1.weight"], weight)
    assert match.missing == {"head.weight": "not in the source"}
    assert match.unused == ["fc.weight"]
    assert match.share == pytest.approx(2 / 6)


def test_a_name_that_several_tensors_have_without_prefixes_fits_none():
    network = layers(conv1=nn.Conv3d(2, 2, 1, bias=False))
    twice = {"module.conv1.weight": torch.ones(2, 2, 1, 1, 1), "model.conv1.weight": torch.zeros(2, 2, 1, 1, 1)}
    assert match_weights(twice, network).weights == {}
    exact = {**twice, "conv1.weight": torch.full((2, 2, 1, 1, 1), 5.0)}
    assert match_weights(exact, network).weights["conv1.weight"].unique().tolist() == [5.0]


def test_another_number_of_classes_leaves_the_head_alone():
    two, three = (build_network(UNET, out_channels=count) for count in (2, 3))
    match = match_weights(two.state_dict(), three)
    assert set(match.missing) == {name for name in three.state_dict() if name.startswith("model.2.")}
    assert match.unused == []
    assert match.missing["model.2.0.conv.weight"] == "shape 12×2×3×3×3 ≠ 12×3×3×3×3"


def test_all_of_a_network_fits_itself():
    network = build_network(RESNET)
    match = match_weights(network.state_dict(), network)
    assert (match.share, match.missing, match.unused, match.adapted) == (1.0, {}, [], {})


def test_a_grey_image_has_the_response_that_it_had_in_three_channels():
    network = layers(conv=nn.Conv3d(1, 4, 3, bias=False))
    colour = torch.rand(4, 3, 3, 3, 3)
    match = match_weights({"conv.weight": colour}, network)
    assert match.adapted == {"conv.weight": "summed over 3 channels"}
    grey = torch.rand(1, 1, 5, 5, 5)
    adapted = conv3d(grey, match.weights["conv.weight"])
    torch.testing.assert_close(adapted, conv3d(grey.expand(1, 3, 5, 5, 5), colour))


def test_channels_are_summed_where_the_image_goes_in_and_nowhere_else():
    network = layers(inner=nn.Conv3d(2, 4, 1, bias=False), up=nn.ConvTranspose3d(4, 1, 1, bias=False))
    match = match_weights({"inner.weight": torch.ones(4, 3, 1, 1, 1), "up.weight": torch.ones(4, 2, 1, 1, 1)}, network)
    assert match.missing == {
        "inner.weight": "shape 4×3×1×1×1 ≠ 4×2×1×1×1",
        "up.weight": "shape 4×2×1×1×1 ≠ 4×1×1×1×1",
    }


def test_an_inflated_kernel_is_divided_by_its_depth_and_its_columns_lie_along_x():
    kernel = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])  # rows along y: (y 0: 1 2), (y 1: 3 4)
    volume = inflate(kernel, 2)
    assert volume.shape == (1, 1, 2, 2, 2)
    assert volume[0, 0, :, :, 0].tolist() == [[0.5, 1.5], [1.0, 2.0]]
    assert torch.equal(volume[..., 0], volume[..., 1])


def test_a_volume_of_equal_slices_has_the_response_of_the_image():
    network = layers(conv=nn.Conv3d(1, 2, 3, bias=False))
    kernel, image_yx = torch.rand(2, 3, 3, 3), torch.rand(1, 1, 6, 7)
    match = match_weights({"conv.weight": kernel}, network)
    assert match.adapted == {"conv.weight": "inflated to 3 slices, summed over 3 channels"}
    volume_xyz = image_yx.transpose(2, 3).unsqueeze(-1).expand(1, 1, 7, 6, 5)
    response = conv3d(volume_xyz, match.weights["conv.weight"])
    wanted = conv2d(image_yx.expand(1, 3, 6, 7), kernel).transpose(2, 3)
    torch.testing.assert_close(response, wanted.unsqueeze(-1).expand_as(response))


def test_the_axes_of_a_source_become_ours():
    network = layers(conv=nn.Conv3d(2, 1, (7, 5, 3), bias=False))
    kernel_zxy = torch.arange(210.0).reshape(1, 2, 3, 7, 5)
    match = match_weights({"conv.weight": kernel_zxy}, network, axes="zxy")
    assert match.weights["conv.weight"].shape == (1, 2, 7, 5, 3)
    assert match.weights["conv.weight"][0, 1, 6, 0, 2] == kernel_zxy[0, 1, 2, 6, 0]
