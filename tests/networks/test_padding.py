"""A patch of any size goes through a network that takes multiples of its divisor: padded, and its logits cropped."""

import numpy as np
import pytest
import torch

from segpipe.networks import NETWORKS, build_network
from segpipe.networks.padding import forward_padded, stated_divisor
from tests.networks.test_probe import Down
from tests.networks.test_registry import DIVISORS, small


@pytest.mark.parametrize("name", NETWORKS)
def test_a_patch_that_fits_goes_through_as_it_is(name):
    network = build_network(small(name)).eval()
    assert stated_divisor(network) == DIVISORS[name]
    x, y, z = DIVISORS[name]
    patch = torch.rand(1, 1, 2 * x, y, z)
    with torch.inference_mode():
        assert torch.equal(forward_padded(network, patch), network(patch))


@pytest.mark.parametrize("name", NETWORKS)
def test_any_other_patch_is_extended_by_its_border(name):
    network = build_network(small(name)).eval()
    x, y, z = DIVISORS[name]
    patch = torch.rand(1, 1, 2 * x - 1, y - 1, z)
    extended = np.pad(patch.numpy(), [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0)], mode="edge")
    with torch.inference_mode():
        logits, expected = forward_padded(network, patch), network(torch.from_numpy(extended))
    assert logits.shape == (1, 2, 2 * x - 1, y - 1, z)
    assert torch.equal(logits, expected[:, :, :-1, :-1])


@pytest.mark.parametrize(
    ("patch", "sizes"),
    [
        ((12, 12, 6), [(12, 12, 6), (6, 6, 6), (3, 3, 3)]),
        ((10, 12, 6), [(10, 12, 6), (5, 6, 6)]),
        ((9, 8, 4), [(9, 8, 4)]),
    ],
)
def test_lower_resolutions_are_kept_where_their_voxels_end_with_the_patch(patch, sizes):
    network = build_network(small("dynunet")).train()  # levels of stride 1, (2, 2, 1) and (4, 4, 2)
    assert [tuple(logits.shape[2:]) for logits in forward_padded(network, torch.rand(2, 1, *patch))] == sizes


def test_a_network_from_elsewhere_is_padded_for_once_it_states_its_divisor():
    network, patch = Down(), torch.rand(1, 1, 7, 8, 10)
    assert forward_padded(network, patch).shape == (1, 2, 6, 8, 9)
    network.divisor = (2, 2, 3)
    assert forward_padded(network, patch).shape == (1, 2, 7, 8, 10)
