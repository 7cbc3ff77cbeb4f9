"""What an evaluation is to do, known before anything is done, so that it can be done in shards as well."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from segpipe.errors import SegpipeError
from segpipe.evaluation.evaluated_cases import EvaluatedCases, evaluate_each, sort_outcomes
from segpipe.evaluation.folders import evaluate_mask_pair, pair_masks
from segpipe.evaluation.mask_pairs import Foreground, MaskValues
from segpipe.evaluation.results import CaseResult
from segpipe.export.seen_cases import SEEN, SeenCases
from segpipe.pipelines.sphere_references import mark_spheres

Evaluated = tuple[EvaluatedCases, dict[str, Any]]


@dataclass(frozen=True)
class EvaluationPlan:
    """Which cases are evaluated how.

    Args:
        items: The cases, in the order of the tables.
        name: Item → name of its case.
        evaluate: Item → its figures; with processes a function of a module, or a `partial` of one.
        about: What goes in front of the summary.
        settings: What else the figures depend on, as plain data; of a model that says so the cases that it has seen.
        errors: What is wrong with files that are no case.
        processes: How many work at once; 0 works in this process, None takes one per core.
        masks: Where predicted masks are written, if anywhere.
    """

    items: Sequence[Any]
    name: Callable[[Any], str]
    evaluate: Callable[[Any], CaseResult]
    about: dict[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    errors: Sequence[SegpipeError] = ()
    processes: int | None = 0
    masks: Path | None = None

    def run(self) -> Evaluated:
        """Evaluates all cases; returns what became of them, and what goes in front of the summary."""
        outcomes = evaluate_each(self.evaluate, self.items, name=self.name, workers=self.processes)
        cases = sort_outcomes(outcomes, self.errors)
        return cases, {**self.about, **count_seen(cases, self.settings)}


def count_seen(cases: EvaluatedCases, settings: Mapping[str, Any]) -> dict[str, Any]:
    """How many of the cases the evaluated model has seen, for the summary; empty where it does not say.

    Args:
        cases: What became of the cases.
        settings: See `EvaluationPlan`.
    """
    if not settings.get(SEEN):
        return {}
    return {SEEN: SeenCases(settings[SEEN]).count(result.scan_digest for result in cases.results)}


def plan_masks(
    predictions: Path,
    references: Path,
    *,
    table: Path | None = None,
    mask_name: str | None = None,
    counted: MaskValues | None = None,
    processes: int | None = None,
) -> EvaluationPlan:
    """Two folders of masks are compared.

    Args:
        predictions: See `pair_masks`.
        references: See `pair_masks`.
        table: See `pair_masks`.
        mask_name: See `pair_masks`.
        counted: Which values count, and as what; all but 0 as one class by default.
        processes: How many work at once; None takes one per core.

    Raises:
        DatasetError: when the folders or the table cannot be used.
    """
    pairs, alone = pair_masks(predictions, references, table=table, mask_name=mask_name)
    chosen = counted or Foreground()
    return EvaluationPlan(
        mark_spheres(pairs, references),
        attrgetter("case"),
        partial(evaluate_mask_pair, counted=chosen),
        {"data": references.resolve().name, "predictions": predictions.resolve().name},
        settings={"counted": repr(chosen)},
        errors=alone,
        processes=processes,
    )
