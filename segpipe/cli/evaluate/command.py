"""`python -m segpipe evaluate`: how good masks are, each figure with its interval, bad cases named."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from segpipe.cli.evaluate.flags import parse_flags
from segpipe.errors import explain

if TYPE_CHECKING:
    from segpipe.evaluation.evaluated_cases import EvaluatedCases


def run(argv: list[str]) -> int:
    """Evaluates; returns 0, or 2 when cases were left out."""
    given = parse_flags(argv)
    from segpipe.evaluation.evaluated_cases import write_summary
    from segpipe.evaluation.text_summary import describe
    from segpipe.pipelines.case_pictures import draw_evaluated
    from segpipe.pipelines.evaluation_report import write_evaluation_report

    cases, about = _evaluate_model(given) if given.model else _evaluate_masks(given)
    for error in cases.errors:
        print(explain(error), file=sys.stderr)
    summary = write_summary(cases, given.output, about=about, seed=given.seed)
    pictures = draw_evaluated(cases.results, given.data, given.output / "masks") if given.model else None
    report = write_evaluation_report(given.output, cases.results, summary, cases=pictures)
    print(describe(summary))
    print(f"tables  {given.output / 'cases.csv'}, {given.output / 'lesions.csv'}\nreport  {report}")
    return 2 if cases.errors else 0


def _evaluate_masks(given: argparse.Namespace) -> "tuple[EvaluatedCases, dict[str, Any]]":
    from segpipe.evaluation.folders import evaluate_pairs, pair_masks
    from segpipe.evaluation.mask_pairs import Foreground, MaskClasses
    from segpipe.pipelines.sphere_references import mark_spheres

    counted = (
        MaskClasses.parse(given.classes, given.ignore)
        if given.classes
        else Foreground(given.prediction_label, given.reference_label)
    )
    pairs, cases = pair_masks(given.predictions, given.references, table=given.table, mask_name=given.mask_name)
    pairs = mark_spheres(pairs, given.references)
    done = evaluate_pairs(pairs, counted=counted, processes=given.processes)
    cases.results, cases.errors = done.results, [*cases.errors, *done.errors]
    return cases, {"data": given.references.resolve().name, "predictions": given.predictions.resolve().name}


def _evaluate_model(given: argparse.Namespace) -> "tuple[EvaluatedCases, dict[str, Any]]":
    from segpipe.export.model_folder import read_model_folder
    from segpipe.inference.engines.backends import build_engine
    from segpipe.pipelines.model_evaluation import evaluate_model

    model = read_model_folder(given.model)
    engine = build_engine(model, backend=given.backend, device=given.device or "auto")
    return evaluate_model(model, given.data, split=given.split, engine=engine, masks=given.output / "masks")
