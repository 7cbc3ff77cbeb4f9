"""Dice of a VOI model against how far from the lesion's centre a reader clicks.

    python benchmarks/clicks.py runs/…/model --crops /data/lidc_nodules
    python benchmarks/clicks.py runs/…/fold_*/model --crops /data/lidc_nodules --csv clicks.csv
    python -m segpipe ingest --source lidc-idri --input /archive --output /data/lidc
    python benchmarks/clicks.py runs/…/model --scans /data/lidc

Each lesion is clicked at its centre and, in random directions, so many millimetres away from it; a click stays within
the scan. The directions depend on the seed and the lesion alone, so that two models are asked the same.

Crops go on beyond their borders, so that these say nothing of the nodule (`hidden_borders.py`).
Each model gets those that its training held out, so that the models of a cross-validation share all of them. Whole
scans are any data set of `segpipe ingest`, e.g. LIDC or nodules put into lungs (`--source implanted`). The first model
gets the first data set, the second one the second: no model must have seen its patients. Intervals are over patients.
"""

import argparse
import csv
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from hidden_borders import hide_borders, mask_of
from numpy.typing import NDArray

from segpipe import load_model
from segpipe.case import Case
from segpipe.cli.predict.flags import parse_flips
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import Entry, read_manifest
from segpipe.datasets.sources.implanted import open_nodules
from segpipe.evaluation.bootstrap import interval_of_mean
from segpipe.geometry import FloatArray, Grid, to_voxel, to_world
from segpipe.inference.loaded_model import LoadedModel
from segpipe.inference.predictor import predict_case
from segpipe.lesions import Voxels, equivalent_diameter_mm, find_components
from segpipe.pipelines.model_evaluation import choose_entries

DISTANCES_MM = (0.0, 2.0, 4.0, 6.0)
SMALLEST_MM = 3.0
TABLE = {"table": "nodules.csv", "case_column": "nodule", "patient_column": "patient"}


@dataclass(frozen=True)
class Click:
    """A click and what came of it.

    Args:
        lesion: Name of the case and number of the lesion in it.
        patient: Whose it is.
        diameter_mm: Of the ball of the lesion's volume.
        distance_mm: From its centre.
        inside: Whether the click is in the lesion.
        dice: Of the lesion and what was segmented.
        seconds: That it took.
    """

    lesion: str
    patient: str
    diameter_mm: float
    distance_mm: float
    inside: bool
    dice: float
    seconds: float


def main() -> None:
    """Clicks and prints the tables."""
    options = _parse()
    models = [load_model(folder, device=options.device) for folder in options.models]
    for model in models if options.flips is not None else ():
        model.options = replace(model.options, flips=options.flips)
    clicks: list[Click] = []
    if options.crops:
        clicks += _report("crops with hidden borders", list(click_crops(models, options)))
    if options.scans:
        clicks += _report("whole scans", list(click_scans(models, options)))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(asdict(clicks[0])))
            writer.writeheader()
            writer.writerows(asdict(click) for click in clicks)


def click_crops(models: Sequence[LoadedModel], options: argparse.Namespace) -> Iterator[Click]:
    """The clicks into padded crops, each of one nodule, of each model into those that it was not trained on."""
    manifest = open_nodules(options.crops, TABLE)
    for model in models:
        entries, which = choose_entries(manifest, None, model.folder.about)
        print(f"{model.folder.path}: {len(entries)} crops, {which}", flush=True)
        for entry in _some(entries, options.most):
            crop = hide_borders(load_lesions(entry, manifest.labels), _rng(entry.id, options.seed))
            yield from _click_lesions(model, crop, entry, [Voxels.of(np.argwhere(mask_of(crop)))], options)


def click_scans(models: Sequence[LoadedModel], options: argparse.Namespace) -> Iterator[Click]:
    """The clicks at the lesions of whole scans: the first data set for the first model, and so on."""
    for model, root in zip(models, options.scans, strict=False):
        manifest = read_manifest(root)
        for entry in _some(manifest.entries, options.most):
            scan = load_lesions(entry, manifest.labels)
            components = find_components(mask_of(scan))
            lesions = (components.voxels(number) for number in range(1, components.count + 1))
            own = replace(entry, id=f"{root.name} {entry.id}", patient=f"{root.name} {entry.patient}")
            yield from _click_lesions(model, scan, own, lesions, options)


