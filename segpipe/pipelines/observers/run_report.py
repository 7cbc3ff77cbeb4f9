"""The report page and the figures of a run, drawn when it has finished."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.evaluation.tables import case_rows, lesion_rows
from segpipe.pipelines.observers.observer import Run
from segpipe.pipelines.provenance import environment
from segpipe.pipelines.reports.case_pictures import Pictures
from segpipe.pipelines.reports.run_pictures import draw_run
from segpipe.training.callbacks import read_history
from segpipe.training.run_result import RunResult


class RunReport:
    """Writes `report.html` and `figures/` into the run folder.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def measured(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing: the curves are drawn of `metrics.jsonl`."""

    def finished(self, result: RunResult) -> None:
        """Draws and writes; without an evaluation there is nothing to report."""
        if result.summary is not None:
            pictures = draw_run(self._run.settings, self._run.data, result, result.summary)
            self._write_page(result, result.summary, pictures)
            self._write_figures(pictures)

    def closed(self, error: BaseException | None) -> None:
        """Nothing is open."""

    def _write_page(self, result: RunResult, summary: Mapping[str, Any], pictures: Pictures) -> Path:
        from segpipe.report.page import write_report

        run, provenance = self._run, self._run.provenance
        return write_report(
            run.folder,
            title=f"{run.settings.name}: {summary['cases']} held-out cases of {run.data.manifest.name}",
            summary=summary,
            cases=case_rows(result.results),
            lesions=lesion_rows(result.results),
            figures=pictures.figures,
            views=pictures.views,
            config=run.config,
            environment={**environment(), "segpipe": f"{provenance['segpipe_version']} {provenance['git_commit']}"},
        )

    def _write_figures(self, pictures: Pictures) -> None:
        from segpipe.report.figures import CURVE, learning_curves

        run = self._run
        folder = run.folder / "figures"
        folder.mkdir(exist_ok=True)
        curves = learning_curves(read_history(run.folder), data=run.data.manifest.name)
        kept = {name: figure for name, figure in pictures.figures.items() if not name.startswith(CURVE)}
        for name, figure in {"learning_curves": curves, **kept}.items():
            figure.savefig(folder / f"{name}.png", dpi=160)
