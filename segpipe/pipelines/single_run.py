"""A single run: data, fit, evaluation, model folder, report."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from segpipe.config.schema import Settings
from segpipe.pipelines.run_reporting import Story
from segpipe.training.evaluate_and_export import Outcome, describe, judge_and_release
from segpipe.training.fitting import fit, recipe_of
from segpipe.training.lung_crop_report import report_lung_crop
from segpipe.training.run_data import gather, write_split

log = logging.getLogger(__name__)


def run_single(
    settings: Settings, config: Mapping[str, Any], folder: Path, *, parent: str | None = None
) -> Outcome | None:
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
    material = gather(settings, recipe)
    cropped = [report_lung_crop(list(material.cached.values()), folder)] if recipe.lung_crop else []
    with Story.open(settings, material, folder, config=config, parent=parent) as story:
        story.keep(write_config(config, folder), write_split(material, folder), *cropped)
        fitted = fit(settings, material.patches(settings), folder, facts=story.facts, log_metrics=story.log_metrics)
        if not fitted.main:
            return None
        outcome = judge_and_release(settings, material, fitted, folder, facts=story.facts)
        story.tell(outcome)
    log.info("%s", describe(outcome.summary, folder, outcome.model.path))
    if story.tracker:
        log.info("MLflow   %s", story.tracker.run_url)
    return outcome


def write_config(config: Mapping[str, Any], folder: Path) -> Path:
    """Writes the resolved configuration of a run as `config.yaml`."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    return file
