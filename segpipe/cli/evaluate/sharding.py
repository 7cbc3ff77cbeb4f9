"""A shard of an evaluation, and the figures that are made of all shards."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe import __version__
from segpipe.cli.common.shard_flags import describe_shard
from segpipe.cli.evaluate.reporting import report_evaluation
from segpipe.errors import OutputError, SegpipeError, explain
from segpipe.system.shards.merging import MergedJob
from segpipe.system.shards.plain_errors import error_from_dict, error_to_dict
from segpipe.system.shards.records import SHARDS, ShardRecord, begin_record, hold_output, write_record

if TYPE_CHECKING:
    from segpipe.evaluation.kept_results import KeptResults
    from segpipe.labels import LabelMap
    from segpipe.pipelines.evaluation_plan import EvaluationPlan

_CASES = "cases"
_WHOLE = ("summary.json", "cases.csv", "lesions.csv", "froc.csv", "froc_by_diameter.csv", "report.html")


def evaluate_shard(given: argparse.Namespace, plan: "EvaluationPlan") -> int:
    """Evaluates the cases of a shard; returns 0, or 2 when cases were left out."""
    from segpipe.evaluation.evaluated_cases import evaluate_each
    from segpipe.evaluation.kept_results import KeepingEvaluator

    settings = {"segpipe": __version__, "about": plan.about, "seed": given.seed, **plan.settings}
    record = ShardRecord("evaluate", given.shard, settings)
    names = [plan.name(item) for item in plan.items]
    own = [plan.items[position] for position in given.shard.share(names)]
    with hold_output(given.output, given.shard, hint="wait until it has ended, or choose another --output"):
        begin_record(given.output, record, whole=_WHOLE)
        evaluate = KeepingEvaluator(plan.evaluate, plan.name, _kept(given.output, settings, plan.masks))
        outcomes = evaluate_each(evaluate, own, name=plan.name, workers=plan.processes)
        bad = [outcome if isinstance(outcome, SegpipeError) else None for outcome in outcomes]
        data = str(given.data.resolve()) if given.data else None
        others = list(map(error_to_dict, plan.errors))
        write_record(given.output, record.finish(names, bad, data=data, errors=others))
    for error in filter(None, bad):
        print(explain(error), file=sys.stderr)
    print(describe_shard(given.shard, bad.count(None), len(names), given.output))
    return 2 if any(bad) else 0


def merge_evaluations(job: MergedJob, output: Path) -> int:
    """Writes figures, tables and page as one call for all cases does; returns what it would.

    Raises:
        OutputError: when the figures of a case have gone, or are of another call.
    """
    from segpipe.evaluation.evaluated_cases import sort_outcomes
    from segpipe.pipelines.evaluation_plan import count_seen

    about, recipe = job.about[0], job.settings.get("recipe")
    kept = _kept(output, job.settings, output / "masks" if recipe else None)
    outcomes = [one["error"] or kept.find(one["name"]) for one in job.results]
    gone = [result["name"] for result, outcome in zip(job.results, outcomes, strict=True) if outcome is None]
    if gone:
        raise OutputError(
            "the figures of all cases must be there, and of one call",
            facts={"folder": output, "without": ", ".join(gone[:8])},
            hint="run the shards again; what is there is kept",
        )
    cases = sort_outcomes([one for one in outcomes if one], list(map(error_from_dict, about["errors"])))
    return report_evaluation(
        (cases, {**job.settings["about"], **count_seen(cases, job.settings)}),
        output,
        data=Path(about["data"]) if about["data"] else None,
        labels=_labels(recipe) if recipe else None,
        seed=job.settings["seed"],
    )


def _kept(output: Path, settings: Mapping[str, Any], masks: Path | None) -> "KeptResults":
    from segpipe.evaluation.kept_results import KeptResults

    return KeptResults(output / SHARDS / _CASES, settings, masks)


def _labels(recipe: Mapping[str, Any]) -> "LabelMap":
    from segpipe.preprocessing.recipe import Recipe

    return Recipe.from_dict(recipe).label_map
