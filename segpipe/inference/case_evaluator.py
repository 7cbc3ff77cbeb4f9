"""Predicts a case of a data set and compares the mask with its reference, in the scan's own space."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from segpipe.case import Case
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import Entry
from segpipe.errors import DatasetError
from segpipe.evaluation.classes import evaluate_label_maps
from segpipe.evaluation.results import CaseResult
from segpipe.inference.engines.engine import Engine
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import Prediction, predict_case
from segpipe.io.images.volumes import write_volume
from segpipe.preprocessing.recipe import Recipe, Shape
from segpipe.preprocessing.scan_digest import scan_digest
from segpipe.preprocessing.scan_profile import profile_scan


@dataclass(frozen=True)
class CaseEvaluator:
    """What a case is predicted and evaluated with.

    Args:
        engine: Runs the network.
        recipe: How it wants scans.
        divisor: What its input shape must be a multiple of.
        labels: Mask value → name in the data set.
        options: Overlap, flips and operating point.
        masks: Where predicted masks are written, if anywhere.
        profiles: Whether what each scan itself measures is kept with its figures.
    """

    engine: Engine
    recipe: Recipe
    divisor: Shape
    labels: Mapping[int, str]
    options: PredictOptions
    masks: Path | None = None
    profiles: bool = False

    def __call__(self, entry: Entry) -> CaseResult:
        """The figures of a case; its predicted mask is written to `masks`.

        Raises:
            DatasetError: when it has no reference mask.
            SegpipeError: when it cannot be read, predicted or written.
        """
        case = self.read(entry)
        prediction, result = self.evaluate(entry, case)
        if self.masks:
            write_volume(self.masks / f"{entry.id}.nii.gz", prediction.mask, case.grid)
        result = replace(result, scan_digest=scan_digest(case.image, case.grid))
        return replace(result, scan=profile_scan(case)) if self.profiles else result

    def read(self, entry: Entry) -> Case:
        """The scan with its reference mask.

        Raises:
            DatasetError: when it has none.
            SegpipeError: when it cannot be read.
        """
        case = load_lesions(entry, self.labels, self.recipe.label_map)
        if case.mask is None:
            raise DatasetError(
                "a case to evaluate must have a reference mask",
                hint="python -m segpipe predict --input SCAN   takes scans without masks",
            )
        return case

    def evaluate(self, entry: Entry, case: Case) -> tuple[Prediction, CaseResult]:
        """Predicts a scan that `read` returned, or what has become of it; nothing is written."""
        assert case.mask is not None
        options = replace(self.options, measure=False)
        prediction = predict_case(case, self.recipe, self.engine, options, divisor=self.divisor)
        return prediction, evaluate_label_maps(
            entry.id,
            entry.patient,
            (prediction.mask, case.mask),
            case.grid,
            labels=self.recipe.label_map,
            probability=prediction.probabilities or None,
            searched=self.recipe.scope == "scan",
            extra=entry.extra,
        )
