"""Every shipped network names its stages, and each of its parameters lies in one of them."""

import pytest
import torch
from torch import nn

from segpipe.errors import ConfigError
from segpipe.networks import NETWORKS, build_network, network_divisor
from segpipe.networks.stages import stages_of, state_stages
from tests.networks.test_registry import small

STAGES = {"unet": 3, "dynunet": 4, "segresnet": 3, "attention_unet": 3, "resnet_unet": 5, "swin_unetr": 4}


@pytest.mark.parametrize("name", NETWORKS)
def test_shipped_networks_have_encoder_stages_a_decoder_and_a_head(name):
    network = build_network(small(name), out_channels=3)
    stages = stages_of(network)
    assert [stage.part for stage in stages] == ["encoder"] * STAGES[name] + ["decoder", "head"]
    names = [parameter for parameter, _ in network.named_parameters()]
    assert all(sum(stage.holds(parameter) for stage in stages) == 1 for parameter in names)
    assert all(any(stage.holds(parameter) for parameter in names) for stage in stages)


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_head_depends_on_the_number_of_classes(name):
    two, three = (build_network(small(name), out_channels=count) for count in (2, 3))
    head = stages_of(two)[-1]
    pairs = zip(two.named_parameters(), three.parameters(), strict=True)
    differing = [own for (own, first), second in pairs if first.shape != second.shape]
    assert differing
    assert all(head.holds(own) for own in differing)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_encoder_gets_coarser_stage_by_stage(name):
    """The last thing that each stage computes has fewer voxels than that of the stage before, or as many."""
    network = build_network(small(name)).eval()
    sizes = []
    for stage in stages_of(network)[:-2]:
        last = network.get_submodule(stage.modules[-1])
        (last[0] if isinstance(last, nn.ModuleList) else last).register_forward_hook(
            lambda module, inputs, output: sizes.append(output.numel() // output.shape[1])
        )
    x, y, z = (2 * step for step in network_divisor(small(name)))
    with torch.no_grad():
        network(torch.rand(1, 1, x, y, z))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    assert len(sizes) == STAGES[name]


def test_a_network_without_stages_is_told_how_to_name_them():
    with pytest.raises(ConfigError, match="must say which of its modules are encoder, decoder and head") as caught:
        stages_of(nn.Sequential(nn.Conv3d(1, 2, 1)))
    assert 'self.stages = {"encoder": [["stem"], ["down1"]]' in caught.value.hint


def test_a_parameter_outside_of_all_stages_is_named():
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 1, bias=False))
    with pytest.raises(ConfigError, match="must belong to one of its stages") as caught:
        stages_of(state_stages(network, encoder=[["0"], ["0"]], decoder=[], head=["2"]))
    assert caught.value.facts["found in none or several"] == "0.weight (2), 0.bias (2), 1.weight (0), 1.bias (0)"
