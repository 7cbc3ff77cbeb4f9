"""`python -m segpipe +experiment=NAME`: trains, evaluates on held-out cases, exports and tells where everything is."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.config.compose import check_command_line, plain, read_command_line, settings_of
from segpipe.config.launch import launch, write_config
from segpipe.config.plan import expand_plans
from segpipe.config.schema import Registry

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def run(argv: list[str]) -> int:
    """Checks the whole command line before any work, then runs it; returns the exit code."""
    words = expand_plans(argv)
    line = read_command_line(words)
    if not set(line.flags) & {"--help", "-h", "--hydra-help", "--info", "-i", "--version"}:
        config = check_command_line(line, registries())
        words = _in_resumed_folder(words, config)
    return launch(words, train)


def train(config: "DictConfig", folder: Path) -> int:
    """One run: data, fit, evaluation, model folder, report."""
    from segpipe.runs.story import Story
    from segpipe.training.fitting import fit, recipe_of
    from segpipe.training.material import gather, write_split
    from segpipe.training.release import judge_and_release

    settings = settings_of(config, registries())
    recipe = recipe_of(settings)
    log.info("%s: preparing data", settings.name)
    material = gather(settings, recipe)
    with Story.open(settings, material, folder, config=plain(config)) as story:
        story.keep(write_config(config, folder), write_split(material, folder))
        fitted = fit(settings, material.patches(settings), folder, facts=story.facts, log_metrics=story.log_metrics)
        if not fitted.main:
            return 0
        outcome = judge_and_release(settings, material, fitted, folder, facts=story.facts)
        story.tell(outcome)
    log.info("%s", outcome.describe())
    return 2 if outcome.summary["failed_cases"] else 0


def registries() -> Mapping[str, Registry]:
    """The sections that choose a part by name, and their builders."""
    from segpipe.networks import NETWORKS
    from segpipe.preprocessing.augment import AUGMENTATIONS
    from segpipe.tracking.trackers import TRACKERS
    from segpipe.training.losses import LOSSES
    from segpipe.training.optimizers import OPTIMIZERS
    from segpipe.training.schedulers import SCHEDULERS

    parts: dict[str, Any] = {
        "network": NETWORKS,
        "augmentation": AUGMENTATIONS,
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
        "scheduler": SCHEDULERS,
        "tracking": TRACKERS,
    }
    return parts


def _in_resumed_folder(words: list[str], config: "DictConfig") -> list[str]:
    """With `resume=true` and no folder named, the newest run of the experiment goes on in its own folder."""
    from segpipe.training.checkpoints import find_latest_run

    if not config.resume or any(word.startswith("hydra.run.dir=") for word in words):
        return words
    folder = find_latest_run(Path("runs") / config.name)
    return [*words, f"hydra.run.dir={folder}"] if folder else words
