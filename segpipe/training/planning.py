"""Proposes spacing, window, patch, batch and depth for a data set within the memory named, and says why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segpipe.datasets.fingerprint import Fingerprint
from segpipe.errors import ConfigError

MeasureStep = Callable[[Mapping[str, Any], list[int], int], int | None]
ANISOTROPIC = 3.0
"""Ratio of slice distance to pixel size from which finer slices are kept (doi 10.1038/s41592-020-01008-z)."""
VOXELS_ACROSS = 4
CONTEXT = 2.5
SMALLEST_CONTEXT_MM = 64.0
PARENCHYMA_HU = -1000.0
BATCHES = (2, 4, 8, 16)
SCALES = (1.0, 0.85, 0.7, 0.55, 0.4)
BOTTOM = 4
THICKEST = 2.0
DEEPEST = 5
WIDEST = 320


@dataclass(frozen=True)
class Plan:
    """Numbers for a training, each with its reason.

    Args:
        values: Section → key → value; overrides of a configuration.
        reasons: `section.key` → why.
        peak_bytes: What a dry step with these numbers took.
    """

    values: Mapping[str, Mapping[str, Any]]
    reasons: Mapping[str, str]
    peak_bytes: int

    def to_yaml(self, headline: str) -> str:
        """The plan as a YAML file that a person can read and change, the reasons as comments."""
        lines = [f"# {headline}"]
        for section, keys in self.values.items():
            lines.append(f"{section}:")
            for key, value in keys.items():
                lines += [f"  # {self.reasons[f'{section}.{key}']}", f"  {key}: {value}"]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Size:
    scale: float
    patch: list[int]
    network: Mapping[str, Any]
    peak_bytes: int


def propose(fingerprint: Fingerprint, network: Mapping[str, Any], *, memory_bytes: int, measure: MeasureStep) -> Plan:
    """Proposes a plan.

    Args:
        fingerprint: What the data set measures.
        network: The default network's section; its channels and strides are planned.
        memory_bytes: What a training step may take.
        measure: Peak bytes of a step with a network, a patch and a batch; None when it does not fit at all.

    Raises:
        ConfigError: when not even the smallest patch fits.
    """
    spacing, why_spacing = _spacing(fingerprint)
    window, why_window = _window(fingerprint)
    size = _fit_patch(_context_mm(fingerprint), spacing, network, memory_bytes=memory_bytes, measure=measure)
    batch, peak = _fit_batch(size, memory_bytes=memory_bytes, measure=measure)
    room = f"a dry step with batch {batch} took {_gigabytes(peak)} of {_gigabytes(memory_bytes)}"
    median_mm = "×".join(f"{length:.0f}" for length in np.median(fingerprint.extent_mm, axis=0))
    channels, strides = size.network["channels"], size.network["strides"]
    return Plan(
        values={
            "recipe": {"spacing_mm": spacing, "window_hu": window, "patch": size.patch},
            "training": {"batch_size": batch},
            "network": {"name": network["name"], "channels": channels, "strides": strides},
        },
        reasons={
            "recipe.spacing_mm": why_spacing,
            "recipe.window_hu": why_window,
            "recipe.patch": f"{CONTEXT:g} times the 95th percentile of lesion diameters, at least"
            f" {SMALLEST_CONTEXT_MM:g} mm, at most the median scan of {median_mm} mm; scaled by {size.scale:g} to fit",
            "training.batch_size": f"the largest of {', '.join(map(str, BATCHES))} that fits: {room}",
            "network.name": "the network that was measured; channels and strides are meant for it",
            "network.channels": f"{len(channels)} levels, doubling from 32, at most {WIDEST}",
            "network.strides": f"an axis is halved while at least {BOTTOM} voxels of the patch stay at the bottom, and"
            f" not before the others come within {THICKEST:g} times its voxel size",
        },
        peak_bytes=peak,
    )


def _spacing(fingerprint: Fingerprint) -> tuple[list[float], str]:
    """The median, with finer slices where slices are thick, and fine enough for the smaller lesions."""
    x, y, z = (float(value) for value in np.median(fingerprint.spacing_mm, axis=0))
    why = f"medians of {fingerprint.cases} scans are {x:.2f}×{y:.2f}×{z:.2f} mm"
    if z > ANISOTROPIC * max(x, y):
        z = float(np.percentile(fingerprint.spacing_mm[:, 2], 10))
        why += f"; slices are thick, so the 10th percentile {z:.2f} mm is taken along the body"
    small = float(np.percentile(fingerprint.diameters_mm, 10))
    limit = max(small / VOXELS_ACROSS, 0.5)
    if max(x, y) > limit:
        x, y = min(x, limit), min(y, limit)
        why += f"; refined so that lesions of {small:.1f} mm (10th percentile) span {VOXELS_ACROSS} pixels"
    return [round(value, 2) for value in (x, y, z)], why


def _window(fingerprint: Fingerprint) -> tuple[list[float], str]:
    low, _, high = fingerprint.lesion_hu
    top = float(max(200.0, np.ceil(high / 50) * 50))
    why = f"lesions span {low:.0f} to {high:.0f} HU (0.5 to 99.5 %); the lung around them reaches down to -1000 HU"
    return [PARENCHYMA_HU, top], why


def _context_mm(fingerprint: Fingerprint) -> list[float]:
    wanted = max(SMALLEST_CONTEXT_MM, CONTEXT * float(np.percentile(fingerprint.diameters_mm, 95)))
    return [min(wanted, float(length)) for length in np.median(fingerprint.extent_mm, axis=0)]


def _round_patch(voxels: float) -> int:
    return int(max(8, 8 * round(voxels / 8)))


def _strides(patch: list[int], spacing_mm: list[float]) -> list[list[int]]:
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


def _fit_patch(
    wanted_mm: list[float],
    spacing_mm: list[float],
    network: Mapping[str, Any],
    *,
    memory_bytes: int,
    measure: MeasureStep,
) -> _Size:
    """The largest patch whose step fits with the smallest batch, and the network's depth for it."""
    for scale in SCALES:
        patch = [_round_patch(scale * length / step) for length, step in zip(wanted_mm, spacing_mm, strict=True)]
        strides = _strides(patch, spacing_mm)
        channels = [min(WIDEST, 32 * 2**level) for level in range(len(strides) + 1)]
        planned = {**network, "channels": channels, "strides": strides}
        peak = measure(planned, patch, BATCHES[0])
        if peak is not None and peak <= memory_bytes:
            return _Size(scale, patch, planned, peak)
    raise ConfigError(
        "no patch fits the memory",
        facts={"memory": _gigabytes(memory_bytes), "smallest patch": patch, "its step": _gigabytes(peak or 0)},
        hint="name more memory, or take a narrower network: network.channels=[16,32,64,128]",
    )


def _fit_batch(size: _Size, *, memory_bytes: int, measure: MeasureStep) -> tuple[int, int]:
    """The largest batch that fits, and what its step took."""
    batch, peak = BATCHES[0], size.peak_bytes
    for larger in BATCHES[1:]:
        needed = measure(size.network, size.patch, larger)
        if needed is None or needed > memory_bytes:
            break
        batch, peak = larger, needed
    return batch, peak


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB"
