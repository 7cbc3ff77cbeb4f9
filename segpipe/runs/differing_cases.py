"""Pictures of the cases in which two runs differ most: scan, reference and either prediction."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import Manifest, read_manifest
from segpipe.errors import SegpipeError, explain
from segpipe.io.volumes import read_volume
from segpipe.report.overlays import overlay
from segpipe.runs.case_pictures import configured_dataset
from segpipe.runs.contenders import Contender

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_differing_cases(
    pair: Mapping[str, Any], first: Contender, second: Contender, *, data: Path | None = None
) -> "tuple[dict[str, Figure], str | None]":
    """Draws what either run made of the cases that differ most.

    Args:
        pair: A pair of a comparison; names the cases.
        first: Its first run.
        second: Its second run.
        data: The data set folder; by default the one that a run's configuration names.

    Returns:
        Name → picture, and why there are none or fewer, if so.
    """
    if not (first.masks and second.masks):
        return {}, "no pictures: masks are kept in run folders alone"
    try:
        manifest = _open(data, first, second)
        entries = {entry.id: entry for entry in manifest.entries}
        drawn: dict[str, Figure] = {}
        for row in pair["cases"]:
            if row["case"] in entries and row["difference"]:
                case = load_case(entries[row["case"]], manifest.labels)
                for side, contender in (("first", first), ("second", second)):
                    mask = read_volume(_mask(contender, row["case"])).array
                    title = f"{row['case']}, {contender.name}: {row[side]:.3f}"
                    drawn[f"{row['case']}-{side}"] = overlay(case, mask, title, data=manifest.name)
    except SegpipeError as error:
        return {}, f"no pictures: {explain(error)}"
    return drawn, None if drawn else "no pictures: the data set holds none of these cases"


def _open(data: Path | None, *contenders: Contender) -> Manifest:
    if data:
        return read_manifest(data)
    for contender in contenders:
        file = contender.run_folder / "config.yaml" if contender.run_folder else None
        if file and file.is_file():
            return configured_dataset(yaml.safe_load(file.read_text()))
    raise SegpipeError("no run names its data set", hint="--data DATASET")


def _mask(contender: Contender, case: str) -> Path:
    assert contender.masks
    return contender.masks / f"{case}.nii.gz"
