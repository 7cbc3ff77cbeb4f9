"""The network of a second stage: how crops and peaks make a confidence."""

import pytest
import torch

from segpipe.networks.candidate_network import CandidateEnsemble, CandidateNetwork, mix_odds

CROPS = torch.zeros(2, 2, 8, 8, 8)
PEAKS = torch.tensor([0.5, 0.75])


def network(share: float, slope: float = 1.0, offset: float = 0.0) -> CandidateNetwork:
    """What sees log odds of 0 in every crop."""
    made = CandidateNetwork(channels=[4], dropout=0.0).eval()
    for parameter in made.head.parameters():
        parameter.data.zero_()
    made.share.fill_(share)
    made.slope.fill_(slope)
    made.offset.fill_(offset)
    return made


@pytest.mark.parametrize(
    ("share", "slope", "offset", "expected"),
    [
        (1.0, 1.0, 0.0, [0.5, 0.5]),  # the crops alone
        (0.0, 1.0, 0.0, [0.5, 0.75]),  # the peaks alone
        (0.5, 2.0, 0.0, [0.5, 0.75]),  # half of both, stretched by two
        (0.0, 2.0, 0.0, [0.5, 0.9]),  # odds of 3 to 1, squared
        (1.0, 1.0, 1.0986123, [0.75, 0.75]),  # odds of 3 to 1 everywhere
    ],
)
def test_a_confidence_is_that_of_the_mixed_odds(share, slope, offset, expected):
    with torch.inference_mode():
        assert network(share, slope, offset)(CROPS, PEAKS).tolist() == pytest.approx(expected, abs=1e-6)


def test_several_networks_give_their_mean():
    ensemble = CandidateEnsemble([network(0.0), network(1.0)]).eval()
    with torch.inference_mode():
        assert ensemble(CROPS, PEAKS).tolist() == pytest.approx([0.5, 0.625])


def test_a_peak_of_one_has_finite_odds():
    assert torch.isfinite(mix_odds(torch.zeros(2), torch.tensor([0.0, 1.0]), torch.tensor(0.5))).all()
