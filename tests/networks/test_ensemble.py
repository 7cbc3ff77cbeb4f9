"""An ensemble's probabilities are the mean of its members'."""

import pytest
import torch

from segpipe.networks import build_network, network_divisor
from segpipe.networks.ensemble import Ensemble

MEMBER = {
    "name": "unet",
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 1,
    "norm": "instance",
    "act": "relu",
    "dropout": 0.0,
}
SPEC = {"name": "ensemble", "members": 2, "member": MEMBER}


class Constant(torch.nn.Module):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shares = torch.tensor([1 - self.share, self.share]).log()
        return shares.reshape(1, 2, 1, 1, 1).expand(len(images), 2, *images.shape[2:])


def test_probabilities_are_averaged():
    logits = Ensemble([Constant(0.2), Constant(0.6)])(torch.zeros(1, 1, 2, 2, 2))
    assert torch.softmax(logits, 1)[0, 1, 0, 0, 0].item() == pytest.approx(0.4)


def test_members_that_are_sure_give_finite_logits():
    logits = Ensemble([Constant(1.0 - 1e-12)])(torch.zeros(1, 1, 2, 2, 2))
    assert torch.isfinite(logits).all()


def test_it_is_rebuilt_from_its_spec():
    network = build_network(SPEC).eval()
    again = build_network(SPEC).eval()
    again.load_state_dict(network.state_dict())
    images = torch.rand(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(images), again(images))
    assert network_divisor(SPEC) == (2, 2, 2)


def test_regions_are_averaged_each_for_itself():
    members = [Constant(0.2), Constant(0.6)]
    logits = Ensemble(members, exclusive=False)(torch.zeros(1, 1, 2, 2, 2))
    single = torch.stack([torch.sigmoid(member(torch.zeros(1, 1, 2, 2, 2))) for member in members])
    torch.testing.assert_close(torch.sigmoid(logits), single.mean(0))
