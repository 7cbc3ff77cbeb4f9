"""Two fingerprints set side by side: which quantities have moved, by how much, and whether it is luck."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segpipe.evaluation.comparison.paired_tests import benjamini_hochberg

FEWEST = 3
"""Values on either side, below which nothing is compared."""


@dataclass(frozen=True)
class Shift:
    """How a quantity has moved.

    Args:
        quantity: Its name.
        stored: Median of the stored scans.
        new: Median of the new ones.
        counts: Stored and new scans that have it.
        effect: Largest distance of the two distributions (Kolmogorov and Smirnov's D), 0 to 1.
        p: Of that, if both were draws from one distribution.
        q: Corrected for the number of quantities (Benjamini and Hochberg).
        drifted: Whether it is both improbable and large enough to matter.
    """

    quantity: str
    stored: float
    new: float
    counts: tuple[int, int]
    effect: float
    p: float
    q: float = 1.0
    drifted: bool = False


def find_shifts(
    stored: Mapping[str, Sequence[float]],
    new: Mapping[str, Sequence[float]],
    *,
    level: float = 0.05,
    least: float = 0.2,
) -> list[Shift]:
    """Compares all quantities that both have, the one that has moved most first.

    Scans count as independent, also those of one patient.

    Args:
        stored: By quantity the values of the stored scans.
        new: Those of the new ones.
        level: Share of false alarms among all alarms.
        least: Effect from which a shift matters.

    Source:
        Rabanser et al., Failing Loudly, NeurIPS 2019: univariate tests with a correction find shifts well.
    """
    shared = [name for name in stored if min(len(stored[name]), len(new.get(name, ()))) >= FEWEST]
    found = [_compare(name, stored[name], new[name]) for name in shared]
    corrected = benjamini_hochberg([shift.p for shift in found])
    shifts = [
        replace(shift, q=q, drifted=q < level and shift.effect >= least)
        for shift, q in zip(found, corrected, strict=True)
    ]
    return sorted(shifts, key=lambda shift: (shift.q, -shift.effect))


def smallest_effect(stored: int, new: int, *, quantities: int, level: float = 0.05) -> float:
    """The effect that so many scans could show if it were alone; 1 where they could show none.

    Source:
        Smirnov's limit of the distribution of D, with the level over the number of quantities.

    >>> round(smallest_effect(100, 100, quantities=16), 2), smallest_effect(20, 2, quantities=16)
    (0.25, 1.0)
    """
    alone = level / quantities
    return min(1.0, math.sqrt(-math.log(alone / 2) / 2 * (stored + new) / (stored * new)))


def _compare(name: str, stored: Sequence[float], new: Sequence[float]) -> Shift:
    from scipy.stats import ks_2samp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of an exact p-value that is out of reach
        found = ks_2samp(stored, new)
    medians = float(np.median(stored)), float(np.median(new))
    return Shift(name, *medians, (len(stored), len(new)), float(found.statistic), float(found.pvalue))
