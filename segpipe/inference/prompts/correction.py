"""How the network's probabilities follow a prompt: near a point they change as far as it takes, elsewhere not at all.

A correction works on what a network says of a window, so that any network can be corrected, also one that has never
seen a prompt.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid
from segpipe.inference.prompts.bounds import allowed_voxels, level_in_box
from segpipe.inference.prompts.clicks import find_clicks
from segpipe.inference.prompts.geodesic import geodesic_mm
from segpipe.inference.prompts.prompt import Prompt
from segpipe.inference.window.decision import foreground_probability
from segpipe.labels import LabelMap

Volume = NDArray[np.float32]
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
    network, allowed = log_odds(probability), allowed_voxels(prompt, grid)
    sure, unsure = log_odds(np.array(limits, np.float32)).tolist()
    before = network + (level_in_box(network, allowed, sure) if prompt.box else 0.0)
    after = before.copy()
    nearest = np.full(before.shape, np.inf, np.float32)
    for click in find_clicks(prompt, grid, foreground=before >= sure):
        voxel, sign = click.voxel, click.sign
        missing = MARGIN + (sure - before[voxel] if sign > 0 else before[voxel] - unsure)
        distance = geodesic_mm(image_hu, voxel, grid.spacing_mm, reach_mm=click.reach_mm)
        own = distance < nearest
        allowed[voxel] |= sign > 0
        nearest[own] = distance[own]
        after[own] = before[own] + sign * max(0.0, missing) * click.weight(distance[own])
    changed = np.where(after == network, probability, 1 / (1 + np.exp(-after))).astype(np.float32)
    return np.where(allowed, changed, np.float32(0))


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
