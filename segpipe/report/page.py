"""The report of a run: one HTML file that needs no network, for a colleague to read, print and keep."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe import __version__
from segpipe.evaluation.text_summary import seen_warning
from segpipe.export.guarantee import PRIVACY, guarantee
from segpipe.report.figures import CURVE
from segpipe.report.style import to_svg
from segpipe.report.summary import data_facts, explanations, notes, parts, tiles
from segpipe.report.tables import show, table
from segpipe.system.files.atomic_write import write_text

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

    from segpipe.report.case_views import CaseView

Row = Mapping[str, Any]
REPORT = "report.html"
OVERLAY = "overlay"
WORST = 10
LONGEST_TABLE = 500
_FACTS = ("experiment", "data", "data_hash", "recipe_digest", "selection", "segpipe_version", "git_commit")
_CASE_COLUMNS = (
    "case",
    "dice",
    "iou",
    "nsd",
    "hd95_mm",
    "volume_error_pct",
    "reference_mm3",
    "predicted_mm3",
    "tp",
    "fp",
    "fn",
)
_LESION_COLUMNS = ("case", "class", "kind", "number", "matched", "diameter_mm", "volume_mm3", "overlap", "probability")


@dataclass(frozen=True)
class Picture:
    """A figure on a page."""

    id: str
    title: str
    svg: "Markup"
    wide: bool


def write_report(
    run_folder: Path,
    *,
    title: str,
    summary: Row,
    cases: Sequence[Row],
    lesions: Sequence[Row],
    figures: "Mapping[str, Figure]",
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    views: "Mapping[str, CaseView] | None" = None,
) -> Path:
    """Writes `report.html` into a run's folder; complete or not at all.

    Args:
        run_folder: Where the report goes.
        title: Headline of the report.
        summary: The content of `summary.json`.
        cases: Rows of `cases.csv`.
        lesions: Rows of `lesions.csv`.
        figures: Name → figure; names that start with `overlay` are pictures of cases, in the order to show them, and
            those that start with `curve` say how the training went.
        config: The resolved configuration.
        environment: Versions and machine.
        views: Name of an overlay → what a click on it opens; without it the picture is enlarged only.

    Raises:
        OutputError: when the file cannot be written.
    """
    drawn = sorted(pictures(figures), key=lambda item: item.wide and not item.id.startswith(OVERLAY))
    parted = {kind: [item for item in drawn if item.id.startswith(kind)] for kind in (OVERLAY, CURVE)}
    ranked = sorted((row for row in cases if isinstance(row.get("dice"), int | float)), key=lambda row: row["dice"])
    return render(
        run_folder / REPORT,
        "report.html",
        title=title,
        phantom="phantom" in str(summary.get("data", "")).lower(),
        facts=[(name.replace("_", " "), show(summary[name])) for name in _FACTS if summary.get(name)],
        tiles=tiles(summary),
        explained=explanations(summary),
        warnings=seen_warning(summary),
        guarantee=guarantee(summary.get(PRIVACY)),
        parts=parts(summary),
        notes=notes(summary),
        charts=[item for item in drawn if not item.id.startswith((OVERLAY, CURVE))],
        curves=parted[CURVE],
        overlays=parted[OVERLAY],
        worst=table(ranked[:WORST], columns=_known(_CASE_COLUMNS, cases)),
        cases=table(cases[:LONGEST_TABLE], columns=_plain(cases)),
        lesions=table(lesions[:LONGEST_TABLE], columns=_known(_LESION_COLUMNS, lesions)),
        count={"cases": len(cases), "lesions": len(lesions)},
        longest=LONGEST_TABLE,
        config=_config_text(config),
        environment=[(name, show(value)) for name, value in environment.items()],
        data=data_facts(summary),
        views=packed(views),
    )


def pictures(figures: "Mapping[str, Figure]") -> list[Picture]:
    """The figures as inline SVG; broad ones get a row of their own."""
    from markupsafe import Markup

    found = []
    for name, figure in figures.items():
        width, height = figure.get_size_inches()
        identity = re.sub(r"[^\w-]", "_", name)
        # the SVG comes from matplotlib, which escapes the texts in it
        svg = Markup(to_svg(figure, prefix=identity))
        found.append(Picture(identity, _title(figure) or name, svg, wide=width / height > 2))
    return found


def packed(views: "Mapping[str, CaseView] | None") -> dict[str, Any] | None:
    """What the template `case_viewer.html` shows; None without views."""
    if not views:
        return None
    from segpipe.report.case_views import page_views  # knows PyTorch, which masks alone do without

    return page_views(views)


def render(file: Path, template: str, **content: Any) -> Path:
    """Fills a template, every text escaped, and writes the page; complete or not at all.

    Raises:
        OutputError: when the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    engine = Environment(
        loader=PackageLoader("segpipe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    date = datetime.now().astimezone().strftime("%d %B %Y, %H:%M")
    page = engine.get_template(template).render(version=__version__, date=date, **content)
    return write_text(file, page, what="the report")


def _known(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The columns that at least one row has."""
    return [name for name in columns if any(name in row for row in rows)]


def _plain(rows: Sequence[Row]) -> list[str]:
    """The columns that a table can show; lists of records stay in the CSV."""
    nested = {name for row in rows for name, value in row.items() if _holds_records(value)}
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name not in nested]


def _holds_records(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(_holds_records, value)))


def _title(figure: "Figure") -> str:
    return figure.get_suptitle() or next((axes.get_title(loc="left") for axes in figure.axes), "")


def _config_text(config: Mapping[str, Any]) -> str:
    from segpipe.tracking.parameters import config_text

    return config_text(config)
