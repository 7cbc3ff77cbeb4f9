"""Findings: lesions of a prediction with the measurements a report needs and the network's confidence."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.geometry import flip_ras_lps, to_world
from segpipe.inference.window.aggregator import Foreground
from segpipe.labels import Label, LabelMap
from segpipe.lesions import (
    Components,
    equivalent_diameter_mm,
    label_lesions,
    measure_axial,
    measure_lesion,
    superior_axis,
)
from segpipe.preprocessing.resampling import Preparation

SOLID_HU = -300.0
BODY_HU = -300.0
NARROWEST_THORAX_MM = 180.0
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Finding:
    """One lesion that the network found.

    Args:
        number: From 1, class by class in the order of the label map, in each from the largest.
        label: Name of its class.
        value: Value of its class in the mask.
        volume_mm3: Voxel count times voxel volume.
        longest_diameter_mm: Longest distance within the lesion in 3-D; see `segpipe.lesions.Lesion`.
        axial_diameter_mm: Longest diameter in an axial slice (RECIST); see `segpipe.lesions.AxialSize`.
        perpendicular_diameter_mm: Longest chord at a right angle to it, in the same slice.
        equivalent_diameter_mm: Diameter of the sphere with the same volume.
        mean_hu: Mean of the scan over the lesion's voxels.
        solid_fraction: Part of the lesion's voxels above −300 HU.
        side: The patient's side, seen from the middle of the body in the lesion's axial slice; None where the scan
            does not show both sides.
        centre_mm: Centroid in RAS+ mm, the frame of NIfTI and of `--at`.
        centre_lps_mm: Centroid in LPS+ mm, the patient coordinates of DICOM.
        slice_index: Index (from 0) of the slice with the axial diameter, along the scan's own array axis.
        slice_number: What a reader calls that slice: the Instance Number of the original series, or the index from 1.
        mean_probability: Mean of the network's foreground probability over the lesion's voxels: the confidence by which
            findings are ranked and the operating point filters.
        max_probability: Largest foreground probability of the lesion's voxels.

    Source:
        −300 HU: Scholten et al., European Radiology 25 (2015) 488–496, where it distinguished part-solid from non-solid
        with 90 % sensitivity and 88 % specificity.
    """

    number: int
    label: str
    value: int
    volume_mm3: float
    longest_diameter_mm: float
    axial_diameter_mm: float
    perpendicular_diameter_mm: float
    equivalent_diameter_mm: float
    mean_hu: float
    solid_fraction: float
    side: Side | None
    centre_mm: tuple[float, float, float]
    centre_lps_mm: tuple[float, float, float]
    slice_index: int
    slice_number: int
    mean_probability: float
    max_probability: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class ClassComponents:
    """The components of one class in a mask.

    Args:
        label: The class.
        components: Its components.
        kept: Numbers of those that are findings.
        confidence: Mean and largest probability of every component.
    """

    label: Label
    components: Components
    kept: Sequence[int]
    confidence: Sequence[tuple[float, float]]


def measure_findings(case: Case, classes: Sequence[ClassComponents]) -> list[Finding]:
    """Measures components of a mask on the scan's own grid; they become findings 1, 2, … in the order given."""
    sides = Sides(case)
    chosen = [(found, component) for found in classes for component in found.kept]
    return [
        _measure(case, found, component, number=number, sides=sides)
        for number, (found, component) in enumerate(chosen, start=1)
    ]


def number_findings(mask: NDArray[np.uint8], labels: LabelMap) -> list[NDArray[np.uint32]]:
    """For each class the number of each voxel's finding (0 = none), as `measure_findings` counts them.

    Args:
        mask: A label map that holds findings alone.
        labels: The classes.
    """
    numbered, before = [], 0
    one_class = len(labels.classes) == 1
    for number in range(len(labels.classes)):
        components, count = label_lesions(mask if one_class else labels.class_mask(mask, number))
        components[components > 0] += before
        numbered.append(components)
        before += count
    return numbered


