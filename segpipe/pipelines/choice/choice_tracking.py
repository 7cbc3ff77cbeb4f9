"""What MLflow learns of a choice: a run of its own with candidates, what was taken, the honest figure, the model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.pipelines.choice.choosing import Chosen
from segpipe.pipelines.choice.runs import ValidatedRun
from segpipe.pipelines.choice.text import honest_figure
from segpipe.pipelines.observers.mlflow_model import describe_model
from segpipe.pipelines.observers.run_tracking import TAGS
from segpipe.tracking.identity import read_run_id, read_tracked_run
from segpipe.tracking.nested_runs import describe_run

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

EXPERIMENT = "choices"
DEFAULT_URI = "sqlite:///mlflow.db"


def uri_of(runs: Sequence[ValidatedRun]) -> str | None:
    """The server or database that knows the runs, without user and password; None when none is tracked."""
    known = [tracked for run in runs if (tracked := read_tracked_run(run.folder))]
    return next((tracked.uri for tracked in known if tracked.uri), DEFAULT_URI) if known else None


def report_choice(chosen: Chosen, runs: Sequence[ValidatedRun], folder: Path, *, uri: str) -> "Tracker":
    """Logs a choice as a finished run of the experiment `choices`.

    Its evaluation is that of what was chosen, out of fold, and so too high: `choice/honest` is the figure to report.

    Args:
        chosen: What `choose_model` returns.
        runs: Those that were chosen from.
        folder: Where `choice.json` is.
        uri: The MLflow server or database.

    Returns:
        The finished tracker, for its `run_id` and `run_url`.

    Raises:
        ServiceError: when the server cannot be used.
    """
    from segpipe.tracking.mlflow import Tracker

    report, summary, about = chosen.report, chosen.summary, chosen.model.about
    names = [run.name for run in runs]
    config = {name: report[name] for name in ("metric", "taken", "best")} | {"runs": names}
    tags = {name: about.get(name) for name in (*TAGS, "selection")} | {"kind": "choice"}
    tags["candidate_runs"] = ",".join(filter(None, (read_run_id(run.folder) for run in runs))) or None
    tracker = Tracker.start(
        uri=uri, experiment=EXPERIMENT, run_name=f"choice of {report['taken']}", config=config, tags=tags, folder=folder
    )
    with tracker:
        tracker.log_model(chosen.model.path, describe_model(chosen.model))
        dataset, counts = f"{about.get('data')} (all folds)", {name: report[name] for name in ("cases", "patients")}
        if "data_hash" in summary:
            source = str(runs[0].config["data"]["name"])
            tracker.log_dataset(dataset, summary["data_hash"], source=source, counts=counts, context="cross-validation")
        tracker.log_summary(summary, dataset=dataset if "data_hash" in summary else None)
        tracker.log_metrics(_figures(report), step=0)
        tracker.describe("\n\n".join([f"Honest: **{honest_figure(report)}**", describe_run(summary)]))
        tracker.log_table([_row(row, report["taken"]) for row in report["candidates"]], "choice/candidates")
        tracker.log_file(folder / "choice.json", "choice")
    return tracker


def _figures(report: Mapping[str, Any]) -> dict[str, float]:
    """The figure of what was taken, which is too high, and that of the way of choosing, with its interval."""
    taken = next(row["mean"] for row in report["candidates"] if row["name"] == report["taken"])
    ends = zip(("low", "high"), report["nested"]["interval"] or (), strict=False)
    bounds = {f"choice/honest_ci95_{name}": end for name, end in ends}
    return {"choice/taken": taken, "choice/honest": report["nested"]["mean"], **bounds}


def _row(row: Mapping[str, Any], taken: str) -> dict[str, Any]:
    """A candidate for a table; no folder."""
    return {**{name: value for name, value in row.items() if name != "runs"}, "taken": row["name"] == taken}
