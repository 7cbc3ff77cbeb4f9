"""Proposes spacing, window, patch, batch and depth for a data set within the memory named, and says why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from segpipe.datasets.fingerprint import Fingerprint
from segpipe.labels.label_map import LARGEST_VALUE
from segpipe.planning.sizing import BOTTOM, THICKEST, WIDEST, MeasureStep, MemoryFit, fit_batch, fit_patch, gigabytes

ANISOTROPIC = 3.0
"""Ratio of slice distance to pixel size from which finer slices are kept (doi 10.1038/s41592-020-01008-z)."""
VOXELS_ACROSS = 4
PARENCHYMA_HU = -1000.0
_WHY_LABELS = {
    "labels": "each of these is learnt, sampled and reported as a class of its own; without this key only recipe.label",
    "ignore": "voxels that the data set ignores count neither in the loss nor in any figure",
}
SHARE_IN_A_STEP = 0.05
"""Of all voxels of the data set; larger batches would see the same scan again and again (same source)."""


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

    def to_yaml(self, headline: str, source: str = "") -> str:
        """The plan as a YAML file that a person can read and change, the reasons as comments.

        Args:
            headline: A comment on top.
            source: Lines of YAML that name the data set.
        """
        lines = [f"# {headline}", *source.splitlines()]
        for section, keys in self.values.items():
            lines.append(f"{section}:")
            for key, value in keys.items():
                lines += [f"  # {self.reasons[f'{section}.{key}']}", f"  {key}: {_in_yaml(value)}"]
        return "\n".join(lines) + "\n"


def propose(fingerprint: Fingerprint, network: Mapping[str, Any], *, memory_bytes: int, measure: MeasureStep) -> Plan:
    """Proposes a plan: the patch grows up to the median scan, then the batch, and the network deepens with the patch.

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
    limit = [float(voxels) for voxels in np.median(fingerprint.extent_mm / spacing, axis=0)]
    patch = fit_patch(limit, spacing, network, memory_bytes=memory_bytes, measure=measure)
    most = int(SHARE_IN_A_STEP * fingerprint.cases * np.prod(limit) / np.prod(patch.size.patch))
    batch = fit_batch(patch, most, memory_bytes=memory_bytes, measure=measure)
    labels = plan_labels(fingerprint)
    channels, strides = batch.size.network["channels"], batch.size.network["strides"]
    return Plan(
        values={
            "recipe": {**labels, "spacing_mm": spacing, "window_hu": window, "patch": batch.size.patch},
            "training": {"batch_size": batch.size.batch},
            "network": {"name": network["name"], "channels": channels, "strides": strides},
        },
        reasons={
            **{f"recipe.{key}": _WHY_LABELS[key] for key in labels},
            "recipe.spacing_mm": why_spacing,
            "recipe.window_hu": why_window,
            "recipe.patch": _why_patch(patch, spacing, fingerprint),
            "training.batch_size": _why_batch(batch, most, memory_bytes),
            "network.name": "the network that was measured; channels and strides are meant for it",
            "network.channels": f"{len(channels)} levels, doubling from 32, at most {WIDEST}",
            "network.strides": f"an axis is halved while at least {BOTTOM} voxels of the patch stay at the bottom, and"
            f" not before the others come within {THICKEST:g} times its voxel size",
        },
        peak_bytes=batch.peak_bytes,
    )


def plan_labels(fingerprint: Fingerprint) -> dict[str, Any]:
    """The recipe's keys for lesions of several labels: each becomes a class that is sampled, learnt and reported."""
    names = [name for name, lesions in fingerprint.classes.items() if lesions]
    ignored = {"ignore": LARGEST_VALUE} if fingerprint.ignores else {}
    return {**({"labels": dict(enumerate(names, start=1))} if len(names) > 1 else {}), **ignored}


def _spacing(fingerprint: Fingerprint) -> tuple[list[float], str]:
    """The median, with finer slices where slices are thick, and fine enough for the smaller lesions of each class."""
    x, y, z = (float(value) for value in np.median(fingerprint.spacing_mm, axis=0))
    why = f"medians of {fingerprint.cases} scans are {x:.2f}×{y:.2f}×{z:.2f} mm"
    if z > ANISOTROPIC * max(x, y):
        z = float(np.percentile(fingerprint.spacing_mm[:, 2], 10))
        why += f"; slices are thick, so the 10th percentile {z:.2f} mm is taken along the body"
    small = min(float(np.percentile(lesions.diameters_mm, 10)) for lesions in fingerprint.kinds)
    limit = max(small / VOXELS_ACROSS, 0.5)
    if max(x, y) > limit:
        x, y = min(x, limit), min(y, limit)
        why += f"; refined so that lesions of {small:.1f} mm (10th percentile) span {VOXELS_ACROSS} pixels"
    return [round(value, 2) for value in (x, y, z)], why


def _window(fingerprint: Fingerprint) -> tuple[list[float], str]:
    low = min(lesions.hu[0] for lesions in fingerprint.kinds)
    high = max(lesions.hu[2] for lesions in fingerprint.kinds)
    top = float(max(200.0, np.ceil(high / 50) * 50))
    why = f"lesions span {low:.0f} to {high:.0f} HU (0.5 to 99.5 %); the lung around them reaches down to -1000 HU"
    return [PARENCHYMA_HU, top], why


def _why_patch(fit: MemoryFit, spacing_mm: Sequence[float], fingerprint: Fingerprint) -> str:
    scan_mm = np.median(fingerprint.extent_mm, axis=0)
    patch_mm = np.multiply(fit.size.patch, spacing_mm)
    why = f"{_times(patch_mm)} mm of a median scan of {_times(scan_mm)} mm"
    why += f"; 95 % of the lesions are at most {np.percentile(fingerprint.lesions.diameters_mm, 95):.0f} mm long"
    if fit.larger is None:
        return f"{why}; the largest that the median scan holds"
    return f"{why}; the largest that fits with batch {fit.size.batch}: {_times(fit.larger.patch)} {_too_much(fit)}"


def _why_batch(fit: MemoryFit, most: int, memory_bytes: int) -> str:
    why = f"a dry step took {gigabytes(fit.peak_bytes)} of {gigabytes(memory_bytes)}"
    if fit.larger is not None:
        return f"{why}; batch {fit.larger.batch} {_too_much(fit)}"
    if fit.size.batch > most:
        return f"{why}; the smallest batch, since a step should not show more than {SHARE_IN_A_STEP:.0%} of all voxels"
    return f"{why}; the largest batch that does not show more than {SHARE_IN_A_STEP:.0%} of all voxels in a step"


def _too_much(fit: MemoryFit) -> str:
    if fit.larger is None or fit.larger_bytes is None:
        return "ran out of memory"
    takes = "takes" if fit.larger.voxels in fit.measured else "would take about"
    return f"{takes} {gigabytes(fit.larger_bytes)}"


def _in_yaml(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
    return text.removesuffix("...\n").strip()


def _times(lengths: Sequence[float] | NDArray[np.float64]) -> str:
    return "×".join(f"{length:.0f}" for length in lengths)
