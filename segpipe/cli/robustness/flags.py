"""The flags of `python -m segpipe robustness`."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segpipe.cli.common.compute_flags import add_compute_flags
from segpipe.cli.common.flags import VerbParser
from segpipe.cli.common.model_flags import add_model_flag
from segpipe.errors import ConfigError

EVERY, NONE = "all", "none"
ATTACKS = ("fgsm", "pgd")


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line of `robustness`.

    Raises:
        ConfigError: for unknown, missing or wrong flags.
    """
    given = _parser().parse_args(argv)
    given.severities = sorted(set(given.severities))
    if given.most is not None and given.most < 1:
        raise ConfigError("--most must be at least 1", facts={"found": given.most})
    given.corruptions = _chosen(given.corruptions)
    given.attacks = list(dict.fromkeys(given.attacks))
    if not given.corruptions and not given.attacks:
        raise ConfigError("there is nothing to try", hint="--attacks fgsm pgd, or --corruptions without none")
    return given


def _chosen(names: Sequence[str]) -> list[str]:
    from segpipe.corruptions import CORRUPTIONS, find_corruption

    if list(names) == [EVERY]:
        return list(CORRUPTIONS)
    if list(names) == [NONE]:
        return []
    return list(dict.fromkeys(find_corruption(name).name for name in names))


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        "robustness",
        description="Evaluates a model on scans as they are, and as another dose, kernel, slice, motion or scanner "
        "might have shown them. A call that was killed goes on where it was.",
    )
    _add_data(parser.add_argument)
    _add_choice(parser.add_argument_group("what is tried").add_argument)
    add_compute_flags(parser.add_argument_group("how to compute").add_argument)
    parser.add_argument_group("MLflow").add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI"),
        metavar="URI",
        help="logs a run there as well (default: $MLFLOW_TRACKING_URI, else nowhere)",
    )
    return parser


def _add_data(add: Any) -> None:
    add_model_flag(add)
    add("--data", required=True, type=Path, metavar="DATASET", help="a data set that `ingest` made")
    add("--output", required=True, type=Path, metavar="DIR", help="summary, tables and report go here")
    add(
        "--split",
        choices=("train", "val", "test", "all"),
        help="default: what the model's training held out, else test where the data set fixes it, else all",
    )
    add("--most", type=int, metavar="N", help="at most so many cases, evenly over the data set")
    add("--seed", type=int, default=0, metavar="N", help="of what is drawn, and of the bootstrap (default: 0)")


def _add_choice(add: Any) -> None:
    add(
        "--corruptions",
        nargs="+",
        default=[EVERY],
        metavar="NAME",
        help="which, or none (default: all); docs/robustness.md lists them",
    )
    add(
        "--attacks",
        nargs="+",
        default=[],
        choices=ATTACKS,
        metavar="NAME",
        help="fgsm, pgd: changes computed against the network, with a mean of their own (default: none)",
    )
    add(
        "--severities",
        nargs="+",
        type=int,
        default=[1, 2, 3, 4, 5],
        choices=(1, 2, 3, 4, 5),
        metavar="N",
        help="which of 1 to 5 (default: all)",
    )
