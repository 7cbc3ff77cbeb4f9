"""How much memory a prediction may take: what a scan needs is reckoned before it is read, and too much is refused."""

import re
import resource
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from segpipe.case import Case
from segpipe.errors import ConfigError, ImageError
from segpipe.export.model_folder import ModelFolder
from segpipe.geometry import round_up
from segpipe.inference.batch.scans import Scan
from segpipe.inference.engines.device_memory import FittingBatches
from segpipe.inference.engines.engine import Engine
from segpipe.inference.prompts.prompt import Prompt, check_prompt
from segpipe.inference.window.grid import choose_grid
from segpipe.preprocessing.resampling import plan_preparation
from segpipe.system.machine.memory import available_memory

TOO_LARGE = "the scan needs more memory than allowed"
BYTES_PER_VOXEL = 12
"""While a scan of one class is worked on: int16 image 2, mask 1, and for numbering components 1 + 4 + 4.

A voxel of foreground takes 4 more for its probability; of a chest that is little, and `RESERVE` holds it.
"""
UNCERTAINTY_PER_VOXEL = 2
"""For its two maps."""
MAP_PER_VOXEL = 4
"""For each map of what findings rest on."""
PROBABILITY_PER_VOXEL = 4
"""For the probability of each class, which a second stage needs."""
NUMBERS_PER_VOXEL = 4
"""For the numbered components of each further class; they are kept until those of all classes are known."""
_STATUS = Path("/proc/self/status")
RESERVE = 96 * 2**20
"""For libraries that only some formats need, and for what the allocator keeps between scans."""
_NEEDED_LATER = ("SimpleITK", "nibabel", "scipy.ndimage", "scipy.spatial", "cc3d")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class MemoryBound:
    """Decides which scans may be in memory at the same time; it never changes a result.

    Args:
        limit: Bytes that the whole process may take.
        base: Bytes that the process takes at most without any scan.
        per_voxel: Bytes that a voxel of a scan takes at most.
    """

    def __init__(self, limit: int, *, base: int, per_voxel: int = BYTES_PER_VOXEL) -> None:
        self.limit = limit
        self.base = base
        self.per_voxel = per_voxel

    @classmethod
    def of(
        cls, engine: Engine, model: ModelFolder, limit: int | None, *, per_voxel: int = BYTES_PER_VOXEL
    ) -> "MemoryBound":
        """A bound for a model: one forward pass shows what the network takes, and libraries are loaded beforehand.

        Args:
            engine: Runs the network.
            model: For the window.
            limit: Bytes; None means four fifths of what this process may take, and then no pass is spent.
            per_voxel: Bytes that a voxel of a scan takes at most.
        """
        if limit is not None:
            window = getattr(engine, "window", None) or round_up(model.recipe.patch, model.divisor)
            FittingBatches(engine)(torch.zeros(getattr(engine, "batch", 1), 1, *window))
            for library in _NEEDED_LATER:
                import_module(library)
        allowed = limit if limit is not None else available_memory() * 4 // 5
        classes = len(model.recipe.label_map.classes)
        looked_at_again = classes if getattr(engine, "second_stage", None) else 0
        further = NUMBERS_PER_VOXEL * (classes - 1) + PROBABILITY_PER_VOXEL * looked_at_again
        return cls(allowed, base=peak_memory() + RESERVE, per_voxel=per_voxel + further)

    def together(self, scans: Sequence[Scan]) -> bool:
        """True when these scans fit side by side."""
        return self.base + sum(self.needed(scan) for scan in scans) <= self.limit

    def needed(self, scan: Scan) -> int:
        """Bytes that a scan takes at most while it is worked on."""
        return self.per_voxel * scan.count_voxels()

    def check(self, scan: Scan, *, further: int = 0) -> None:
        """Refuses a scan that does not fit even alone, with `further` bytes in addition.

        Raises:
            ImageError: with what it needs.
        """
        total = self.base + self.needed(scan) + further
        if total > self.limit:
            raise ImageError(
                TOO_LARGE,
                facts={
                    "voxels": scan.count_voxels(),
                    "needs": describe_bytes(total),
                    "allowed": describe_bytes(self.limit),
                },
                hint="raise --memory, or crop the scan to the chest",
            )

    def check_case(
        self, scan: Scan, case: Case, model: ModelFolder, *, prompt: Prompt | None = None, extra_planes: int = 0
    ) -> None:
        """Refuses a scan that was read and does not fit with the layer of its windows that a prediction slides over it.

        Raises:
            ImageError: with what it needs, or when the model needs a point and there is none.
            GeometryError: when the prompt does not fit the scan.
        """
        preparation = plan_preparation(case.grid, model.recipe)
        if prompt:
            check_prompt(prompt, case.grid)
        inference_grid = choose_grid(preparation, model.recipe, model.divisor, at_mm=prompt.centre if prompt else None)
        self.check(scan, further=inference_grid.layer_bytes(len(model.recipe.label_map.classes) + extra_planes))


def parse_bytes(text: str) -> int:
    """Reads an amount of memory.

    >>> parse_bytes("4GB"), parse_bytes("512 MiB")
    (4294967296, 536870912)

    Raises:
        ConfigError: for anything that is no such amount.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, flags=re.IGNORECASE)
    if not match:
        raise ConfigError("memory must be an amount like 4GB or 800MB", facts={"found": text})
    return int(float(match[1]) * _UNITS[match[2].upper()])


def describe_bytes(count: int) -> str:
    """An amount of memory for people.

    >>> describe_bytes(4294967296)
    '4.00 GB'
    """
    return f"{count / 2**30:.2f} GB"


def peak_memory() -> int:
    """The most bytes that this process has taken so far.

    Linux's `getrusage` would also count what the parent held when it started this process.
    """
    if _STATUS.exists():
        return int(re.findall(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
