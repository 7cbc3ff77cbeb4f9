"""An evaluation of marks in a few lines of text, for the terminal."""

from collections.abc import Mapping
from typing import Any

from segpipe.evaluation.text_summary import align, cpm_by_diameter, interval, number


def describe_marks(summary: Mapping[str, Any]) -> str:
    """The main figures with their intervals.

    Args:
        summary: The content of `summary.json`.
    """
    lesions, froc = summary["lesions"], summary["detection"]["centre"]
    at = froc["sensitivity_at_fp_per_scan"].items()
    rows = [(rate, number(value), interval(froc["sensitivity_at_fp_per_scan_ci95"][rate])) for rate, value in at]
    silent = summary["cases_without_marks"]
    return "\n".join(
        [
            f"{summary['predictions']} on {summary['data']}: {summary['marks']} marks in {summary['cases']} scans",
            f"nodules: {lesions['tp']} found, {lesions['fn']} missed; marks: {lesions['fp']} false, "
            f"{lesions['ignored']} on excluded findings, {lesions['double']} more on nodules",
            *align([("false per scan", "sensitivity", "95 % interval"), *rows]),
            f"CPM {number(summary['cpm'])} ({interval(summary['cpm_ci95'])})",
            *cpm_by_diameter(froc),
            *[f"scans without a mark: {silent}; their nodules count as missed"] * bool(silent),
        ]
    )
