"""The flags of `python -m segpipe compare`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from segpipe.cli.common.flags import VerbParser
from segpipe.errors import ConfigError


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line of `compare`.

    Raises:
        ConfigError: for unknown or missing flags, or fewer than two runs.
    """
    given = _parser().parse_args(argv)
    if len(given.runs) < 2:
        raise ConfigError("a comparison needs two runs or more", facts={"found": len(given.runs)})
    if given.register and given.no_tracking:
        raise ConfigError("--register needs tracking", hint="leave --no-tracking out")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        "compare",
        description="Says which of several runs is better, by how much, where, and whether it is luck.",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="an MLflow run id, a run's folder, or a folder that `evaluate` made"
    )
    parser.add_argument("--output", type=Path, default=Path("comparison"), metavar="DIR", help="default: comparison")
    parser.add_argument("--metric", default="dice", metavar="NAME", help="ranks runs and cases (default: dice)")
    parser.add_argument("--force", action="store_true", help="compare runs on different data all the same")
    parser.add_argument("--data", type=Path, metavar="DATASET", help="where the scans are, for pictures of cases")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of resamples and permutations (default: 0)")
    tracking = parser.add_argument_group("MLflow")
    tracking.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        metavar="URI",
        help="default: $MLFLOW_TRACKING_URI, else what the runs' folders say, else sqlite:///mlflow.db",
    )
    tracking.add_argument(
        "--no-tracking",
        action="store_true",
        help="do not log; evaluations without runs are not logged anyway",
    )
    tracking.add_argument("--register", metavar="NAME", help="register the best run's model under this name")
    tracking.add_argument("--alias", default="champion", metavar="ALIAS", help="of that version (default: champion)")
    return parser
