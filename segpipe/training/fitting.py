"""Fits a network: parts are built from settings here, and Lightning runs them."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping

from segpipe.config.schema import Settings
from segpipe.networks import build_network
from segpipe.parts import build_part
from segpipe.preprocessing.recipe import Recipe
from segpipe.system.processes.ranks import Ranks
from segpipe.system.processes.shared_folder import check_shared
from segpipe.system.processes.stopping import stops_wait
from segpipe.training.callbacks import CALLBACKS, LogMetrics, RunLogger, ThroughputMonitor, TrainingProgress
from segpipe.training.checkpoints.files import LAST, CheckpointWriter
from segpipe.training.checkpoints.finding import agree_on_checkpoint
from segpipe.training.checkpoints.saving import Checkpoints, Monitor
from segpipe.training.checkpoints.weights import load_weights, step_of
from segpipe.training.data.datamodule import PatchDataModule
from segpipe.training.finite_steps import FiniteSteps
from segpipe.training.gradient_spikes import GradientSpikes
from segpipe.training.hard_negatives import mine, rounds
from segpipe.training.hardware import compute_of, environment_plugins, to_channels_last
from segpipe.training.module import MODULES, SegmentationModule
from segpipe.training.optimisation.losses import build_loss
from segpipe.training.optimisation.mixing import build_mixing
from segpipe.training.optimisation.optimizers import averages_itself, build_optimizer
from segpipe.training.optimisation.schedulers import build_scheduler
from segpipe.training.optimisation.weight_averaging import AveragedWeights, OwnAverage
from segpipe.training.precision import precision_plugins
from segpipe.training.pretraining.restoration import RESTORATION, build_restoration
from segpipe.training.privacy.module import PrivateModule, privacy_of
from segpipe.training.privacy.plan import PrivacyPlan
from segpipe.training.sharding import ShardedStrategy
from segpipe.training.step_sizes import StepSizes
from segpipe.training.transfer.fine_tuning import FrozenStages, freeze, layer_scale
from segpipe.training.transfer.initial_weights import load_initial_weights, output_channels
from segpipe.training.transfer.settings import fine_tuning_of, initialisation_of
from segpipe.training.turns import BatchesInTurns

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """A finished fit.

    Args:
        network: With the weights that the settings ask to evaluate (averaged ones where there are), in eval mode.
        steps: Optimizer steps taken in all.
        privacy: What was spent of the patients' privacy; None where nothing was promised.
    """

    network: torch.nn.Module
    steps: int
    privacy: Mapping[str, Any] | None = None


def fit(
    settings: Settings, data: PatchDataModule, folder: Path, *, provenance: Mapping[str, Any], log_metrics: LogMetrics
) -> TrainingResult:
    """Trains until `trainer.max_steps` or early stopping, going on from a checkpoint when `resume` asks for it.

    Where hard negatives are wanted, a training is a chain of rounds, each of which goes on from the checkpoint of the
    one before, as a resumed run does.

    Args:
        settings: The checked configuration.
        data: Training and validation patches.
        folder: The run folder.
        provenance: Plain data that checkpoints carry: recipe, network, label map, data hash.
        log_metrics: Takes `{name: value}` and a step.

    Raises:
        ModelError: when the checkpoint to resume was made by another recipe or network, or initial weights do not fit.
        ConfigError: for hardware that is not there, or processes that do not see one folder.
        TrainingError: when the training diverged.
        Stopped: at the end of a step, with a checkpoint, when a signal asks for it.
    """
    _quieten()
    pl.seed_everything(settings.seed, workers=False, verbose=False)
    checkpoint: Path | None = None
    for begin, end in pairwise([0, *rounds(settings)]):
        module = build_module(settings, provenance, privacy=data.privacy)
        trainer = build_trainer(settings, folder, log_metrics, until=end)
        with stops_wait():
            ranks = _meet(trainer, module)
            if begin == 0:
                check_shared(folder, ranks)
                checkpoint = agree_on_checkpoint(folder, provenance, ranks) if settings.resume else None
                if checkpoint is None:
                    _load_initial_weights(module, settings)
            if checkpoint and end < settings.trainer.max_steps and step_of(checkpoint) >= end:
                continue  # a resumed run has this round behind it
            if checkpoint and begin and step_of(checkpoint) == begin:
                data.take(mine(settings, data.train.cases, checkpoint, step=begin, ranks=ranks))
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        trainer.strategy.barrier()  # until the last checkpoint is written
        checkpoint = folder / "checkpoints" / LAST
        if trainer.should_stop:
            break
    if compute_of(settings.trainer).strategy == "fsdp":
        module = build_module(settings, provenance)  # whole again
    network = load_weights(module.network, folder / "checkpoints" / f"{settings.evaluation.weights}.ckpt")
    return TrainingResult(network, trainer.global_step, privacy_of(module))


def build_module(
    settings: Settings, provenance: Mapping[str, Any], *, privacy: PrivacyPlan | None = None
) -> SegmentationModule:
    """The Lightning module of a configuration, with fresh weights drawn from its seed."""
    torch.manual_seed(settings.seed)
    labels, tuning = recipe_of(settings).label_map, fine_tuning_of(settings)
    network = build_network(settings.network, out_channels=output_channels(settings))
    freeze(network, tuning)
    parts = {
        "network": to_channels_last(network, compute_of(settings.trainer).device),
        "loss": build_loss(settings.loss, labels),
        "make_optimizer": partial(build_optimizer, settings.optimizer, scale=layer_scale(network, tuning)),
        "make_scheduler": lambda optimizer: build_scheduler(settings.scheduler, optimizer, settings.trainer.max_steps),
        "seed": settings.seed,
        "provenance": provenance,
        "labels": labels,
    }
    module = _build(settings, parts, privacy)
    module.validate_every = settings.training.validate_every
    module.mixing = build_mixing(settings.mixing, labels)
    if settings.trainer.compile:
        module.network.compile()  # in place, so that the names of weights stay
    return module


def _build(settings: Settings, parts: dict[str, Any], privacy: PrivacyPlan | None) -> SegmentationModule:
    if settings.pretraining:
        return build_restoration(settings.pretraining, **parts)
    if privacy:
        return PrivateModule(plan=privacy, **parts)
    module: SegmentationModule = build_part(MODULES, settings.module, **parts)
    return module


def build_trainer(settings: Settings, folder: Path, log_metrics: LogMetrics, *, until: int | None = None) -> pl.Trainer:
    """Lightning's trainer for a configuration; `until` is the last step of its round, by default of the training."""
    training, hardware, compute = settings.training, settings.trainer, compute_of(settings.trainer)
    value = training.clip_value is not None
    precision = precision_plugins(compute)
    return pl.Trainer(
        accelerator=compute.device.type,
        devices=compute.devices,
        num_nodes=compute.nodes,
        strategy=ShardedStrategy(compute.processes) if compute.strategy == "fsdp" else compute.strategy,
        precision=None if precision else compute.precision,  # type: ignore[arg-type]
        max_steps=until or hardware.max_steps,
        max_epochs=-1,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip_value if value else training.clip_norm,
        gradient_clip_algorithm="value" if value else "norm",
        val_check_interval=training.validate_every * training.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=training.log_every,
        deterministic=_deterministic(hardware.deterministic, compute.device),
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=RunLogger(folder, log_metrics),
        callbacks=_callbacks(settings, folder),
        plugins=[CheckpointWriter(), *precision, *environment_plugins(compute)],
        default_root_dir=folder,
    )


