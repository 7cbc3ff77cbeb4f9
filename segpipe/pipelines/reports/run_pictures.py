"""The pictures of a run: its curves, the agreement of volumes, and its cases."""

from collections.abc import Mapping
from typing import Any

from segpipe.config.schema import Settings
from segpipe.evaluation.detection.spheres import outlined
from segpipe.evaluation.tables import case_rows, froc_rows, lesion_rows
from segpipe.pipelines.reports.case_pictures import Pictures, draw_cases, mask_files
from segpipe.report.figures import bland_altman, curve_panels, dice_by_diameter, froc_by_diameter, froc_curve
from segpipe.report.reliability_figure import reliability_diagram
from segpipe.training.callbacks import read_history
from segpipe.training.data.run_data import RunData
from segpipe.training.run_result import RunResult


def draw_run(settings: Settings, run_data: RunData, outcome: RunResult, summary: Mapping[str, Any]) -> Pictures:
    """The curves, agreement and cases of a run, all of held-out cases.

    Args:
        settings: How many overlays are wanted.
        run_data: For the scans.
        outcome: For the figures and the predicted masks.
        summary: The content of `summary.json`.
    """
    data = run_data.manifest.name
    masks = outcome.folder / "evaluation" / "masks"
    cases = draw_cases(
        outcome.results,
        run_data.manifest,
        mask_files(masks),
        labels=run_data.recipe.label_map,
        count=settings.evaluation.overlays,
    )
    figures = {
        "froc": froc_curve(froc_rows(outcome.results), summary["detection"], data=data),
        "dice_by_diameter": dice_by_diameter(lesion_rows(outcome.results), data=data),
        "bland_altman": bland_altman(case_rows(outlined(outcome.results)), data=data),
    }
    if summary["detection"]:
        figures["froc_by_diameter"] = froc_by_diameter(summary["detection"], data=data)
    if summary.get("calibration"):
        figures["reliability"] = reliability_diagram(summary["calibration"], data=data)
    return Pictures({**figures, **curve_panels(read_history(outcome.folder)), **cases.figures}, cases.views)
