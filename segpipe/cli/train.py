"""`python -m segpipe +experiment=NAME`: trains, evaluates on held-out cases, exports and tells where everything is."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.config.compose import check_command_line, plain, read_command_line, settings_of
from segpipe.config.foreign_parts import offer_plug_ins, with_targets
from segpipe.config.launch import launch
from segpipe.config.plan import expand_plans
from segpipe.config.schema import SectionCheck, made_into
from segpipe.parts import Registry

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(argv: list[str]) -> int:
    """Checks the whole command line before any work, then runs it; returns the exit code."""
    parts = registries()
    offer_plug_ins(parts)
    words = with_targets(expand_plans(argv), [name for name in parts if name != "callbacks"])
    line = read_command_line(words)
    if not set(line.flags) & {"--help", "-h", "--hydra-help", "--info", "-i", "--version"}:
        config = check_command_line(line, parts)
        words = _in_resumed_folder(words, config)
    return launch(words, train)


def train(config: "DictConfig", folder: Path, sweep: Path | None) -> int:
    """One run, one job of a sweep, or a cross-validation."""
    from segpipe.pipelines.cross_validation import cross_validate
    from segpipe.pipelines.single_run import run_single
    from segpipe.pipelines.sweep import open_sweep, report_sweep

    settings = settings_of(config, registries())
    content = plain(config)
    if settings.data.fold == "all":
        return cross_validate(settings, content, folder)
    parent = open_sweep(settings, content, sweep) if sweep else None
    outcome = run_single(settings, content, folder, parent=parent)
    if sweep and outcome:
        report_sweep(settings, sweep)
    return outcome.exit_code if outcome else 0


def registries() -> Mapping[str, Registry | SectionCheck]:
    """The sections that choose a part and the parts to choose from, and those that have a check of their own."""
    from segpipe.networks import NETWORKS
    from segpipe.preprocessing.augmentation import check_augmentation
    from segpipe.preprocessing.recipe import Recipe
    from segpipe.preprocessing.sampling import Sampling
    from segpipe.tracking.trackers import TRACKERS
    from segpipe.training.callbacks import CALLBACKS
    from segpipe.training.losses import LOSSES
    from segpipe.training.module import MODULES
    from segpipe.training.optimizers import OPTIMIZERS
    from segpipe.training.schedulers import SCHEDULERS

    parts: dict[str, Any] = {
        "recipe": made_into(Recipe),
        "sampling": made_into(Sampling),
        "network": NETWORKS,
        "augmentation": check_augmentation,
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
        "scheduler": SCHEDULERS,
        "tracking": TRACKERS,
        "module": MODULES,
        "callbacks": CALLBACKS,
    }
    return parts


def _in_resumed_folder(words: list[str], config: "DictConfig") -> list[str]:
    """With `resume=true` and no folder named, the newest run of the experiment goes on in its own folder."""
    from segpipe.training.checkpoints import find_latest_run

    if not config.resume or any(word.startswith("hydra.run.dir=") for word in words):
        return words
    folder = find_latest_run(Path("runs") / config.name)
    return [*words, f"hydra.run.dir={folder}"] if folder else words
