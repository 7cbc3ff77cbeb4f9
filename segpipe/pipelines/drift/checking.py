"""Predicts and measures new scans, and sets them side by side with what a model folder knows of its own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from segpipe import __version__
from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import Entry, read_manifest
from segpipe.errors import DatasetError, ModelError, SegpipeError
from segpipe.evaluation.drift.comparing import FEWEST, find_shifts, smallest_effect
from segpipe.evaluation.drift.fingerprint import PREDICTIONS, fingerprint_of
from segpipe.evaluation.evaluated_cases import evaluate_each, sort_outcomes
from segpipe.evaluation.results import CaseResult
from segpipe.export.model_folder import ModelFolder
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.inference.engines.engine import Engine
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.inference.options import PredictOptions
from segpipe.preprocessing.scan_profile import QUANTITIES, profile_scan
from segpipe.system.evenly import evenly

WORDS = {**QUANTITIES, **PREDICTIONS}


@dataclass(frozen=True)
class DriftOptions:
    """How new scans are compared.

    Args:
        most: At most so many scans, evenly over the data set; None takes all.
        level: See `find_shifts`.
        least: See `find_shifts`.
    """

    most: int | None = None
    level: float = 0.05
    least: float = 0.2


@dataclass(frozen=True)
class ScanMeter:
    """Predicts a scan as an evaluation does, and measures it; its mask, if it has one, is not asked.

    Args:
        evaluator: What predicts.
    """

    evaluator: CaseEvaluator

    def __call__(self, entry: Entry) -> CaseResult:
        """What the scan measures and what was found in it.

        Raises:
            SegpipeError: when it cannot be read or predicted.
        """
        case = load_case(replace(entry, mask=None), self.evaluator.labels)
        unmarked = replace(case, mask=np.zeros(case.image.shape, dtype=np.uint8))
        _, result = self.evaluator.evaluate(entry, unmarked)
        return replace(result, scan=profile_scan(case))


def check_drift(
    model: ModelFolder, data: Path, engine: Engine, options: DriftOptions
) -> tuple[dict[str, Any], list[SegpipeError]]:
    """Compares the scans of a data set with those that a model was evaluated on.

    Args:
        model: A verified model folder.
        data: A data set folder; masks are not needed.
        engine: Runs the model's network.
        options: How.

    Returns:
        The content of `drift.json`, and what is wrong with scans that could not be used.

    Raises:
        ModelError: when the model knows nothing of the scans that it was evaluated on.
        DatasetError: when too few scans can be used.
    """
    stored = stored_fingerprint(model)
    manifest = read_manifest(data)
    meter = ScanMeter(_evaluator(model, engine, manifest.labels))
    found = sort_outcomes(evaluate_each(meter, evenly(manifest.entries, options.most), name=attrgetter("id")))
    if len(found.results) < FEWEST:
        raise DatasetError(
            f"drift is a matter of {FEWEST} scans or more",
            facts={"data set": manifest.name, "usable scans": len(found.results)},
        ) from next(iter(found.errors), None)
    new = fingerprint_of(found.results)
    shifts = find_shifts(stored["values"], new["values"], level=options.level, least=options.least)
    drifted = [shift.quantity for shift in shifts if shift.drifted]
    visible = smallest_effect(stored["scans"], new["scans"], quantities=len(shifts) or 1, level=options.level)
    report = {
        "model_data": model.about.get("data"),
        "data": manifest.name,
        "scans": {"stored": stored["scans"], "new": new["scans"], "failed": len(found.errors)},
        "level": options.level,
        "least_effect": options.least,
        "smallest_visible_effect": visible,
        "drift": bool(drifted),
        "drifted": drifted,
        "shifts": [asdict(shift) for shift in shifts],
        "stored": stored["values"],
        "new": new["values"],
        "segpipe_version": __version__,
    }
    return report, found.errors


def stored_fingerprint(model: ModelFolder) -> Mapping[str, Any]:
    """What a model folder knows of the scans that it was evaluated on.

    Raises:
        ModelError: when that is nothing.
    """
    stored: Mapping[str, Any] = model.about.get("fingerprint") or {}
    if stored.get("scans", 0) < FEWEST:
        raise ModelError(
            "the model folder has no fingerprint of the scans that it was evaluated on",
            facts={"model": model.path, "scans": stored.get("scans", "unknown")},
            hint="a training or cross-validation with three held-out scans or more writes one",
        )
    return stored


def _evaluator(model: ModelFolder, engine: Engine, labels: Mapping[int, str]) -> CaseEvaluator:
    stored = model.operating_point
    point = choose_point(stored, OperatingPointRequest())
    options = PredictOptions.of_model(point, stored, keep_probability=True, most_findings=None)
    return CaseEvaluator(engine, model.recipe, model.divisor, labels, options)
