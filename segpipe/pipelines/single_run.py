"""A single run: data, fit, evaluation, model folder, report."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from segpipe.config.schema import Settings
from segpipe.pipelines.run_reporting import RunReporter
from segpipe.training.evaluate_and_export import evaluate_and_export
from segpipe.training.fitting import fit, recipe_of
from segpipe.training.lung_crop_report import report_lung_crop
from segpipe.training.run_data import prepare_data, write_split
from segpipe.training.run_result import RunResult

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
    folder.mkdir(parents=True, exist_ok=True)
    recipe = recipe_of(settings)
    log.info("%s: preparing data", settings.name)
    run_data = prepare_data(settings, recipe)
    cropped = [report_lung_crop(list(run_data.cached.values()), folder)] if recipe.lung_crop else []
    with RunReporter.open(settings, run_data, folder, config=config, parent=parent) as reporter:
        reporter.keep(write_config(config, folder), write_split(run_data, folder), *cropped)
        fitted = fit(
            settings, run_data.patches(settings), folder, facts=reporter.facts, log_metrics=reporter.log_metrics
        )
        if not fitted.main:
            return None
        outcome = evaluate_and_export(settings, run_data, fitted, folder, provenance=reporter.facts)
        reporter.report(outcome)
    log.info("%s", outcome.describe())
    if reporter.tracker:
        log.info("MLflow   %s", reporter.tracker.run_url)
    return outcome


def write_config(config: Mapping[str, Any], folder: Path) -> Path:
    """Writes the resolved configuration of a run as `config.yaml`."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    return file
