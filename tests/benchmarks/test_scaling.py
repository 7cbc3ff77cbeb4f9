"""What the benchmark of several processes adds up, and what it says on paper."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks" / "training"


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import scaling

    return scaling


def test_bytes_go_round_a_ring(scaling):
    network = scaling.Network(bytes_per_second=1e9, latency_s=0.25)
    # of 4 processes each sends 2·3 parts of a quarter of 2 GB: 3 s, and 6 messages of a quarter of a second
    assert network.ring_s(4, 2e9) == 4.5
    assert network.ring_s(1, 2e9) == 0.0


def test_what_is_hidden_costs_nothing(scaling):
    given = {"step_s": 3.0, "count": 2e9, "network": scaling.Network(1e9, 0.0)}
    # two processes send 2 GB each: 3 s of 3 + 2; or of 3 + 1, where one second is hidden
    assert scaling.efficiency(2, hidden_s=0.0, **given) == 0.6
    assert scaling.efficiency(2, hidden_s=1.0, **given) == 0.75
    assert scaling.efficiency(2, hidden_s=9.0, **given) == 1.0


def test_the_parts_of_a_step_make_it_up(scaling, tiny_words, tmp_path):
    import scaling_job

    facts = scaling_job.run([word for word in tiny_words if not word.startswith("+experiment")], tmp_path)
    shares = [facts[name] for name in scaling_job.SHARES]
    assert min(shares) >= 0
    assert 0 < sum(shares) < 1.05  # medians of parts need not add up to the median of the whole
    assert (facts["communication"], facts["bytes"]) == (0.0, 0)
    assert facts["samples_per_s"] == pytest.approx(2 / facts["step_s"])
    text = scaling._describe(2, facts)
    assert text.startswith("2 processes: ")
    assert ", loading " in text
