import pytest
import torch
from monai.networks.nets import ResNet

from segpipe.networks import build_network
from segpipe.networks.resnet_unet import ResNetEncoder

SPEC = {"name": "resnet_unet", "depth": 10, "width": 8, "strides": [2, 1, 2, 2, 2], "norm": "instance", "dropout": 0.0}


@pytest.mark.parametrize(("depth", "convolutions"), [(10, 9), (18, 17), (34, 33), (50, 49), (101, 100), (152, 151)])
def test_depth_counts_the_convolutions_of_the_encoder_and_one_for_the_head(depth: int, convolutions: int) -> None:
    with torch.device("meta"):
        encoder = ResNetEncoder(1, depth=depth, width=8, strides=[(2, 2, 2)] * 5, norm="instance")
    names = [name for name, module in encoder.named_modules() if isinstance(module, torch.nn.Conv3d)]
    assert len([name for name in names if "downsample" not in name]) == convolutions


def test_features_halve_where_a_stride_does() -> None:
    strides = [(2, 2, 1), (1, 1, 1), (2, 2, 2), (1, 1, 1), (2, 2, 2)]
    encoder = ResNetEncoder(1, depth=50, width=8, strides=strides, norm="instance")
    shapes = [tuple(features.shape[1:]) for features in encoder(torch.rand(1, 1, 32, 32, 16))]
    assert shapes == [(32, 16, 16, 16), (128, 8, 8, 8), (256, 4, 4, 4)]
    assert encoder.channels == [32, 128, 256]
    assert encoder.reductions == [(2, 2, 1), (2, 2, 2), (2, 2, 2)]


def test_weights_of_a_monai_resnet_fit_the_encoder() -> None:
    theirs = ResNet("basic", [1, 1, 1, 1], [8, 16, 32, 64], n_input_channels=1, bias_downsample=False)
    own = build_network(SPEC).encoder
    weights = {name: tensor for name, tensor in theirs.state_dict().items() if name in own.state_dict()}
    assert set(weights) == set(own.state_dict())
    own.load_state_dict(weights)


def test_it_learns_with_strides_that_leave_an_axis_alone() -> None:
    network = build_network({**SPEC, "strides": [1, 1, [2, 2, 1], [2, 2, 1], 2]})
    network(torch.rand(1, 1, 16, 16, 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
