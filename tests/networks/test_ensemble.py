"""An ensemble's probabilities are the mean of its members'."""

import pytest
import torch

from segpipe.networks import build_network, has_fixed_size, is_shipped, network_divisor
from segpipe.networks.ensemble import Ensemble
from segpipe.networks.registry import shipped_mistakes

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


WIDE = {"name": "ensemble", "members": 1, "member": {**MEMBER, "channels": [4, 8, 16], "strides": [2, 2]}}
MIXTURE = {"name": "mixture", "parts": [SPEC, WIDE]}


def test_a_mixture_has_the_members_of_all_its_parts_and_the_divisor_that_all_take():
    network = build_network(MIXTURE).eval()
    assert len(network.members) == 3
    assert network_divisor(MIXTURE) == (4, 4, 4)
    assert is_shipped(MIXTURE)
    assert not has_fixed_size(MIXTURE)
    assert network(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 2, 8, 8, 8)


@pytest.mark.parametrize(
    ("parts", "mistake"),
    [
        ([SPEC], "network.parts"),
        ([SPEC, MEMBER], "network.parts=unet: must be ensembles"),
        ([SPEC, {"name": "mixture", "parts": []}], "network.parts=mixture: must be ensembles"),
        ([SPEC, {**WIDE, "member": {"name": "os.system"}}], "network.name=os.system: must be one of"),
        ([SPEC, {**WIDE, "members": 65}], "members"),
    ],
)
def test_what_a_folder_says_of_a_mixture_is_checked_before_anything_is_built(parts, mistake):
    mistakes = shipped_mistakes({"name": "mixture", "parts": parts})
    assert mistake in mistakes[0]
