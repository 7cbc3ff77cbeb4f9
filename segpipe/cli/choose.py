"""`python -m segpipe choose`: the best of several cross-validated runs, or their ensemble, as one model folder."""

import argparse
import os
from pathlib import Path

from segpipe.cli.common.flags import VerbParser
from segpipe.errors import ConfigError
from segpipe.system.files.writable import check_writable


def run(argv: list[str]) -> int:
    """Chooses; returns 0."""
    given = _parse(argv)
    check_writable(given.output, what="the choice", hint="choose a folder that you may write to: --output FOLDER")
    from segpipe.export.model_folder import predict_command
    from segpipe.pipelines.choice.choice_tracking import report_choice, uri_of
    from segpipe.pipelines.choice.choosing import ChoiceOptions, choose_model
    from segpipe.pipelines.choice.runs import read_runs
    from segpipe.pipelines.choice.text import describe_choice
    from segpipe.tracking.server import connect

    options = ChoiceOptions(metric=given.metric, members=given.members, device=given.device, seed=given.seed)
    runs = read_runs(given.runs)
    uri = None if given.no_tracking else given.tracking_uri or uri_of(runs)
    if uri:
        connect(uri)  # whether it answers at all, before anything is predicted
    chosen = choose_model(runs, given.output, options)
    print(describe_choice(chosen.report))
    print(f"figures  {given.output / 'choice.json'}")
    print(f"model    {given.output / 'model'}")
    print(f"predict  {predict_command(given.output / 'model')}")
    if uri:
        print(f"MLflow   {report_choice(chosen, runs, given.output, uri=uri).run_url}")
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    given = _parser().parse_args(argv)
    if given.members < 1:
        raise ConfigError("--members must be at least 1", facts={"found": given.members})
    return given


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        "choose",
        description="Takes the best of several cross-validated runs (data.fold=all) of the same data, or the best "
        "ensemble of some of them, by figures out of fold, and exports it as one model. Where the best is not surely "
        "better, the cheapest is taken.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a cross-validation")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="choice.json and the model go here")
    parser.add_argument(
        "--metric", default="dice", metavar="NAME", help="figure of a case, larger is better (default: dice)"
    )
    parser.add_argument(
        "--members",
        type=int,
        default=2,
        metavar="N",
        help="runs in an ensemble at most (default: 2; 1: none). Each ensemble predicts all cases once again",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="default: auto")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of resamples and permutations (default: 0)")
    tracking = parser.add_argument_group("MLflow")
    tracking.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        metavar="URI",
        help="default: $MLFLOW_TRACKING_URI, else what the runs' folders say, else nowhere",
    )
    tracking.add_argument("--no-tracking", action="store_true", help="do not log")
    return parser
