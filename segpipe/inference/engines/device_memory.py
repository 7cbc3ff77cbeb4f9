"""How much fits into the memory of a GPU: windows per pass, and whether a layer of windows is summed up there."""

from collections.abc import Callable
from typing import Protocol

import torch

from segpipe.inference.engines.engine import GPU_BATCH, Engine
from segpipe.preprocessing.recipe import Shape

CPU = torch.device("cpu")
_PART = 0.8
"""Of the memory that is free; other programs on the GPU and its allocator's gaps take some."""
_LAYERS = 4
"""A layer of windows may take a quarter of it: the passes need the rest."""


class DeviceMemory(Protocol):
    """The memory of a device."""

    def free(self) -> int:
        """Bytes that this process could still take."""

    def peak_of(self, work: Callable[[], object]) -> int:
        """Bytes that the work takes at most while it is done."""


class CudaMemory:
    """The memory of a CUDA GPU.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def free(self) -> int:
        """See `DeviceMemory`; what the allocator holds without using it is free, too."""
        unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + unused

    def peak_of(self, work: Callable[[], object]) -> int:
        """See `DeviceMemory`."""
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        return torch.cuda.max_memory_allocated(self.device) - before


def memory_of(device: torch.device) -> DeviceMemory | None:
    """The memory of a GPU; None where it is that of the machine, or cannot be asked."""
    return CudaMemory(device) if device.type == "cuda" else None


def fit_batch(engine: Engine, window: Shape, memory: DeviceMemory, *, most: int = GPU_BATCH) -> int:
    """Windows per pass that fit, at least one: a pass with one shows what each takes.

    Where not even that fits, the first scan says so.

    Args:
        engine: Runs the network.
        window: Voxels of a window.
        memory: Of the engine's device.
        most: More are not faster.
    """
    try:
        needed = memory.peak_of(lambda: engine(torch.zeros(1, 1, *window)))
    except torch.OutOfMemoryError:
        return 1
    return min(most, max(1, int(memory.free() * _PART) // max(1, needed)))


def choose_place(engine: Engine, layer_bytes: int, memory: DeviceMemory | None = None) -> torch.device:
    """Where a layer of windows is summed up: next to the network if there is room, which spares copies, else the CPU.

    Args:
        engine: Runs the network; one that says no `device` takes its patches from the CPU.
        layer_bytes: What a layer takes.
        memory: Of the engine's device; found unless given.
    """
    device = getattr(engine, "device", CPU)
    memory = memory or memory_of(device)
    return device if memory and layer_bytes * _LAYERS <= memory.free() else CPU


class FittingBatches:
    """Runs as many windows at once as memory allows: when it does not suffice half as many, from then on.

    Args:
        run: Patches (B, 1, x, y, z) → probabilities (B, K, x, y, z).
    """

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.run = run
        self.most: int | None = None

    def __call__(self, patches_bcxyz: torch.Tensor) -> torch.Tensor:
        """Probabilities of the patches.

        Raises:
            torch.OutOfMemoryError: when not even one window fits.
        """
        count, most = len(patches_bcxyz), self.most or len(patches_bcxyz)
        if count > most:
            return torch.cat([self(patches_bcxyz[first : first + most]) for first in range(0, count, most)])
        try:
            return self.run(patches_bcxyz)
        except torch.OutOfMemoryError:
            if count == 1:
                raise
        self.most = count // 2  # here the error is gone, whose frames kept what the pass had taken
        release_memory()
        return self(patches_bcxyz)


def release_memory() -> None:
    """Gives back what the GPU's allocator holds in pieces that fit nothing."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
