"""What corrections by a reader do to the Dice of a VOI model, and how long each takes.

    python benchmarks/corrections.py runs/…/model /data/lidc_nodules

Each crop that the model's training held out is clicked at the voxel deepest inside the nodule; then, again and again,
at the voxel deepest inside the largest part that is wrong: missed voxels get a positive point, surplus ones a negative.
So corrections are simulated everywhere (Mahadevan et al., BMVC 2018; Sofiiuk et al., RITM, ICIP 2022). Two further rows
give the box around the nodule, and its longest axial diameter as a line, instead of the first click.

The worst tenth is that of the first click, and stays the same in all rows; a click has made it worse where Dice fell.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from segpipe import load_model
from segpipe.case import Case
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.sources.implanted import open_nodules
from segpipe.geometry import Grid, to_world
from segpipe.inference.loaded_model import LoadedModel
from segpipe.inference.look import Look
from segpipe.inference.prompts.prompt import Ends, Prompt
from segpipe.inference.stage_timer import StageTimer
from segpipe.inference.window.grid import Point
from segpipe.lesions import find_components, find_farthest, superior_axis
from segpipe.pipelines.model_evaluation import choose_entries

TABLE = {"table": "nodules.csv", "case_column": "nodule", "patient_column": "patient"}
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Course:
    """Dice of a nodule after each click, those of box and line, and the seconds of every answer."""

    dice: list[float]
    box: float
    line: float
    seconds: list[float]


def main() -> None:
    """Clicks and prints the table."""
    options = _parse()
    model = load_model(options.model)
    manifest = open_nodules(options.crops, TABLE)
    entries, which = choose_entries(manifest, None, model.folder.about)
    print(f"{len(entries)} crops, {which}", flush=True)
    report([correct(model, load_lesions(entry, manifest.labels), clicks=options.clicks) for entry in entries])


def correct(model: LoadedModel, case: Case, *, clicks: int) -> Course:
    """What becomes of one nodule."""
    assert case.mask is not None
    lesion, reader = case.mask > 0, Reader(model, case)
    prompt = Prompt((point_of(deepest(lesion, case.grid), case.grid),))
    dice = []
    for _ in range(clicks + 1):
        found = reader.answer(prompt)
        dice.append(dice_of(found, lesion))
        prompt = correction(prompt, found, lesion, case.grid)
    drawn = box_of(lesion, case.grid), line_of(lesion, case.grid)
    box, line = (dice_of(reader.answer(prompt), lesion) for prompt in drawn)
    return Course(dice, box, line, reader.seconds)


class Reader:
    """Asks a model about one scan, and measures how long the answers take."""

    def __init__(self, model: LoadedModel, case: Case) -> None:
        folder = model.folder
        self.look = Look(
            case=case,
            recipe=folder.recipe,
            engine=model.engine,
            options=model.options,
            divisor=folder.divisor,
            timer=StageTimer(),
        )
        self.seconds: list[float] = []

    def answer(self, prompt: Prompt) -> Mask:
        """What the model finds with a prompt."""
        begin = time.perf_counter()
        mask = self.look.follow(prompt).aggregator.mask > 0
        self.seconds.append(time.perf_counter() - begin)
        return mask


def correction(prompt: Prompt, found: Mask, lesion: Mask, grid: Grid) -> Prompt:
    """The prompt with one more point: in the middle of the largest part that is wrong."""
    missed, surplus = (largest_part(wrong) for wrong in (lesion & ~found, found & ~lesion))
    wrong = max(missed, surplus, key=np.count_nonzero)
    if not wrong.any():
        return prompt
    point = (point_of(deepest(wrong, grid), grid),)
    if wrong is missed:
        return Prompt(prompt.positives + point, prompt.negatives)
    return Prompt(prompt.positives, prompt.negatives + point)


def largest_part(mask: Mask) -> Mask:
    """Its largest connected part."""
    parts, largest = find_components(mask), np.zeros_like(mask)
    largest[parts.box] = parts.numbers == 1
    return largest


def deepest(mask: Mask, grid: Grid) -> tuple[int, ...]:
    """The voxel of a mask that is farthest from its outside; beyond the border of a crop all is outside."""
    depth = distance_transform_edt(np.pad(mask, 1), sampling=grid.spacing_mm)[1:-1, 1:-1, 1:-1]
    return tuple(int(index) for index in np.unravel_index(depth.argmax(), depth.shape))


def box_of(lesion: Mask, grid: Grid) -> Prompt:
    """The box from the first to the last voxel along each axis."""
    indices = np.argwhere(lesion)
    half = np.full(3, 0.5)
    return Prompt(box=(point_of(indices.min(axis=0) - half, grid), point_of(indices.max(axis=0) + half, grid)))


def line_of(lesion: Mask, grid: Grid) -> Prompt:
    """The longest diameter in the axial slices."""
    ends = max(_diameters(lesion, grid), key=lambda ends: float(np.linalg.norm(np.subtract(*ends))))
    return Prompt(line=ends) if ends[0] != ends[1] else Prompt(ends[:1])


def _diameters(lesion: Mask, grid: Grid) -> Iterator[Ends]:
    axis = superior_axis(grid)
    indices = np.argwhere(lesion)
    for number in np.unique(indices[:, axis]):
        points = to_world(grid.affine, indices[indices[:, axis] == number])
        _, ways = find_farthest(points)
        along = points @ ways[0]
        first, last = (points[int(at)].tolist() for at in (along.argmin(), along.argmax()))
        yield (first[0], first[1], first[2]), (last[0], last[1], last[2])


def point_of(index: object, grid: Grid) -> Point:
    """Position of a voxel, RAS+ mm."""
    x, y, z = to_world(grid.affine, np.asarray(index, dtype=np.float64)).tolist()
    return x, y, z


def dice_of(found: Mask, lesion: Mask) -> float:
    """Dice of two masks."""
    return float(2 * np.count_nonzero(found & lesion) / (np.count_nonzero(found) + np.count_nonzero(lesion)))


def report(courses: list[Course]) -> None:
    """Prints a row per click, and one each for box and line."""
    dice = np.array([course.dice for course in courses])
    worst = np.argsort(dice[:, 0], kind="stable")[: max(1, len(dice) // 10)]
    seconds = np.array([course.seconds for course in courses])
    print(f"{'':<18}{'worst tenth':>12}{'all':>8}{'worse':>8}{'< 0.5':>8}{'ms, median':>12}{'95 %':>8}")
    rows = [("first click", dice[:, 0])] + [(f"correction {at}", dice[:, at]) for at in range(1, dice.shape[1])]
    rows += [(name, np.array([getattr(course, name) for course in courses])) for name in ("box", "line")]
    for at, (name, now) in enumerate(rows):
        before = dice[:, max(0, at - 1) if at < dice.shape[1] else 0]
        median, slow = np.percentile(seconds[:, at], [50, 95]) * 1000
        worse = np.mean(now < before - 1e-9)
        print(
            f"{name:<18}{now[worst].mean():>12.3f}{now.mean():>8.3f}{worse:>8.1%}{np.mean(now < 0.5):>8.1%}"
            f"{median:>12.0f}{slow:>8.0f}"
        )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model folder of a run")
    parser.add_argument("crops", type=Path, metavar="DIR", help="images/, masks/ and nodules.csv")
    parser.add_argument("--clicks", type=int, default=5, metavar="N", help="corrections of each nodule (default: 5)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
