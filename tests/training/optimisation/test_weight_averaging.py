"""Averaged weights follow a short training closely and a long one steadily."""

import pytest
import torch

from segpipe.training.optimisation.weight_averaging import warm_average


def test_the_first_steps_are_forgotten_quickly():
    mean, counter = torch.zeros(2), torch.tensor(0)
    update = warm_average(0.99)
    update([mean, counter], [torch.ones(2), torch.tensor(5)], 1)  # decay 2/11, so 9/11 of the new value
    assert mean.tolist() == pytest.approx([9 / 11, 9 / 11])
    assert counter.item() == 5


def test_the_named_decay_is_the_limit():
    mean = torch.zeros(1)
    warm_average(0.9)([mean], [torch.ones(1)], 10_000)
    assert mean.item() == pytest.approx(0.1)
