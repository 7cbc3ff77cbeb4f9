"""Which candidate is best on held-out cases, by how much, and whether it is luck: paired by case, over all seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from segpipe.evaluation.bootstrap import Interval, interval_of_mean
from segpipe.evaluation.comparison.paired_tests import Difference, difference_of_means, holm
from segpipe.evaluation.reading import Evaluation
from segpipe.geometry import FloatArray

Figures = dict[str, float]


@dataclass(frozen=True)
class Rank:
    """A candidate on the cases that all rows have.

    Args:
        name: The candidate.
        dice: Mean over cases of their mean over seeds.
        interval: 95 % bootstrap interval of it over patients; None with one patient.
        spread: Standard deviation over seeds of the mean over cases; None with one seed.
        seeds: How many there are.
        behind: The candidate against the reference, case by case; None for the reference itself.
        p: Of that difference, corrected for the number of candidates (Holm).
    """

    name: str
    dice: float
    interval: Interval | None
    spread: float | None
    seeds: int
    behind: Difference | None
    p: float | None


def rank(evaluations: Mapping[str, Sequence[Evaluation]], *, reference: str | None = None, seed: int = 0) -> list[Rank]:
    """Ranks candidates by the mean Dice of the cases that all their rows have, the best first.

    Args:
        evaluations: By candidate those of its seeds, one or more.
        reference: What the others are compared with, where it has an evaluation; else the best.
        seed: Of resamples and permutations.
    """
    tables = {name: [_dice(one) for one in rows] for name, rows in evaluations.items() if rows}
    shared = sorted(set.intersection(*(set(table) for rows in tables.values() for table in rows))) if tables else []
    if not shared:
        return []
    patients = _patients(next(iter(evaluations[next(iter(tables))])), shared)
    means = {name: _by_case(rows, shared) for name, rows in tables.items()}
    order = sorted(means, key=lambda name: -float(means[name].mean()))
    first = reference if reference in means else order[0]
    behind = {
        name: difference_of_means(means[first], means[name], patients, seed=seed) for name in order if name != first
    }
    corrected = dict(zip(behind, holm([found.p for found in behind.values() if found]), strict=True))
    return [
        Rank(
            name,
            dice=float(means[name].mean()),
            interval=interval_of_mean(list(means[name]), patients, seed=seed),
            spread=_spread(tables[name], shared),
            seeds=len(tables[name]),
            behind=behind.get(name),
            p=corrected.get(name),
        )
        for name in order
    ]


def _dice(evaluation: Evaluation) -> Figures:
    return {str(row["case"]): float(row["dice"]) for row in evaluation.cases if row["dice"] is not None}


def _patients(evaluation: Evaluation, cases: Sequence[str]) -> list[str]:
    known = {str(row["case"]): str(row["patient"]) for row in evaluation.cases}
    return [known[case] for case in cases]


def _by_case(rows: Sequence[Figures], cases: Sequence[str]) -> FloatArray:
    return np.array([fmean(row[case] for row in rows) for case in cases])


def _spread(rows: Sequence[Figures], cases: Sequence[str]) -> float | None:
    means = [fmean(row[case] for case in cases) for row in rows]
    return stdev(means) if len(means) > 1 else None
