"""The one place that decides what computes: device, precision, strategy and this process's rank, for every verb."""

import os
from dataclasses import dataclass

import torch

from segpipe.errors import ConfigError

_PRECISIONS = {
    "bf16-mixed": "bfloat16 (mixed)",
    "16-mixed": "float16 (mixed)",
    "32-true": "float32",
    "64-true": "float64",
}


@dataclass(frozen=True)
class Compute:
    """What a training computes with.

    Args:
        device: Where each process computes.
        precision: In Lightning's words, e.g. `bf16-mixed`.
        strategy: In Lightning's words, e.g. `auto` or `ddp`.
        devices: Processes on each machine.
        nodes: Machines.
    """

    device: torch.device
    precision: str
    strategy: str = "auto"
    devices: int = 1
    nodes: int = 1

    @property
    def processes(self) -> int:
        """How many train together."""
        return self.devices * self.nodes

    def describe(self) -> str:
        """One line for the log.

        >>> Compute(torch.device("cpu"), "32-true").describe()
        'computing on cpu in float32'
        """
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else self.device.type
        words = f"computing on {name} in {_PRECISIONS.get(self.precision, self.precision)}"
        together = f", {self.processes} processes on {self.nodes} machine{'s' * (self.nodes > 1)} by {self.strategy}"
        return words + (together if self.processes > 1 else "")


def choose_compute(
    wanted: str, *, precision: str = "auto", strategy: str = "auto", devices: int | str = "auto", nodes: int = 1
) -> Compute:
    """What a training computes with.

    Args:
        wanted: auto, cpu, gpu (which is cuda) or mps.
        precision: Lightning's, or auto: bf16 where the hardware computes in it, fp16 on older GPUs, else fp32.
        strategy: Lightning's.
        devices: How many on each machine, or auto: all GPUs, else one process.
        nodes: Machines.

    Raises:
        ConfigError: for a device that this machine does not show.
    """
    device = choose_device("cuda" if wanted == "gpu" else wanted)
    count = max(1, torch.cuda.device_count()) if device.type == "cuda" else 1
    return Compute(
        device,
        _choose_precision(precision, device),
        strategy,
        devices=count if devices == "auto" else int(devices),
        nodes=nodes,
    )


def choose_device(wanted: str) -> torch.device:
    """Returns the device that `wanted` (auto, cpu, cuda, mps) names.

    Raises:
        ConfigError: when this machine does not have it.
    """
    present = [
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
        "cpu",
    ]
    if wanted != "auto" and wanted not in present:
        build = "a CUDA build of torch" if torch.version.cuda else "a CPU build of torch"
        raise ConfigError(
            "this machine does not have the device",
            facts={"wanted": wanted, "has": ", ".join(present), "found": build},
            hint="take auto, or install a torch build for your GPU",
        )
    return torch.device(present[0] if wanted == "auto" else wanted)


def computes_bf16(device: torch.device) -> bool:
    """True where bfloat16 runs in hardware; emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def this_rank() -> int:
    """This process's number among those that train together, 0 when it is alone, from the launcher's environment."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def launch_id() -> str | None:
    """What srun or torchrun calls this start of several processes, the same in each of them; None without one."""
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return f"job_{os.environ['SLURM_JOB_ID']}_{os.environ['SLURM_STEP_ID']}"
    elastic = os.environ.get("TORCHELASTIC_RUN_ID", "none")  # of torchrun --standalone or --rdzv-id
    return None if elastic == "none" or int(os.environ.get("WORLD_SIZE", 1)) < 2 else f"job_{elastic}"


def _choose_precision(precision: str, device: torch.device) -> str:
    if precision != "auto":
        return precision
    if computes_bf16(device):
        return "bf16-mixed"
    return "16-mixed" if device.type == "cuda" else "32-true"
