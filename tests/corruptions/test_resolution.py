"""Kernels, slices and pixels change what is fine by as much as they say."""

from dataclasses import replace

import numpy as np
import pytest

from segpipe.corruptions.noise import measure_noise
from segpipe.corruptions.planes import Planes, from_case
from segpipe.corruptions.resolution import coarser_matrix, other_kernel, thicker_slices

RNG = np.random.default_rng(0)


def waves(per_mm):
    """Cosines of 100 HU along x, whose mirror at the border goes on as they do."""
    x_mm = (np.arange(200) + 0.5) * 0.5
    wave = 100 * np.cos(2 * np.pi * per_mm * x_mm)[:, None, None]
    return Planes(np.broadcast_to(wave, (200, 20, 2)), (0.5, 0.5, 1.0))


@pytest.mark.parametrize("gain", [12.0, 4.0, 0.25])
def test_a_kernel_has_its_gain_at_half_a_cycle_per_mm_and_its_root_at_a_quarter(gain):
    for per_mm, expected in ((0.5, gain), (0.25, gain**0.5), (0.02, gain**0.04)):
        changed = other_kernel(waves(per_mm), gain, RNG).image_hu
        np.testing.assert_allclose(changed, expected * waves(per_mm).image_hu, atol=0.02 * 100 * max(expected, 1))


def test_a_kernel_keeps_what_is_even():
    even = Planes(np.full((30, 20, 2), -600, np.float32), (0.7, 0.7, 1.0))
    np.testing.assert_allclose(other_kernel(even, 12.0, RNG).image_hu, -600, atol=1e-2)


@pytest.mark.realdata
def test_a_body_kernel_becomes_the_lung_kernel_of_the_same_scan(realdata):
    from segpipe.inference.loaded_model import find_only_scan

    folder = realdata / "lung_pet_ct_dx"
    lung, body = (from_case(find_only_scan(folder / f"A0001-series{number}").read_case()) for number in (2, 3))
    lung, body = (replace(one, image_hu=one.image_hu[:, :, 24:44]) for one in (lung, body))
    sharpened, smoothed = other_kernel(body, 12.0, RNG), other_kernel(lung, 1 / 12, RNG)
    assert measure_noise(sharpened) == pytest.approx(measure_noise(lung), rel=0.3)
    assert measure_noise(smoothed) == pytest.approx(measure_noise(body), rel=0.3)
    assert np.abs(_spectrum(sharpened) / _spectrum(lung) - 1).max() < 0.2
    assert np.abs(_spectrum(smoothed) / _spectrum(body) - 1).max() < 0.2


def _spectrum(planes):
    """Amplitudes from 0.1 to 0.55 cycles per mm, in steps of 0.05, of the middle of the body."""
    middle = planes.image_hu[96:416, 96:416]
    window = np.hanning(320)[:, None] * np.hanning(320)
    power = sum(np.abs(np.fft.rfft2((plane - plane.mean()) * window)) ** 2 for plane in np.moveaxis(middle, 2, 0))
    radius = np.hypot(*Planes(middle, planes.spacing_mm).frequencies)
    return np.array([np.sqrt(power[np.abs(radius - ring) < 0.025].mean()) for ring in np.arange(0.1, 0.56, 0.05)])


def test_thick_slices_are_means_and_lines_between_them():
    image = np.zeros((2, 2, 20), np.float32)
    image[:, :, 10] = 100
    thick = thicker_slices(Planes(image, (1.0, 1.0, 1.0)), 4.0, FirstAtZero()).image_hu[0, 0]
    # the slice from 8 to 12 has 25 HU and its centre at 9.5; its neighbours have nothing, and theirs at 5.5 and 13.5
    expected = [25 * max(0, 1 - abs(z - 9.5) / 4) for z in range(20)]
    np.testing.assert_allclose(thick, expected, atol=1e-4)


class FirstAtZero:
    """Draws that the first slice begins where the scan does."""

    def random(self):
        return 0.0


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.9])
def test_a_slope_stays_a_slope_in_thicker_slices(phase):
    slope = Planes(np.broadcast_to(np.arange(40, dtype=np.float32), (2, 2, 40)), (1.0, 1.0, 1.0))
    thick = thicker_slices(slope, 3.5, type("", (), {"random": lambda self: phase})()).image_hu[0, 0]
    np.testing.assert_allclose(thick[4:36], np.arange(4, 36), atol=0.05)


def test_a_scan_of_thicker_slices_and_larger_pixels_stays_as_it_is():
    planes = Planes(RNG.normal(size=(8, 8, 8)).astype(np.float32), (2.0, 2.0, 5.0))
    np.testing.assert_array_equal(thicker_slices(planes, 5.0, RNG).image_hu, planes.image_hu)
    np.testing.assert_array_equal(coarser_matrix(planes, 1.6, RNG).image_hu, planes.image_hu)


def test_larger_pixels_are_means_along_both_axes():
    image = np.zeros((8, 8, 1), np.float32)
    image[4:6, 4:6] = 80
    coarse = coarser_matrix(Planes(image, (1.0, 1.0, 1.0)), 2.0, FirstAtZero()).image_hu[:, :, 0]
    # the pixel from 4 to 6 has 80 HU and its centre at 4.5; its neighbours have nothing, and theirs at 2.5 and 6.5
    line = np.array([max(0, 1 - abs(x - 4.5) / 2) for x in range(8)])
    np.testing.assert_allclose(coarse, 80 * np.outer(line, line), atol=1e-4)
