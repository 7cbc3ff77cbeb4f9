"""One training step in a process of its own, to measure how much memory it takes."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import torch

from segpipe.errors import ModelError
from segpipe.inference.batch.memory import peak_memory
from segpipe.labels import LabelMap
from segpipe.networks import build_network
from segpipe.system.processes.hardware import choose_compute
from segpipe.training.optimisation.losses import build_loss


def measure_step(
    network: Mapping[str, Any],
    loss: Mapping[str, Any],
    *,
    patch: list[int],
    batch: int,
    labels: Mapping[int, str] | None = None,
) -> int | None:
    """Peak bytes of a training step: of the GPU where there is one, else of the whole process.

    Args:
        network: Its section.
        loss: Its section.
        patch: Voxels.
        batch: Patches in a step.
        labels: The recipe's, where there are several classes.

    Returns:
        Bytes, or None when the step ran out of memory.

    Raises:
        ModelError: when the step failed for another reason.
    """
    names = list((labels or {}).values())
    job = json.dumps({"network": dict(network), "loss": dict(loss), "patch": patch, "batch": batch, "labels": names})
    done = subprocess.run([sys.executable, "-m", __name__, job], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return int(done.stdout.strip().splitlines()[-1])
    if done.returncode < 0 or ran_out_of_memory(done.stderr):
        return None
    raise ModelError(
        "a dry training step failed",
        facts={"patch": patch, "batch": batch, "found": done.stderr.strip().splitlines()[-1:]},
    )


def ran_out_of_memory(text: str) -> bool:
    """Whether what torch says in an error, on a GPU or a CPU, is that memory did not suffice."""
    return "out of memory" in text.lower() or "can't allocate" in text.lower()


def taken(device: torch.device) -> int:
    """The most bytes that this process has taken so far: of the GPU where it computes on one, else of the machine."""
    return torch.cuda.max_memory_reserved() if device.type == "cuda" else peak_memory()


def step_peak(job: Mapping[str, Any]) -> int:
    """Peak bytes so far of this process, or of its GPU, after a training step; see `measure_step`.

    Args:
        job: `network`, `loss`, `patch`, `batch`, and the names of the classes as `labels`.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classes = LabelMap.build(dict(enumerate(job["labels"], start=1))) if job["labels"] else LabelMap()
    network = build_network(job["network"], out_channels=classes.channels).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters())
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(choose_compute("auto").precision)
    images = torch.rand(job["batch"], 1, *job["patch"], device=device)
    labels = torch.zeros(images.shape, dtype=torch.uint8, device=device)
    labels[..., :2, :2, :2] = 1
    with torch.autocast(device.type, half, enabled=half is not None):
        outputs = network(images)
    build_loss(job["loss"], classes).to(device)(outputs, labels).backward()
    optimizer.step()
    return taken(device)


if __name__ == "__main__":
    print(step_peak(json.loads(sys.argv[1])))
