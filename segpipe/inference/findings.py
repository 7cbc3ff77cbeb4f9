"""Findings: lesions of a prediction with the measurements a report needs and the network's confidence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.geometry import Grid, flip_ras_lps
from segpipe.inference.measurements.attenuation import Attenuation, measure_attenuation
from segpipe.inference.measurements.axial import measure_axial
from segpipe.inference.measurements.borders import Borders, find_borders, whole_scan
from segpipe.inference.measurements.place import Place, Places
from segpipe.inference.measurements.rating import PredictedRating
from segpipe.inference.measurements.reliability import Reliability
from segpipe.inference.measurements.slices import Slices, measure_slices
from segpipe.inference.measurements.uncertainty import FindingUncertainty
from segpipe.inference.window.aggregator import Foreground
from segpipe.labels import Label, LabelMap
from segpipe.lesions import (
    Box,
    Components,
    Voxels,
    equivalent_diameter_mm,
    label_lesions,
    measure_lesion,
)
from segpipe.preprocessing.resampling import Preparation

_NOT_ALWAYS = ("ratings", "uncertainty", "reliability")
"""What a finding has only where it was asked for, or where the model knows it."""


@dataclass(frozen=True)
class Size:
    """How large a lesion is, and where.

    Args:
        volume_mm3: Voxel count times voxel volume.
        longest_diameter_mm: Longest distance within the lesion in 3-D; see `segpipe.lesions.Lesion`.
        axial_diameter_mm: Longest diameter in an axial slice (RECIST); see `AxialSize` in `measurements.axial`.
        perpendicular_diameter_mm: Longest chord at a right angle to it, in the same slice.
        mean_diameter_mm: The mean of these two.
        equivalent_diameter_mm: Diameter of the sphere with the same volume.
        centre_mm: Centroid in RAS+ mm, the frame of NIfTI and of `--at`.
        centre_lps_mm: Centroid in LPS+ mm, the patient coordinates of DICOM.
        slice_index: Index (from 0) of the slice with the axial diameter, along the scan's own array axis.
        slice_number: What a reader calls that slice: the Instance Number of the original series, or the index from 1.

    Source:
        Mean diameter: MacMahon et al., Radiology 284 (2017) 228–243 (Fleischner Society), there in whole mm; ACR
        Lung-RADS v2022, there in 0.1 mm, and in any plane.
    """

    volume_mm3: float
    longest_diameter_mm: float
    axial_diameter_mm: float
    perpendicular_diameter_mm: float
    mean_diameter_mm: float
    equivalent_diameter_mm: float
    centre_mm: tuple[float, float, float]
    centre_lps_mm: tuple[float, float, float]
    slice_index: int
    slice_number: int


@dataclass(frozen=True)
class Found:
    """Which lesion of a prediction it is, and how sure the network is of it.

    Args:
        number: From 1, class by class in the order of the label map, in each from the largest.
        label: Name of its class.
        value: Value of its class in the mask.
        mean_probability: Mean of the network's foreground probability over the lesion's voxels: the confidence by which
            findings are ranked and the operating point filters.
        max_probability: Largest foreground probability of the lesion's voxels.
    """

    number: int
    label: str
    value: int
    mean_probability: float
    max_probability: float


@dataclass(frozen=True)
class Finding(Borders, Slices, Place, Attenuation, Size, Found):
    """One lesion that the network found, with everything that is measured of it; docs/measurements.md has the list.

    Args:
        ratings: Name of a scale → what readers would probably say, where a rating model was asked; docs/ratings.md.
        uncertainty: How sure the network is of its voxels, where it was asked; docs/uncertainty.md.
        reliability: How far it can be relied on, where the model knows that; docs/uncertainty.md.
    """

    ratings: Mapping[str, PredictedRating] = field(default_factory=dict)
    uncertainty: FindingUncertainty | None = None
    reliability: Reliability | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; without what is not known."""
        return {name: value for name, value in asdict(self).items() if name not in _NOT_ALWAYS or value}


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


def measure_findings(
    case: Case, classes: Sequence[ClassComponents], *, seen: Box | None = None, places: Places | None = None
) -> list[Finding]:
    """Measures components of a mask on the scan's own grid; they become findings 1, 2, … in the order given.

    Args:
        case: The scan.
        classes: The components of each class.
        seen: The part of the scan that was looked at; all of it by default.
        places: Where in this scan is what, if that was worked out before.
    """
    surroundings = _Surroundings(case, places or Places(case), seen or whole_scan(case.grid))
    chosen = [(found, component) for found in classes for component in found.kept]
    return [
        _measure(found, component, surroundings, number=number)
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


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """What a scan's findings have in common: the scan, its places, and the part of it that was looked at."""

    case: Case
    places: Places
    seen: Box


def _measure(found: ClassComponents, component: int, around: _Surroundings, *, number: int) -> Finding:
    voxels, part = found.components.voxels(component), found.components.parts[component - 1]
    case = around.case
    size = _measure_size(voxels, case.grid)
    box_hu: NDArray[Any] = case.image[part]
    mean_probability, max_probability = found.confidence[component - 1]
    return Finding(
        number=number,
        label=found.label.name,
        value=found.label.value,
        mean_probability=mean_probability,
        max_probability=max_probability,
        **vars(size),
        **vars(measure_attenuation(box_hu, voxels, case.grid)),
        **vars(around.places.find(voxels, size.centre_mm, slice_index=size.slice_index)),
        **vars(measure_slices(voxels, case.grid)),
        **vars(find_borders(part, around.seen, case.grid)),
    )


def _measure_size(voxels: Voxels, grid: Grid) -> Size:
    lesion, axial = measure_lesion(voxels, grid, number=1), measure_axial(voxels, grid)
    x, y, z = flip_ras_lps(lesion.centre_mm)
    return Size(
        volume_mm3=lesion.volume_mm3,
        longest_diameter_mm=lesion.longest_diameter_mm,
        axial_diameter_mm=axial.longest_mm,
        perpendicular_diameter_mm=axial.perpendicular_mm,
        mean_diameter_mm=axial.mean_mm,
        equivalent_diameter_mm=equivalent_diameter_mm(lesion.volume_mm3),
        centre_mm=lesion.centre_mm,
        centre_lps_mm=(float(x), float(y), float(z)),
        slice_index=axial.slice_index,
        slice_number=axial.slice_index + 1,
    )


def _oriented(components: Components, preparation: Preparation) -> tuple[NDArray[np.unsignedinteger], int]:
    """The numbered box in the recipe's axis order, and its first slice along the third axis."""
    numbers = components.numbers.transpose(preparation.order)
    numbers = numbers[tuple(slice(None, None, -1 if flip else 1) for flip in preparation.flips)]
    axis = preparation.order[2]
    box = components.box[axis]
    return numbers, preparation.scan.shape[axis] - box.stop if preparation.flips[2] else box.start
