"""Whether a finding's confidence is right: the findings of evaluated cases with what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segpipe.evaluation.detection.spheres import outlined
from segpipe.evaluation.results import CaseResult
from segpipe.geometry import FloatArray

GOOD_DICE = 0.8
"""From here on an outline counts as right: two readers' outlines of a nodule in LIDC-IDRI agree about as well."""
FEWEST = 10
"""Findings that are right, and as many that are not: with fewer a calibration is chance."""
EVENT = f"the finding outlines a lesion of the reference at a Dice of at least {GOOD_DICE:g}"


@dataclass(frozen=True, eq=False)
class EvaluatedFindings:
    """The findings of cases, an entry for each.

    Args:
        probability: Mean foreground probability over its voxels.
        dice: With the lesion that it is matched with; 0 for a false positive.
        volume_mm3: Its volume.
        reference_mm3: That of the lesion; NaN for a false positive.
        patients: The patient of each.
    """

    probability: FloatArray
    dice: FloatArray
    volume_mm3: FloatArray
    reference_mm3: FloatArray
    patients: Sequence[str]

    @classmethod
    def of(cls, results: Sequence[CaseResult]) -> "EvaluatedFindings":
        """The findings with a known confidence; cases whose reference is no outline have none.

        Where there are several classes these are the findings of each class.
        """
        rows, patients = [], []
        for result in (own for each in outlined(results) for own in each.by_class().values()):
            volumes = {lesion.number: lesion.volume_mm3 for lesion in result.lesions}
            for found in result.candidates:
                if found.probability is None:
                    continue
                dice = 2 * found.overlap / (1 + found.overlap)
                rows.append((found.probability, dice, found.volume_mm3, volumes.get(found.matched or 0, np.nan)))
                patients.append(result.patient)
        table = np.array(rows, dtype=np.float64).reshape(-1, 4)
        return cls(table[:, 0], table[:, 1], table[:, 2], table[:, 3], patients)

    @property
    def right(self) -> FloatArray:
        """1 where the finding is `GOOD_DICE` or better, else 0."""
        return np.asarray(self.dice >= GOOD_DICE, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.dice)


def calibrated(probability: FloatArray, slope: float, intercept: float) -> FloatArray:
    """The probability of `EVENT` from the mean probability of a finding's voxels.

    >>> calibrated(np.array([0.5, 0.9]), 1.0, 0.0).round(6).tolist()
    [0.5, 0.9]
    """
    return np.asarray(1 / (1 + np.exp(-(slope * _log_odds(probability) + intercept))))


def fit_findings(findings: EvaluatedFindings) -> tuple[float, float] | None:
    """Slope and intercept of the log odds with the least log loss; None with fewer than `FEWEST` of either kind.

    A slope below 0, by which the surer finding would be the worse one, is no calibration but chance: then it is 0.

    Source:
        Platt, Probabilistic Outputs for Support Vector Machines, 1999, with his smoothed targets.
    """
    from scipy.optimize import minimize

    good = findings.right.sum()
    bad = len(findings) - good
    if min(good, bad) < FEWEST:
        return None
    odds = _log_odds(findings.probability)
    targets = np.where(findings.right > 0, (good + 1) / (good + 2), 1 / (bad + 2))

    def loss(parameters: FloatArray) -> float:
        place = parameters[0] * odds + parameters[1]
        return float((np.logaddexp(0, place) - targets * place).mean())

    found = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    slope, intercept = found.x.tolist()
    return slope, intercept


def _log_odds(probability: FloatArray) -> FloatArray:
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))
