"""Which of several candidates is taken by figures of the same cases, and what that way of taking one is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from segpipe.evaluation.bootstrap import Interval, interval_of_mean
from segpipe.evaluation.comparison.paired_tests import Difference, difference_of_means
from segpipe.geometry import FloatArray


@dataclass(frozen=True, eq=False)
class Candidate:
    """What may be taken.

    Args:
        name: What it is called.
        figures: A figure of each case, the larger the better, (cases,).
        cost: What it costs to predict with, the most important first; smaller is cheaper.
    """

    name: str
    figures: FloatArray
    cost: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """What was taken.

    Args:
        taken: The cheapest candidate that the best one is not surely better than; of equally cheap ones the best.
        best: The candidate with the highest mean.
        behind: By candidate, but for the best: its difference to the best.
    """

    taken: str
    best: str
    behind: dict[str, Difference]


@dataclass(frozen=True)
class Nested:
    """What the way of choosing is worth: chosen on all folds but one, measured on that one.

    Args:
        mean: Over all cases, each by what was chosen without its fold.
        interval: 95 % bootstrap interval over patients; None with one patient.
        taken: What was chosen without each fold.
    """

    mean: float
    interval: Interval | None
    taken: dict[int, str]


def choose(candidates: Sequence[Candidate], patients: Sequence[str], *, seed: int = 0) -> Choice:
    """Takes the cheapest candidate whose difference to the best has an interval that holds 0.

    Args:
        candidates: At least one, with figures of the same cases.
        patients: The patient of each case.
        seed: Of resamples and permutations.
    """
    best = min(candidates, key=lambda one: (-float(one.figures.mean()), one.cost))
    others = [one for one in candidates if one is not best]
    found = {one.name: difference_of_means(best.figures, one.figures, patients, seed=seed) for one in others}
    behind = {name: difference for name, difference in found.items() if difference}
    as_good = [one for one in others if one.name in behind and not _surely_worse(behind[one.name])]
    taken = min([best, *as_good], key=lambda one: (one.cost, -float(one.figures.mean())))
    return Choice(taken.name, best.name, behind)


def choose_nested(
    candidates: Sequence[Candidate], patients: Sequence[str], folds: Sequence[int], *, seed: int = 0
) -> Nested:
    """Chooses without each fold in turn, and measures what was chosen on that fold.

    Args:
        candidates: See `choose`.
        patients: The patient of each case, all of whose cases are in one fold.
        folds: The fold of each case; there are two or more.
        seed: Of resamples and permutations.

    Source:
        Varma and Simon, BMC Bioinformatics 7:91 (2006): the figure of what was chosen on the same cases is too high.
    """
    numbers, names = np.array(folds), np.array(patients)
    figures, taken = np.zeros(len(numbers)), {}
    for fold in sorted(set(folds)):
        inside = numbers == fold
        others = [Candidate(one.name, one.figures[~inside], one.cost) for one in candidates]
        taken[fold] = choose(others, list(names[~inside]), seed=seed).taken
        figures[inside] = next(one.figures[inside] for one in candidates if one.name == taken[fold])
    return Nested(fmean(figures), interval_of_mean(list(figures), patients, seed=seed), taken)


def _surely_worse(difference: Difference) -> bool:
    return difference.interval is not None and difference.interval[1] < 0
