"""Gradients that are many times as large as those before them: what a broken batch gives, and no lesson."""

from collections import deque
from statistics import median

_REMEMBERED = 100
_NEEDED = 20


class GradientSpikes:
    """Compares each gradient's norm with the median of the last 100 that were taken, once there are 20.

    Args:
        factor: How many times the median is a spike; None looks for none.
        least: A norm up to this one is no spike, however small the median is: clipping would not touch it either.
    """

    def __init__(self, factor: float | None, *, least: float = 0.0) -> None:
        self.factor = factor
        self.least = least
        self.norms: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def usual(self) -> float:
        """The median norm."""
        return median(self.norms)

    def holds(self, norm: float) -> bool:
        """Whether a norm is a spike."""
        if self.factor is None or len(self.norms) < _NEEDED:
            return False
        return norm > max(self.factor * self.usual, self.least)
