"""Findings: lesions of a prediction with their measurements and the network's confidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.lesions import Components, measure_components
from segpipe.preprocessing.steps import Preparation

Foreground = Sequence[tuple[int, NDArray[np.float32]]]


@dataclass(frozen=True)
class Finding:
    """One lesion that the network found.

    Args:
        number: 1 for the largest of the scan.
        volume_mm3: Voxel count times voxel volume.
        longest_diameter_mm: Longest distance within the lesion in 3-D; see `segpipe.lesions.Lesion`.
        centre_mm: Centroid in RAS+ mm.
        mean_probability: Mean of the foreground probability over the lesion's voxels.
        max_probability: Largest foreground probability of the lesion's voxels.
    """

    number: int
    volume_mm3: float
    longest_diameter_mm: float
    centre_mm: tuple[float, float, float]
    mean_probability: float
    max_probability: float


def measure_findings(
    components: Components, kept: Sequence[int], foreground: Foreground, preparation: Preparation
) -> list[Finding]:
    """Measures the components `kept`, largest first.

    Args:
        components: The components of the thresholded mask.
        kept: Numbers of those that post-processing left.
        foreground: For slices of the oriented scan, the probability of its foreground voxels in row-major order.
        preparation: For the scan's grid and orientation.
    """
    means, peaks = _confidences(components, foreground, preparation)
    lesions = measure_components(components.only(kept), preparation.scan)
    return [
        Finding(
            number=lesion.number,
            volume_mm3=lesion.volume_mm3,
            longest_diameter_mm=lesion.longest_diameter_mm,
            centre_mm=lesion.centre_mm,
            mean_probability=means[number],
            max_probability=peaks[number],
        )
        for lesion, number in zip(lesions, kept, strict=True)
    ]


def _confidences(
    components: Components, foreground: Foreground, preparation: Preparation
) -> tuple[list[float], list[float]]:
    """Mean and largest probability by component number (index 0 is unused)."""
    sums = np.zeros(components.count + 1)
    peaks = np.zeros(components.count + 1)
    numbers, first = _oriented(components, preparation)
    for scan_slice, values in foreground:
        plane = numbers[:, :, scan_slice - first]
        owners = plane[plane > 0]
        sums += np.bincount(owners, weights=values, minlength=len(sums))
        np.maximum.at(peaks, owners, values)
    counts = np.array([1, *components.voxel_counts])
    return (sums / counts).tolist(), peaks.tolist()


def _oriented(components: Components, preparation: Preparation) -> tuple[NDArray[np.unsignedinteger], int]:
    """The numbered box in the recipe's axis order, and its first slice along the third axis."""
    numbers = components.numbers.transpose(preparation.order)
    numbers = numbers[tuple(slice(None, None, -1 if flip else 1) for flip in preparation.flips)]
    axis = preparation.order[2]
    box = components.box[axis]
    return numbers, preparation.scan.shape[axis] - box.stop if preparation.flips[2] else box.start
