"""A spike is many times the median of the norms before it, and more than clipping lets through."""

from segpipe.training.gradient_spikes import GradientSpikes


def after(norms, factor, **settings):
    spikes = GradientSpikes(factor, **settings)
    spikes.norms.extend(norms)
    return spikes


def test_a_spike_is_more_than_so_many_times_the_median():
    spikes = after([1.0] * 9 + [2.0] * 11, 3.0)
    assert spikes.usual == 2.0
    assert not spikes.holds(6.0)
    assert spikes.holds(6.1)


def test_nothing_is_a_spike_before_twenty_steps_or_without_a_factor():
    assert not after([1.0] * 19, 3.0).holds(1e9)
    assert not after([1.0] * 20, None).holds(1e9)


def test_what_clipping_lets_through_is_no_spike():
    spikes = after([0.01] * 20, 3.0, least=5.0)
    assert not spikes.holds(5.0)
    assert spikes.holds(5.1)


def test_the_last_hundred_count():
    assert after([1.0] * 100 + [9.0] * 100, 3.0).usual == 9.0
