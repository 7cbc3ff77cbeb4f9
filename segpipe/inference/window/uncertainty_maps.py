"""How sure the network is of each voxel, a byte per voxel and map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = 250
"""Steps per bit in which the maps are kept."""
EXTRA_PLANES = 2
"""What an uncertain network says besides its classes: the mean foreground of its answers, and their disagreement."""


@dataclass(frozen=True, eq=False)
class UncertaintyMaps:
    """Maps on the scan's own grid, uint8 in steps of 1/`STEPS` bit; 0 where nothing was looked at.

    Args:
        entropy: Of the mean foreground probability of the network's answers: all of the uncertainty.
        information: Mutual information: the part of it in which the answers disagree. The rest, on which they agree,
            lies in the image.
    """

    entropy: NDArray[np.uint8]
    information: NDArray[np.uint8]

    @classmethod
    def empty(cls, like: NDArray[np.generic]) -> "UncertaintyMaps":
        """Maps of a scan of which nothing is known."""
        entropy, information = (np.zeros_like(like, dtype=np.uint8, subok=False) for _ in range(2))
        return cls(entropy, information)


def in_steps(foreground: NDArray[np.float32], information: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Both maps' steps from the planes of an uncertain network; no part is larger than the whole."""
    bits = binary_entropy(foreground)
    return np.rint(bits * STEPS), np.rint(np.clip(information, 0, bits) * STEPS)


def binary_entropy(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Entropy of a yes-or-no answer in bits: 0 where it is sure, 1 where both are as likely.

    >>> binary_entropy(np.array([0.0, 0.5, 1.0], np.float32)).tolist()
    [0.0, 1.0, 0.0]
    """
    inside = np.clip(probability, 1e-7, 1 - 1e-7)
    bits = -inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside)
    return np.asarray(np.where((probability <= 0) | (probability >= 1), 0, bits), dtype=np.float32)
