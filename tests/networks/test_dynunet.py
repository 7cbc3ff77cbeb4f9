import copy

import pytest
import torch
from monai.networks.nets import DynUNet

from segpipe.networks import build_network

SPEC = {
    "name": "dynunet", "channels": [4, 8, 16, 16], "strides": [1, [2, 2, 1], 2, 2], "deep_supervision": 2,
    "residual": False, "norm": "instance", "act": "leakyrelu", "dropout": 0.0,
}  # fmt: skip


def test_training_returns_logits_of_each_level_highest_resolution_first() -> None:
    network = build_network(SPEC)
    patches = torch.rand(2, 1, 16, 16, 8)
    sizes = [tuple(logits.shape) for logits in network.train()(patches)]
    assert sizes == [(2, 2, 16, 16, 8), (2, 2, 8, 8, 8), (2, 2, 4, 4, 4)]
    assert network.eval()(patches).shape == (2, 2, 16, 16, 8)


@pytest.mark.parametrize("seed", range(5))
def test_no_draw_of_weights_begins_with_one_class_ahead(seed: int) -> None:
    torch.manual_seed(seed)
    levels = build_network({**SPEC, "channels": [16, 32, 64, 64]}).train()(torch.rand(2, 1, 16, 16, 8))
    ahead = [float((logits[:, 1] - logits[:, 0]).mean().abs().detach()) for logits in levels]
    assert len(ahead) == 3
    assert 0 < max(ahead) < 0.5  # as MONAI draws them it is above for four of these seeds


def test_every_level_is_trained() -> None:
    network = build_network(SPEC)
    sum(logits.sum() for logits in network(torch.rand(1, 1, 16, 16, 8))).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_network_can_be_copied_after_training_it() -> None:
    network = build_network(SPEC)
    network(torch.rand(1, 1, 16, 16, 8))[0].sum().backward()
    copied = copy.deepcopy(network)
    assert copied.state_dict().keys() == network.state_dict().keys()


def test_weights_and_outputs_are_those_of_monai() -> None:
    torch.manual_seed(0)
    own = build_network(SPEC).eval()
    theirs = DynUNet(
        3, 1, 2, [3] * 4, [1, (2, 2, 1), 2, 2], [(2, 2, 1), 2, 2], filters=[4, 8, 16, 16],
        norm_name=("instance", {"affine": True}), act_name="leakyrelu", deep_supervision=True, deep_supr_num=2,
    ).eval()  # fmt: skip
    missing, unexpected = theirs.load_state_dict(own.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("skip_layers.") for name in missing)  # the same tensors under a second name
    patches = torch.rand(1, 1, 16, 16, 8)
    with torch.no_grad():
        torch.testing.assert_close(own(patches), theirs(patches))
        levels = own.train()(patches)
        resized = theirs.train()(patches)
    for number, logits in enumerate(levels):
        torch.testing.assert_close(torch.nn.functional.interpolate(logits, (16, 16, 8)), resized[:, number])
