"""Pictures of the cases in which two runs differ most: scan, reference and either prediction."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.case import Case
from segpipe.datasets.loading import load_lesions
from segpipe.datasets.manifest import Manifest, read_manifest
from segpipe.errors import SegpipeError, explain
from segpipe.io.images.volumes import read_volume
from segpipe.pipelines.comparison.compared_runs import ComparedRun
from segpipe.pipelines.reports.case_pictures import Pictures, configured_dataset, configured_labels, mask_files
from segpipe.report.overlays import overlay
from segpipe.report.style import PREDICTION, SECOND_PREDICTION
from segpipe.system.files.plain_files import read_yaml

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from segpipe.report.case_views import CaseView

SIDES = ("first", "second")


def draw_differing_cases(
    pair: Mapping[str, Any], first: ComparedRun, second: ComparedRun, *, data: Path | None = None
) -> tuple[Pictures, str | None]:
    """Draws what either run made of the cases that differ most; a click on a picture opens the scan with both masks.

    Args:
        pair: A pair of a comparison; names the cases.
        first: Its first run.
        second: Its second run.
        data: The data set folder; by default the one that a run's configuration names.

    Returns:
        The pictures, and why there are none or fewer, if so.
    """
    bare = " and ".join(compared_run.name for compared_run in (first, second) if not compared_run.masks)
    if bare:
        return Pictures(), f"no pictures: the masks of {bare} are not here; folders of runs keep them"
    try:
        config = _read_config(first, second)
        manifest = _open(data, config)
        labels = configured_labels(config) if config else None
    except SegpipeError as error:
        return Pictures(), f"no pictures: {explain(error)}"
    entries = {entry.id: entry for entry in manifest.entries}
    rows = [row for row in pair["cases"] if row["case"] in entries and row["difference"]]
    drawn, problems = Pictures({}, {}), [] if rows else ["no pictures: the data set holds none of these cases"]
    for number, row in enumerate(rows, start=1):
        try:
            case = load_lesions(entries[row["case"]], manifest.labels, labels)
            pictures = _draw_case(row, case, manifest.name, (first, second))
        except SegpipeError as error:
            problems.append(f"no picture: {explain(error.with_facts(case=row['case']))}")
            continue
        for side, (figure, view) in zip(SIDES, pictures, strict=True):
            drawn.figures[f"differs_{number}_{side}"], drawn.views[f"differs_{number}_{side}"] = figure, view
    return drawn, "\n".join(problems) or None


def _draw_case(
    row: Mapping[str, Any], case: Case, data: str, compared_runs: tuple[ComparedRun, ComparedRun]
) -> "list[tuple[Figure, CaseView]]":
    """One picture of either run; both open one view, in which the other run's mask waits to be switched on."""
    from segpipe.report.case_views import view_case  # knows PyTorch

    captions = [f"{one.name}: {row[side]:.3f}" for one, side in zip(compared_runs, SIDES, strict=True)]
    masks = [read_volume(mask_files(*one.masks)(case.id)).array for one in compared_runs]
    view = view_case(case, dict(zip(captions, masks, strict=True)))
    pictures = []
    for one, text, mask, colour in zip(compared_runs, captions, masks, (PREDICTION, SECOND_PREDICTION), strict=True):
        figure = overlay(case, mask, f"{case.id}, {text}", data=data, drawn=(one.name, colour))
        pictures.append((figure, replace(view, hidden=tuple(other for other in captions if other != text))))
    return pictures


def _read_config(*compared_runs: ComparedRun) -> Mapping[str, Any] | None:
    """The configuration of the first run that has one: it names the data set and the classes."""
    files = [one.run_folder / "config.yaml" for one in compared_runs if one.run_folder]
    file = next((file for file in files if file.is_file()), None)
    try:
        return read_yaml(file) if file else None
    except (OSError, ValueError) as error:
        raise SegpipeError("the configuration of a run cannot be read", facts={"file": file, "found": error}) from error


def _open(data: Path | None, config: Mapping[str, Any] | None) -> Manifest:
    if data:
        return read_manifest(data)
    if config is None:
        raise SegpipeError("no run names its data set", hint="--data DATASET")
    return configured_dataset(config)
