"""Noise has the strength, the spectrum and the place that the dose and the rays give it."""

import numpy as np
import pytest

from segpipe.corruptions.noise import arms_down, lower_dose, measure_noise, quantum_spectrum, spread_variance
from segpipe.corruptions.planes import Planes


def water(shape=(96, 96, 6), *, spacing=(0.7, 0.7, 2.5), deviation=0.0):
    """Water with noise of the quantum spectrum."""
    planes = Planes(np.full(shape, 40, np.float32), spacing)
    spectrum = quantum_spectrum(*planes.frequencies)
    noise = planes.with_values(np.random.default_rng(1).standard_normal(shape))
    shaped = noise.mapped(lambda one: np.fft.irfft2(np.fft.rfft2(one) * np.sqrt(spectrum), s=one.shape)).image_hu
    return planes.with_values(planes.image_hu + deviation * shaped / shaped.std())


@pytest.mark.parametrize("deviation", [5.0, 40.0])
def test_the_noise_of_a_scan_is_measured(deviation):
    assert measure_noise(water(deviation=deviation)) == pytest.approx(deviation, rel=0.05)


def test_structures_are_no_noise():
    ramp = water().with_values(np.broadcast_to(np.linspace(0, 90, 96)[:, None, None], (96, 96, 6)))
    noisy = ramp.with_values(ramp.image_hu + water(deviation=5.0).image_hu - 40)
    assert measure_noise(noisy) == pytest.approx(5.0, rel=0.05)


def test_where_there_is_nothing_to_measure_noise_is_typical():
    assert measure_noise(water().with_values(np.full((96, 96, 6), -850))) == 15.0
    assert measure_noise(water()) == 15.0


def test_a_quarter_of_the_dose_doubles_the_noise():
    planes = water(deviation=10.0)
    lower = lower_dose(planes, 0.25, np.random.default_rng(0))
    added = lower.image_hu - planes.image_hu
    assert added.std() == pytest.approx(np.sqrt(3) * 10, rel=0.06)
    assert measure_noise(lower) == pytest.approx(20, rel=0.06)
    assert abs(added.mean()) < 0.5


def test_noise_is_strongest_at_three_tenths_of_a_cycle_per_mm():
    planes = water(deviation=10.0)
    added = lower_dose(planes, 0.1, np.random.default_rng(0)).image_hu - planes.image_hu
    power = (np.abs(np.fft.rfft2(np.moveaxis(added, 2, 0))) ** 2).mean(axis=0)
    radius = np.hypot(*planes.frequencies)
    rings = [power[(radius >= low) & (radius < low + 0.1)].mean() for low in np.arange(0, 0.7, 0.1)]
    assert np.argmax(rings) in (2, 3)
    assert rings[0] < 0.4 * max(rings)
    assert rings[6] < 0.5 * max(rings)


def test_noise_is_strongest_where_rays_have_lost_most():
    body = np.full((80, 50, 2), -1000, np.float32)
    body[10:70, 10:40] = 40
    variance = spread_variance(Planes(body, (5.0, 5.0, 5.0)))[:, :, 0]
    assert variance[10:70, 10:40].mean() == pytest.approx(1, rel=0.1)
    assert variance[40, 25] > 1.5 * variance[12, 12]


def test_arms_make_streaks_from_side_to_side():
    planes = water(deviation=10.0)
    added = arms_down(planes, 120, np.random.default_rng(0)).image_hu - planes.image_hu
    along_x, along_y = np.diff(added, axis=0).std(), np.diff(added, axis=1).std()
    assert along_y > 2 * along_x
    more = arms_down(planes, 180, np.random.default_rng(0)).image_hu - planes.image_hu
    assert more.std() > 1.5 * added.std()
