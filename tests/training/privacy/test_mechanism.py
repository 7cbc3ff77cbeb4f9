"""No patient moves the sum by more than the bound, and the noise is as large as it is said to be."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from segpipe.training.privacy.mechanism import ClippedSum
from segpipe.training.privacy.randomness import SecretNumbers

ANY = st.floats(width=32, allow_nan=True, allow_infinity=True)
GRADIENT = st.lists(ANY, min_size=5, max_size=5)


def summed(gradients, clip_norm):
    weights = [torch.zeros(2), torch.zeros(3)]
    found = ClippedSum(weights, clip_norm)
    for values in gradients:
        whole = torch.tensor(values)
        found.add([whole[:2], whole[2:]])
    return torch.cat(found.total).double()


@given(gradient=GRADIENT, clip_norm=st.floats(1e-3, 1e3))
def test_a_patient_adds_no_more_than_the_bound(gradient, clip_norm):
    assert float(summed([gradient], clip_norm).norm()) <= clip_norm


@given(
    others=st.lists(GRADIENT, max_size=3),
    gradient=GRADIENT,
    clip_norm=st.floats(1e-3, 1e3),
)
def test_nor_does_a_patient_among_others(others, gradient, clip_norm):
    moved = (summed([*others, gradient], clip_norm) - summed(others, clip_norm)).norm()
    assert float(moved) <= clip_norm * (1 + 1e-5)  # sums of float32 are rounded


def test_short_gradients_stay_and_long_ones_are_shortened():
    assert summed([[0.3, 0.0, 0.0, 0.4, 0.0]], 1.0).tolist() == pytest.approx([0.3, 0, 0, 0.4, 0])
    assert summed([[30.0, 0.0, 0.0, 40.0, 0.0]], 1.0).tolist() == pytest.approx([0.6, 0, 0, 0.8, 0], rel=1e-5)
    assert summed([[0.0] * 5], 1.0).tolist() == [0.0] * 5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_counts_as_nothing(bad):
    assert summed([[bad, 1.0, 1.0, 1.0, 1.0], [0.1] * 5], 1.0).tolist() == pytest.approx([0.1] * 5)


def test_patients_and_clipped_ones_are_counted():
    found = ClippedSum([torch.zeros(1), torch.zeros(2)], 1.0)
    for gradients in ([torch.full((1,), 0.9), None], [torch.full((1,), 2.0), None], [None, None]):
        found.add(gradients)
    assert (found.patients, found.clipped) == (3, 1)


@pytest.mark.parametrize(("noise_multiplier", "clip_norm"), [(1.0, 1.0), (2.5, 0.2)])
def test_the_noise_has_the_stated_deviation(noise_multiplier, clip_norm):
    found = ClippedSum([torch.zeros(200, 100), torch.zeros(5)], clip_norm)
    noisy = found.with_noise(noise_multiplier, SecretNumbers.of_seed(0), step=3)
    assert noisy[0].dtype == torch.float32
    assert float(noisy[0].std()) == pytest.approx(noise_multiplier * clip_norm, rel=0.02)
    assert abs(float(noisy[0].mean())) < 0.02 * noise_multiplier * clip_norm
    assert not torch.equal(noisy[1], found.with_noise(noise_multiplier, SecretNumbers.of_seed(0), step=4)[1])


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_the_sum_is_that_of_opacus():
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2, affine=True), nn.ReLU(), nn.Conv3d(2, 1, 1))
    images = torch.randn(3, 1, 6, 6, 6) * torch.tensor([0.1, 1.0, 10.0]).reshape(3, 1, 1, 1, 1)
    ours = ClippedSum(list(network.parameters()), 0.5)
    for image in images:
        ours.add(torch.autograd.grad(network(image[None]).square().mean(), list(network.parameters())))
    wrapped = GradSampleModule(network, loss_reduction="sum")
    sgd = torch.optim.SGD(wrapped.parameters(), lr=1.0)
    theirs = DPOptimizer(sgd, noise_multiplier=0.0, max_grad_norm=0.5, expected_batch_size=None, loss_reduction="sum")
    wrapped(images).square().mean((1, 2, 3, 4)).sum().backward()
    theirs.clip_and_accumulate()
    assert ours.clipped > 0
    for sum_, parameter in zip(ours.total, network.parameters(), strict=True):
        torch.testing.assert_close(sum_, parameter.summed_grad, rtol=1e-4, atol=1e-6)
