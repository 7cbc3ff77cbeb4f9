"""How well calibrated a model is, for `summary.json`."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from segpipe.evaluation.bootstrap import interval_of
from segpipe.evaluation.calibration.findings import EVENT, EvaluatedFindings, calibrated
from segpipe.evaluation.calibration.reliability import (
    aurc,
    excess_aurc,
    finding_error,
    reliability_rows,
    risk_along_coverage,
)
from segpipe.evaluation.calibration.voxels import MARGIN_MM, heat, stack_counts, voxel_error
from segpipe.evaluation.results import CaseResult
from segpipe.geometry import FloatArray

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def calibration_summary(
    results: Sequence[CaseResult], confidence: Mapping[str, Any] | None = None, *, seed: int = 0
) -> dict[str, Any] | None:
    """Of voxels near the foreground and of findings: expected calibration error, reliability, risk along coverage.

    Args:
        results: Evaluated with probabilities; None comes back where there are none.
        confidence: What the model knows of its confidence, see `segpipe.evaluation.calibration.fitting`; its figures
            are `ece_calibrated`.
        seed: Of the bootstrap.
    """
    found = {
        "voxels": _voxels(results, (confidence or {}).get("voxels"), seed),
        "findings": _findings(results, (confidence or {}).get("findings"), seed),
    }
    return {name: part for name, part in found.items() if part} or None


def _voxels(results: Sequence[CaseResult], known: Mapping[str, Any] | None, seed: int) -> dict[str, Any] | None:
    every = (own for result in results for own in result.by_class().values())
    pairs = [(own.voxels, own.patient) for own in every if own.voxels is not None]
    counts = stack_counts([counted for counted, _ in pairs])
    count, positive, total = counts.sum(axis=0) if len(counts) else np.zeros((3, 1))
    if not count.sum():
        return None
    used = count > 0
    mean, share = total[used] / count[used], positive[used] / count[used]
    warmer = {"ece_calibrated": _one(heat(counts, known["temperature"]))} if known else {}
    return {
        "ece": float(voxel_error(counts, np.ones((1, len(counts))))[0]),
        "ece_ci95": _plain(interval_of(partial(voxel_error, counts), [patient for _, patient in pairs], seed=seed)),
        **warmer,
        "count": int(count.sum()),
        "margin_mm": MARGIN_MM,
        "reliability": reliability_rows(mean, share, count[used]),
    }


def _findings(results: Sequence[CaseResult], known: Mapping[str, Any] | None, seed: int) -> dict[str, Any] | None:
    findings = EvaluatedFindings.of(results)
    if not len(findings):
        return None
    risk = 1 - findings.dice
    sure = calibrated(findings.probability, known["slope"], known["intercept"]) if known else None
    return {
        "event": EVENT,
        "count": len(findings),
        "right": int(findings.right.sum()),
        **_errors(findings, findings.probability, "", seed),
        **({} if sure is None else _errors(findings, sure, "_calibrated", seed)),
        "aurc": aurc(findings.probability, risk),
        "excess_aurc": excess_aurc(findings.probability, risk),
        "risk": _risk(findings.probability, risk),
        "reliability": reliability_rows(findings.probability if sure is None else sure, findings.right),
    }


def _errors(findings: EvaluatedFindings, sure: FloatArray, name: str, seed: int) -> dict[str, Any]:
    error = partial(finding_error, sure, findings.right)
    interval = _plain(interval_of(error, findings.patients, seed=seed))
    return {f"ece{name}": float(error(np.ones((1, len(findings))))[0]), f"ece{name}_ci95": interval}


def _risk(confidence: FloatArray, risk: FloatArray) -> dict[str, float]:
    """Share of the findings, surest first → their mean of 1 − Dice."""
    coverage, along = risk_along_coverage(confidence, risk)
    places = np.searchsorted(coverage, np.array(COVERAGES) - 1e-9).clip(0, len(coverage) - 1)
    return {f"{share:g}": float(along[place]) for share, place in zip(COVERAGES, places, strict=True)}


def _one(counts: FloatArray) -> float:
    return float(voxel_error(counts, np.ones((1, len(counts))))[0])


def _plain(interval: tuple[float, float] | None) -> list[float] | None:
    return list(interval) if interval else None
