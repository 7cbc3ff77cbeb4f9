"""From the probabilities of the classes to the class of each voxel."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.labels import LabelMap

Plane = NDArray[np.float32]


def decide_classes(
    probabilities: Sequence[Plane], thresholds: Sequence[float], labels: LabelMap
) -> list[NDArray[np.bool_]]:
    """Where each class is.

    Of classes that exclude each other a voxel has the one with the largest probability among those that reach their
    threshold against the background, that is their part of what the other classes leave: at 0.5 this is the largest of
    all channels, so that where two classes meet no gap stays between them. A voxel is in a region where it is in the
    region around it and its probability reaches the threshold.

    Args:
        probabilities: Of each class, all of one shape.
        thresholds: Of each class.
        labels: The classes.
    """
    limits = zip(probabilities, thresholds, strict=True)
    if len(probabilities) == 1 or not labels.exclusive:
        passing = [plane >= threshold for plane, threshold in limits]
        return [np.logical_and.reduce(passing[: number + 1]) for number in range(len(passing))]
    together = np.sum(probabilities, axis=0)
    passing = [plane >= threshold * (1 - (together - plane)) for plane, threshold in limits]
    strongest = np.where(passing, probabilities, -1.0).argmax(axis=0)
    return [(strongest == number) & inside for number, inside in enumerate(passing)]


def label_plane(inside: Sequence[NDArray[np.bool_]], labels: LabelMap) -> NDArray[np.uint8]:
    """The label map of classes that `decide_classes` placed: of regions the innermost counts."""
    plane = inside[0].astype(np.uint8) * np.uint8(labels.classes[0].value)
    for where, label in zip(inside[1:], labels.classes[1:], strict=True):
        plane[where] = label.value
    return plane


def foreground_probability(probabilities: Sequence[Plane], labels: LabelMap) -> Plane:
    """The probability that a voxel belongs to any class: their sum, or that of the outermost region."""
    if len(probabilities) == 1 or not labels.exclusive:
        return probabilities[0]
    return np.asarray(np.minimum(np.sum(probabilities, axis=0), 1.0), dtype=np.float32)
