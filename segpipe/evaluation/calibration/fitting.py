"""What a model gets to know of its own confidence, fitted on cases that it was not trained on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.calibration.findings import EVENT, EvaluatedFindings, calibrated, fit_findings
from segpipe.evaluation.calibration.volumes import fit_volume
from segpipe.evaluation.calibration.voxels import fit_temperature, stack_counts
from segpipe.evaluation.results import CaseResult

REFERRED = 0.1
"""Share of the findings that a human is asked to look at: the least sure ones."""


def fit_confidence(results: Sequence[CaseResult], *, origin: str) -> dict[str, Any]:
    """What is known of the confidence of a model; empty where the cases are too few to say anything.

    - `voxels`: the `temperature` of the probability, pooled over classes.
    - `findings`: `slope` and `intercept` of the log odds that a finding is right, see `EVENT`.
    - `refer`: the confidence below which a human should look, see `REFERRED`.
    - `volume`: intervals of reference volume / found volume, see `fit_volume`.

    Args:
        results: Cases, each evaluated with probabilities by a model that has not seen its patient, at the operating
            point with which it predicts.
        origin: Which these are, in words.
    """
    findings = EvaluatedFindings.of(results)
    calibration = _findings(findings)
    parts = {
        "voxels": _voxels(results),
        "findings": calibration,
        "refer": _refer(findings, calibration) if calibration else None,
        "volume": fit_volume(findings),
    }
    known = {name: part for name, part in parts.items() if part}
    return {**known, "origin": origin} if known else {}


def _refer(findings: EvaluatedFindings, calibration: Mapping[str, Any]) -> dict[str, Any]:
    sure = calibrated(findings.probability, calibration["slope"], calibration["intercept"])
    below = float(np.quantile(sure, REFERRED))
    kept = sure >= below
    dice = {name: float(findings.dice[part].mean()) if part.any() else None for name, part in _parts(kept)}
    return {"below": below, "share": float((~kept).mean()), **dice}


def _parts(kept: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_]]]:
    return [("dice_kept", kept), ("dice_referred", ~kept)]


def _voxels(results: Sequence[CaseResult]) -> dict[str, Any] | None:
    counted = [own.voxels for result in results for own in result.by_class().values() if own.voxels]
    temperature = fit_temperature(stack_counts(counted)) if counted else None
    return None if temperature is None else {"temperature": temperature}


def _findings(findings: EvaluatedFindings) -> dict[str, Any] | None:
    fitted = fit_findings(findings)
    if fitted is None:
        return None
    slope, intercept = fitted
    counts = {"findings": len(findings), "patients": len(set(findings.patients))}
    return {"slope": slope, "intercept": intercept, "event": EVENT, **counts}
