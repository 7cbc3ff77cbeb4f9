"""A page per scan that a radiologist opens without any network: the scan, the mask over it and the findings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.inference.batch.results import Result
from segpipe.inference.follow_up.comparing import FollowUp
from segpipe.inference.follow_up.words import describe_course, describe_lost, describe_since
from segpipe.labels import Label
from segpipe.report.finding_rows import EXPLANATION, FOLLOWED, INPUTS, RATED, RELIED, cells, columns, mean_diameter
from segpipe.report.overlays import LUNG_WINDOW_HU
from segpipe.report.page import render
from segpipe.report.tables import show
from segpipe.report.viewer_thumbnails import picture_side_mm, thumbnail
from segpipe.report.viewer_volumes import STEP_HU, Packed, pack

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup
    from numpy.typing import NDArray

    from segpipe.case import Case
    from segpipe.inference.predictor import Prediction

UNCERTAINTY = (
    "Uncertainty: entropy, in bits, of the mean probability over overlapping windows and the network's several answers "
    "({asked}). 0: sure; 1: both answers are as likely. It says where the network wavers, not how often it errs. In "
    "the table: its mean over the voxels of the finding, and the part of it in which the answers disagree (mutual "
    "information)."
)
EXPLAINED = (
    "What a finding rests on, by one method: red counts for it, blue against it; each picture has its own scale. It "
    "shows what moves the network's answer, not whether the answer is right, and no cause of disease."
)
ASKED = {"flips": "mirrored views", "ensemble": "its members", "dropout": "passes with dropout"}


def write_page(result: Result, folder: Path) -> list[Path]:
    """Writes NAME.html: viewer, table of findings and a picture of each; a click on a finding goes there.

    Raises:
        OutputError: when the file cannot be written.
    """
    maps = result.prediction.uncertainty
    packed = pack(result.case, result.prediction.mask, entropy=maps.entropy if maps else None)
    findings = _findings(result)
    classes = result.model.recipe.label_map.classes
    file = render(
        folder / f"{result.scan.name}.html",
        "viewer.html",
        title=result.scan.name,
        sought=" or ".join(label.name for label in classes),
        colours=_colours(classes),
        facts=_facts(result, packed),
        **_table(result, findings),
        **_drawn(result, findings),
        **_explained(result, findings),
        packed=packed,
        shown=f"{'×'.join(f'{step:.2f}' for step in packed.grid.spacing_mm)} mm, HU in steps of {STEP_HU}",
        window=LUNG_WINDOW_HU,
        library=_library(),
    )
    return [file]


def _findings(result: Result) -> list[dict[str, Any]]:
    """The findings as plain data, with their course since an earlier scan where there is one."""
    findings = [finding.to_dict() for finding in result.prediction.findings]
    if result.follow_up is not None:
        for finding in findings:
            finding["since"] = describe_course(asdict(result.follow_up.by_finding[finding["number"]]))
    return findings


def _table(result: Result, findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns and rows of the table of findings."""
    several = len(result.model.recipe.label_map.classes) > 1
    return {
        "columns": columns(
            several_classes=several,
            relied=_any_has(findings, "reliability"),
            uncertainty=result.prediction.uncertainty is not None,
            rated=_any_has(findings, "ratings"),
            followed=result.follow_up is not None,
        ),
        "rows": [_row(finding, several_classes=several) for finding in findings],
    }


def _drawn(result: Result, findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A picture of each finding, and one for each map of what it rests on."""
    case, prediction = result.case, result.prediction
    return {
        "pictures": [_picture(case, prediction, finding) for finding in findings],
        "explained": [
            (one.name, one.unit, [_picture(case, prediction, finding, one.volume) for finding in findings])
            for one in prediction.explanations
        ],
    }


def _explained(result: Result, findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a reader must know of table and pictures."""
    asked = ASKED.get(result.settings["options"].get("uncertainty"), "")
    return {
        "explained_text": EXPLAINED,
        "explanation": EXPLANATION,
        "followed": _follow_up_lines(result.follow_up) if result.follow_up else [],
        "inputs": INPUTS,
        "followed_text": FOLLOWED,
        "rated_text": RATED if _any_has(findings, "ratings") else "",
        "relied_text": RELIED if _any_has(findings, "reliability") else "",
        "uncertainty_text": UNCERTAINTY.format(asked=asked),
    }


def _any_has(findings: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(name in finding for finding in findings)


def _row(finding: Mapping[str, Any], *, several_classes: bool) -> dict[str, Any]:
    """What the page says of a finding."""
    return {
        "number": finding["number"],
        "label": finding["label"],
        "cells": cells(finding, several_classes=several_classes),
        "centre_mm": list(finding["centre_mm"]),
        "size": f"{mean_diameter(finding)} mm",
        "edge": f"{picture_side_mm(finding['axial_diameter_mm']):.0f} mm",
    }


def _picture(
    case: "Case", prediction: "Prediction", finding: Mapping[str, Any], heat: "NDArray[np.float32] | None" = None
) -> str:
    side_mm = picture_side_mm(finding["axial_diameter_mm"])
    place = {"slice_index": finding["slice_index"], "side_mm": side_mm}
    return thumbnail(case, prediction.mask, finding["centre_mm"], **place, heat=heat)


def _follow_up_lines(follow_up: FollowUp) -> list[str]:
    """What the page says of the earlier scan: which it is, and the lesions that it alone shows."""
    return [describe_since(follow_up), *describe_lost(follow_up)]


def _colours(classes: Sequence[Label]) -> dict[str, list[int]]:
    """The lookup table of the mask as NiiVue wants it: background clear, each class in its colour."""
    rows = [(0, (0, 0, 0), 0), *((label.value, label.colour, 255) for label in classes)]
    red, green, blue = ([colour[channel] for _, colour, _ in rows] for channel in range(3))
    values, opacity = [value for value, *_ in rows], [alpha for *_, alpha in rows]
    return {"R": red, "G": green, "B": blue, "A": opacity, "I": values}


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
