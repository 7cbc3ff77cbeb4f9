"""Adds predicted ratings to findings: the crop and the measurements of each go through the rating network."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.errors import ModelError
from segpipe.evaluation.rating_figures import expected_grade, median_grade
from segpipe.export.export_spec import INDEX
from segpipe.export.rating_folder import RatingModel, read_rating_folder
from segpipe.inference.findings import Finding, number_findings
from segpipe.inference.measurements.rating import PredictedRating
from segpipe.inference.ratings.inputs import MEASUREMENTS, measurement_row
from segpipe.labels import LabelMap
from segpipe.labels.ratings import RatingScale
from segpipe.preprocessing.rating_crop import cut_crop

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Rater:
    """A rating model that is ready to rate.

    Args:
        model: The model.
        digest: First 16 hex digits of the SHA-256 of its folder's index.

    Raises:
        ModelError: when it takes other measurements than segpipe makes.
    """

    def __init__(self, model: RatingModel, digest: str) -> None:
        if model.measurements != MEASUREMENTS:
            facts = {"found": ", ".join(model.measurements)[:400], "known": ", ".join(MEASUREMENTS)}
            raise ModelError("the rating model takes other measurements", facts=facts, hint="train it again")
        self.model, self.digest = model, digest

    @classmethod
    def open(cls, folder: Path, *, key: "Ed25519PublicKey | None" = None) -> "Rater":
        """Opens a model folder; see `read_rating_folder`."""
        model = read_rating_folder(folder, key=key)
        return cls(model, hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()[:16])

    def rate(self, case: Case, mask: NDArray[np.uint8], findings: Sequence[Finding], labels: LabelMap) -> list[Finding]:
        """The findings with their ratings.

        Args:
            case: The scan.
            mask: A label map that holds the findings alone.
            findings: Numbered as `measure_findings` does.
            labels: The classes of the mask.
        """
        if not findings:
            return []
        classes = [label.name for label in labels.classes]
        numbered = dict(zip(classes, number_findings(mask, labels), strict=True))
        crops = [
            cut_crop(case, numbered[finding.label] == finding.number, finding.centre_mm, self.model.crop)
            for finding in findings
        ]
        rows = np.stack([measurement_row(finding) for finding in findings])
        with torch.inference_mode():
            rated = self.model.network(torch.from_numpy(np.stack(crops)), torch.from_numpy(rows)).double().numpy()
        return [replace(finding, ratings=self._named(own)) for finding, own in zip(findings, rated, strict=True)]

    def _named(self, probabilities_rg: NDArray[np.float64]) -> dict[str, PredictedRating]:
        scales = self.model.scales
        return {
            scale.name: _predicted(scale, own[: len(scale.grades)])
            for scale, own in zip(scales, probabilities_rg, strict=True)
        }


def _predicted(scale: RatingScale, probabilities_g: NDArray[np.float64]) -> PredictedRating:
    mean, place = float(expected_grade(probabilities_g)), int(median_grade(probabilities_g))
    grade = scale.grades[place]
    return PredictedRating(grade.value, grade.name, mean + scale.grades[0].value, float(probabilities_g[place]))
