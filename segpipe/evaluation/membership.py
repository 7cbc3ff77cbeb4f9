"""Whether a model gives away which cases it has learnt from: the measured success of a guess by its figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.bootstrap import interval_of
from segpipe.evaluation.results import CaseResult

MEMBERSHIP = "membership"
"""Where summaries and model cards have it."""
Floats = NDArray[np.float64]


def measure_membership(members: Sequence[CaseResult], others: Sequence[CaseResult], *, seed: int = 0) -> dict[str, Any]:
    """How well cases of the training are guessed by their Dice: whoever is segmented better was learnt from.

    The AUC is the probability that a case of the training has a higher Dice than a held-out one, ties counting half:
    0.5 is a guess without any knowledge, 1 gives every case away. Cases whose Dice is undefined are left out.

    Args:
        members: Cases that the network has learnt from.
        others: Cases that it has not.
        seed: Of the bootstrap, which draws the patients of both together.

    Returns:
        `auc` and its 95 % interval over patients `ci95`, `dice` of both kinds, and how many cases of each there were;
        None where a figure is undefined.

    Source: the attack by a threshold of the loss of Yeom et al., Privacy Risk in Machine Learning, CSF 2018, with the
        loss 1 - Dice.
    """
    inside, outside = _known(members), _known(others)
    higher = _higher(_dice(inside), _dice(outside))
    patients = [result.patient for result in (*inside, *outside)]
    interval = interval_of(lambda weights: _auc(higher, weights), patients, seed=seed) if higher.size else None
    return {
        "attack": "threshold of Dice",
        "auc": float(higher.mean()) if higher.size else None,
        "ci95": list(interval) if interval else None,
        "dice": {"trained_on": _mean(inside), "held_out": _mean(outside)},
        "cases": {"trained_on": len(inside), "held_out": len(outside)},
    }


def _known(results: Sequence[CaseResult]) -> list[CaseResult]:
    return [result for result in results if result.figures.get("dice") is not None]


def _dice(results: Sequence[CaseResult]) -> Floats:
    return np.array([result.figures["dice"] for result in results], dtype=np.float64)


def _higher(inside: Floats, outside: Floats) -> Floats:
    """Of each pair 1 where the first is higher, 1/2 where both are equal, else 0."""
    return np.asarray((inside[:, None] > outside) + 0.5 * (inside[:, None] == outside), dtype=np.float64)


def _auc(higher: Floats, weights: Floats) -> Floats:
    """The mean over pairs for each row of weights, of which the first ones are the members'; NaN without any pair."""
    inside, outside = weights[:, : len(higher)], weights[:, len(higher) :]
    total = inside.sum(axis=1) * outside.sum(axis=1)
    return np.asarray(((inside @ higher) * outside).sum(axis=1) / total, dtype=np.float64)


def _mean(results: Sequence[CaseResult]) -> float | None:
    return float(_dice(results).mean()) if results else None
