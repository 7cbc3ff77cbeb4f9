"""Writes an evaluation of masks and says what it found."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.errors import explain, merge_alike

if TYPE_CHECKING:
    from segpipe.labels import LabelMap
    from segpipe.pipelines.evaluation_plan import Evaluated


def report_evaluation(
    evaluated: "Evaluated", output: Path, *, data: Path | None, labels: "LabelMap | None", seed: int
) -> int:
    """Writes figures, tables and page, see `write_evaluation_folder`; returns 0, or 2 when cases were left out."""
    from segpipe.evaluation.text_summary import describe
    from segpipe.pipelines.evaluation import write_evaluation_folder

    errors = evaluated[0].errors
    for error in merge_alike(errors):
        print(explain(error), file=sys.stderr)
    summary, page = write_evaluation_folder(evaluated, output, data=data, labels=labels, seed=seed)
    print(describe(summary))
    print(f"tables  {output / 'cases.csv'}, {output / 'lesions.csv'}\nreport  {page}")
    return 2 if errors else 0
