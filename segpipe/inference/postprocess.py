"""What happens to a mask after the threshold: components that are no findings are removed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid, to_world
from segpipe.inference.findings import ClassComponents, measure_confidence
from segpipe.inference.operating_point import OperatingPoint
from segpipe.inference.window.aggregator import Aggregator
from segpipe.labels import LabelMap
from segpipe.lesions import Components, Voxels, find_components
from segpipe.preprocessing.resampling import Preparation

Point = tuple[float, float, float]


def choose_findings(
    aggregator: Aggregator,
    preparation: Preparation,
    *,
    labels: LabelMap,
    point: OperatingPoint,
    at_mm: Sequence[Point] = (),
) -> list[ClassComponents]:
    """The components of each class that are findings; all others are removed from the mask, in place.

    A region inside a removed one is removed with it; where a region inside another one is removed, the latter is left.

    Args:
        aggregator: The mask and the probabilities of its voxels.
        preparation: Of the scan.
        labels: The classes.
        point: The smallest volume and the lowest mean probability of a finding, for each class.
        at_mm: Only the lesions that hold one of these points (RAS+ mm) are kept, or else have the voxel nearest to it.
    """
    mask, grid = aggregator.mask, preparation.scan
    found = [_components(aggregator, preparation, labels, number) for number in range(len(labels.classes))]
    kept = [
        choose_components(components, confidence, grid, point=point.of(label.name))
        for (components, confidence), label in zip(found, labels.classes, strict=True)
    ]
    for number in reversed(range(len(found))):
        around = labels.classes[number - 1].value if number and not labels.exclusive else 0
        erase_others(mask, found[number][0], kept[number], left=around)
    if at_mm and sum(map(len, kept)) > 1:
        _keep_nearest(aggregator, grid, at_mm)
    return [
        ClassComponents(label, components, [number for number in numbers if _is_left(mask, components, number)], means)
        for label, (components, means), numbers in zip(labels.classes, found, kept, strict=True)
    ]


def choose_components(
    components: Components, confidence: Sequence[tuple[float, float]], grid: Grid, *, point: OperatingPoint
) -> list[int]:
    """Numbers of the components that are large and sure enough.

    Args:
        components: The components of a class.
        confidence: Mean and largest probability of each.
        grid: The scan's own grid.
        point: The smallest volume and the lowest mean probability.
    """
    voxels = point.min_volume_mm3 / grid.voxel_volume_mm3 - 1e-6
    return [
        number
        for number, (count, (mean, _)) in enumerate(zip(components.voxel_counts, confidence, strict=True), start=1)
        if count >= voxels and mean >= point.min_probability
    ]


def erase_others(mask: NDArray[np.uint8], components: Components, kept: Sequence[int], *, left: int = 0) -> None:
    """Gives all components but those `kept` the value `left`, in place."""
    if len(kept) < components.count:
        erased = np.ones(components.count + 1, dtype=np.bool_)
        erased[[0, *kept]] = False
        mask[components.box][erased[components.numbers]] = left


def _components(
    aggregator: Aggregator, preparation: Preparation, labels: LabelMap, number: int
) -> tuple[Components, list[tuple[float, float]]]:
    """The components of a class with the mean and the largest probability of each."""
    one_class = len(labels.classes) == 1
    mask = aggregator.mask if one_class else labels.class_mask(aggregator.mask, number)
    components = find_components(mask, within=aggregator.box)
    return components, measure_confidence(components, aggregator.foregrounds[number], preparation)


def _keep_nearest(aggregator: Aggregator, grid: Grid, at_mm: Sequence[Point]) -> None:
    """Keeps the lesion of any classes that is nearest to each point."""
    lesions = find_components(aggregator.mask, within=aggregator.box)
    if lesions.count > 1:
        numbers = range(1, lesions.count + 1)
        apart = [[_distance_mm(lesions.voxels(number), grid, point) for number in numbers] for point in at_mm]
        erase_others(aggregator.mask, lesions, sorted({numbers[int(np.argmin(distances))] for distances in apart}))


def _is_left(mask: NDArray[np.uint8], components: Components, number: int) -> bool:
    """Whether a component is still in the mask; it is there as a whole or not at all."""
    voxels = components.voxels(number)
    first = np.unravel_index(int(voxels.inside.argmax()), voxels.inside.shape)
    return bool(mask[tuple(np.add(first, voxels.start))])


def _distance_mm(voxels: Voxels, grid: Grid, point_mm: Point) -> float:
    """Distance from a point to the nearest voxel centre, slice by slice."""
    nearest = np.inf
    for number, plane in enumerate(voxels.inside):
        found = np.insert(np.argwhere(plane), 0, number, axis=1) + voxels.start
        if len(found):
            apart = to_world(grid.affine, found) - np.asarray(point_mm)
            nearest = min(nearest, float(np.linalg.norm(apart, axis=1).min()))
    return nearest
