"""What steps have spent of a patient's privacy, by Opacus's RDP accountant, and the noise that a bound needs."""

import warnings
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ConfigError

ORDERS = [
    *(1 + hundredth / 100 for hundredth in range(1, 10)),
    *(1 + tenth / 10 for tenth in range(1, 100)),
    *(float(order) for order in (*range(12, 64), 64, 80, 96, 128, 192, 256, 384, 512)),
]
"""Rényi orders that are tried; the bound of each holds, and the smallest counts."""
_MOST_NOISE = 2.0**20
_PRECISION = 1e-3


@dataclass
class Account:
    """Steps of the subsampled Gaussian mechanism, added up.

    Source: Mironov, Talwar and Zhang, arXiv 1908.10530 (a step's RDP); Balle et al., AISTATS 2020, arXiv 1905.09982,
        theorem 21 (from RDP to ε).

    Args:
        delta: At which ε is stated.
        history: Noise multiplier, sampling rate and number of steps, in their order.
    """

    delta: float
    history: list[tuple[float, float, int]] = field(default_factory=list)

    def spend(self, noise_multiplier: float, sampling_rate: float) -> None:
        """Adds a step."""
        steps = 1
        if self.history and self.history[-1][:2] == (noise_multiplier, sampling_rate):
            steps += self.history.pop()[2]
        self.history.append((noise_multiplier, sampling_rate, steps))

    @property
    def steps(self) -> int:
        """Steps in all."""
        return sum(steps for *_, steps in self.history)

    @property
    def epsilon(self) -> float:
        """What is spent."""
        return _epsilon(self._rdp(), self.delta) if self.history else 0.0

    def affords(self, epsilon: float, noise_multiplier: float, sampling_rate: float) -> bool:
        """Whether another step leaves what is spent at or below `epsilon`."""
        return _epsilon(self._rdp() + _rdp_of_step(noise_multiplier, sampling_rate), self.delta) <= epsilon

    def _rdp(self) -> NDArray[np.float64]:
        parts = [steps * _rdp_of_step(noise, rate) for noise, rate, steps in self.history]
        return np.sum(parts, axis=0) if parts else np.zeros(len(ORDERS))


def find_noise(epsilon: float, delta: float, *, sampling_rate: float, steps: int) -> float:
    """The least noise multiplier, to a thousandth of it, with which so many steps spend at most `epsilon`.

    Raises:
        ConfigError: when no noise suffices.
    """

    def suffices(noise: float) -> bool:
        return Account(delta, [(noise, sampling_rate, steps)]).epsilon <= epsilon

    if not suffices(_MOST_NOISE):
        raise ConfigError(
            "no noise keeps the training within such a small ε",
            facts={"privacy.epsilon": epsilon, "delta": f"{delta:.2g}", "steps": steps},
            hint="privacy.epsilon=1.0",
        )
    too_little, enough = 0.0, 1.0
    while not suffices(enough):
        too_little, enough = enough, 2 * enough
    while enough - too_little > _PRECISION * enough:
        middle = (too_little + enough) / 2
        too_little, enough = (too_little, middle) if suffices(middle) else (middle, enough)
    return enough


@lru_cache
def _rdp_of_step(noise_multiplier: float, sampling_rate: float) -> NDArray[np.float64]:
    from opacus.accountants.analysis.rdp import compute_rdp

    return np.asarray(compute_rdp(q=sampling_rate, noise_multiplier=noise_multiplier, steps=1, orders=ORDERS))


def _epsilon(rdp: NDArray[np.float64], delta: float) -> float:
    """The smallest bound of all orders."""
    from opacus.accountants.analysis.rdp import get_privacy_spent

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an outermost order, whose bound holds as well
        epsilon, _ = get_privacy_spent(orders=ORDERS, rdp=rdp, delta=delta)
    return max(0.0, float(epsilon))
