"""What a model gets to know of its own confidence, fitted on cases that it was not trained on."""

from collections.abc import Sequence
from typing import Any

from segpipe.evaluation.calibration.findings import EVENT, EvaluatedFindings, fit_findings
from segpipe.evaluation.calibration.voxels import fit_temperature, stack_counts
from segpipe.evaluation.results import CaseResult


def fit_confidence(results: Sequence[CaseResult], *, origin: str) -> dict[str, Any]:
    """What is known of the confidence of a model; empty where the cases are too few to say anything.

    - `voxels`: the `temperature` of the probability, pooled over classes.
    - `findings`: `slope` and `intercept` of the log odds that a finding is right, see `EVENT`.

    Args:
        results: Cases, each evaluated with probabilities by a model that has not seen its patient, at the operating
            point with which it predicts.
        origin: Which these are, in words.
    """
    findings = EvaluatedFindings.of(results)
    parts = {"voxels": _voxels(results), "findings": _findings(findings)}
    known = {name: part for name, part in parts.items() if part}
    return {**known, "origin": origin} if known else {}


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
