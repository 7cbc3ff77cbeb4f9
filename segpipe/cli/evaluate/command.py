"""`python -m segpipe evaluate`: how good masks are, each figure with its interval, bad cases named."""

import argparse
import sys
from typing import TYPE_CHECKING

from segpipe.cli.common.model_flags import read_verify_key
from segpipe.cli.common.point_flags import wish_of
from segpipe.cli.evaluate.flags import parse_flags
from segpipe.cli.evaluate.reporting import report_evaluation
from segpipe.cli.evaluate.sharding import evaluate_shard
from segpipe.errors import explain
from segpipe.system.files.writable import check_writable

if TYPE_CHECKING:
    from segpipe.labels import LabelMap
    from segpipe.pipelines.evaluation_plan import EvaluationPlan


def run(argv: list[str]) -> int:
    """Evaluates; returns 0, or 2 when cases were left out."""
    given = parse_flags(argv)
    return _run_marks(given) if given.marks else _run_masks(given)


def _run_marks(given: argparse.Namespace) -> int:
    from segpipe.evaluation.marks.text_summary import describe_marks
    from segpipe.pipelines.mark_evaluation import evaluate_marks

    summary, page, errors = evaluate_marks(
        given.marks, given.reference, given.annotations, output=given.output, seed=given.seed
    )
    for error in errors:
        print(explain(error), file=sys.stderr)
    print(describe_marks(summary))
    print(f"tables  {given.output / 'cases.csv'}, {given.output / 'lesions.csv'}\nreport  {page}")
    return 2 if errors else 0


def _run_masks(given: argparse.Namespace) -> int:
    plan, labels = _plan_model(given) if given.model else (_plan_masks(given), None)
    if given.shard:
        return evaluate_shard(given, plan)
    check_writable(given.output, what="the evaluation", hint="choose a folder that you may write to: --output FOLDER")
    evaluated = plan.run()
    data = given.data if given.model else None
    return report_evaluation(evaluated, given.output, data=data, labels=labels, seed=given.seed)


def _plan_masks(given: argparse.Namespace) -> "EvaluationPlan":
    from segpipe.evaluation.mask_pairs import Foreground, MaskClasses
    from segpipe.pipelines.evaluation_plan import plan_masks

    counted = (
        MaskClasses.parse(given.classes, given.ignore)
        if given.classes
        else Foreground(given.prediction_label, given.reference_label)
    )
    return plan_masks(
        given.predictions,
        given.references,
        table=given.table,
        mask_name=given.mask_name,
        counted=counted,
        processes=given.processes,
    )


def _plan_model(given: argparse.Namespace) -> "tuple[EvaluationPlan, LabelMap]":
    from segpipe.export.model_folder import read_model_folder
    from segpipe.inference.engines.backends import build_engine
    from segpipe.pipelines.model_evaluation import plan_model, read_case_names

    model = read_model_folder(given.model, key=read_verify_key(given))
    cases = read_case_names(given.cases) if given.cases else None
    engine = build_engine(model, backend=given.backend, device=given.device or "auto")
    masks = given.output / "masks"
    plan = plan_model(
        model, given.data, split=given.split, cases=cases, wish=wish_of(given), engine=engine, masks=masks
    )
    return plan, model.recipe.label_map
