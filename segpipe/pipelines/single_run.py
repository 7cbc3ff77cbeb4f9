"""A single run: data, fit, evaluation, model folder; a report and MLflow watch it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segpipe.config.schema import Settings
from segpipe.errors import TrainingError
from segpipe.export.export_spec import TRAINED_BY
from segpipe.pipelines.observers.observer import Observers, Run
from segpipe.pipelines.observers.run_report import RunReport
from segpipe.pipelines.observers.run_tracking import RunTracking
from segpipe.pipelines.provenance import collect_provenance
from segpipe.system.processes.forced_end import before_forced_end
from segpipe.system.processes.hardware import Compute
from segpipe.system.processes.launched import follow_launcher, this_rank
from segpipe.system.processes.ranks import processes_part
from segpipe.system.processes.slurm import is_restarted
from segpipe.tracking.trackers import ask_tracker
from segpipe.training.data.lung_crop_report import report_lung_crop
from segpipe.training.data.run_data import prepare_data, write_split
from segpipe.training.evaluate_and_export import evaluate_and_export
from segpipe.training.fitting import TrainingResult, fit, recipe_of
from segpipe.training.hardware import check_compute
from segpipe.training.resuming.settings import write_config
from segpipe.training.run_result import RunResult
from segpipe.training.started_processes import started_processes
from segpipe.training.transfer.initial_weights import describe_initial_weights, keep_facts
from segpipe.training.transfer.parent import how_trained

log = logging.getLogger(__name__)


def run_single(
    settings: Settings, config: Mapping[str, Any], folder: Path, *, parent: str | None = None
) -> RunResult | None:
    """Runs one training from data to report.

    Args:
        settings: The checked configuration.
        config: The same as plain data.
        folder: The run folder.
        parent: The MLflow run that holds this one, e.g. a cross-validation.

    Returns:
        What it found, or None in the processes that only helped to train.
    """
    with _fitted(settings, config, folder, parent) as (run, fitted, observers):
        provenance = {**run.provenance, TRAINED_BY: how_trained(config)}
        result = evaluate_and_export(settings, run.data, fitted, folder, provenance=provenance)
        if result:
            result = replace(result, problem=observers.finished(result) or result.problem)
            log.info("%s", result.describe())
    return result


def train_single(
    settings: Settings, config: Mapping[str, Any], folder: Path, *, parent: str | None = None
) -> TrainingResult:
    """The same without evaluation and export: held-out cases are not looked at. `run_single` can go on from there.

    Raises:
        TrainingError: when the training diverged.
    """
    with _fitted(settings, config, folder, parent) as (_, fitted, _):
        return fitted


@contextmanager
def _fitted(
    settings: Settings, config: Mapping[str, Any], folder: Path, parent: str | None
) -> Iterator[tuple[Run, TrainingResult, Observers]]:
    """Trains; the run's observers stay until the block ends."""
    compute = check_compute(settings)
    log.info("%s: %s", settings.name, compute.describe())
    follow_launcher()
    if parent is None and this_rank() == 0 and not is_restarted():  # a job that comes back goes on without a server
        ask_tracker(settings.tracking)
    run = begin_run(settings, config, folder)
    with processes_part(), _observers(run, parent) as observers, started(run, compute, observers):
        fitted = fit(
            settings, run.data.patches(settings), folder, provenance=run.provenance, log_metrics=observers.measured
        )
        yield run, fitted, observers


def begin_run(settings: Settings, config: Mapping[str, Any], folder: Path) -> Run:
    """Prepares the data; the first process writes down what is trained on what."""
    folder.mkdir(parents=True, exist_ok=True)
    main, recipe = this_rank() == 0, recipe_of(settings)
    if main:
        write_config(config, folder)  # first, so that a run that is killed while it prepares is found again
    initial = describe_initial_weights(settings, folder)
    log.info("preparing data")
    data = prepare_data(settings, recipe)
    files: list[Path] = []
    if main:
        keep_facts(initial, folder)
        files = [write_split(data, folder)]
        files += [report_lung_crop(list(data.cached.values()), folder)] if recipe.lung_crop else []
    return Run(settings, config, folder, data, collect_provenance(settings, data, initial), files)


def _observers(run: Run, parent: str | None) -> Observers:
    """Those who watch the first process; nobody watches the others."""
    if this_rank():
        return Observers()
    tracking = RunTracking.start(run, parent=parent)
    return Observers([RunReport(run), *([tracking] if tracking else [])])


@contextmanager
def started(run: Run, compute: Compute, observers: Observers) -> Iterator[None]:
    """The other processes of the run, without which it cannot go on: then its observers learn that it has failed."""
    lost = TrainingError("a process that trained with this one, or had started it, is gone")
    with before_forced_end(partial(observers.closed, lost)), started_processes(compute, run.folder):
        yield
