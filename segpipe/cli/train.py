"""`python -m segpipe +experiment=NAME`: trains, evaluates on held-out cases, exports and says where everything is."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.cli.continuing import describe_continuing, describe_decision, prepare_continuing
from segpipe.config.check import plain, settings_of
from segpipe.config.launch import JobResult, launch
from segpipe.config.schema import SectionCheck, made_into
from segpipe.parts import Registry

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from segpipe.config.schema import Settings

log = logging.getLogger(__name__)


def run(argv: list[str]) -> int:
    """Checks the whole command line before any work, then runs it; returns the exit code."""
    from segpipe.system.processes.launched import this_rank
    from segpipe.training.resuming.run_folders import choose_folder

    prepare_continuing(argv)
    main = this_rank() == 0
    return launch(argv, train, registries, choose_folder=partial(choose_folder, main=main), holds=main)


def train(config: "DictConfig", folder: Path, sweep: Path | None) -> JobResult:
    """One run, one job of a sweep, or a cross-validation."""
    from segpipe.system.files.held_folder import hold
    from segpipe.system.processes.launched import this_rank
    from segpipe.system.processes.slurm import is_restarted
    from segpipe.training.resuming.requeuing import requeues
    from segpipe.training.resuming.run_folders import is_finished

    if this_rank():
        logging.getLogger("segpipe").setLevel(logging.WARNING)  # the first process says what happens
    content = {**plain(config), **({"resume": True} if is_restarted() else {})}
    settings = settings_of(config, registries()).model_copy(update={"resume": content["resume"]})
    if sweep and settings.resume and is_finished(folder):
        log.info("%s is finished already", folder)
        return JobResult(None, last_pseudo_dice(folder))
    holds = sweep and this_rank() == 0  # the folder of a run alone is held already
    with requeues(folder, wanted=settings.trainer.requeue), hold(folder) if holds else nullcontext():
        return _train(settings, content, folder, sweep)


def last_pseudo_dice(folder: Path) -> float | None:
    """The last figure of a run's validation patches, by which a sweeper may choose; held-out cases choose nothing."""
    from segpipe.training.callbacks import read_history
    from segpipe.training.checkpoints.saving import MONITOR

    figures = [point[MONITOR] for point in read_history(folder) if MONITOR in point]
    return figures[-1] if figures else None


def registries() -> Mapping[str, Registry | SectionCheck]:
    """The sections that choose a part and the parts to choose from, and those that have a check of their own."""
    from segpipe.networks import NETWORKS
    from segpipe.pipelines.studies.settings import check_study
    from segpipe.preprocessing.augmentation import check_augmentation
    from segpipe.preprocessing.recipe import Recipe
    from segpipe.preprocessing.sampling import Sampling
    from segpipe.tracking.trackers import TRACKERS
    from segpipe.training.callbacks import CALLBACKS
    from segpipe.training.detector.settings import check_detector
    from segpipe.training.module import MODULES
    from segpipe.training.optimisation.losses import LOSSES
    from segpipe.training.optimisation.mixing import MIXINGS
    from segpipe.training.optimisation.optimizers import OPTIMIZERS
    from segpipe.training.optimisation.schedulers import SCHEDULERS
    from segpipe.training.pretraining.settings import Pretraining
    from segpipe.training.privacy.settings import check_privacy
    from segpipe.training.ratings.settings import check_ratings
    from segpipe.training.transfer.fine_tuning import check_fine_tuning
    from segpipe.training.transfer.settings import Initialisation

    parts: dict[str, Any] = {
        "recipe": made_into(Recipe),
        "sampling": made_into(Sampling),
        "network": NETWORKS,
        "init": made_into(Initialisation),
        "finetune": check_fine_tuning,
        "augmentation": check_augmentation,
        "loss": LOSSES,
        "mixing": MIXINGS,
        "optimizer": OPTIMIZERS,
        "scheduler": SCHEDULERS,
        "tracking": TRACKERS,
        "module": MODULES,
        "callbacks": CALLBACKS,
        "detector": check_detector,
        "study": check_study,
        "ratings": check_ratings,
        "pretraining": made_into(Pretraining),
        "privacy": check_privacy,  # last: it looks at what the others were made into
    }
    return parts


def _train(settings: "Settings", content: Mapping[str, Any], folder: Path, sweep: Path | None = None) -> JobResult:
    from segpipe.config.sweeps.trials import is_search
    from segpipe.system.processes.launched import this_rank
    from segpipe.training.resuming.settings import check_resume, write_config

    if sweep and is_search(sweep):
        return _run_trial(settings, content, folder, sweep)
    if settings.ratings is not None:
        from segpipe.pipelines.ratings import run_ratings

        return JobResult(run_ratings(settings, content, folder))
    if settings.check and settings.pretraining is None:
        from segpipe.planning.preflight import check_run

        if this_rank() == 0:
            write_config(content, folder)
        return JobResult(check_run(settings, folder))
    if settings.resume:
        check_resume(content, folder)
    describe_continuing(settings, content, folder)
    if settings.pretraining is not None:
        from segpipe.pipelines.pretraining import run_pretraining

        return JobResult(run_pretraining(settings, content, folder))
    if settings.study is not None:
        return JobResult(_run_study(settings, content, folder))
    if settings.data.fold == "all":
        from segpipe.pipelines.cross_validation import cross_validate

        return JobResult(cross_validate(settings, content, folder))
    return _run_alone(settings, content, folder, sweep)


def _run_alone(settings: "Settings", content: Mapping[str, Any], folder: Path, sweep: Path | None) -> JobResult:
    """One training, perhaps as a job of a sweep."""
    from segpipe.pipelines.single_run import run_single
    from segpipe.pipelines.sweep import open_sweep, report_sweep
    from segpipe.system.processes.launched import this_rank

    main = this_rank() == 0
    parent = open_sweep(settings, content, sweep) if sweep and main else None
    outcome = run_single(settings, content, folder, parent=parent)
    if outcome:
        describe_decision(settings, folder)
    if sweep and outcome:
        report_sweep(settings, sweep)
    return JobResult(outcome.exit_code, last_pseudo_dice(folder)) if outcome else JobResult(0)


def _run_trial(settings: "Settings", content: Mapping[str, Any], folder: Path, sweep: Path) -> JobResult:
    from hydra.core.hydra_config import HydraConfig

    from segpipe.pipelines.search.trial import run_trial

    number = int(HydraConfig.get().job.num)
    return JobResult(0, run_trial(settings, content, folder, sweep=sweep, number=number))


def _run_study(settings: "Settings", content: Mapping[str, Any], folder: Path) -> int:
    from hydra.core.hydra_config import HydraConfig

    from segpipe.pipelines.studies.study import run_study

    return run_study(settings, content, folder, words=list(HydraConfig.get().overrides.task), check=_check_row)


def _check_row(content: Mapping[str, Any]) -> "Settings":
    """The settings of a row of a study; a function of the module, since rows are trained in processes of their own."""
    from segpipe.config.check import checked

    return checked(content, registries())
