"""A page per scan that a radiologist opens without any network: the scan, the mask over it and the findings."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.inference.results import Result
from segpipe.report.overlays import LUNG_WINDOW_HU
from segpipe.report.page import render
from segpipe.report.tables import show
from segpipe.report.viewer_thumbnails import thumbnail
from segpipe.report.viewer_volumes import STEP_HU, Packed, pack

if TYPE_CHECKING:
    from markupsafe import Markup

_COLUMNS = {
    "volume_mm3": "volume, mm³",
    "axial_diameter_mm": "longest axial, mm",
    "perpendicular_diameter_mm": "perpendicular, mm",
    "equivalent_diameter_mm": "equivalent, mm",
    "mean_hu": "mean HU",
    "solid_fraction": "solid part",
    "side": "side",
    "slice_index": "slice",
    "mean_probability": "confidence",
}


def write_page(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.html: viewer, table of findings and a picture of each; a click on a finding goes there.

    Raises:
        OutputError: when the file cannot be written.
    """
    case, prediction = result.case, result.prediction
    packed = pack(case, prediction.mask)
    findings = [finding.to_dict() for finding in prediction.findings]
    file = render(
        folder / f"{result.scan.name}.html",
        "viewer.html",
        title=result.scan.name,
        label=result.model.recipe.label,
        facts=_facts(result, packed),
        columns=list(_COLUMNS.values()),
        rows=[_row(finding) for finding in findings],
        pictures=[thumbnail(case, prediction.mask, finding["centre_mm"]) for finding in findings],
        packed=packed,
        shown=f"{'×'.join(f'{step:.2f}' for step in packed.grid.spacing_mm)} mm, HU in steps of {STEP_HU}",
        window=LUNG_WINDOW_HU,
        library=_library(),
    )
    return [file]


def _row(finding: Mapping[str, Any]) -> dict[str, Any]:
    """What the table tells of a finding; slices count from 1."""
    values = {**finding, "slice_index": finding["slice_index"] + 1, "side": finding["side"] or "–"}
    cells = [show(values[name]) for name in _COLUMNS]
    return {"number": finding["number"], "cells": cells, "centre_mm": list(finding["centre_mm"])}


def _facts(result: Result, packed: Packed) -> list[tuple[str, str]]:
    grid, settings = result.case.grid, result.settings
    return [
        ("scan", str(grid)),
        ("findings", str(len(result.prediction.findings))),
        ("model", str(settings["model"])),
        ("recipe", f"{result.model.recipe.name} {settings['recipe']}"),
        ("threshold", show(settings["options"]["threshold"])),
        ("segpipe", str(settings["segpipe"])),
    ]


@cache
def _library() -> "Markup":
    from markupsafe import Markup

    # a file of our own package; it holds no closing script tag, which a test checks
    return Markup((files("segpipe.report") / "static" / "niivue.js").read_text(encoding="utf-8"))
