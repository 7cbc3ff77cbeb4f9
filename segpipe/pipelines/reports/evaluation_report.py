"""The report page of an evaluation that no training run belongs to."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe import __version__
from segpipe.evaluation.detection.spheres import outlined
from segpipe.evaluation.marks.matching import MatchedMarks
from segpipe.evaluation.marks.summary import mark_case_rows, mark_froc_rows, mark_lesion_rows
from segpipe.evaluation.results import CaseResult
from segpipe.evaluation.tables import Row, case_rows, froc_rows, lesion_rows
from segpipe.pipelines.reports.case_pictures import Pictures
from segpipe.report.figures import bland_altman, dice_by_diameter, froc_by_diameter, froc_curve
from segpipe.report.page import write_report
from segpipe.report.reliability_figure import reliability_diagram
from segpipe.system.machine.versions import versions_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PACKAGES = ("numpy", "scipy", "connected-components-3d", "nibabel", "SimpleITK")


def write_evaluation_report(
    folder: Path,
    results: Sequence[CaseResult],
    summary: Mapping[str, Any],
    *,
    cases: Pictures | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `report.html` into the folder of an evaluation.

    Args:
        folder: The folder with `summary.json`.
        results: The figures of each case.
        summary: The content of `summary.json`.
        cases: Pictures of some cases, where their scans are known.
        config: What the evaluated masks were made with; by default what the summary says.
    """
    recorded = {name: summary[name] for name in ("split", "operating_point") if name in summary}
    drawn = cases or Pictures()
    return write_report(
        folder,
        title=_title(summary),
        summary=summary,
        cases=case_rows(results),
        lesions=lesion_rows(results),
        figures={**_draw(results, summary), **drawn.figures},
        views=drawn.views,
        config=config or recorded,
        environment=_environment(),
    )


def write_marks_report(folder: Path, matched: MatchedMarks, summary: Mapping[str, Any]) -> Path:
    """Writes `report.html` into the folder of an evaluation of marks.

    Args:
        folder: The folder with `summary.json`.
        matched: What became of the marks.
        summary: The content of `summary.json`.
    """
    data, points = str(summary["data"]), mark_froc_rows(matched)
    return write_report(
        folder,
        title=_title(summary),
        summary=summary,
        cases=mark_case_rows(matched),
        lesions=mark_lesion_rows(matched),
        figures=_froc(points, summary["detection"], data) if points else {},
        config={},
        environment=_environment(),
    )


def _environment() -> dict[str, str]:
    return {"segpipe": __version__, "Python": platform.python_version(), **versions_of(_PACKAGES)}


def _title(summary: Mapping[str, Any]) -> str:
    if "folds" in summary:
        what = f"{summary['cases']} held-out cases of {summary['data']}, {len(summary['folds'])} folds"
        return f"{summary['experiment']}: {what}"
    return f"{summary.get('predictions', 'Model')} on {summary['data']}: {summary['cases']} cases"


def _draw(results: Sequence[CaseResult], summary: Mapping[str, Any]) -> "dict[str, Figure]":
    data, points = str(summary["data"]), froc_rows(results)
    figures = {
        "dice_by_diameter": dice_by_diameter(lesion_rows(results), data=data),
        "bland_altman": bland_altman(case_rows(outlined(results)), data=data),
    }
    if summary.get("calibration"):
        figures["reliability"] = reliability_diagram(summary["calibration"], data=data)
    return {**figures, **(_froc(points, summary["detection"], data) if points else {})}


def _froc(points: Sequence[Row], detection: Mapping[str, Any], data: str) -> "dict[str, Figure]":
    return {
        "froc": froc_curve(points, detection, data=data),
        "froc_by_diameter": froc_by_diameter(detection, data=data),
    }
