"""`python -m segpipe drift`: whether new scans are like those that a model was evaluated on."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.cli.common.compute_flags import add_compute_flags
from segpipe.cli.common.flags import VerbParser
from segpipe.cli.common.model_flags import read_verify_key
from segpipe.errors import ConfigError, explain, merge_alike
from segpipe.export.shipped import find_model
from segpipe.system.files.writable import check_writable

if TYPE_CHECKING:
    from segpipe.errors import SegpipeError

_DRIFT = 1
_NOT_ALL = 2


def run(argv: list[str]) -> int:
    """Checks; returns 1 for drift, else 2 when scans could not be used, else 0."""
    given = _parse(argv)
    check_writable(given.output, what="the check", hint="choose a folder that you may write to: --output FOLDER")
    report, errors = _check(given)
    from segpipe.pipelines.drift.checking import WORDS
    from segpipe.pipelines.drift.text import describe_drift, verdict
    from segpipe.report.drift import write_drift
    from segpipe.system.files.atomic_write import write_json

    write_json(given.output / "drift.json", report, what="the drift check")
    page = write_drift(given.output, report, WORDS, verdict=verdict(report))
    for error in merge_alike(errors):
        print(explain(error), file=sys.stderr)
    print(describe_drift(report))
    print(f"page  {page}")
    return _DRIFT if report["drift"] else _NOT_ALL if errors else 0


def _check(given: argparse.Namespace) -> "tuple[dict[str, Any], list[SegpipeError]]":
    from segpipe.export.model_folder import read_model_folder
    from segpipe.inference.engines.backends import build_engine
    from segpipe.pipelines.drift.checking import DriftOptions, check_drift, stored_fingerprint

    model = read_model_folder(given.model, key=read_verify_key(given))
    stored_fingerprint(model)  # before the network is loaded
    engine = build_engine(model, backend=given.backend, device=given.device)
    options = DriftOptions(most=given.most, level=given.level, least=given.least)
    return check_drift(model, given.data, engine, options)


def _parse(argv: list[str]) -> argparse.Namespace:
    given = _parser().parse_args(argv)
    if given.most is not None and given.most < 1:
        raise ConfigError("--most must be at least 1", facts={"found": given.most})
    for name in ("level", "least"):
        if not 0 < getattr(given, name) < 1:
            raise ConfigError(f"--{name} must lie between 0 and 1", facts={"found": getattr(given, name)})
    return given


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        "drift",
        description="Says whether new scans, and what the model finds in them, are like the held-out scans that it was "
        "evaluated on. Ends with 1 when they are not.",
    )
    parser.add_argument("model", type=find_model, metavar="MODEL", help="the model folder of a run")
    parser.add_argument("data", type=Path, metavar="DATASET", help="a data set that `ingest` made; needs no masks")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="drift.json and the page go here")
    parser.add_argument("--most", type=int, metavar="N", help="at most N scans, evenly over the data set")
    parser.add_argument(
        "--level", type=float, default=0.05, metavar="Q", help="share of false among all alarms (default: 0.05)"
    )
    parser.add_argument(
        "--least", type=float, default=0.2, metavar="D", help="effect from which a shift matters (default: 0.2)"
    )
    parser.add_argument("--verify-key", type=Path, metavar="PEM", help="public key by which the model must be signed")
    add_compute_flags(parser.add_argument_group("how to compute").add_argument)
    return parser
