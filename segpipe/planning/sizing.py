"""The largest patch, and then batch, whose training step fits the memory; few steps are measured, the last always."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from segpipe.errors import ConfigError

MeasureStep = Callable[[Mapping[str, Any], list[int], int], int | None]
SMALLEST_MM = 32.0
SMALLEST_BATCH = 2
BOTTOM = 4
THICKEST = 2.0
DEEPEST = 6
WIDEST = 320
_SLACK = 1.05
"""A step is not measured when the measured ones foretell that it takes this much more than there is."""
_LEAP = 8
"""How many times larger the next measured step may be: far from the measured ones the line may lie."""


@dataclass(frozen=True)
class Size:
    """A patch and a batch with the network that suits them.

    Args:
        patch: Voxels.
        batch: Patches in a step.
        network: Its section, with channels and strides.
    """

    patch: list[int]
    batch: int
    network: Mapping[str, Any]

    @property
    def voxels(self) -> int:
        """Of all patches of a step."""
        return int(np.prod(self.patch)) * self.batch


@dataclass(frozen=True)
class MemoryFit:
    """The largest size that fits.

    Args:
        size: That one.
        peak_bytes: What its step took.
        larger: The next size, which does not fit; None when there is none.
        larger_bytes: What that one takes, measured or foretold; None when its step ran out of memory.
        measured: Voxels → bytes of all steps so far.
    """

    size: Size
    peak_bytes: int
    larger: Size | None
    larger_bytes: float | None
    measured: Mapping[int, int]


def fit_patch(
    limit_voxels: Sequence[float],
    spacing_mm: Sequence[float],
    network: Mapping[str, Any],
    *,
    memory_bytes: int,
    measure: MeasureStep,
) -> MemoryFit:
    """The largest patch whose step fits with the smallest batch.

    Args:
        limit_voxels: Up to which a patch grows along each axis.
        spacing_mm: Of these voxels.
        network: The network's section; its channels and strides follow from the patch.
        memory_bytes: What a training step may take.
        measure: Peak bytes of a step with a network, a patch and a batch; None when it does not fit at all.

    Raises:
        ConfigError: when not even the smallest patch fits.
    """
    patches = grow_patches(limit_voxels, spacing_mm)
    sizes = [Size(patch, SMALLEST_BATCH, _suited(network, patch, spacing_mm)) for patch in patches]
    return _largest(sizes, {}, memory_bytes=memory_bytes, measure=measure)


def fit_batch(patch: MemoryFit, most: int, *, memory_bytes: int, measure: MeasureStep) -> MemoryFit:
    """The largest batch, up to `most`, that fits with a patch that does."""
    size = patch.size
    sizes = [Size(size.patch, batch, size.network) for batch in range(size.batch, max(most, size.batch) + 1)]
    return _largest(sizes, dict(patch.measured), memory_bytes=memory_bytes, measure=measure)


def grow_patches(limit_voxels: Sequence[float], spacing_mm: Sequence[float]) -> list[list[int]]:
    """Ever larger patches: the axis that is shortest in mm grows, by as much as its halvings in a network ask.

    >>> grow_patches([48, 48, 12], [1.0, 1.0, 4.0])
    [[32, 32, 8], [40, 32, 8], [40, 40, 8], [40, 40, 10], [48, 40, 10], [48, 48, 10], [48, 48, 12]]
    """
    patch = [2 * BOTTOM] * 3
    patches = [patch]
    while open_axes := [axis for axis in range(3) if _next_length(patch[axis]) <= limit_voxels[axis]]:
        shortest = min(open_axes, key=lambda axis: patch[axis] * spacing_mm[axis])
        patch = [_next_length(length) if axis == shortest else length for axis, length in enumerate(patch)]
        patches.append(patch)
    wanted = [min(SMALLEST_MM / mm, most) for mm, most in zip(spacing_mm, patch, strict=True)]
    return [patch for patch in patches if all(length >= least for length, least in zip(patch, wanted, strict=True))]


def choose_strides(patch: Sequence[int], spacing_mm: Sequence[float]) -> list[list[int]]:
    """Where a network halves which axis: finer axes first, until few voxels are left."""
    strides: list[list[int]] = []
    size, voxel_mm = list(patch), list(spacing_mm)
    while len(strides) < DEEPEST:
        open_to = [length % 2 == 0 and length // 2 >= BOTTOM for length in size]
        if not any(open_to):
            break
        finest = min(mm for mm, possible in zip(voxel_mm, open_to, strict=True) if possible)
        step = [2 if yes and mm < THICKEST * finest else 1 for mm, yes in zip(voxel_mm, open_to, strict=True)]
        strides.append(step)
        size = [length // divisor for length, divisor in zip(size, step, strict=True)]
        voxel_mm = [mm * divisor for mm, divisor in zip(voxel_mm, step, strict=True)]
    return strides or [[1, 1, 1]]


def _next_length(length: int) -> int:
    """8, 10 … 16, 20 … 32, 40 … 64, 80 …: each can be halved while at least four voxels are left.

    >>> [_next_length(length) for length in (8, 16, 56, 64, 128, 256)]
    [10, 20, 64, 80, 160, 320]
    """
    halvings = min(DEEPEST, (length // BOTTOM).bit_length() - 1)
    return int(length + 2**halvings)


def _suited(network: Mapping[str, Any], patch: list[int], spacing_mm: Sequence[float]) -> Mapping[str, Any]:
    strides = choose_strides(patch, spacing_mm)
    channels = [min(WIDEST, 32 * 2**level) for level in range(len(strides) + 1)]
    return {**network, "channels": channels, "strides": strides}


def _largest(sizes: Sequence[Size], measured: dict[int, int], *, memory_bytes: int, measure: MeasureStep) -> MemoryFit:
    """Looks where measured sizes foretell the limit, until the next one does not fit, measured or clearly foretold.

    Args:
        sizes: From the smallest to the largest.
        measured: Voxels → bytes of steps that are known; new ones are added.
        memory_bytes: The limit.
        measure: See `fit_patch`.
    """
    beyond = len(sizes)
    known = [index for index, size in enumerate(sizes) if measured.get(size.voxels, inf) <= memory_bytes]
    fits = max(known, default=-1)
    while fits + 1 < beyond and not _clearly_too_large(sizes[fits + 1], measured, memory_bytes):
        index = _next_index(sizes, measured, (fits, beyond), memory_bytes)
        size = sizes[index]
        peak = measure(size.network, size.patch, size.batch)
        if peak is not None:
            measured[size.voxels] = peak
        fits, beyond = (index, beyond) if peak is not None and peak <= memory_bytes else (fits, index)
    if fits < 0:
        needed = measured.get(sizes[0].voxels)
        raise ConfigError(
            "no patch fits the memory",
            facts={
                "memory": gigabytes(memory_bytes),
                "smallest patch": sizes[0].patch,
                "its step": "ran out of memory" if needed is None else gigabytes(needed),
            },
            hint="name more memory, or take a narrower network: network.channels=[16,32,64,128]",
        )
    larger = sizes[fits + 1] if fits + 1 < len(sizes) else None
    ran_out = larger is not None and fits + 1 == beyond and larger.voxels not in measured
    larger_bytes = predict_memory(measured, larger.voxels) if larger and not ran_out else None
    return MemoryFit(sizes[fits], measured[sizes[fits].voxels], larger, larger_bytes, measured)


def _clearly_too_large(size: Size, measured: Mapping[int, int], memory_bytes: int) -> bool:
    return len(measured) > 1 and predict_memory(measured, size.voxels) > _SLACK * memory_bytes


def _next_index(sizes: Sequence[Size], measured: Mapping[int, int], between: tuple[int, int], memory_bytes: int) -> int:
    """The largest that is foretold to fit, strictly between one that fits and one that does not."""
    fits, beyond = between
    if not measured:
        return 0
    if beyond < len(sizes) and sizes[beyond].voxels not in measured:
        return (fits + beyond) // 2  # it ran out of memory, so the measured ones foretell too little
    farthest = _LEAP * max(measured)
    within = [
        index
        for index in range(fits + 1, beyond)
        if sizes[index].voxels <= farthest and predict_memory(measured, sizes[index].voxels) <= memory_bytes
    ]
    return within[-1] if within else fits + 1


def predict_memory(measured: Mapping[int, int], voxels: int) -> float:
    """Bytes on the line through the two nearest measured sizes, or through 0 and the only one.

    >>> predict_memory({100: 1200}, 200), predict_memory({100: 1200, 200: 1400}, 400)
    (2400.0, 1800.0)
    """
    near = sorted(sorted(measured, key=lambda other: abs(other - voxels))[:2])
    if len(near) < 2:
        return measured[near[0]] * voxels / near[0]
    slope = max(0.0, (measured[near[1]] - measured[near[0]]) / (near[1] - near[0]))
    return measured[near[1]] + slope * (voxels - near[1])


def gigabytes(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**30:.2f} GB"