def _load_initial_weights(module: SegmentationModule, settings: Settings) -> None:
    init = initialisation_of(settings)
    if init.source is not None:
        load_initial_weights(module.network, init, module.labels)


def _meet(trainer: pl.Trainer, module: pl.LightningModule) -> Ranks:
    """Lets the processes of a run meet before they fit, which they otherwise do in `fit`."""
    trainer.strategy.connect(module)
    trainer.strategy.setup_environment()
    return Ranks()


def _deterministic(wanted: bool, device: torch.device) -> bool | Literal["warn"]:
    """What Lightning is asked for in repeatable operations.

    On a CPU they are the rule: several threads otherwise add the gradients of equal indices, e.g. of Swin's
    table of position biases, in the order in which threads happen to come.
    """
    # what is not written to is not read either, and filling it takes time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return "warn" if device.type == "cpu" and not wanted else wanted


def _callbacks(settings: Settings, folder: Path) -> list[Callback]:
    training = settings.training
    compute = compute_of(settings.trainer)
    batch = training.batch_size * training.accumulate * compute.processes
    spikes = GradientSpikes(training.spike_factor, least=training.clip_norm or 0.0)
    steps = FiniteSteps(most=training.max_skipped_steps, every=training.log_every, spikes=spikes)
    monitor = RESTORATION if settings.pretraining else Monitor()
    callbacks: list[Callback] = [
        *_freezing(settings),  # first, so that what is frozen is in no norm of a gradient
        steps,
        StepSizes(every=training.log_every, clip_norm=None if training.clip_value else training.clip_norm, steps=steps),
        ThroughputMonitor(every=training.log_every, batch=batch),
        *_averages(settings, steps),  # a step is averaged before it is saved
        Checkpoints(
            folder / "checkpoints",
            every=training.checkpoint_every,
            validate_every=training.validate_every,
            is_sound=steps.is_sound,
            keep_every=training.keep_every,
            monitor=monitor,
        ),
    ]
    if compute.device.type == "cpu" and compute.processes == 1:
        callbacks.append(BatchesInTurns())
    if training.early_stopping:
        callbacks.append(EarlyStopping(monitor.name, mode=monitor.mode, patience=training.early_stopping))
    if settings.trainer.progress:
        callbacks.append(TrainingProgress())
    return [*callbacks, *(build_part(CALLBACKS, spec) for spec in settings.callbacks)]


def _freezing(settings: Settings) -> list[Callback]:
    tuning = fine_tuning_of(settings)
    return [] if tuning.name == "full" else [FrozenStages(tuning, settings.trainer.max_steps)]


def _averages(settings: Settings, steps: FiniteSteps) -> list[AveragedWeights]:
    """What averages the weights; an optimizer that does it itself needs no `training.ema`."""
    ema = settings.training.ema
    if averages_itself(settings.optimizer):
        if ema:
            log.info("the optimizer averages the weights itself; training.ema is not used")
        return [OwnAverage()]
    return [AveragedWeights(ema, steps)] if ema else []


def recipe_of(settings: Settings) -> Recipe:
    """The recipe that the configuration names."""
    recipe: Recipe = settings.recipe
    return recipe


def _quieten() -> None:
    """Keeps Lightning's notes on hardware and loaders out of the log; what a user must know segpipe says itself."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*srun.*command is available.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
