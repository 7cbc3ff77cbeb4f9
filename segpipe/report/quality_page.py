"""The page of a data set's quality: every remark, and every case with a picture."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.datasets.quality.issues import CaseQuality, Quality
from segpipe.report.page import render
from segpipe.system.atomic_write import write_json

PAGE, FILE = "quality.html", "quality.json"


def write_quality(quality: Quality, folder: Path) -> tuple[Path, Path]:
    """Writes `quality.json` and `quality.html` into a folder; each complete or not at all.

    Raises:
        OutputError: when they cannot be written.
    """
    file = folder / FILE
    write_json(file, quality.to_dict(), what="the quality file")
    page = render(
        folder / PAGE,
        "quality.html",
        title=f"Quality of {quality.name}",
        name=quality.name,
        counts=_counts(quality),
        issues=[(issue, _facts(issue.facts)) for issue in quality.issues],
        cases=[_card(case) for case in sorted(quality.cases, key=_urgency)],
    )
    return file, page


def _counts(quality: Quality) -> list[tuple[str, int]]:
    lesions = sum(int(case.facts.get("lesions", 0)) for case in quality.cases)
    flawless = sum(not case.issues for case in quality.cases)
    return [
        ("cases", len(quality.cases)),
        ("without any remark", flawless),
        ("errors", quality.count("error")),
        ("warnings", quality.count("warning")),
        ("lesions", lesions),
        *((f"of them {name}", count) for name, count in quality.class_counts.items()),
    ]


def _card(case: CaseQuality) -> dict[str, Any]:
    facts = case.facts
    shown = {}
    if facts:
        shown = {
            "grid": " × ".join(map(str, facts["shape"])),
            "mm": " × ".join(f"{mm:.2f}" for mm in facts["spacing_mm"]),
            "axes": facts["orientation"],
            "lesions": f"{facts['lesions']}, {facts['lesion_mm3']:,.0f} mm³",
            **{name: _class_in_words(own) for name, own in facts.get("classes", {}).items()},
        }
    picture = base64.b64encode(case.thumbnail).decode() if case.thumbnail else ""
    return {"id": case.id, "picture": picture, "facts": shown, "issues": case.issues}


def _class_in_words(own: Mapping[str, Any]) -> str:
    hu = "" if own["median_hu"] is None else f", median {own['median_hu']:.0f} HU"
    return f"{own['lesions']}, {own['lesion_mm3']:,.0f} mm³{hu}"


def _urgency(case: CaseQuality) -> tuple[int, str]:
    levels = {issue.level for issue in case.issues}
    return (0 if "error" in levels else 1 if levels else 2), case.id


def _facts(facts: Any) -> str:
    return "; ".join(f"{name}: {value}" for name, value in facts.items())
