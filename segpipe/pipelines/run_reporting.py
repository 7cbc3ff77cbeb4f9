"""What a run tells MLflow and its folder, from the first line of configuration to the last figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from segpipe.config.schema import Settings
from segpipe.evaluation.tables import case_rows, lesion_rows
from segpipe.pipelines.case_pictures import Pictures
from segpipe.pipelines.run_facts import collect_facts, environment
from segpipe.pipelines.run_pictures import draw_run
from segpipe.tracking.nested_runs import describe_run
from segpipe.tracking.tables import side_by_side
from segpipe.tracking.trackers import RunFacts, build_tracker
from segpipe.training.callbacks import read_history
from segpipe.training.hardware import this_rank
from segpipe.training.run_data import RunData
from segpipe.training.run_result import RunResult

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

_TRACKED = "tracking.json"
TAGS = ("git_commit", "recipe_digest", "data", "data_hash", "segpipe_version")


class RunReporter:
    """Tells a run; on ranks other than the first it keeps silent.

    Args:
        settings: The checked configuration.
        run_data: The cases by role.
        folder: The run folder.
        config: The resolved configuration as plain data.
        tracker: The MLflow run, or None when the run is not tracked.
    """

    def __init__(
        self,
        settings: Settings,
        run_data: RunData,
        folder: Path,
        *,
        config: Mapping[str, Any],
        tracker: "Tracker | None" = None,
    ) -> None:
        self.settings, self.run_data, self.folder, self.config = settings, run_data, folder, config
        self.facts = collect_facts(settings, run_data)
        self.tracker = tracker

    @classmethod
    def open(
        cls,
        settings: Settings,
        run_data: RunData,
        folder: Path,
        *,
        config: Mapping[str, Any],
        parent: str | None = None,
    ) -> Self:
        """Starts the MLflow run below `parent`, or goes on with the one that this folder has already."""
        reporter = cls(settings, run_data, folder, config=config)
        if this_rank():
            return reporter
        tags = {name: reporter.facts[name] for name in TAGS}
        run_id = tracked_run(folder) if settings.resume else None
        reporter.tracker = build_tracker(settings.tracking, RunFacts(folder, config, tags, run_id, parent))
        if reporter.tracker:
            remember_run(folder, reporter.tracker.run_id)
            reporter._log_datasets()
        return reporter

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.tracker:
            self.tracker.__exit__(kind, error, trace)

    def keep(self, *files: Path) -> None:
        """Keeps files of the run folder as artifacts."""
        for file in files:
            if self.tracker:
                self.tracker.log_file(file)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Tells one point of each curve."""
        if self.tracker:
            self.tracker.log_metrics(metrics, step)

    def report(self, outcome: RunResult) -> None:
        """Tells the evaluation: figures, tables, pictures, report, model folder and, once, the checkpoints."""
        if self.tracker:
            self.tracker.log_folder(outcome.model.path, "model")
            self.tracker.log_folder(self.folder / "checkpoints", "checkpoints")
        if outcome.summary is not None:
            self._report_evaluation(outcome, outcome.summary)

    def _report_evaluation(self, outcome: RunResult, summary: Mapping[str, Any]) -> None:
        from segpipe.report.page import write_report

        cases, lesions = case_rows(outcome.results), lesion_rows(outcome.results)
        pictures = draw_run(self.settings, self.run_data, outcome, summary)
        report = write_report(
            self.folder,
            title=f"{self.settings.name}: {summary['cases']} held-out cases of {self.run_data.manifest.name}",
            summary=summary,
            cases=cases,
            lesions=lesions,
            figures=pictures.figures,
            views=pictures.views,
            config=self.config,
            environment={**environment(), "segpipe": f"{self.facts['segpipe_version']} {self.facts['git_commit']}"},
        )
        figures = self._keep_figures(pictures)
        if not self.tracker:
            return
        self.tracker.log_summary(summary)
        self.tracker.describe(describe_run(summary))
        self.tracker.log_table(side_by_side(cases), "evaluation/cases")
        self.tracker.log_table(side_by_side(lesions), "evaluation/lesions")
        self.tracker.log_folder(figures, "figures")
        self.keep(self.folder / "evaluation" / "summary.json", report)

    def _keep_figures(self, pictures: Pictures) -> Path:
        from segpipe.report.figures import CURVE, learning_curves

        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True)
        curves = learning_curves(read_history(self.folder), data=self.run_data.manifest.name)
        kept = {name: figure for name, figure in pictures.figures.items() if not name.startswith(CURVE)}
        for name, figure in {"learning_curves": curves, **kept}.items():
            figure.savefig(folder / f"{name}.png", dpi=160, bbox_inches="tight")
        return folder

    def _log_datasets(self) -> None:
        assert self.tracker
        manifest = self.run_data.manifest
        for role, context in (("train", "training"), ("val", "validation"), ("test", "testing")):
            entries = self.run_data.entries(role)  # type: ignore[arg-type]
            counts = {"cases": len(entries), "patients": len({entry.patient for entry in entries})}
            if entries:
                self.tracker.log_dataset(
                    f"{manifest.name} ({role})",
                    self.run_data.hash,
                    source=manifest.source,
                    counts=counts,
                    context=context,
                )


def tracked_run(folder: Path) -> str | None:
    """The MLflow run that a run folder belongs to, if it is tracked."""
    file = folder / _TRACKED
    return str(json.loads(file.read_text())["run_id"]) if file.exists() else None


def remember_run(folder: Path, run_id: str) -> None:
    """Notes the MLflow run that a run folder belongs to, so that a resumed run goes on in it."""
    (folder / _TRACKED).write_text(json.dumps({"run_id": run_id}))
