"""The page of a data set's quality: every remark, and every case with a picture."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from segpipe.datasets.quality.issues import CaseQuality, Quality
from segpipe.report.page import render
from segpipe.system.files.atomic_write import write_json

PAGE, FILE, FURTHER = "quality.html", "quality.json", "quality-pages"
CASES_A_PAGE = 200
MOST_ISSUES = 2000


def write_quality(quality: Quality, folder: Path) -> tuple[Path, Path]:
    """Writes `quality.json` and `quality.html` into a folder; each complete or not at all.

    Pictures are part of the page, so that it can be passed on as one file. Of large data sets it has the first cases,
    those with errors before those with warnings, and the others are on further pages, in `quality-pages`.

    Raises:
        OutputError: when they cannot be written.
    """
    file = write_json(folder / FILE, quality.to_dict(), what="the quality file")
    cases = sorted(quality.cases, key=_urgency)
    parts = [cases[start : start + CASES_A_PAGE] for start in range(0, len(cases), CASES_A_PAGE)] or [[]]
    pages = [PAGE, *(f"{FURTHER}/{number}.html" for number in range(2, len(parts) + 1))]
    _remove_others(folder / FURTHER, pages)
    for number, part in reversed(list(enumerate(parts))):
        _write_page(quality, folder, pages, number, part)
    return file, folder / PAGE


def _write_page(
    quality: Quality, folder: Path, pages: Sequence[str], number: int, cases: Sequence[CaseQuality]
) -> None:
    up = "../" if number else ""
    issues = [issue for case in cases for issue in case.issues] if number else quality.issues
    shown = sorted(issues, key=lambda issue: issue.level != "error")[:MOST_ISSUES]
    here = {case.id for case in cases}
    render(
        folder / pages[number],
        "quality.html",
        title=f"Quality of {quality.name}" + (f", page {number + 1}" if number else ""),
        name=quality.name,
        counts=[] if number else _counts(quality),
        issues=[(issue, _facts(issue.facts), issue.case in here) for issue in shown],
        issue_count=len(issues),
        pages=[(place + 1, f"{up}{page}") for place, page in enumerate(pages)] if len(pages) > 1 else [],
        number=number + 1,
        cases=[_card(case) for case in cases],
    )


def _remove_others(folder: Path, pages: Sequence[str]) -> None:
    """Removes what an earlier check of more cases has left."""
    for old in folder.glob("*.html"):
        if f"{FURTHER}/{old.name}" not in pages:
            with suppress(OSError):
                old.unlink()


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
    picture = base64.b64encode(bytes(case.thumbnail)).decode()
    return {"id": case.id, "picture": picture, "facts": shown, "issues": case.issues}


def _class_in_words(own: Mapping[str, Any]) -> str:
    hu = "" if own["median_hu"] is None else f", median {own['median_hu']:.0f} HU"
    return f"{own['lesions']}, {own['lesion_mm3']:,.0f} mm³{hu}"


def _urgency(case: CaseQuality) -> tuple[int, str]:
    levels = {issue.level for issue in case.issues}
    return (0 if "error" in levels else 1 if levels else 2), case.id


def _facts(facts: Any) -> str:
    return "; ".join(f"{name}: {value}" for name, value in facts.items())
