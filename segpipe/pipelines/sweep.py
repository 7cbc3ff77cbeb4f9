"""A sweep: one MLflow run holds the runs of a Hydra multirun and says what they found so far."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from segpipe.config.schema import Settings
from segpipe.system.files.plain_files import read_json, read_yaml
from segpipe.tracking.harmless import harmless
from segpipe.tracking.identity import read_run_id
from segpipe.tracking.nested_runs import Child, report_nested_runs
from segpipe.tracking.trackers import RunToTrack, build_tracker, closed_at_end
from segpipe.training.resuming.settings import write_config

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

LOCK = ".sweep.lock"
"""Held by the job that writes of a sweep as a whole."""


def open_sweep(settings: Settings, config: Mapping[str, Any], folder: Path) -> str | None:
    """The MLflow run of the sweep in `folder`; the first of its jobs makes it, also when jobs run side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        known = read_run_id(folder)
        if known:
            return known
        write_config(config, folder)
        tracker = build_tracker(settings.tracking, RunToTrack(folder, config, {"kind": "sweep"}))
        if tracker is None:
            return None
        with closed_at_end(tracker):
            return tracker.run_id


def report_sweep(settings: Settings, folder: Path) -> None:
    """Logs to the sweep's run which of its jobs are done, and which is the best by mean Dice."""
    with harmless("logging the sweep"), FileLock(folder / LOCK):
        children = finished_jobs(folder)
        with tracked_sweep(settings, folder) as tracker:
            if tracker and children:
                report_nested_runs(tracker, children, best=max(children, key=_dice))


@contextmanager
def tracked_sweep(settings: Settings, folder: Path) -> "Iterator[Tracker | None]":
    """The run of a sweep that is open, for one of its jobs to log to; None where none is tracked."""
    run_id = read_run_id(folder)
    if run_id is None:
        yield None
        return
    config = read_yaml(folder / "config.yaml")
    tracker = build_tracker(settings.tracking, RunToTrack(folder, config, {"kind": "sweep"}, run_id))
    with closed_at_end(tracker):
        yield tracker


def finished_jobs(folder: Path) -> list[Child]:
    """The jobs of a sweep that have an evaluation, in the order of their numbers."""
    files = [file for file in folder.glob("*/evaluation/summary.json") if file.parts[-3].isdigit()]
    files.sort(key=lambda file: int(file.parts[-3]))
    return [Child(f"job {file.parts[-3]}", read_run_id(file.parents[1]), read_json(file)) for file in files]


def _dice(child: Child) -> float:
    return float(child.summary["metrics"]["dice"]["mean"] or 0.0)
