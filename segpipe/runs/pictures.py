"""The pictures of a run: its curves, and its best, median and worst cases."""

from typing import TYPE_CHECKING

from segpipe.config.schema import Settings
from segpipe.datasets.loading import load_case
from segpipe.io.volumes import read_volume
from segpipe.metrics.evaluation import CaseResult
from segpipe.metrics.tables import case_rows, froc_rows, lesion_rows
from segpipe.report.figures import bland_altman, dice_by_diameter, froc_curve, learning_curves
from segpipe.report.overlays import overlay
from segpipe.training.callbacks import read_history
from segpipe.training.material import Material
from segpipe.training.release import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(settings: Settings, material: Material, outcome: Outcome) -> "dict[str, Figure]":
    """Name → picture, all of held-out cases.

    Args:
        settings: How many overlays are wanted.
        material: For the scans.
        outcome: For the figures and the predicted masks.
    """
    data = material.manifest.name
    pictures = {
        "learning_curves": learning_curves(read_history(outcome.folder), data=data),
        "froc": froc_curve(froc_rows(outcome.results), outcome.summary["detection"], data=data),
        "dice_by_diameter": dice_by_diameter(lesion_rows(outcome.results), data=data),
        "bland_altman": bland_altman(case_rows(outcome.results), data=data),
    }
    entries = {entry.id: entry for entry in material.manifest.entries}
    for name, result in choose_cases(outcome.results, settings.evaluation.overlays).items():
        case = load_case(entries[result.case], material.manifest.labels)
        mask = read_volume(outcome.folder / "evaluation" / "masks" / f"{result.case}.nii.gz").array
        title = f"{name.replace('_', ' ')} case {result.case}, Dice {result.figures['dice']:.2f}"
        pictures[f"overlay_{name}"] = overlay(case, mask, title, data=data)
    return pictures


def choose_cases(results: list[CaseResult], count: int) -> dict[str, CaseResult]:
    """The best, median and worst case by Dice; with more than three wanted further ones of the worst.

    Cases whose Dice is undefined are left out.
    """
    ranked = sorted((r for r in results if r.figures["dice"] is not None), key=lambda r: r.figures["dice"] or 0.0)
    names = {"best": -1, "median": len(ranked) // 2, "worst": 0}
    more = {f"worst_{place + 1}": place for place in range(1, max(0, count - 3) + 1)}
    chosen = {name: place for name, place in [*names.items(), *more.items()][:count] if place < len(ranked)}
    return {name: ranked[place] for name, place in chosen.items()} if ranked else {}
