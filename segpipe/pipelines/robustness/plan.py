"""A model on the same scans as they are and as they might have been: by dose, kernel, motion, metal and more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe import __version__
from segpipe.case import Case
from segpipe.corruptions import Graded
from segpipe.datasets.manifest import Entry
from segpipe.errors import DatasetError, SegpipeError
from segpipe.evaluation.kept_results import KeptResults, stamp_of
from segpipe.evaluation.results import CaseResult
from segpipe.evaluation.robustness import CLEAN, Condition, Results, show_level
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.pipelines.evaluation_plan import EvaluationPlan
from segpipe.system.evenly import evenly
from segpipe.system.processes.parallel_map import parallel_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEPT = "kept"
PICTURES = 6


@dataclass(frozen=True)
class RobustnessPlan:
    """A model, its cases, and what becomes of them.

    Args:
        evaluation: Of the scans as they are, by a `CaseEvaluator`.
        changes: What is done to scans, by name.
        severities: In which severities.
        output: Where the figures of cases are kept, so that a call that was killed goes on.
        most: At most so many cases, evenly over the data set; None takes all.
        seed: Of all that is drawn.
    """

    evaluation: EvaluationPlan
    changes: Mapping[str, Graded]
    severities: Sequence[int]
    output: Path
    most: int | None = None
    seed: int = 0

    @cached_property
    def conditions(self) -> Sequence[Condition]:
        """Scans as they are, and each change in each severity."""
        return [CLEAN, *(_condition(one, severity) for one in self.changes.values() for severity in self.severities)]

    @property
    def entries(self) -> Sequence[Entry]:
        """The cases that are evaluated."""
        return evenly(self.evaluation.items, self.most)

    def run(self) -> tuple[Results, list[SegpipeError]]:
        """Evaluates all cases under all conditions.

        Returns:
            The cases of each condition, and what is wrong with those that could not be evaluated under one of them,
            which count under none.

        Raises:
            DatasetError: when no case is left.
        """
        found = dict(parallel_map(self._each, self.entries, name=attrgetter("id"), title="corrupting", workers=0))
        good = [rows for _, rows in sorted(found.items()) if not isinstance(rows, SegpipeError)]
        errors = [error for _, error in sorted(found.items()) if isinstance(error, SegpipeError)]
        if not good:
            raise DatasetError("no case could be evaluated", facts={"bad cases": len(errors)}) from errors[0]
        return {condition: [rows[condition] for rows in good] for condition in self.conditions}, errors

    def draw(self, worst: Sequence[Mapping[str, Any]]) -> "dict[str, Figure]":
        """Pictures of the cases that lose most, corrupted as they were, with both masks."""
        from segpipe.report.overlays import overlay

        entries = {entry.id: entry for entry in self.entries}
        figures, data = {}, str(self.evaluation.about["data"])
        for number, row in enumerate(worst, start=1):
            entry = entries[row["case"]]
            condition = _condition(self.changes[row["corruption"]], row["severity"])
            case = self.corrupted(self.evaluator.read(entry), condition)
            prediction, _ = self.evaluator.evaluate(entry, case)
            title = (
                f"{row['case']}, {describe(condition, self.changes)}: Dice {row['clean_dice']:.2f} → {row['dice']:.2f}"
            )
            figures[f"overlay_{number}"] = overlay(case, prediction.mask, title, data=data)
        return figures

    def corrupted(self, case: Case, condition: Condition) -> Case:
        """The case under a condition."""
        if condition == CLEAN:
            return case
        return self.changes[condition.corruption].apply(case, condition.severity, seed=self.seed)

    @property
    def evaluator(self) -> CaseEvaluator:
        """Predicts and compares."""
        evaluate = self.evaluation.evaluate
        assert isinstance(evaluate, CaseEvaluator)
        return evaluate

    def _each(self, entry: Entry) -> dict[Condition, CaseResult]:
        scan = _Scan(self, entry)
        return {condition: scan.under(condition) for condition in self.conditions}

    def kept(self, condition: Condition) -> KeptResults:
        """Where the figures under a condition are."""
        about = {"about": self.evaluation.about, "seed": self.seed, "segpipe": __version__, "level": condition.level}
        folder = self.output / KEPT / f"{condition.corruption or 'clean'}_{condition.severity}"
        return KeptResults(folder, {**about, **self.evaluation.settings})


@dataclass
class _Scan:
    """One scan, read when it is needed first."""

    plan: RobustnessPlan
    entry: Entry

    @cached_property
    def case(self) -> Case:
        return self.plan.evaluator.read(self.entry)

    @cached_property
    def stamp(self) -> str:
        return stamp_of(self.entry)

    def under(self, condition: Condition) -> CaseResult:
        kept = self.plan.kept(condition)
        found = kept.find(self.entry.id, self.stamp)
        if found is None:
            case = self.plan.corrupted(self.case, condition)
            found = self.plan.evaluator.evaluate(self.entry, case)[1]
            kept.keep(found, self.stamp)
        return found


def describe(condition: Condition, changes: Mapping[str, Graded]) -> str:
    """A condition in words.

    >>> from segpipe.corruptions import CORRUPTIONS
    >>> describe(Condition("thick_slices", 3, 5.0), CORRUPTIONS)
    'thick slices 5 mm'
    """
    if condition == CLEAN:
        return "as it is"
    name, unit = condition.corruption.replace("_", " "), changes[condition.corruption].unit
    return f"{name} {show_level(condition.level or 0)} {unit}"


def _condition(change: Graded, severity: int) -> Condition:
    return Condition(change.name, severity, change.level(severity), change.group)
