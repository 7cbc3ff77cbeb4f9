"""Noise is measured as it was made, vessels or not, and not at all where there is too little tissue."""

import numpy as np
import pytest

from segpipe.datasets.implanting.noise import Noise, make_noise, measure_noise


@pytest.mark.parametrize("vertical", [0, 2])
@pytest.mark.parametrize(("sd", "correlation"), [(10.0, 0.0), (25.0, 0.4), (40.0, 0.7)])
def test_noise_is_measured_as_it_was_made(sd, correlation, vertical):
    rng = np.random.default_rng(5)
    hu = -850 + sd * make_noise((48, 48, 48), correlation, vertical=vertical, rng=rng)
    hu += np.linspace(0, 60, 48)[:, None, None]  # density falls from back to front
    hu[::9, ::9] = 40  # vessels
    found = measure_noise(hu, np.ones(hu.shape, dtype=bool), vertical=vertical)
    assert found.sd_hu == pytest.approx(sd, rel=0.12)
    assert found.correlation == pytest.approx(correlation, abs=0.08)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8])
def test_made_noise_has_a_deviation_of_one_and_ends_with_the_slice(correlation):
    noise = make_noise((64, 64, 32), correlation, vertical=2, rng=np.random.default_rng(0))
    assert noise.std() == pytest.approx(1, abs=0.02)
    along = np.mean(noise[1:] * noise[:-1]), np.mean(noise[:, :, 1:] * noise[:, :, :-1])
    assert along == pytest.approx((correlation, 0), abs=0.03)


def test_too_little_tissue_has_no_noise_to_measure():
    assert measure_noise(np.zeros((8, 8, 4)), np.zeros((8, 8, 4), dtype=bool), vertical=2) is None
    assert measure_noise(np.zeros((2, 2, 30)), np.ones((2, 2, 30), dtype=bool), vertical=2) is None


def test_a_picture_without_noise_has_none():
    assert measure_noise(np.zeros((16, 16, 4)), np.ones((16, 16, 4), dtype=bool), vertical=2) == Noise(0.0, 0.0)
