"""Many scans through one model: they stream, bad ones are reported and skipped, finished ones are not done again."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from segpipe import __version__
from segpipe.case import Case
from segpipe.errors import SegpipeError, raise_together
from segpipe.export.export_spec import INDEX
from segpipe.export.model_folder import ModelFolder
from segpipe.inference.batch.memory import MemoryBound
from segpipe.inference.batch.records import Records
from segpipe.inference.batch.results import Result, Writer, write_files
from segpipe.inference.batch.scans import Scan, number_slices
from segpipe.inference.batch.stream import stream
from segpipe.inference.engines.engine import Engine
from segpipe.inference.explanation.explain import explain_outlines, explain_rating
from segpipe.inference.explanation.explanation import Explanation
from segpipe.inference.follow_up.comparing import FollowUp, PredictedScan, compare_scans
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import Prediction, predict_case
from segpipe.inference.prompts.prompt import Prompt
from segpipe.inference.ratings.rater import Rater
from segpipe.inference.stage_timer import StageTimer
from segpipe.inference.thumbnail import make_thumbnail, write_thumbnail
from segpipe.inference.window.uncertainty_maps import EXTRA_PLANES
from segpipe.system.case_errors import attempt


@dataclass(frozen=True, eq=False)
class PredictionJob:
    """What is done with each scan.

    Args:
        model: The verified model folder.
        engine: Runs its network.
        options: See `PredictOptions`.
        writers: Output formats by name.
        output: Where results go.
        prompt: What a reader says of one lesion in the scan, or None.
        earlier: An earlier scan of the same patient, to compare with.
        days: Since that scan.
        rater: Adds predicted ratings to findings, if wanted.
        explain: How findings are explained, see `segpipe.inference.explanation`; None does not.
    """

    model: ModelFolder
    engine: Engine
    options: PredictOptions
    writers: Mapping[str, Writer]
    output: Path
    prompt: Prompt | None = None
    earlier: PredictedScan | None = None
    days: float | None = None
    rater: Rater | None = None
    explain: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that a result depends on apart from the scan, as plain data."""
        chosen = self.options.to_dict()
        region = chosen.pop("region")
        del chosen["keep_probability"], chosen["most_findings"], chosen["measure"]
        return {
            "segpipe": __version__,
            "model": model_digest(self.model),
            "recipe": self.model.recipe.digest,
            "computed_by": getattr(self.engine, "name", "unknown"),
            "options": {**chosen, "flips": list(chosen["flips"]), "region": region.__name__ if region else None},
            "at_mm": list(self.prompt.centre) if self.prompt else None,
            "prompt": self.prompt.to_dict() if self.prompt else None,
            "formats": sorted(self.writers),
            **({"earlier": self.earlier.digest, "days": self.days} if self.earlier else {}),
            **({"ratings": self.rater.digest} if self.rater else {}),
            **({"explain": self.explain} if self.explain else {}),
        }


@dataclass(frozen=True, eq=False)
class ScanOutcome:
    """How a scan went.

    Args:
        scan: The scan.
        findings: Its findings as plain data; None for a bad scan.
        error: What was wrong with it, or with one of its output formats.
        resumed: Whether an earlier call had done it.
    """

    scan: Scan
    findings: Sequence[Mapping[str, Any]] | None
    error: SegpipeError | None = None
    resumed: bool = False


def predict_scans(
    scans: Sequence[Scan], job: PredictionJob, *, bound: MemoryBound, timer: StageTimer
) -> Iterator[ScanOutcome]:
    """Predicts scans and writes their results; yields each one's outcome as soon as it is certain.

    Args:
        scans: Scans with different names.
        job: What is done with each.
        bound: How much memory may be taken; it never changes a result.
        timer: Receives the time per stage and how far the current scan is.

    Raises:
        OutputError: when results cannot be written, which would meet all scans.
    """
    records = Records(job.output, job.settings)
    done = {scan.name: record for scan in scans if (record := records.find(scan))}
    for scan in scans:
        if scan.name in done:
            yield ScanOutcome(scan, done[scan.name]["findings"], resumed=True)
    todo = [scan for scan in scans if scan.name not in done]
    steps = _Steps(job, bound, timer, records)
    for scan, error in stream(todo, steps.read, steps.predict, steps.write, together=bound.together):
        record = records.find(scan, whole=error is None)
        yield ScanOutcome(scan, record["findings"] if record else None, error)


def model_digest(model: ModelFolder) -> str:
    """First 16 hex digits of the SHA-256 of the model folder's index, which holds that of every file."""
    return hashlib.sha256((model.path / INDEX).read_bytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class _Steps:
    """What is done with one scan after the other."""

    job: PredictionJob
    bound: MemoryBound
    timer: StageTimer
    records: Records

    def read(self, scan: Scan) -> Case:
        """The scan, when it fits into the memory allowed."""
        self.bound.check(scan)
        self.records.forget(scan)
        with self.timer.stage("reading"):
            case = scan.read_case()
        extra = EXTRA_PLANES * bool(self.job.options.uncertainty)
        self.bound.check_case(scan, case, self.job.model, prompt=self.job.prompt, extra_planes=extra)
        return case

    def predict(self, scan: Scan, case: Case) -> Result:
        """Mask and findings, the latter with ratings, if wanted, and the slice numbers of the original series."""
        job = self.job
        prediction = predict_case(
            case, job.model.recipe, job.engine, job.options,
            divisor=job.model.divisor, at_mm=job.prompt, timer=self.timer,
        )  # fmt: skip
        findings = prediction.findings
        if job.rater:
            with self.timer.stage("ratings"):
                findings = job.rater.rate(case, prediction.mask, findings, job.model.recipe.label_map)
        explanations = self._explain(case, replace(prediction, findings=findings))
        numbered = replace(prediction, findings=number_slices(findings, scan, case.grid), explanations=explanations)
        return Result(scan, case, numbered, job.model, self.records.settings)

    def _explain(self, case: Case, found: Prediction) -> list[Explanation]:
        """What the outlines rest on, and the first rating where there are any."""
        job = self.job
        if not job.explain or not found.findings:
            return []
        with self.timer.stage("explanation"):
            outlines = explain_outlines(case, found, job.engine, job.model, job.explain)
            if not job.rater:
                return [outlines]
            return [outlines, explain_rating(case, found, job.rater, job.model.recipe.label_map, job.explain)]

    def write(self, scan: Scan, result: Result) -> None:
        """The files of the result, and then the record that it is done."""
        compared = self._compare(result) if self.job.earlier else None
        failed = [compared] if isinstance(compared, SegpipeError) else []
        if isinstance(compared, FollowUp):
            result = replace(result, follow_up=compared)
        with self.timer.stage("writing"):
            files, errors = write_files(result, self.job.writers, self.job.output)
            if "json" in self.job.writers:
                files.append(write_thumbnail(result.case, self.job.output))
            self.records.keep(scan, files, result.prediction.findings, whole=not (failed or errors))
        raise_together([*failed, *errors], headline="formats of a result cannot be written")

    def _compare(self, result: Result) -> FollowUp | SegpipeError:
        """What became of the lesions since the earlier scan, or why that cannot be said, which costs that alone."""
        assert self.job.earlier is not None
        findings = [finding.to_dict() for finding in result.prediction.findings]
        later = PredictedScan(result.scan.name, result.case.grid, findings, make_thumbnail(result.case))
        with self.timer.stage("follow-up"):
            return attempt(partial(compare_scans, self.job.earlier, later, days=self.job.days))
