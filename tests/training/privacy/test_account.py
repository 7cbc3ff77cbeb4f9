"""What steps spend agrees with published figures, with Opacus's accountant, and is never too little."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from segpipe.errors import ConfigError
from segpipe.training.privacy.account import ORDERS, Account, find_noise


def spent(noise, rate, steps, delta=1e-5):
    return Account(delta, [(noise, rate, steps)]).epsilon


def test_the_published_figure_of_mnist():
    """TensorFlow Privacy's README: 60 epochs, batches of 256, noise 1.12: ε = 2.92 at order 9, by an older rule."""
    from opacus.accountants.analysis.rdp import compute_rdp

    rdp = compute_rdp(q=256 / 60_000, noise_multiplier=1.12, steps=14_063, orders=[9.0])[0]
    assert rdp + math.log(1e5) / 8 == pytest.approx(2.92, abs=0.005)
    assert spent(1.12, 256 / 60_000, 14_063) == pytest.approx(2.519, abs=0.001)  # by the rule of Balle et al.


def test_of_all_patients_in_each_step_a_hand_can_count():
    """100 steps of noise 10 have an RDP of α/2; at α = 5.4 that is 2.7 + log(4.4/5.4) - (log 1e-5 + log 5.4)/4.4."""
    by_hand = 2.7 - 0.2048 + (11.5129 - 1.6864) / 4.4
    assert spent(10.0, 1.0, 100) == pytest.approx(by_hand, abs=2e-4)


@pytest.mark.parametrize(("noise", "steps"), [(10.0, 100), (2.0, 1), (30.0, 2000)])
def test_it_is_no_less_than_what_gaussian_noise_spends_exactly(noise, steps):
    """Balle and Wang, ICML 2018, arXiv 1805.06530, theorem 8."""
    mean, epsilon = math.sqrt(steps) / noise, spent(noise, 1.0, steps)
    delta = norm.cdf(mean / 2 - epsilon / mean) - math.exp(epsilon) * norm.cdf(-mean / 2 - epsilon / mean)
    assert 1e-7 < delta <= 1e-5


def test_it_is_opacus_accountant():
    from opacus.accountants import RDPAccountant

    history = [(1.5, 0.2, 30), (2.5, 0.2, 40)]
    theirs = RDPAccountant()
    theirs.history = list(history)
    assert Account(1e-3, history).epsilon == pytest.approx(theirs.get_epsilon(1e-3, alphas=ORDERS), rel=1e-12)


def test_steps_add_up_in_their_order():
    account = Account(1e-3)
    assert account.epsilon == 0
    for noise in (2.0, 2.0, 3.0, 2.0):
        account.spend(noise, 0.5)
    assert account.history == [(2.0, 0.5, 2), (3.0, 0.5, 1), (2.0, 0.5, 1)]
    assert account.steps == 4
    assert account.epsilon == pytest.approx(Account(1e-3, [(2.0, 0.5, 3), (3.0, 0.5, 1)]).epsilon)


@settings(max_examples=20)
@given(
    noise=st.sampled_from([0.9, 2.0, 6.0]),
    rate=st.sampled_from([0.1, 1.0]),
    epsilon=st.floats(0.1, 5),
    before=st.integers(0, 5),
)
def test_it_affords_steps_up_to_a_bound(noise, rate, epsilon, before):
    account = Account(1e-3, [(3.0, rate, before)] if before else [])
    begun = account.epsilon
    while account.affords(epsilon, noise, rate) and account.steps < 300:
        account.spend(noise, rate)
    assert begun <= account.epsilon <= max(begun, epsilon)
    account.spend(noise, rate)
    assert account.epsilon > epsilon or account.steps > 300


def test_noise_is_found_for_a_bound():
    noise = find_noise(0.5, 1e-3, sampling_rate=0.2, steps=100)
    assert 0.499 <= spent(noise, 0.2, 100, 1e-3) <= 0.5


def test_a_bound_that_no_noise_keeps_is_refused():
    with pytest.raises(ConfigError, match="no noise keeps the training within such a small ε") as caught:
        find_noise(1e-6, 1e-5, sampling_rate=1.0, steps=100)
    assert caught.value.facts["privacy.epsilon"] == 1e-6
    assert "privacy.epsilon=1.0" in caught.value.hint


def test_orders_are_in_order():
    assert np.all(np.diff(ORDERS) > 0)
