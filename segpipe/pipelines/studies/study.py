"""A study: each candidate's best rate by validation, then several seeds on the held-out cases, under one MLflow run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.config.schema import Settings
from segpipe.errors import SegpipeError, raise_together
from segpipe.evaluation.reading import Evaluation, read_evaluation
from segpipe.pipelines.choosing import check_alone, check_validation
from segpipe.pipelines.cross_validation import open_parent
from segpipe.pipelines.studies.pages import write_pages
from segpipe.pipelines.studies.ranking import Rank, rank
from segpipe.pipelines.studies.rows import Row, config_of
from segpipe.pipelines.studies.running import Check, Runner
from segpipe.pipelines.studies.settings import Study
from segpipe.system.case_errors import attempt
from segpipe.system.files.plain_files import read_json
from segpipe.system.processes.side_by_side import run_side_by_side
from segpipe.tracking.harmless import harmless
from segpipe.tracking.identity import read_run_id
from segpipe.tracking.nested_runs import Child, report_nested_runs
from segpipe.training.data.run_data import prepare_data
from segpipe.training.fitting import recipe_of

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker

log = logging.getLogger(__name__)


def run_study(
    settings: Settings, config: Mapping[str, Any], folder: Path, *, words: Sequence[str], check: Check
) -> int:
    """Trains all rows of a study and writes `study.csv`, `study.md` and figures; one that is resumed repeats no row.

    Args:
        settings: The checked configuration, with the section `study`.
        config: The same as plain data.
        folder: The study's folder.
        words: The overrides that it was started with.
        check: Makes settings of a row's configuration.

    Returns:
        The exit code: 2 when held-out cases failed, or no candidate could be trained.

    Raises:
        SegpipeError: for mistakes in any row, before any work; for rows that failed, after all others are done.
        ConfigError: when the last step is not followed by a validation, or a launcher has started several processes.
        DatasetError: when no case is left out to choose rates by.
    """
    study: Study = settings.study
    _check_rows(study, config, check)
    check_alone(settings, what="a study trains each row")
    check_validation(settings, what="a study chooses rates")
    with open_parent(settings, config, folder, kind="study") as parent:
        runner = Runner(study, config, folder, check, parent.run_id if parent else None, words)
        outcomes = _train(runner, settings)
        ranks = _write(runner, parent)
    raise_together(
        [one for one in outcomes if isinstance(one, SegpipeError)],
        headline="rows have failed; resume=true goes on with them, the others are done",
    )
    return max(outcomes, default=0) if ranks else 2


def _check_rows(study: Study, config: Mapping[str, Any], check: Check) -> None:
    """Makes settings of one row of each candidate and variant, so that all mistakes are said at once."""
    rows = [Row(name, study.rates_of(name)[0], study.seeds[0]) for name in study.candidates]
    rows += [Row(one.of, study.rates_of(one.of)[0], study.seeds[0], name) for name, one in study.variants.items()]
    found = [attempt(partial(check, config_of(row, study, config)), case=row.name) for row in rows]
    raise_together(
        [error for error in found if isinstance(error, SegpipeError)], headline="rows of the study have mistakes"
    )


def _train(runner: Runner, settings: Settings) -> list[Any]:
    """Trains all rows, rates first; returns their exit codes, and an error for each that failed."""
    parallel = runner.study.parallel
    if parallel > 1:
        log.info("%s: %d rows side by side", settings.name, parallel)
    prepare_data(settings, recipe_of(settings))  # here, so that bad cases are named once
    searched = _train_rows(runner.search, runner.searched(), parallel)
    return [*searched, *_train_rows(runner.evaluate, runner.at_best(), parallel)]


def _train_rows(train: Callable[[Row], int], rows: Sequence[Row], parallel: int) -> list[Any]:
    """Trains rows one after another or side by side; one that fails takes no other with it."""
    job = partial(_train_one, train, rows)
    if min(parallel, len(rows)) < 2:
        return [job(number) for number in range(len(rows))]
    return run_side_by_side(job, len(rows), devices=min(parallel, len(rows)), name="row")


def _train_one(train: Callable[[Row], int], rows: Sequence[Row], number: int) -> int | SegpipeError:
    return attempt(partial(train, rows[number]), row=rows[number].name)


def _write(runner: Runner, parent: "Tracker | None") -> list[Rank]:
    """Ranks what is trained and leaves it to be read."""
    chosen = runner.chosen()
    evaluations = {name: _evaluations(runner, runner.seeds_of(row)) for name, row in chosen.items()}
    ranks = rank(evaluations, reference=runner.study.reference)
    data = next((one.summary["data"] for rows in evaluations.values() for one in rows), None)
    files = write_pages(runner, chosen, ranks, data=data)
    log.info("%s", _describe(ranks, runner.folder))
    if parent:
        with harmless("logging the study"):
            _log(parent, runner, runner.at_best(), ranks=ranks, files=files)
    return ranks


def _evaluations(runner: Runner, rows: Sequence[Row]) -> list[Evaluation]:
    """The evaluations of rows; a seed that diverged has none."""
    known = [row for row in rows if runner.summary_of(row).is_file()]
    return [read_evaluation(runner.summary_of(row).parent, name=row.name) for row in known]


def _describe(ranks: Sequence[Rank], folder: Path) -> str:
    lines = [f"  {one.name:<20} Dice {one.dice:.3f}, seeds: {one.seeds}" for one in ranks]
    return "\n".join(["held-out cases, the best first:", *lines, f"study    {folder / 'study.md'}"])


def _log(parent: "Tracker", runner: Runner, rows: Sequence[Row], *, ranks: Sequence[Rank], files: list[Path]) -> None:
    known = [row for row in rows if runner.summary_of(row).is_file()]
    children = [Child(row.name, read_run_id(runner.folder_of(row)), read_json(runner.summary_of(row))) for row in known]
    if children:
        report_nested_runs(parent, children)
    parent.log_metrics({f"study/{one.name}/dice": one.dice for one in ranks}, step=0)
    parent.log_table(runner.lines(), "study")
    for file in files:
        parent.log_file(file)
