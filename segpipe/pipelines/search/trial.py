"""A trial of a search: trained with an eye on the others, and never evaluated on held-out cases."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from segpipe.config.schema import Settings
from segpipe.config.sweeps.trials import TrialReport
from segpipe.errors import ConfigError
from segpipe.pipelines.choosing import check_alone, check_validation
from segpipe.pipelines.search.found import report_search
from segpipe.pipelines.single_run import train_single
from segpipe.pipelines.sweep import open_sweep
from segpipe.system.case_errors import attempt_step
from segpipe.training.hardware import on_one_device
from segpipe.training.resuming.settings import check_resume

log = logging.getLogger(__name__)
_OTHERS = ("study", "ratings", "pretraining")


def run_trial(settings: Settings, config: Mapping[str, Any], folder: Path, *, sweep: Path, number: int) -> float | None:
    """Trains a trial, or goes on where it was cut off; one that has ended is not repeated.

    Args:
        settings: The checked configuration of the trial.
        config: The same as plain data.
        folder: The trial's, inside the sweep's.
        sweep: The folder of the search.
        number: Of the trial.

    Returns:
        The figure that the search compares; None for a trial that failed before.

    Raises:
        ConfigError: when there is nothing to compare trials by.
        DatasetError: likewise.
        TrainingError: when the training diverged.
    """
    trial = TrialReport(sweep, number, steps=settings.trainer.max_steps)
    if not trial.frozen.state.is_finished():
        try:
            if not trial.is_given_up:
                _train(settings, config, folder, sweep=sweep, number=number)
        except Exception:
            trial.failed()
            _report(settings, sweep)
            raise
        trial.ended()
        log.info("trial %d: %s", number, trial.frozen.state.name.lower())
        _report(settings, sweep)
    return trial.frozen.value


def _train(settings: Settings, config: Mapping[str, Any], folder: Path, *, sweep: Path, number: int) -> None:
    _check(settings)
    if settings.resume:
        check_resume(config, folder)
    target = "segpipe.training.trial_reports.ReportsTrial"
    reports = {"_target_": target, "sweep": str(sweep), "number": number, "steps": settings.trainer.max_steps}
    watched = settings.model_copy(update={"callbacks": [*settings.callbacks, reports]})
    train_single(on_one_device(watched), config, folder, parent=open_sweep(settings, config, sweep))


def _report(settings: Settings, sweep: Path) -> None:
    """Writes what is found so far; where that fails, the next trial does it."""
    attempt_step(partial(report_search, settings, sweep))


def _check(settings: Settings) -> None:
    other = next((name for name in _OTHERS if getattr(settings, name) is not None), None)
    if other:
        raise ConfigError(
            "a search compares trainings of a segmentation",
            facts={"found": f"the section {other}"},
            hint="hydra/sweeper=basic runs what else there is with lists of values",
        )
    check_alone(settings, what="a search trains each trial")
    check_validation(settings, what="a search chooses")
