"""Pictures of cases, the best, the median and the worst; knows nothing of training, which is slow to import."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import Manifest, read_manifest
from segpipe.datasets.opening import cache_folder, open_dataset
from segpipe.evaluation.evaluate import CaseResult
from segpipe.io.images.volumes import read_volume
from segpipe.labels import LabelMap
from segpipe.report.overlays import overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from segpipe.report.case_views import CaseView

MOST_CASES = 12


@dataclass(frozen=True)
class Pictures:
    """What a report shows.

    Args:
        figures: Name → figure.
        views: Name of an overlay → what a click on it opens.
    """

    figures: "dict[str, Figure]" = field(default_factory=dict)
    views: "dict[str, CaseView]" = field(default_factory=dict)


def draw_cases(
    results: Sequence[CaseResult],
    manifest: Manifest,
    mask_file: Callable[[str], Path],
    *,
    labels: LabelMap | None = None,
    count: int = MOST_CASES,
) -> Pictures:
    """Draws the best, the median and the worst cases.

    Args:
        results: The figures of the cases.
        manifest: For the scans.
        mask_file: Case → file of its predicted mask.
        labels: The classes that were predicted; without them the data set's lesions are shown.
        count: How many cases at most.
    """
    from segpipe.report.case_views import view_case

    entries = {entry.id: entry for entry in manifest.entries}
    figures, views = {}, {}
    for name, result in choose_cases(results, count).items():
        case = load_lesions(entries[result.case], manifest.labels, labels)
        mask = read_volume(mask_file(result.case)).array
        title = f"{rank_in_words(name)} case {result.case}, Dice {result.figures['dice']:.2f}"
        figures[f"overlay_{name}"] = overlay(case, mask, title, data=manifest.name)
        views[f"overlay_{name}"] = view_case(case, {"prediction": mask})
    return Pictures(figures, views)


def draw_evaluated(
    results: Sequence[CaseResult], data: Path, masks: Path, *, labels: LabelMap | None = None
) -> Pictures:
    """The same for cases of a data set folder, with the folder of their predicted masks."""
    return draw_cases(results, read_manifest(data), mask_files(masks), labels=labels)


def mask_files(*folders: Path) -> Callable[[str], Path]:
    """Finds the mask of a case in the first folder that has it."""

    def find(case: str) -> Path:
        files = [folder / f"{case}.nii.gz" for folder in folders]
        return next((file for file in files if file.is_file()), files[0])

    return find


def choose_cases(results: Sequence[CaseResult], count: int) -> dict[str, CaseResult]:
    """The best, median and worst case by Dice; with more than three wanted further ones of the worst.

    Cases whose Dice is undefined are left out, and no case is shown twice.
    """
    ranked = sorted((r for r in results if r.figures["dice"] is not None), key=lambda r: r.figures["dice"] or 0.0)
    places = {"best": len(ranked) - 1, "median": len(ranked) // 2, "worst": 0}
    further = [place for place in range(1, len(ranked)) if place not in places.values()]
    places |= {f"worst_{number}": place for number, place in enumerate(further, start=2)}
    chosen = list(places.items())[:count] if ranked else []
    first_names = {place: name for name, place in reversed(chosen)}
    return {name: ranked[place] for name, place in chosen if first_names[place] == name}


def rank_in_words(name: str) -> str:
    """A name that `choose_cases` gives, as a title has it.

    >>> [rank_in_words(name) for name in ("worst", "worst_2", "worst_3", "worst_4")]
    ['worst', '2nd worst', '3rd worst', '4th worst']
    """
    kind, _, number = name.partition("_")
    return f"{number}{ {'2': 'nd', '3': 'rd'}.get(number, 'th') } {kind}" if number else kind


def configured_dataset(config: Mapping[str, Any]) -> Manifest:
    """Opens the data set that a run's configuration names.

    Raises:
        DatasetError: when it is not there any more.
    """
    section = config["data"]
    cache = cache_folder(section.get("cache"))
    return open_dataset(section["name"], section, labels=configured_labels(config), cache=cache)


def configured_labels(config: Mapping[str, Any]) -> LabelMap:
    """The classes that a run's configuration names."""
    from segpipe.preprocessing.recipe import Recipe  # knows PyTorch

    return Recipe.from_dict(config["recipe"]).label_map
