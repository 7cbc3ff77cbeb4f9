"""Numbers of a key: normal, independent of each other, and the same again only by the same key, purpose and step."""

import pytest
import torch
from scipy.stats import kstest

from segpipe.training.privacy import randomness
from segpipe.training.privacy.randomness import Purpose, SecretNumbers


def normal(count, *, seed=0, step=0):
    return SecretNumbers.of_seed(seed).normal(Purpose.NOISE, step, [torch.Size([count])])[0]


def test_they_are_aes_in_counter_mode():
    """NIST SP 800-38A's key, AES-256, on the block of purpose 1 and step 2, as `openssl enc -aes-256-ecb` gives it."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    found = SecretNumbers(key).uniform(Purpose.NOISE, 2, 2)
    block = bytes.fromhex("ae7a1d27611cbb1b2e16fe0d62677a2e")
    expected = [int.from_bytes(block[first : first + 8], "little") / 2**64 for first in (0, 8)]
    assert found.tolist() == pytest.approx(expected, abs=1e-15)


def test_the_noise_is_standard_normal():
    found = normal(200_000)
    assert kstest(found.numpy(), "norm").pvalue > 0.01
    assert abs(float((found[:-1] * found[1:]).mean())) < 0.01
    assert found.dtype == torch.float64


def test_chances_are_uniform():
    found = SecretNumbers.of_seed(1).uniform(Purpose.PATIENTS, 0, 100_000)
    assert kstest(found.numpy(), "uniform").pvalue > 0.01
    assert 0 <= float(found.min()) <= float(found.max()) < 1


def test_key_step_and_purpose_decide():
    one, numbers = normal(50), SecretNumbers.of_seed(0)
    assert torch.equal(one, normal(50))
    assert not torch.equal(one, normal(50, seed=1))
    assert not torch.equal(one, normal(50, step=1))
    assert not torch.equal(numbers.uniform(Purpose.NOISE, 0, 5), numbers.uniform(Purpose.PATIENTS, 0, 5))


def test_keys_of_the_system_differ():
    one, other = (SecretNumbers.of_system().uniform(Purpose.NOISE, 0, 5) for _ in range(2))
    assert not torch.equal(one, other)


def test_tensors_are_filled_one_after_the_other_and_no_number_comes_twice(monkeypatch):
    monkeypatch.setattr(randomness, "_AT_ONCE", 4)
    shapes = [torch.Size([3, 2]), torch.Size([]), torch.Size([0]), torch.Size([5])]
    found = SecretNumbers.of_seed(0).normal(Purpose.NOISE, 0, shapes)
    assert [one.shape for one in found] == shapes
    values = torch.cat([one.flatten() for one in found])
    assert len(values.unique()) == len(values) == 12
