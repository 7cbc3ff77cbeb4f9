"""What MLflow learns of a run: configuration, data, curves, model, evaluation and files; never in the run's way."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from segpipe.datasets.manifest import Role
from segpipe.errors import explain
from segpipe.evaluation.tables import case_rows, lesion_rows
from segpipe.pipelines.observers.mlflow_model import describe_model
from segpipe.pipelines.observers.observer import Run
from segpipe.system.case_errors import as_case_error
from segpipe.tracking.harmless import harmless
from segpipe.tracking.identity import read_run_id
from segpipe.tracking.nested_runs import describe_run
from segpipe.tracking.tables import side_by_side
from segpipe.tracking.trackers import RunToTrack, build_tracker
from segpipe.training.checkpoints.files import BEST, LAST
from segpipe.training.run_result import RunResult

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

log = logging.getLogger(__name__)
TAGS = ("git_commit", "recipe_digest", "data", "data_hash", "segpipe_version")
_CONTEXTS: tuple[tuple[Role, str], ...] = (("train", "training"), ("val", "validation"), ("test", "testing"))


class RunTracking:
    """Logs a run to MLflow.

    Args:
        run: The run.
        tracker: Its MLflow run, open.
    """

    def __init__(self, run: Run, tracker: "Tracker") -> None:
        self._run, self._tracker = run, tracker

    @classmethod
    def start(cls, run: Run, *, parent: str | None = None) -> Self | None:
        """Starts the MLflow run below `parent`, or goes on with the one that the folder has; None if none is wanted.

        The server was asked before the data were prepared; where it is gone since, it gets the run later.
        """
        try:
            tracker = _start(run, parent)
        except Exception as error:
            log.warning("this run is not tracked: %s", explain(as_case_error(error)))
            return None
        if tracker is None:
            return None
        tracking = cls(run, tracker)
        with harmless("logging the data"):
            tracking._log_data()
        return tracking

    def measured(self, metrics: Mapping[str, float], step: int) -> None:
        """Logs one point of each curve."""
        with harmless("logging a point of the curves"):
            self._tracker.log_metrics(metrics, step)

    def finished(self, result: RunResult) -> None:
        """Logs the model, its evaluation, the last and the best checkpoint, and the run folder's figures and pages."""
        with harmless("logging the model"):
            self._tracker.log_model(result.model.path, describe_model(result.model))
            self._log_checkpoints()
        with harmless("logging the evaluation"):
            self._tracker.set_tags({"evaluation": None if result.summary else "missing"})
            if result.summary is not None:
                self._log_evaluation(result, result.summary)

    def log_checkpoints(self, facts: Path) -> None:
        """Logs the last and the best checkpoint of a run that makes no model, and a file of facts."""
        with harmless("logging the checkpoints"):
            self._log_checkpoints()
            self._tracker.log_file(facts)

    def closed(self, error: BaseException | None) -> None:
        """Ends the MLflow run and says where it is."""
        with harmless("ending the MLflow run"):
            self._tracker.close(error)
            if error is None:
                log.info("MLflow   %s", self._tracker.run_url)

    def _log_checkpoints(self) -> None:
        for name in (LAST, BEST):
            self._tracker.log_file(self._run.folder / "checkpoints" / name, "checkpoints")

    def _log_data(self) -> None:
        manifest = self._run.data.manifest
        for role, context in _CONTEXTS:
            entries = self._run.data.entries(role)
            counts = {"cases": len(entries), "patients": len({entry.patient for entry in entries})}
            if entries:
                self._tracker.log_dataset(
                    _dataset(manifest.name, role),
                    self._run.data.hash,
                    source=manifest.source,
                    counts=counts,
                    context=context,
                )
        for file in self._run.files:
            self._tracker.log_file(file)

    def _log_evaluation(self, result: RunResult, summary: Mapping[str, Any]) -> None:
        tracker, folder = self._tracker, self._run.folder
        tracker.log_summary(summary, dataset=_dataset(self._run.data.manifest.name, "test"))
        tracker.describe(describe_run(summary))
        tracker.log_table(side_by_side(case_rows(result.results)), "evaluation/cases")
        tracker.log_table(side_by_side(lesion_rows(result.results)), "evaluation/lesions")
        if (folder / "figures").is_dir():
            tracker.log_folder(folder / "figures", "figures")
        for file in (folder / "evaluation" / "summary.json", folder / "report.html"):
            if file.is_file():
                tracker.log_file(file)


def _start(run: Run, parent: str | None) -> "Tracker | None":
    tags = {name: run.provenance[name] for name in TAGS} | init_tags(run.provenance)
    run_id = read_run_id(run.folder) if run.settings.resume else None
    return build_tracker(run.settings.tracking, RunToTrack(run.folder, run.config, tags, run_id, parent, may_wait=True))


def init_tags(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's weights began with, as tags; none where they were random."""
    return {f"init.{name}": value for name, value in provenance.get("init", {}).items()}


def _dataset(name: str, role: str) -> str:
    return f"{name} ({role})"
