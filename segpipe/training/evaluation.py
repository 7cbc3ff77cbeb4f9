"""Judges a fitted network on held-out cases, in each scan's own space, and keeps the masks it judged."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.case import Case
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import Entry
from segpipe.errors import SegpipeError, explain
from segpipe.evaluation.evaluate import CaseResult, evaluate_pair, summarise, write_evaluation
from segpipe.inference.engines.engine import Engine
from segpipe.inference.predictor import Prediction, PredictOptions, predict_case
from segpipe.io.images.volumes import write_volume
from segpipe.preprocessing.recipe import Recipe, Shape

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseEvaluator:
    """What a case is predicted and judged with.

    Args:
        engine: Runs the fitted network.
        recipe: How it wants scans.
        divisor: What its input shape must be a multiple of.
        labels: Mask value → name in the data set.
        progress: Whether to draw a bar.
    """

    engine: Engine
    recipe: Recipe
    divisor: Shape
    labels: Mapping[int, str]
    progress: bool = True

    def predict(self, entries: Sequence[Entry], options: PredictOptions) -> Iterator[tuple[Entry, Case, Prediction]]:
        """Predicts case after case; one that fails is named in the log and left out."""
        from tqdm import tqdm

        for entry in tqdm(entries, desc="evaluating", unit="case", disable=not self.progress):
            try:
                case = load_lesions(entry, self.labels, self.recipe.label)
                yield entry, case, predict_case(case, self.recipe, self.engine, options, divisor=self.divisor)
            except SegpipeError as error:
                log.error("%s", explain(error))

    def results(
        self, entries: Sequence[Entry], options: PredictOptions, *, masks: Path | None = None
    ) -> list[CaseResult]:
        """The figures of each case; with `masks` each predicted mask is written there."""
        results = []
        for entry, case, prediction in self.predict(entries, options):
            assert case.mask is not None
            results.append(
                evaluate_pair(
                    entry.id,
                    entry.patient,
                    prediction.mask,
                    case.mask,
                    case.grid,
                    probability=prediction.probability,
                    extra=entry.extra,
                )
            )
            if masks:
                write_volume(masks / f"{entry.id}.nii.gz", prediction.mask, case.grid)
        return results


def evaluate(
    judge: CaseEvaluator,
    entries: Sequence[Entry],
    options: PredictOptions,
    *,
    folder: Path,
    facts: Mapping[str, Any],
    seed: int,
) -> tuple[list[CaseResult], dict[str, Any]]:
    """Evaluates held-out cases and writes `summary.json`, `cases.csv`, `lesions.csv` and the masks into `folder`.

    Args:
        judge: Predicts and judges.
        entries: The held-out cases.
        options: Overlap, flips and operating point.
        folder: The run's `evaluation` folder.
        facts: Data name and hash, split and selection, put in front of the summary.
        seed: Of the bootstrap.
    """
    folder.mkdir(parents=True, exist_ok=True)
    masks = folder / "masks"
    masks.mkdir(exist_ok=True)
    results = judge.results(entries, options, masks=masks)
    failed = len(entries) - len(results)
    names = ("threshold", "min_volume_mm3", "min_probability")
    operating_point = {name: getattr(options, name) for name in names}
    summary = {
        **facts,
        "failed_cases": failed,
        "operating_point": operating_point,
        **summarise(results, seed=seed),
    }
    write_evaluation(folder, results, summary)
    return results, summary
