"""Trains the rows of a study, each once: rates for each candidate, then seeds and variants at the best of them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from segpipe.config.schema import Settings
from segpipe.errors import TrainingError
from segpipe.pipelines.single_run import run_single, train_single
from segpipe.pipelines.studies.outcomes import Outcome, State, curve, read_outcome, write_outcome
from segpipe.pipelines.studies.rows import Row, command_of, config_of, every_row
from segpipe.pipelines.studies.settings import Study
from segpipe.pipelines.studies.table import write_table
from segpipe.system.files.plain_files import read_json
from segpipe.training.hardware import on_one_device
from segpipe.training.resuming.run_folders import is_finished

log = logging.getLogger(__name__)
Check = Callable[[Mapping[str, Any]], Settings]


@dataclass(frozen=True)
class Runner:
    """Trains rows.

    Args:
        study: What is compared.
        config: The study's configuration, as plain data.
        folder: The study's, in which each row has one.
        check: Makes settings of a row's configuration.
        parent: The MLflow run that holds those of the rows.
        words: The overrides that the study was started with.
    """

    study: Study
    config: Mapping[str, Any]
    folder: Path
    check: Check
    parent: str | None
    words: Sequence[str]

    def searched(self) -> list[Row]:
        """Each candidate at each rate, with the first seed: all of them at their own rate, then at the next."""
        names, first = self.study.candidates, self.study.seeds[0]
        by_rate = zip(*(self.study.rates_of(name) for name in names), strict=True)
        return [Row(name, rate, first) for rates in by_rate for name, rate in zip(names, rates, strict=True)]

    def chosen(self) -> dict[str, Row]:
        """The row of the best rate of each candidate that has one."""
        rates = {name: [row for row in self.searched() if row.candidate == name] for name in self.study.candidates}
        return {name: row for name, rows in rates.items() if (row := self._best(rows))}

    def at_best(self) -> list[Row]:
        """The seeds and variants of each candidate at its best rate."""
        return [row for best in self.chosen().values() for row in [*self.seeds_of(best), *self.variants_of(best)]]

    def seeds_of(self, row: Row) -> list[Row]:
        """A row with each of the study's seeds."""
        return [replace(row, seed=seed) for seed in self.study.seeds]

    def variants_of(self, row: Row) -> list[Row]:
        """A row with each change that the study makes to its candidate."""
        return [replace(row, variant=name) for name, one in self.study.variants.items() if one.of == row.candidate]

    def search(self, row: Row) -> int:
        """Trains a row, where it is not trained yet; held-out cases are not looked at. Returns the exit code, 0.

        It is given up when it lies far behind what the other rates of its candidate have come to so far.
        """
        if self._outcome(row) is None:
            others = [other for other in self.searched() if other.candidate == row.candidate and other != row]
            self._train(row, [self.folder_of(other) for other in others])
        return 0

    def evaluate(self, row: Row) -> int:
        """Trains a row, where it is not trained yet, and evaluates it on the held-out cases; returns the exit code."""
        known = self._outcome(row)
        if known and (known.state != "trained" or self._is_evaluated(row)):
            return 0
        settings, config = self._settings(row)
        log.info("row %s", row.name)
        try:
            result = run_single(settings, config, self.folder_of(row), parent=self.parent)
        except TrainingError as error:
            self._note(row, "diverged", settings, why=error.message)
            return 0
        if known is None:
            self._note(row, "trained", settings)
        write_table(self.lines(), self.folder)
        return result.exit_code if result else 0

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the table, one for each row that is trained, searched ones first."""
        return [self._line(row, outcome) for row in every_row(self.study) if (outcome := self._outcome(row))]

    def folder_of(self, row: Row) -> Path:
        """The folder of a row."""
        return self.folder / row.name

    def summary_of(self, row: Row) -> Path:
        """The summary of a row's evaluation, which rows have that were evaluated."""
        return self.folder_of(row) / "evaluation" / "summary.json"

    def figure(self, row: Row) -> float | None:
        """The pseudo-Dice at the end of a row that came to it."""
        outcome = self._outcome(row)
        return outcome.pseudo_dice if outcome and outcome.state == "trained" else None

    def _best(self, rows: Sequence[Row]) -> Row | None:
        """The row with the highest pseudo-Dice; of equal ones the first; None if none was trained."""
        figures = {row: figure for row in rows if (figure := self.figure(row)) is not None}
        return max(figures, key=lambda row: figures[row]) if figures else None

    def _train(self, row: Row, others: Sequence[Path]) -> None:
        """Trains a row, or goes on where it was cut off; it is given up when it lies far behind the others."""
        log.info("row %s", row.name)
        settings, config = self._settings(row)
        pruned = settings.model_copy(update={"callbacks": [*settings.callbacks, *self._pruning(settings, others)]})
        try:
            steps = train_single(pruned, config, self.folder_of(row), parent=self.parent).steps
        except TrainingError as error:
            self._note(row, "diverged", settings, why=error.message)
            return
        whole = steps >= settings.trainer.max_steps or settings.training.early_stopping
        self._note(row, "trained" if whole else "pruned", settings)

    def _note(self, row: Row, state: State, settings: Settings, *, why: str = "") -> None:
        log.info("row %s: %s %s", row.name, state, why)
        write_outcome(state, settings, self.folder_of(row))
        write_table(self.lines(), self.folder)

    def _is_evaluated(self, row: Row) -> bool:
        return self.summary_of(row).is_file() and is_finished(self.folder_of(row))

    def _outcome(self, row: Row) -> Outcome | None:
        return read_outcome(self.folder_of(row))

    def _line(self, row: Row, outcome: Outcome) -> dict[str, Any]:
        file = self.summary_of(row)
        dice = read_json(file)["metrics"]["dice"] if file.is_file() else {"mean": None, "ci95": None}
        low, high = dice["ci95"] or (None, None)
        command = command_of(config_of(row, self.study, self.config), self.config, self.words)
        figures = {"dice": dice["mean"], "dice_low": low, "dice_high": high}
        return {"row": row.name, **asdict(row), **asdict(outcome), **figures, "command": command}

    def _pruning(self, settings: Settings, others: Sequence[Path]) -> list[dict[str, Any]]:
        rule = self.study.pruning
        reached: dict[int, float] = {}
        for step, figure in (point for other in others for point in curve(other).items()):
            reached[step] = max(figure, reached.get(step, figure))
        if rule is None or not reached:
            return []
        after = rule.after * settings.trainer.max_steps
        stop = {"_target_": "segpipe.training.pruning.StopsBehind"}
        return [{**stop, "reached": reached, "after": after, "margin": rule.margin}]

    def _settings(self, row: Row) -> tuple[Settings, dict[str, Any]]:
        config = config_of(row, self.study, self.config)
        settings = on_one_device(self.check(config).model_copy(update={"resume": True}))
        if self.study.parallel > 1:  # bars would mix
            settings = settings.model_copy(update={"trainer": settings.trainer.model_copy(update={"progress": False})})
        return settings, config
