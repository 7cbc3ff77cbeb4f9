"""What MLflow learns of a robustness test: a run of its own with a curve for each corruption."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe import __version__
from segpipe.evaluation.robustness import ATTACKED, CORRUPTED
from segpipe.pipelines.robustness.summary import FIGURES, condition_rows

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

EXPERIMENT = "robustness"
_FILES = ("summary.json", "conditions.csv", "report.html")


def report_robustness(summary: Mapping[str, Any], folder: Path, *, uri: str) -> "Tracker":
    """Logs a test as a finished run of the experiment `robustness`; the steps of its curves are severities.

    Args:
        summary: The content of `summary.json`.
        folder: Where it is.
        uri: The MLflow server or database.

    Returns:
        The finished tracker, for its `run_id` and `run_url`.

    Raises:
        ServiceError: when the server cannot be used.
    """
    from segpipe.tracking.mlflow import Tracker

    config = {name: summary[name] for name in ("data", "data_hash", "recipe_digest", "split", "cases", "seed")}
    config |= {group: list(summary[group]) for group in (CORRUPTED, ATTACKED)}
    tracker = Tracker.start(
        uri=uri,
        experiment=EXPERIMENT,
        run_name=f"robustness on {summary['data']}",
        config=config,
        tags={"segpipe_version": __version__},
        folder=folder,
    )
    with tracker:
        tracker.log_metrics(_means(summary), step=0)
        for row in condition_rows(summary):
            tracker.log_metrics(_point(row), step=row["severity"])
        tracker.log_table(list(condition_rows(summary)), "robustness/conditions")
        for name in _FILES:
            tracker.log_file(folder / name, "robustness")
    return tracker


def _means(summary: Mapping[str, Any]) -> dict[str, float]:
    means = ("mean_corrupted", "mean_attacked")
    found = {f"{mean}/{name}": figure["mean"] for mean in means for name, figure in summary[mean].items()}
    return {name: value for name, value in found.items() if value is not None}


def _point(row: Mapping[str, Any]) -> dict[str, float]:
    name = row["corruption"] or "clean"
    return {f"{name}/{figure}": row[figure] for figure in FIGURES if row[figure] is not None}
