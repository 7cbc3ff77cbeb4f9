"""A model folder opened once for many scans, at its own operating point; what MLflow and notebooks predict with."""

from dataclasses import replace
from pathlib import Path

from segpipe.errors import ConfigError
from segpipe.export.model_folder import ModelFolder
from segpipe.inference.batch.results import WRITERS, Result, write_files
from segpipe.inference.batch.runner import PredictionJob
from segpipe.inference.batch.scans import Scan, find_scans, number_slices
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import Prediction, predict_case
from segpipe.inference.prompts.prompt import Prompt
from segpipe.inference.ratings.rater import Rater
from segpipe.inference.window.grid import Point


class LoadedModel:
    """A network that is ready to predict.

    Args:
        folder: A verified model folder.
        backend: torch, onnx or openvino; None takes the folder's own.
        device: For `torch`: auto, cpu, cuda or mps.
        rater: Adds predicted ratings to findings, if wanted.

    Raises:
        ConfigError: for an unknown backend or a device that is not there.
    """

    def __init__(
        self, folder: ModelFolder, *, backend: str | None = None, device: str = "auto", rater: Rater | None = None
    ) -> None:
        self.folder, self.rater = folder, rater
        self.engine = build_engine(folder, backend=backend, device=device)
        stored = folder.operating_point
        self.options = PredictOptions.of_model(choose_point(stored, OperatingPointRequest()), stored)

    def predict(self, path: Path, *, at_mm: Point | Prompt | None = None, output: Path | None = None) -> Prediction:
        """Predicts one scan.

        Args:
            path: An image file, or a folder or zip file with one DICOM series.
            at_mm: A point in the scan, RAS+ mm, or more that a reader says of a lesion: only the lesion there.
            output: Where `NAME.nii.gz` and `NAME.json` are written, if anywhere.

        Raises:
            SegpipeError: when the scan cannot be read or predicted, or the result not be written.
        """
        prompt = None if at_mm is None else Prompt.of(at_mm)
        scan = find_only_scan(path)
        case = scan.read_case()
        found = predict_case(
            case, self.folder.recipe, self.engine, self.options, divisor=self.folder.divisor, at_mm=prompt
        )
        findings = found.findings
        if self.rater:
            findings = self.rater.rate(case, found.mask, findings, self.folder.recipe.label_map)
        prediction = replace(found, findings=number_slices(findings, scan, case.grid))
        if output is not None:
            job = PredictionJob(self.folder, self.engine, self.options, WRITERS, output, prompt, rater=self.rater)
            write_files(Result(scan, case, prediction, self.folder, job.settings), WRITERS, output)
        return prediction


def find_only_scan(path: Path) -> Scan:
    """The one scan that a path names.

    Raises:
        ConfigError: when it names several.
        ImageError: when there is nothing to predict.
    """
    scans = find_scans(path)
    if len(scans) > 1:
        raise ConfigError(
            "a path must name one scan",
            facts={"path": path, "found": f"{len(scans)} scans"},
            hint="give the path of one file or series; python -m segpipe predict takes folders of scans",
        )
    return scans[0]
