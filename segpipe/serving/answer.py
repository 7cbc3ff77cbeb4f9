"""From the files of a series to the objects that go back into its study."""

from dataclasses import dataclass
from pathlib import Path

from segpipe.case import Case
from segpipe.errors import ImageError
from segpipe.export.model_folder import ModelFolder
from segpipe.inference.dicom_results import derive, write_report
from segpipe.inference.engine import Engine
from segpipe.inference.predictor import PredictOptions, predict_case
from segpipe.inference.results import Result
from segpipe.inference.scans import Scan
from segpipe.io.dicom_objects import Derivation
from segpipe.io.dicom_series import Identity, SeriesInfo, find_series, read_series
from segpipe.preprocessing.lung_roi import lung_mask


@dataclass(frozen=True, eq=False)
class Answerer:
    """Predicts a series and writes segmentation and report.

    Args:
        model: The verified model folder.
        engine: Runs its network.
        options: See `PredictOptions`.
    """

    model: ModelFolder
    engine: Engine
    options: PredictOptions

    def answer(self, source: Path, folder: Path) -> list[Path]:
        """Writes the answer to a series into a folder: the segmentation, if there are findings, then the report.

        Raises:
            ImageError: when the files hold no CT series or show no lungs.
            GeometryError: when its slices form no regular grid.
            OutputError: when the answer cannot be written.
        """
        series = max(find_series(source).series, key=lambda found: len(found.planes))
        volume = read_series(series)
        case = Case("series", volume.array, volume.grid)
        check_chest(case)
        prediction = predict_case(case, self.model.recipe, self.engine, self.options, divisor=self.model.divisor)
        scan = Scan("answer", lambda: volume, lambda: volume.array.size, "", series)
        return write_report(Result(scan, case, prediction, self.model, {}), folder)

    def report_uid(self, study_uid: str, series_uid: str) -> str:
        """The UID that the report to a series has or will have; series and model alone decide it."""
        return str(self._derivation(study_uid, series_uid).uid("SR", "instance"))

    def segmentation_uid(self, study_uid: str, series_uid: str) -> str:
        """The UID that the segmentation of a series has or will have."""
        return str(self._derivation(study_uid, series_uid).uid("BINARY", "instance"))

    def _derivation(self, study_uid: str, series_uid: str) -> Derivation:
        return derive(SeriesInfo(1, (), Identity("", study_uid, series_uid, ""), {}), self.model)


def check_chest(case: Case) -> None:
    """Refuses a scan that shows no lungs.

    Raises:
        ImageError: for an abdomen, a head or a crop.
    """
    if lung_mask(case) is None:
        raise ImageError(
            "no lungs in the scan; a chest CT must show them",
            facts={"scan": case.grid},
            hint="is it an abdomen or a head? Then leave the series out",
        )
