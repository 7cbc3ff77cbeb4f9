"""What a drift check found, as a table."""

from collections.abc import Mapping
from typing import Any

from segpipe.evaluation.text_summary import align
from segpipe.pipelines.drift.checking import WORDS


def describe_drift(report: Mapping[str, Any]) -> str:
    """The content of `drift.json` as lines, what has moved most first."""
    scans = report["scans"]
    rows = [
        (
            WORDS.get(shift["quantity"], shift["quantity"]),
            f"{shift['stored']:.4g}",
            f"{shift['new']:.4g}",
            f"{shift['effect']:.2f}",
            f"{shift['q']:.2g}",
            "drift" if shift["drifted"] else "",
        )
        for shift in report["shifts"]
    ]
    return "\n".join(
        [
            f"{scans['new']} scans of {report['data']}, next to {scans['stored']} that the model was evaluated on "
            f"({report['model_data']})",
            *align([("median of", "stored", "new", "effect", "q", ""), *rows]),
            verdict(report),
        ]
    )


def verdict(report: Mapping[str, Any]) -> str:
    """Whether there is drift, and what could be seen."""
    visible = report["smallest_visible_effect"]
    could = f"so many scans show effects from about {visible:.2f}" if visible < 1 else "so few scans show no drift"
    if report["drift"]:
        return f"drift in {len(report['drifted'])} of {len(report['shifts'])} quantities"
    return f"no drift was found; {could}"