def _click_lesions(
    model: LoadedModel, case: Case, entry: Entry, lesions: Iterable[Voxels], options: argparse.Namespace
) -> Iterator[Click]:
    for number, lesion in enumerate(lesions, start=1):
        diameter = equivalent_diameter_mm(lesion.count * case.grid.voxel_volume_mm3)
        if diameter < SMALLEST_MM:
            continue
        name = f"{entry.id} {number}"
        for distance, point in points(lesion, case.grid, _rng(name, options.seed), directions=options.directions):
            start = perf_counter()
            inside, dice = _answer(model, case, lesion, point)
            seconds = round(perf_counter() - start, 3)
            yield Click(name, entry.patient, round(diameter, 2), distance, inside, round(dice, 4), seconds)


def points(
    lesion: Voxels, grid: Grid, rng: np.random.Generator, *, directions: int
) -> Iterator[tuple[float, tuple[float, float, float]]]:
    """The distances and the points to click at, RAS+ mm; a point beyond the scan's border is moved onto it."""
    centre = to_world(grid.affine, lesion.centre)
    ways: FloatArray = rng.standard_normal((directions, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    for distance in DISTANCES_MM:
        for way in ways if distance else ways[:1]:
            voxel = np.clip(to_voxel(grid.affine, centre + distance * way), 0, np.array(grid.shape) - 1)
            x, y, z = to_world(grid.affine, voxel).tolist()
            yield distance, (x, y, z)


def _answer(model: LoadedModel, case: Case, lesion: Voxels, at_mm: tuple[float, float, float]) -> tuple[bool, float]:
    """Whether the click is in the lesion, and the Dice of what is segmented there."""
    folder, options = model.folder, model.options
    found = predict_case(case, folder.recipe, model.engine, options, divisor=folder.divisor, at_mm=at_mm).mask > 0
    x, y, z = np.rint(to_voxel(case.grid.affine, at_mm)).astype(int) - lesion.start
    size = lesion.inside.shape
    inside = all(0 <= i < n for i, n in zip((x, y, z), size, strict=True)) and bool(lesion.inside[x, y, z])
    return inside, dice_of(found, lesion)


def dice_of(found: NDArray[np.bool_], lesion: Voxels) -> float:
    """Dice of a mask of the whole scan and one lesion."""
    box = tuple(slice(start, start + n) for start, n in zip(lesion.start, lesion.inside.shape, strict=True))
    both = np.count_nonzero(found[box] & lesion.inside)
    return float(2 * both / (np.count_nonzero(found) + lesion.count))


def _report(title: str, clicks: list[Click]) -> list[Click]:
    """Prints the table of Dice by distance and returns the clicks."""
    lesions, patients = (len({getattr(click, key) for click in clicks}) for key in ("lesion", "patient"))
    seconds = np.median([click.seconds for click in clicks])
    print(f"\n{title}: {lesions} lesions of {patients} patients, {seconds:.2f} s a click")
    print(f"{'from centre':<12}{'clicks':<14}{'number':>7}{'Dice':>8}{'95 % interval':>18}{'median':>8}{'< 0.5':>8}")
    for distance in DISTANCES_MM:
        chosen = [click for click in clicks if click.distance_mm == distance]
        _print_row(f"{distance:g} mm", "all", chosen)
        if distance:
            _print_row("", "in the lesion", [click for click in chosen if click.inside])
    return clicks


def _print_row(distance: str, which: str, clicks: Sequence[Click]) -> None:
    if not clicks:
        print(f"{distance:<12}{which:<14}{0:>7}")
        return
    dice = [click.dice for click in clicks]
    interval = interval_of_mean(dice, [click.patient for click in clicks])
    text = f"{interval[0]:.3f} … {interval[1]:.3f}" if interval else "one patient"
    bad = np.mean(np.less(dice, 0.5))
    print(f"{distance:<12}{which:<14}{len(dice):>7}{np.mean(dice):>8.3f}{text:>18}{np.median(dice):>8.3f}{bad:>8.1%}")


def _some(entries: Sequence[Entry], most: int | None) -> Sequence[Entry]:
    """At most so many of them, evenly."""
    if most is None or most >= len(entries):
        return entries
    return [entries[index] for index in np.linspace(0, len(entries) - 1, most).round().astype(int)]


def _rng(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="model folders of runs")
    parser.add_argument("--crops", type=Path, metavar="DIR", help="images/, masks/ and nodules.csv")
    parser.add_argument("--scans", nargs="+", type=Path, metavar="DIR", help="data sets of whole scans, one a model")
    parser.add_argument("--directions", type=int, default=2, metavar="N", help="clicks at each distance (default: 2)")
    parser.add_argument("--most", type=int, metavar="N", help="at most so many crops of each model, or scans")
    parser.add_argument("--flips", type=parse_flips, metavar="AXES", help="xyz, x, none …; default: the model's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every click there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
