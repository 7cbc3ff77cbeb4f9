"""How much a second stage trusts its crops, and what its confidence means: chosen on validation scans alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.evaluation.detection.froc import collect_marks, froc_figures
from segpipe.evaluation.detection.operating_point_search import FEWEST_LESIONS
from segpipe.evaluation.results import CaseResult
from segpipe.networks.candidate_network import CandidateNetwork, mix_odds
from segpipe.training.detector.fitting import see
from segpipe.training.detector.samples import CaseCandidates, Samples

SHARES = (0.5, 0.75, 1.0, 0.25, 0.0)
"""Of the crop's log odds; of equally good ones the first is taken. With 0 the second stage changes no order."""
_CPM = -2
_RIDGE = 1e-3


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Args:
        share: Of the crop's log odds.
        cpm: CPM of the validation scans with it; None where there are too few lesions to choose on.
        former: The same by the segmentation network alone.
    """

    share: float
    cpm: float | None = None
    former: float | None = None


def choose(network: CandidateNetwork, cases: Sequence[CaseCandidates]) -> Choice:
    """Chooses the share by the CPM of validation scans and calibrates the confidence on them, in place.

    With fewer than `FEWEST_LESIONS` lesions nothing is chosen: both say half, and nothing is calibrated.

    Args:
        network: A fitted network.
        cases: The candidates of the validation scans.
    """
    lesions = sum(len(case.result.lesions) for case in cases)
    samples = Samples.of(cases) if cases else None
    network.share.fill_(SHARES[0])
    if samples is None or lesions < FEWEST_LESIONS or not 0 < int(samples.lesion_n.sum()) < len(samples.lesion_n):
        return Choice(SHARES[0])
    seen = see(network, samples)
    mixed = {share: mix_odds(seen, samples.peaks_n, torch.tensor(share)) for share in SHARES}
    figures = {share: _cpm(odds, cases) for share, odds in mixed.items()}
    share = max(figures, key=lambda one: figures[one])
    slope, offset = fit_platt(mixed[share].double().numpy(), samples.lesion_n.numpy())
    network.share.fill_(share)
    network.slope.fill_(slope)
    network.offset.fill_(offset)
    return Choice(share, figures[share], figures[0.0])


def fit_platt(odds: NDArray[np.float64], lesion: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope (above 0) and offset of the log odds with the largest likelihood of what is a lesion.

    Source:
        Platt, Advances in Large Margin Classifiers (1999).
    """
    from scipy.optimize import minimize

    signs = np.where(lesion, 1.0, -1.0)

    def loss(found: NDArray[np.float64]) -> float:
        log_slope, offset = found
        misses = np.logaddexp(0.0, -signs * (np.exp(log_slope) * odds + offset))
        return float(misses.mean() + _RIDGE * (log_slope**2 + offset**2))

    log_slope, offset = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-3, 3), (-10, 10)]).x
    return float(np.exp(log_slope)), float(offset)


def _cpm(odds: torch.Tensor, cases: Sequence[CaseCandidates]) -> float:
    """By centre, the rule by which no candidate's order changes another one's lesion."""
    ends = np.cumsum([len(case.detections) for case in cases])[:-1]
    confidence = np.split(torch.sigmoid(odds.double()).numpy(), ends)
    results: list[CaseResult] = [case.rated(own.tolist()) for case, own in zip(cases, confidence, strict=True)]
    marks = collect_marks(results, "centre")
    assert marks is not None, "every candidate has a confidence"
    return float(froc_figures(marks, np.ones((1, len(results))))[0, _CPM])
