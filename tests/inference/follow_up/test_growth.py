"""Growth with its interval, computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.inference.follow_up.growth import REPEATABILITY, measure_growth, volume_error
from segpipe.inference.measurements.slices import THICK, TOO_THICK


def grown(before_mm3, after_mm3, *, spacing_mm=(1.0, 1.0), days=None, notes=(None, None), diameters=(None, None)):
    findings = [
        {"volume_mm3": mm3, "slice_note": note, "mean_diameter_mm": mm}
        for mm3, note, mm in zip((before_mm3, after_mm3), notes, diameters, strict=True)
    ]
    return measure_growth(*findings, spacing_mm=spacing_mm, days=days)


def test_the_interval_of_a_ball_of_10_mm_that_doubles_on_slices_of_2_mm():
    """Errors 2/(√6·10) = 0.0816 and 2/(√6·12.6) = 0.0648, each with 0.0902: 0.1217 and 0.1111; together 0.1647.

    ln 2 ± 1.96·0.1647 = 0.6931 ± 0.3229.
    """
    volume = math.pi / 6 * 10**3
    found = grown(volume, 2 * volume, spacing_mm=(2.0, 2.0), days=100)
    assert found.growth_percent == pytest.approx(100)
    assert found.growth_low_percent == pytest.approx(100 * (math.exp(0.3702) - 1), abs=0.1)
    assert found.growth_high_percent == pytest.approx(100 * (math.exp(1.0160) - 1), abs=0.1)
    assert found.change == "growth"
    assert found.doubling_days == pytest.approx(100)
    assert found.doubling_fastest_days == pytest.approx(68.2, abs=0.1)
    assert found.doubling_slowest_days == pytest.approx(187.2, abs=0.3)


def test_shrinkage_halves_with_an_interval():
    found = grown(2000.0, 500.0, days=60)
    assert found.change == "shrinkage"
    assert found.growth_percent == pytest.approx(-75)
    assert found.doubling_days == pytest.approx(-30)
    assert -30 < found.doubling_fastest_days < 0
    assert found.doubling_slowest_days < -30


def test_a_change_within_the_error_has_no_slowest_doubling():
    found = grown(1000.0, 1100.0, days=90)
    assert found.change == "within error"
    assert found.growth_low_percent < 0 < found.growth_high_percent
    assert found.doubling_slowest_days is None
    assert 0 < found.doubling_fastest_days < found.doubling_days


def test_thicker_slices_turn_growth_into_error():
    assert grown(300.0, 450.0).change == "growth"
    assert grown(300.0, 450.0, spacing_mm=(1.0, 5.0)).change == "within error"


@pytest.mark.parametrize("cut", [(None, "window"), ("upper end of the scan", None)])
def test_the_growth_of_a_lesion_that_a_border_cuts_is_not_measurable(cut):
    before, after = ({"volume_mm3": mm3, "cut_by": by} for mm3, by in zip((300.0, 900.0), cut, strict=True))
    found = measure_growth(before, after, spacing_mm=(1.0, 1.0), days=90)
    assert (found.change, found.obstacle) == ("not measurable", "cut by a border")


@pytest.mark.parametrize("notes", [(TOO_THICK, None), (None, TOO_THICK), (THICK, TOO_THICK)])
def test_slices_too_thick_for_the_lesion_measure_no_growth(notes):
    assert grown(100.0, 1000.0, notes=notes).change == "not measurable"


def test_findings_of_an_earlier_version_have_growth_without_diameters():
    found = measure_growth({"volume_mm3": 100.0}, {"volume_mm3": 300.0}, spacing_mm=(1.0, 1.0), days=None)
    assert (found.change, found.mean_diameter_change_mm) == ("growth", None)
    assert found.doubling_days is found.doubling_fastest_days is found.doubling_slowest_days is None
    assert grown(100.0, 300.0, diameters=(5.8, 8.4)).mean_diameter_change_mm == pytest.approx(2.6)


@given(st.floats(20, 1e5), st.floats(0.5, 5), st.floats(0.5, 5))
def test_nothing_that_changed_by_less_than_a_quarter_is_called_growth(volume, earlier_mm, later_mm):
    """25 % is growth in NELSON; slices never make the interval narrower than repeatability does."""
    assert grown(volume, 1.25 * volume, spacing_mm=(earlier_mm, later_mm)).change == "within error"
    assert grown(volume, volume, spacing_mm=(earlier_mm, later_mm), days=10).doubling_days is None


@given(st.floats(20, 1e5), st.floats(20, 1e5))
def test_the_way_back_is_the_same_change_the_other_way(one, other):
    there, back = grown(one, other), grown(other, one)
    turned = {"growth": "shrinkage", "shrinkage": "growth", "within error": "within error"}
    assert back.change == turned[there.change]
    assert (1 + there.growth_low_percent / 100) * (1 + back.growth_high_percent / 100) == pytest.approx(1)


@pytest.mark.parametrize("spacing_mm", [1.0, 2.5])
@pytest.mark.parametrize("diameter_mm", [6.0, 12.0])
def test_the_error_of_slices_covers_what_shifting_a_ball_changes(diameter_mm, spacing_mm):
    generator = np.random.default_rng(0)
    edges = np.array([0.7, 0.7, spacing_mm])
    steps = [np.arange(-12, 13) * edge for edge in edges]
    counts = []
    for offset in generator.uniform(0, edges, (100, 3)):
        squares = [(step + shift) ** 2 for step, shift in zip(steps, offset, strict=True)]
        counts.append((np.add.outer(np.add.outer(squares[0], squares[1]), squares[2]) <= diameter_mm**2 / 4).sum())
    modelled = math.sqrt(volume_error(math.pi / 6 * diameter_mm**3, spacing_mm=spacing_mm) ** 2 - REPEATABILITY**2)
    assert np.std(counts) / np.mean(counts) < modelled
