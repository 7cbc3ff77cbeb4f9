"""From the files of a series to the objects that go back into its study."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segpipe.case import Case, Volume
from segpipe.errors import ImageError, ModelError
from segpipe.export.model_folder import ModelFolder
from segpipe.inference.batch.dicom_results import derive, point_digest, write_report
from segpipe.inference.batch.memory import MemoryBound
from segpipe.inference.batch.results import Result
from segpipe.inference.batch.runner import model_digest
from segpipe.inference.batch.scans import scan_of
from segpipe.inference.engines.engine import Engine
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.ratings.rater import Rater
from segpipe.io.dicom.objects import Derivation
from segpipe.io.dicom.series.description import Identity, SeriesInfo
from segpipe.io.dicom.series.series import find_series
from segpipe.io.dicom.sr import report_uids
from segpipe.preprocessing.lungs import lung_mask


@dataclass(frozen=True, eq=False)
class Answerer:
    """Predicts a series and writes segmentation and report.

    Args:
        model: The verified model folder.
        engine: Runs its network.
        options: See `PredictOptions`; every scan must show lungs.
        bound: How much memory may be taken; it never changes an answer.
        rater: Adds predicted ratings to findings, if wanted.

    Raises:
        ModelError: for a model that needs to know where the lesion is.
    """

    model: ModelFolder
    engine: Engine
    options: PredictOptions
    bound: MemoryBound
    rater: Rater | None = None

    def __post_init__(self) -> None:
        if self.model.recipe.scope != "scan":
            raise ModelError(
                "only a model that searches whole scans can serve",
                facts={"model": self.model.path, "scope": self.model.recipe.scope},
                hint="serve a model of whole scans (recipe.scope=scan); this one needs the place: "
                "predict --at x,y,z, or serve --interactive",
            )

    def answer(self, source: Path, folder: Path, *, instances: str, former: str = "") -> list[Path]:
        """Writes the answer to a series into a folder: the segmentation, if there are findings, then the report.

        Args:
            source: Holds the files of the series.
            folder: Where to write.
            instances: Digest of these instances; the UIDs of an answer depend on it.
            former: Digest of the fewer instances of which an earlier report is, which this one replaces.

        Raises:
            ImageError: when the files hold no CT series, show no lungs, need more memory than allowed or are of several
                patients.
            GeometryError: when its slices form no regular grid.
            OutputError: when the answer cannot be written.
        """
        series = _largest_series(source, instances)
        scan = scan_of(series, "series")
        self.bound.check(scan)
        case = scan.read_case()
        self.bound.check_case(scan, case, self.model)
        options = replace(self.options, region=find_lungs)
        prediction = predict_case(case, self.model.recipe, self.engine, options, divisor=self.model.divisor)
        if self.rater:
            rated = self.rater.rate(case, prediction.mask, prediction.findings, self.model.recipe.label_map)
            prediction = replace(prediction, findings=rated)
        result = Result(scan, case, prediction, self.model, {"options": self._options})
        identity = series.identity
        before = self._derivation(identity.study_uid, identity.series_uid, former) if former else None
        return write_report(result, folder, former=before)

    @property
    def digest(self) -> str:
        """Of the model and of the options with which it answers."""
        return f"{model_digest(self.model)}-{point_digest(self._options)}"

    def report_uid(self, study_uid: str, series_uid: str, instances: str) -> str:
        """The UID that the report to a series has or will have.

        Study, series, its instances, model and options alone decide it: it is known before anything is fetched, is the
        same when a series is answered again, and is another one when it has grown.
        """
        return report_uids(self._derivation(study_uid, series_uid, instances))[1]

    def _derivation(self, study_uid: str, series_uid: str, instances: str) -> Derivation:
        series = SeriesInfo(1, (), Identity("", study_uid, series_uid, "", instances=instances), {})
        return derive(series, self.model, self._options)

    @property
    def _options(self) -> dict[str, Any]:
        """All but the model that decides what an answer says."""
        return {**self.options.to_dict(), **({"ratings": self.rater.digest} if self.rater else {})}


def _largest_series(source: Path, instances: str) -> SeriesInfo:
    """The scan among the files, as a PACS knows it; slices of two patients under one UID are answered for neither."""
    found = find_series(source)
    if found.shared_uids:
        raise ImageError(
            "the slices of a series are of several patients or studies",
            facts={"found": f"{found.shared_uids} of them under one series UID"},
            hint="send each patient's slices with a series UID of their own",
        )
    series = max(found.series, key=lambda series: len(series.planes))
    # no patient is known before a series is fetched, so the UIDs of an answer depend on none
    return replace(series, identity=replace(series.identity, patient_id="", instances=instances))


def find_lungs(case: Case) -> Volume:
    """The region of the lungs.

    Raises:
        ImageError: for a scan that shows none: an abdomen, a head or a crop.
    """
    region = lung_mask(case)
    if region is None:
        raise ImageError(
            "no lungs in the scan; a chest CT must show them",
            facts={"scan": case.grid},
            hint="is it an abdomen or a head? Then leave the series out",
        )
    return region
