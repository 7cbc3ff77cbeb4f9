import pytest
import torch

from segpipe.networks.rating_network import RatingNetwork

CROPS = torch.zeros(2, 2, 8, 8, 8)


def network(**changes) -> RatingNetwork:
    torch.manual_seed(0)
    return RatingNetwork([5, 2], 3, **{"channels": [4], "hidden": 4, "dropout": 0.0, **changes}).eval()


def test_the_probabilities_of_a_ratings_grades_add_up_to_one_and_the_rest_are_zeros():
    with torch.no_grad():
        probabilities = network()(torch.rand(2, 2, 8, 8, 8), torch.randn(2, 3))
    assert probabilities.shape == (2, 2, 5)
    torch.testing.assert_close(probabilities.sum(dim=2), torch.ones(2, 2))
    assert (probabilities[:, 0] > 0).all()
    assert (probabilities[:, 1, 2:] == 0).all()


def test_odds_are_proportional_by_hand():
    """Place 0 and thresholds 0, log 2 and 2 log 2, …: P(above) is 1/2, 1/3, 1/5, 1/9."""
    plain = network(channels=[])
    with torch.no_grad():
        for parameter in (plain.line.weight, *plain.perceptron.parameters()):
            parameter.zero_()
        plain.steps.fill_(0.0)  # softplus(0) = log 2
        probabilities = plain(CROPS, torch.zeros(2, 3))[0]
    torch.testing.assert_close(probabilities[0], torch.tensor([1 / 2, 1 / 6, 2 / 15, 4 / 45, 1 / 9]))
    torch.testing.assert_close(probabilities[1, :2], torch.tensor([1 / 2, 1 / 2]))


def test_a_larger_place_moves_every_grade_up_and_calibration_sharpens():
    plain = network(channels=[])
    with torch.no_grad():
        plain.line.weight.fill_(1.0)
        plain.perceptron[3].weight.zero_()
        low, high = plain(CROPS, torch.tensor([[-1.0] * 3, [1.0] * 3]))[:, 0].cumsum(dim=1)[:, :4]
        before = plain(CROPS, torch.full((2, 3), 2.0))[0, 1, 1]
        plain.calibration.fill_(3.0)
        after = plain(CROPS, torch.full((2, 3), 2.0))[0, 1, 1]
    assert (high < low).all()
    assert after > before > 0.5


@pytest.mark.parametrize("channels", [[], [4, 8]])
def test_the_crop_counts_only_with_convolutions(channels):
    seeing = network(channels=channels)
    with torch.no_grad():
        dark, bright = seeing(torch.stack([CROPS[0], CROPS[0] + 1]), torch.zeros(2, 3))
    assert torch.equal(dark, bright) == (channels == [])
