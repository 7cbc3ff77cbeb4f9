"""How a training uses what this machine has."""

from math import ceil

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from segpipe.config.schema import Settings, TrainerSettings
from segpipe.errors import ConfigError
from segpipe.system.machine.cores import available_cores
from segpipe.system.processes.hardware import Compute, choose_compute
from segpipe.system.processes.launched import launch
from segpipe.training.optimisation.optimizers import needs_whole_weights
from segpipe.training.transfer.settings import fine_tuning_of

_NARROW = 16  # channels up to which a CPU (oneDNN) convolves faster with the channels last


def compute_of(trainer: TrainerSettings) -> Compute:
    """What the section `trainer` of a configuration computes with on this machine.

    Raises:
        ConfigError: for an accelerator that this machine lacks, or processes that nobody starts.
    """
    return choose_compute(
        trainer.accelerator,
        precision=trainer.precision,
        strategy=trainer.strategy,
        devices=trainer.devices,
        nodes=trainer.nodes,
    )


def check_compute(settings: Settings) -> Compute:
    """What a run computes with, after all that several processes need of its settings is checked.

    Raises:
        ConfigError: for what is missing on this machine, or patches that cannot be shared out.
    """
    compute, patches, ema = compute_of(settings.trainer), settings.training.validation_patches, settings.training.ema
    if patches % compute.processes:
        raise ConfigError(
            "training.validation_patches must be a multiple of the processes, which share them out",
            facts={"training.validation_patches": patches, "processes": compute.processes},
            hint=f"training.validation_patches={ceil(patches / compute.processes) * compute.processes}",
        )
    if settings.privacy and (compute.processes > 1 or compute.precision == "16-mixed" or compute.device.type == "mps"):
        raise ConfigError(
            "a private training draws its patients in one process, and neither scales its loss nor runs on mps",
            facts={
                "processes": compute.processes,
                "precision": compute.precision,
                "accelerator": compute.device.type,
            },
            hint="trainer.devices=1 trainer.precision=32-true, and trainer=cpu or trainer=gpu",
        )
    if compute.strategy == "fsdp" and (ema or compute.precision == "16-mixed"):
        raise ConfigError(
            "sharded weights are neither averaged nor trained in 16-mixed",
            facts={"training.ema": ema, "precision": compute.precision},
            hint="training.ema=null trainer.precision=bf16-mixed, or trainer=ddp",
        )
    if compute.strategy == "fsdp" and needs_whole_weights(settings.optimizer):
        raise ConfigError(
            "this optimizer needs whole weights, and fsdp shares them out",
            facts={"optimizer": next(iter(settings.optimizer.values()))},
            hint="trainer=ddp, or another optimizer, e.g. optimizer=adamw or optimizer=muon",
        )
    if compute.strategy == "fsdp" and fine_tuning_of(settings).name == "gradual":
        raise ConfigError(
            "a stage that is released later has no state of the optimizer before, and fsdp shares out that of all",
            facts={"finetune": "gradual"},
            hint="trainer=ddp, or finetune=full, decoder or head",
        )
    return compute


def on_one_device(settings: Settings) -> Settings:
    """The same run in one process, as each fold of a cross-validation is trained."""
    alone = {"devices": 1, "nodes": 1, "strategy": "auto"}
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=alone)})


def environment_plugins(compute: Compute) -> list[LightningEnvironment]:
    """Lets processes that segpipe has started itself meet, also in a Slurm job that starts one command."""
    return [LightningEnvironment()] if compute.processes > 1 and launch() is None else []


def to_channels_last(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Puts channels last in memory where that is faster: in narrow convolutions on CPUs, and nowhere on a GPU.

    The numbers of the weights stay. On a CPU a residual U-Net takes a fifth less time per step than with one layout
    throughout; on an H100, in bfloat16, a DynUNet takes 1.4 times as long with channels last (benchmarks/gpu/gpu.md).
    """
    if device.type == "cuda":
        return network
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv3d | torch.nn.ConvTranspose3d) and _is_narrow(layer):
            layer.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def _is_narrow(layer: torch.nn.Conv3d | torch.nn.ConvTranspose3d) -> bool:
    return max(layer.in_channels, layer.out_channels) <= _NARROW


def choose_workers(workers: int | str, *, processes: int = 1) -> int:
    """The named number of loader processes; for `auto` one for each core that the trainer does not use, at most 8."""
    if workers != "auto":
        return int(workers)
    return max(1, min(8, available_cores() // max(processes, 1) - 1))
