"""The one loop over cases to evaluate, whatever makes their masks: bad cases are named, the others summarised."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from segpipe.errors import DatasetError, SegpipeError
from segpipe.evaluation.results import CaseResult
from segpipe.evaluation.summary import summarise
from segpipe.evaluation.tables import write_evaluation
from segpipe.system.processes.parallel_map import parallel_map

Item = TypeVar("Item")


@dataclass
class EvaluatedCases:
    """What became of the cases: the figures of the good ones, and what is wrong with the others."""

    results: list[CaseResult] = field(default_factory=list)
    errors: list[SegpipeError] = field(default_factory=list)


def evaluate_each(
    evaluate: Callable[[Item], CaseResult],
    items: Sequence[Item],
    *,
    name: Callable[[Item], str],
    progress: bool = True,
    workers: int | None = 0,
) -> list[CaseResult | SegpipeError]:
    """Evaluates case after case; whatever goes wrong in a case costs that case alone and is its outcome.

    Args:
        evaluate: Item → the figures of its case; with workers a function of a module, or a `partial` of one.
        items: In the order that the outcomes keep.
        name: Item → name of its case.
        progress: Whether to show progress.
        workers: Processes; 0 works in this process, None takes one per core.
    """
    title = "evaluating" if progress else None
    found = dict(parallel_map(evaluate, items, name=name, title=title, workers=workers))
    return [found[index] for index in range(len(items))]


def sort_outcomes(outcomes: Sequence[CaseResult | SegpipeError], others: Sequence[SegpipeError] = ()) -> EvaluatedCases:
    """Figures and errors apart, both in the order of their cases; errors of what is no case come first."""
    return EvaluatedCases(
        results=[outcome for outcome in outcomes if isinstance(outcome, CaseResult)],
        errors=[*others, *(outcome for outcome in outcomes if isinstance(outcome, SegpipeError))],
    )


def write_summary(cases: EvaluatedCases, folder: Path, *, about: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Summarises an evaluation and writes its tables and `summary.json` into `folder`.

    Args:
        cases: What became of the cases.
        folder: The folder of the evaluation.
        about: What was evaluated on what, e.g. data, split and operating point; goes in front of the figures.
        seed: Of the bootstrap.

    Returns:
        The content of `summary.json`.

    Raises:
        DatasetError: when no case could be evaluated.
        OutputError: when a file cannot be written.
    """
    if not cases.results:
        raise DatasetError("no case could be evaluated", facts={"bad cases": len(cases.errors)})
    summary = {
        **about,
        "failed_cases": len(cases.errors),
        **summarise(cases.results, seed=seed, confidence=about.get("confidence")),
    }
    write_evaluation(folder, cases.results, summary)
    return summary
