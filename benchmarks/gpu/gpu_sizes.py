"""The sizes that `gpu.py` measures at, and how it takes time and memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch


class Row(NamedTuple):
    """One line of the table: what was measured, and what it gave."""

    what: str
    figure: str


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Args:
        name: For the head of the table.
        patch: Voxels, of training and of a window.
        spacing_mm: Of the grid that scans are brought to.
        batch: Patches in a step.
        unet: Channels of the U-Net.
        dynunet: Channels of the DynUNet; by default those of nnU-Net for such a patch.
        steps: That are timed, after `warm` others.
        warm: Steps before.
        scan: Voxels of the whole thorax.
        slice_mm: Distance of its slices.
        backend: Of `torch.compile`.
        cases: Phantoms that the loader reads.
        extent_mm: Of the median scan that is planned for.
    """

    name: str
    patch: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    batch: int
    unet: tuple[int, ...]
    dynunet: tuple[int, ...]
    steps: int
    warm: int
    scan: tuple[int, int, int]
    slice_mm: float
    backend: str
    cases: int
    extent_mm: float


FULL = Sizes(
    name="full",
    patch=(128, 128, 128),
    spacing_mm=(1.25, 1.25, 1.25),
    batch=2,
    unet=(32, 64, 128, 256),
    dynunet=(32, 64, 128, 256, 320, 320),
    steps=20,
    warm=5,
    scan=(512, 512, 134),
    slice_mm=3.0,
    backend="inductor",
    cases=12,
    extent_mm=350.0,
)
SMALL = Sizes(
    name="small",
    patch=(16, 16, 16),
    spacing_mm=(8.0, 8.0, 16.0),
    batch=1,
    unet=(4, 8),
    dynunet=(4, 8, 8),
    steps=1,
    warm=1,
    scan=(48, 48, 16),
    slice_mm=20.0,
    backend="eager",
    cases=0,
    extent_mm=40.0,
)


def seconds_each(work: Callable[[], object], device: torch.device, sizes: Sizes) -> float:
    """Mean seconds of the work, repeated, after repetitions that are not counted."""
    for _ in range(sizes.warm):
        work()
    _wait(device)
    begin = time.perf_counter()
    for _ in range(sizes.steps):
        work()
    _wait(device)
    return (time.perf_counter() - begin) / sizes.steps


def seconds_once(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the work, done once."""
    _wait(device)
    begin = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begin


def forget_memory(device: torch.device) -> None:
    """From now on `memory` counts anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def memory(device: torch.device) -> str:
    """The most memory of the GPU since `forget_memory`."""
    return f"{torch.cuda.max_memory_reserved() / 2**30:6.2f} GB" if device.type == "cuda" else ""


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