def measure_confidence(
    components: Components, foreground: Foreground, preparation: Preparation
) -> list[tuple[float, float]]:
    """Mean and largest probability of each component.

    Args:
        components: The components of the thresholded mask, all of them.
        foreground: The probabilities of its voxels, as painted.
        preparation: For the orientation of the painted slices.
    """
    sums, peaks = np.zeros(components.count + 1), np.zeros(components.count + 1)
    numbers, first = _oriented(components, preparation)
    for scan_slice, values in foreground:
        plane = numbers[:, :, scan_slice - first]
        owners = plane[plane > 0]
        sums += np.bincount(owners, weights=values, minlength=len(sums))
        np.maximum.at(peaks, owners, values)
    means = sums[1:] / np.array(components.voxel_counts)
    return list(zip(means.tolist(), peaks[1:].tolist(), strict=True))


class Sides:
    """Gives the patient's side of a point; the middle of the body is worked out once per axial slice.

    The middle is halfway between the ends of the tissue to the right and to the left, of which the outermost hundredth
    does not count; a slice with less than 18 cm of it shows only a part of a thorax and gives no side.

    Args:
        case: The scan.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._middles: dict[int, float | None] = {}

    def find(self, centre_mm: tuple[float, float, float], *, slice_index: int) -> Side | None:
        """The side of a point (RAS+ mm) in the axial slice with this index, or None."""
        if slice_index not in self._middles:
            self._middles[slice_index] = self._middle_mm(slice_index)
        middle = self._middles[slice_index]
        if middle is None:
            return None
        return "right" if centre_mm[0] > middle else "left"

    def _middle_mm(self, slice_index: int) -> float | None:
        across = superior_axis(self._case.grid)
        # np.take would copy the whole scan first when its array is in Fortran order
        tissue = np.argwhere(np.moveaxis(self._case.image, across, 0)[slice_index] > BODY_HU)
        if not len(tissue):
            return None
        right_mm = to_world(self._case.grid.affine, np.insert(tissue, across, slice_index, axis=1))[:, 0]
        low, high = np.percentile(right_mm, [1, 99])
        return float((low + high) / 2) if high - low >= NARROWEST_THORAX_MM else None


def _measure(case: Case, found: ClassComponents, component: int, *, number: int, sides: Sides) -> Finding:
    voxels = found.components.voxels(component)
    lesion, axial = measure_lesion(voxels, case.grid, number=number), measure_axial(voxels, case.grid)
    hu: NDArray[Any] = case.image[found.components.parts[component - 1]][voxels.inside]
    mean_probability, max_probability = found.confidence[component - 1]
    x, y, z = flip_ras_lps(lesion.centre_mm)
    return Finding(
        number=number,
        label=found.label.name,
        value=found.label.value,
        volume_mm3=lesion.volume_mm3,
        longest_diameter_mm=lesion.longest_diameter_mm,
        axial_diameter_mm=axial.longest_mm,
        perpendicular_diameter_mm=axial.perpendicular_mm,
        equivalent_diameter_mm=equivalent_diameter_mm(lesion.volume_mm3),
        mean_hu=float(hu.mean(dtype=np.float64)),
        solid_fraction=float((hu > SOLID_HU).mean()),
        side=sides.find(lesion.centre_mm, slice_index=axial.slice_index),
        centre_mm=lesion.centre_mm,
        centre_lps_mm=(float(x), float(y), float(z)),
        slice_index=axial.slice_index,
        slice_number=axial.slice_index + 1,
        mean_probability=mean_probability,
        max_probability=max_probability,
    )


def _oriented(components: Components, preparation: Preparation) -> tuple[NDArray[np.unsignedinteger], int]:
    """The numbered box in the recipe's axis order, and its first slice along the third axis."""
    numbers = components.numbers.transpose(preparation.order)
    numbers = numbers[tuple(slice(None, None, -1 if flip else 1) for flip in preparation.flips)]
    axis = preparation.order[2]
    box = components.box[axis]
    return numbers, preparation.scan.shape[axis] - box.stop if preparation.flips[2] else box.start
