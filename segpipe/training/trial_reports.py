"""Tells a search how a trial's training goes, and ends it when the trial is given up."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from segpipe.config.sweeps.trials import TrialReport
from segpipe.errors import ConfigError


class ReportsTrial(pl.Callback):
    """Reports the figure of each validation to the search.

    Args:
        sweep: The folder of the search.
        number: Of the trial.
        steps: How many the training takes.
    """

    def __init__(self, *, sweep: str, number: int, steps: int) -> None:
        self.report = TrialReport(Path(sweep), number, steps=steps)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Reports.

        Raises:
            ConfigError: when the training logs no such figure.
        """
        figures, wanted = trainer.callback_metrics, self.report.objective
        if wanted not in figures:
            raise ConfigError(
                "a search compares a figure that its trainings must log when they validate",
                facts={"hydra.sweeper.objective": wanted, "logged": ", ".join(figures)},
                hint="hydra.sweeper.objective=val/pseudo_dice",
            )
        if self.report.validated(float(figures[wanted]), trainer.global_step):
            trainer.should_stop = True
