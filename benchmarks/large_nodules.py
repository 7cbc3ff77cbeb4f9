"""Nodules larger than the window of a VOI model: what the window alone shows of them, and what `predict --at` does.

    python benchmarks/large_nodules.py runs/…/model --crops /data/lidc_nodules
    python benchmarks/large_nodules.py runs/…/model --crops /data/lidc_nodules --enlarge 1.5 2
    python benchmarks/large_nodules.py runs/…/model --scans /data/lidc

Each is clicked at the middle of its box. Crops are those that the model's training held out, padded with surroundings
of their own (`hidden_borders.py`). Real nodules of more than 3 cm are rare: `--enlarge` has real ones at so many times
their size, with noise and slices as much coarser, where slices stay thinner than 3 mm. Whole scans are any data set of
`segpipe ingest`; none of their patients must have been trained on.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clicks import TABLE, dice_of
from hidden_borders import hide_borders
from numpy.typing import NDArray

from segpipe import load_model
from segpipe.case import Case
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import read_manifest
from segpipe.datasets.sources.implanted import open_nodules
from segpipe.geometry import Grid
from segpipe.inference.loaded_model import LoadedModel
from segpipe.inference.painting import Painting
from segpipe.inference.postprocess import choose_findings
from segpipe.inference.predictor import predict_case
from segpipe.inference.stage_timer import StageTimer
from segpipe.inference.window.grid import Point, choose_grid
from segpipe.inference.window.wider import LARGEST_MM, middle_mm
from segpipe.lesions import Box, Components, find_components
from segpipe.pipelines.model_evaluation import choose_entries
from segpipe.preprocessing.resampling import plan_preparation

THICKEST_MM = 3.0


@dataclass(frozen=True)
class Comparison:
    """A nodule, and what was segmented of it: by the window alone, and with larger parts of the scan.

    Args:
        lesion: Name of the case and number of the lesion in it.
        size_mm: Of its box, along the scan's axes.
        dice: Of the window alone, and with wider ones.
        ratio: What was segmented over the nodule's volume, likewise.
        cut_by: As the finding says.
    """

    lesion: str
    size_mm: tuple[float, ...]
    dice: tuple[float, float]
    ratio: tuple[float, float]
    cut_by: str | None


def main() -> None:
    """Compares and prints the tables."""
    options = _parse()
    model = load_model(options.model, device=options.device)
    for factor in [1.0, *options.enlarge] if options.crops else []:
        title = f"crops, nodules {factor:g} times their size" if factor > 1 else "crops"
        report(title, [one for case in _crops(model, options.crops, factor) for one in compare(model, case)])
    if options.scans:
        report("whole scans", [one for case in _scans(options.scans) for one in compare(model, case)])


def compare(model: LoadedModel, case: Case) -> Iterator[Comparison]:
    """Segments each lesion of a case that is larger than the model's window."""
    assert case.mask is not None
    recipe = model.folder.recipe
    order = plan_preparation(case.grid, recipe).order
    window_mm = np.multiply(recipe.spacing_mm, recipe.patch)
    components = find_components(case.mask)
    for number, part in enumerate(components.parts, start=1):
        if (np.array(_size_mm(part, case.grid))[list(order)] > window_mm).any():
            yield _compare(model, case, components, number)


def _compare(model: LoadedModel, case: Case, components: Components, number: int) -> Comparison:
    lesion, part = components.voxels(number), components.parts[number - 1]
    at_mm = middle_mm(part, case.grid)
    alone = see_window(model, case, at_mm)
    folder, options = model.folder, model.options
    found = predict_case(case, folder.recipe, model.engine, options, divisor=folder.divisor, at_mm=at_mm)
    masks = alone, found.mask > 0
    before, after = (dice_of(mask, lesion) for mask in masks)
    cut, whole = (float(np.count_nonzero(mask) / lesion.count) for mask in masks)
    cut_by = ", ".join(finding.cut_by for finding in found.findings if finding.cut_by) or None
    return Comparison(f"{case.id} {number}", _size_mm(part, case.grid), (before, after), (cut, whole), cut_by)


def see_window(model: LoadedModel, case: Case, at_mm: Point) -> NDArray[np.bool_]:
    """The lesion at a point as the window around it shows it, and nothing else."""
    recipe, options = model.folder.recipe, model.options
    preparation = plan_preparation(case.grid, recipe)
    window = getattr(model.engine, "window", None)
    grid = choose_grid(preparation, recipe, model.folder.divisor, at_mm=at_mm, window=window)
    aggregator = Painting(case, recipe, model.engine, options, grid, StageTimer()).paint()
    choose_findings(aggregator, preparation, labels=recipe.label_map, point=options.point, at_mm=at_mm)
    return np.asarray(aggregator.mask > 0)


def report(title: str, compared: Sequence[Comparison]) -> None:
    """Prints a line for each nodule, and the means."""
    print(f"\n{title}: {len(compared)} nodules larger than the window")
    print(f"{'':26}{'size, mm':>16}{'Dice: window':>14}{'wider':>7}{'volume: window':>16}{'wider':>7}  cut by")
    for one in sorted(compared, key=lambda one: max(one.size_mm)):
        size = " × ".join(f"{length:.0f}" for length in one.size_mm)
        _print_row(one.lesion, size, one.dice, one.ratio, one.cut_by or "")
    if compared:
        dice, ratio = (np.mean([getattr(one, name) for one in compared], axis=0) for name in ("dice", "ratio"))
        _print_row("mean", "", dice, ratio, f"{sum(one.cut_by is not None for one in compared)} of them")


def _print_row(name: str, size: str, dice: Sequence[float], ratio: Sequence[float], cut_by: str) -> None:
    print(f"{name:26}{size:>16}{dice[0]:>14.3f}{dice[1]:>7.3f}{ratio[0]:>16.2f}{ratio[1]:>7.2f}  {cut_by}", flush=True)


def _crops(model: LoadedModel, folder: Path, factor: float) -> Iterator[Case]:
    manifest = open_nodules(folder, TABLE)
    entries, which = choose_entries(manifest, None, model.folder.about)
    print(f"\n{len(entries)} crops, {which}")
    for entry in entries:
        case = load_lesions(entry, manifest.labels)
        case = _enlarge(case, factor)
        longest_mm = max(_size_mm(find_components(case.mask).box, case.grid))
        if factor > 1 and (max(case.grid.spacing_mm) >= THICKEST_MM or longest_mm > LARGEST_MM):
            continue
        yield hide_borders(case, np.random.default_rng(0))


def _scans(folder: Path) -> Iterator[Case]:
    manifest = read_manifest(folder)
    for entry in manifest.entries:
        yield load_lesions(entry, manifest.labels)


def _size_mm(part: Box, grid: Grid) -> tuple[float, ...]:
    return tuple((axis.stop - axis.start) * edge for axis, edge in zip(part, grid.spacing_mm, strict=True))


def _enlarge(case: Case, factor: float) -> Case:
    """The same voxels, each so many times as long."""
    affine = case.grid.affine.copy()
    affine[:3, :3] *= factor
    return Case(case.id, case.image, Grid(case.grid.shape, affine), case.mask)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="the model folder of a run")
    parser.add_argument("--crops", type=Path, metavar="DIR", help="images/, masks/ and nodules.csv")
    parser.add_argument("--scans", type=Path, metavar="DIR", help="a data set of whole scans")
    parser.add_argument("--enlarge", nargs="+", type=float, default=[], metavar="TIMES", help="such nodules as well")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
