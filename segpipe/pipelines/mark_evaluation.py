"""An evaluation of a detector's marks from end to end: figures, tables and a page in one folder."""

from pathlib import Path
from typing import Any

from segpipe.errors import DatasetError
from segpipe.evaluation.marks.mark_table import read_marks
from segpipe.evaluation.marks.matching import match_marks
from segpipe.evaluation.marks.summary import summarise_marks, write_mark_tables
from segpipe.pipelines.mark_references import read_reference
from segpipe.pipelines.reports.evaluation_report import write_marks_report
from segpipe.system.files.atomic_write import write_json


def evaluate_marks(
    marks: Path, kind: str, annotations: Path, *, output: Path, seed: int = 0
) -> tuple[dict[str, Any], Path, list[DatasetError]]:
    """Evaluates a table of marks by the rules of LUNA16; see `match_marks`.

    Args:
        marks: The table; see `read_marks`.
        kind: What it is compared with; see `read_reference`.
        annotations: The folder of that reference.
        output: The folder of the evaluation.
        seed: Of the bootstrap.

    Returns:
        The content of `summary.json`, the page, and what was left out of both.

    Raises:
        SegpipeError: when a table cannot be used or a file not be written.
    """
    reference = read_reference(kind, annotations)
    points, errors = read_marks(marks, reference.scans)
    matched = match_marks(points, reference)
    summary = {"data": reference.name, "predictions": marks.stem, **summarise_marks(matched, seed=seed)}
    write_mark_tables(output, matched, summary, seed=seed)
    write_json(output / "summary.json", summary, what="the summary")
    return summary, write_marks_report(output, matched, summary), errors
