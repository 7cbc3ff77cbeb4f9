"""`python -m segpipe robustness`: how much a model loses as scans get worse, and where."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.cli.common.model_flags import read_verify_key
from segpipe.cli.robustness.flags import parse_flags
from segpipe.errors import explain, merge_alike
from segpipe.system.files.writable import check_writable

if TYPE_CHECKING:
    from segpipe.pipelines.robustness.plan import RobustnessPlan


def run(argv: list[str]) -> int:
    """Evaluates under all conditions; returns 0, or 2 when cases were left out."""
    given = parse_flags(argv)
    check_writable(given.output, what="the test", hint="choose a folder that you may write to: --output FOLDER")
    plan = _plan(given)
    from segpipe.pipelines.robustness.summary import summarise_run
    from segpipe.pipelines.robustness.writing import describe_robustness, write_folder

    results, errors = plan.run()
    for error in merge_alike(errors):
        print(explain(error), file=sys.stderr)
    summary = summarise_run(plan, results, errors)
    page = write_folder(plan, results, summary)
    print(describe_robustness(summary))
    print(f"tables  {given.output / 'conditions.csv'}, {given.output / 'cases.csv'}\nreport  {page}")
    if given.tracking_uri:
        print(f"MLflow  {_track(given, summary)}")
    return 2 if errors else 0


def _plan(given: argparse.Namespace) -> "RobustnessPlan":
    from segpipe.corruptions import CORRUPTIONS, Graded
    from segpipe.export.model_folder import read_model_folder
    from segpipe.inference.attacks.attack import attacks_on
    from segpipe.inference.attacks.scan_loss import Target
    from segpipe.inference.engines.backends import build_engine
    from segpipe.inference.engines.gradients import require_gradients
    from segpipe.pipelines.model_evaluation import plan_model
    from segpipe.pipelines.robustness.plan import RobustnessPlan

    model = read_model_folder(given.model, key=read_verify_key(given))
    engine = build_engine(model, backend=given.backend, device=given.device)
    evaluation = plan_model(model, given.data, split=given.split, engine=engine)
    changes: dict[str, Graded] = {name: CORRUPTIONS[name] for name in given.corruptions}
    if given.attacks:
        network = require_gradients(engine, "--attacks").network
        flips = tuple(model.operating_point.get("flips", ()))
        changes |= attacks_on(Target(network, model.recipe, model.divisor, flips), given.attacks)
    return RobustnessPlan(evaluation, changes, given.severities, given.output, most=given.most, seed=given.seed)


def _track(given: argparse.Namespace, summary: dict[str, Any]) -> str:
    from segpipe.pipelines.robustness.tracking import report_robustness

    output: Path = given.output
    return report_robustness(summary, output, uri=given.tracking_uri).run_url
