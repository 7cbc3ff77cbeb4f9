"""The one place that decides what computes, for every verb: device, precision, strategy, processes and machines."""

from dataclasses import dataclass, replace

import torch

from segpipe.errors import ConfigError
from segpipe.system.processes.launched import Launch, launch

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
        strategy: How processes train together, `ddp` or `fsdp`; `auto` for one process alone.
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
        strategy: ddp, fsdp, or auto: ddp for several processes.
        devices: How many on each machine, or auto: as many as torchrun or srun started, else all GPUs or one process.
        nodes: Machines.

    Raises:
        ConfigError: for a device that this machine does not show, or processes that nobody starts.
    """
    device, launched = choose_device("cuda" if wanted == "gpu" else wanted), launch()
    count = max(1, torch.cuda.device_count()) if device.type == "cuda" else 1
    own = launched.processes if launched else count
    compute = Compute(
        device,
        _choose_precision(precision, device),
        strategy,
        devices=own if devices == "auto" else int(devices),
        nodes=nodes,
    )
    _check_processes(compute, launched, present=count)
    chosen = "auto" if compute.processes == 1 else "ddp" if strategy == "auto" else strategy
    return replace(compute, strategy=chosen)


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
            hint="take auto (to train: trainer=auto), or install a torch build for your GPU",
        )
    return torch.device(present[0] if wanted == "auto" else wanted)


def computes_bf16(device: torch.device) -> bool:
    """True where bfloat16 runs in hardware; emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def _choose_precision(precision: str, device: torch.device) -> str:
    if precision != "auto":
        return precision
    if computes_bf16(device):
        return "bf16-mixed"
    return "16-mixed" if device.type == "cuda" else "32-true"


def _check_processes(compute: Compute, launched: Launch | None, *, present: int) -> None:
    wanted = {"trainer.devices": compute.devices, "trainer.nodes": compute.nodes}
    if launched and (launched.processes, launched.nodes) != (compute.devices, compute.nodes):
        raise ConfigError(
            f"{launched.by} started other processes than the configuration asks for",
            facts={**wanted, f"{launched.by} started": f"{launched.processes} on each of {launched.nodes} machines"},
            hint=f"trainer=ddp trainer.devices={launched.processes} trainer.nodes={launched.nodes}",
        )
    if compute.nodes > 1 and not launched:
        raise ConfigError(
            "several machines need a launcher that starts the processes on each of them",
            facts=wanted,
            hint=f"torchrun --nnodes={compute.nodes} --nproc-per-node={compute.devices} … -m segpipe …, or srun",
        )
    if compute.device.type != "cpu" and compute.devices > present:
        raise ConfigError(
            "each process needs a device of its own, and this machine has fewer",
            facts={**wanted, "devices here": f"{present} of {compute.device.type}"},
            hint=f"trainer.devices={present}",
        )
