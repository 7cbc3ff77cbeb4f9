"""How the network's probabilities follow a prompt: near a point they change as far as it takes, elsewhere not at all.

A correction works on what a network says of a window, so that any network can be corrected, also one that has never
seen a prompt.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid
from segpipe.inference.prompts.bounds import allowed_voxels, level_in_box
from segpipe.inference.prompts.geodesic import Index, geodesic_mm
from segpipe.inference.prompts.prompt import Prompt, points_inside, voxels_at
from segpipe.inference.window.decision import foreground_probability
from segpipe.labels import LabelMap

Volume = NDArray[np.float32]
REACH_MM = 6.0
"""Farther than this, on a way through tissue like its own, a point changes nothing.

Measured by `benchmarks/corrections.py`; half as far a correction does less, twice as far it does as much harm as good.
"""
MARGIN = 0.5
"""By how much the log odds of a point pass the threshold."""
_LEAST = 1e-6
"""Probabilities nearer to 0 or 1 count as this far away, so that log odds stay finite."""


def follow_prompt(
    boxes: Sequence[Volume],
    image_hu: NDArray[np.generic],
    grid: Grid,
    prompt: Prompt,
    *,
    thresholds: Sequence[float],
    labels: LabelMap,
) -> list[Volume]:
    """The probabilities of the classes, given what a reader says.

    Classes that exclude each other share the foreground as before; a region follows the one around it.

    Args:
        boxes: Of each class, (x, y, z), as the network gave them.
        image_hu: The scan there.
        grid: Its grid.
        prompt: What the reader says.
        thresholds: Probability from which a voxel belongs to a class.
        labels: The classes.
    """
    before = foreground_probability(boxes, labels)
    sharing = len(boxes) if labels.exclusive else 1
    limits = _limits(thresholds[:sharing])
    after = follow_in_one(before, image_hu, grid, prompt, limits=limits)
    if sharing == 1:
        return [after, *boxes[1:]]
    parts = [np.divide(box, before, out=np.full_like(box, 1 / sharing), where=before > 0) for box in boxes]
    return [np.where(after == before, box, part * after) for box, part in zip(boxes, parts, strict=True)]


def follow_in_one(
    probability: Volume,
    image_hu: NDArray[np.generic],
    grid: Grid,
    prompt: Prompt,
    *,
    limits: tuple[float, float],
) -> Volume:
    """The probability of the foreground, given what a reader says.

    Args:
        probability: As the network gave it, (x, y, z).
        image_hu: The scan there.
        grid: Its grid.
        prompt: What the reader says.
        limits: From which probability a voxel is foreground for certain, and below which it is none.
    """
    before, allowed = log_odds(probability), allowed_voxels(prompt, grid)
    sure, unsure = log_odds(np.array(limits, np.float32)).tolist()
    level = level_in_box(before, allowed, sure) if prompt.box else 0.0
    after = before + level
    nearest = np.full(before.shape, np.inf, np.float32)
    for seed, sign in _seeds(prompt, grid):
        missing = MARGIN + (sure - before[seed] if sign > 0 else before[seed] - unsure) - level * sign
        distance = geodesic_mm(image_hu, seed, grid.spacing_mm, reach_mm=REACH_MM)
        own = distance < nearest
        allowed[seed] |= sign > 0
        nearest[own] = distance[own]
        after[own] = before[own] + level + sign * max(0.0, missing) * fall_off(distance[own])
    changed = np.where(after == before, probability, 1 / (1 + np.exp(-after))).astype(np.float32)
    return np.where(allowed, changed, np.float32(0))


def fall_off(distance_mm: Volume) -> Volume:
    """Part of a point's change at a distance from it."""
    return np.float32(1) - (distance_mm / REACH_MM) ** 2


def _seeds(prompt: Prompt, grid: Grid) -> Iterator[tuple[Index, int]]:
    """Voxels that a reader has pointed at, and whether they are inside the lesion (1) or outside (-1)."""
    for points, sign in ((points_inside(prompt, grid), 1), (prompt.negatives, -1)):
        yield from ((voxel, sign) for voxel in voxels_at(points, grid))


def _limits(thresholds: Sequence[float]) -> tuple[float, float]:
    """From which probability of the foreground the likeliest of K classes passes, and below which none does.

    A class passes at `threshold` times what the others leave (see `decide_classes`); the likeliest has at least a K-th
    of the foreground.
    """
    part, highest = 1 / len(thresholds), max(thresholds)
    return highest / (part + highest * (1 - part)), min(thresholds)


def log_odds(probability: Volume) -> Volume:
    """Log odds of probabilities, finite also of 0 and 1."""
    inside = np.clip(probability, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float32)
