"""`python -m segpipe export`: writes the model folder of a finished run again."""

import argparse
from pathlib import Path

from segpipe.cli.common.flags import VerbParser


def run(argv: list[str]) -> int:
    """Exports; returns 0."""
    given = _parser().parse_args(argv)
    from segpipe.export.model_folder import predict_command
    from segpipe.pipelines.reexport import describe_parity, reexport

    model = reexport(given.checkpoint, given.output, weights=given.weights, case=given.case, trusted=given.trust)
    print(describe_parity(model))
    print(f"model    {model.path}")
    print(f"predict  {predict_command(model.path)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        "export",
        description="Writes the model folder of a finished run again, e.g. with a newer version or other weights.",
    )
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="RUN_DIR", help="the run folder")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the model folder to write")
    parser.add_argument("--weights", choices=("last", "best"), help="default: those that the run evaluated")
    parser.add_argument(
        "--case", type=Path, metavar="FILE", help="the scan to check parity on (default: one of the run's data set)"
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="TARGET",
        help="import path that the run's network may be built from, if it comes from another package",
    )
    return parser
