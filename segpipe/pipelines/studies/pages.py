"""What a study leaves to be read: its text and figures, next to its table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from segpipe.pipelines.studies.outcomes import curve
from segpipe.pipelines.studies.ranking import Rank
from segpipe.pipelines.studies.rows import Row
from segpipe.pipelines.studies.running import Runner
from segpipe.pipelines.studies.table import write_table
from segpipe.pipelines.studies.text import study_text
from segpipe.report.study import differences_to, rate_curves, rate_sensitivity
from segpipe.report.style import to_png
from segpipe.system.files.atomic_write import atomic_write, write_text


def write_pages(runner: Runner, chosen: Mapping[str, Row], ranks: Sequence[Rank], *, data: str | None) -> list[Path]:
    """Writes `study.csv`, `study.md`, `curves.png` and, where there is something to show, further figures.

    `rates.png` is written where rates are searched, `differences.png` where there is a reference.

    Args:
        runner: Of the study; its rows are trained.
        chosen: The row of the best rate of each candidate.
        ranks: The best first.
        data: The data set's name.
    """
    lines, study = runner.lines(), runner.study
    searched = {
        name: {rate: Row(name, rate, study.seeds[0]) for rate in study.rates_of(name)} for name in study.candidates
    }
    curves = {
        name: {rate: curve(runner.folder_of(row)) for rate, row in rows.items()} for name, rows in searched.items()
    }
    figures = {
        name: {
            rate / chosen[name].lr: figure
            for rate, row in searched[name].items()
            if (figure := runner.figure(row)) is not None
        }
        for name in chosen
    }
    pictures = {"curves.png": rate_curves(curves, {name: row.lr for name, row in chosen.items()}, data=data)}
    if study.rates > 1 and any(figures.values()):
        pictures["rates.png"] = rate_sensitivity(figures, data=data)
    against = {one.name: (one.behind.difference, one.behind.interval) for one in ranks if one.behind}
    if study.reference and against:
        pictures["differences.png"] = differences_to(study.reference, against, data=data)
    text = study_text(ranks, lines, chosen, study, data=data)
    files = [
        write_table(lines, runner.folder),
        write_text(runner.folder / "study.md", text, what="the text of the study"),
    ]
    for name, picture in pictures.items():
        with atomic_write(runner.folder / name) as part:
            part.write_bytes(to_png(picture))
        files.append(runner.folder / name)
    return files
