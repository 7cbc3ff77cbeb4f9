"""`python -m segpipe export`: writes the model folder of a finished run again."""

import argparse
from pathlib import Path
from typing import NoReturn

from segpipe.errors import ConfigError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, hint="python -m segpipe export --help")


def run(argv: list[str]) -> int:
    """Exports; returns 0."""
    given = _parser().parse_args(argv)
    from segpipe.runs.reexport import reexport, tell_parity

    model = reexport(given.checkpoint, given.output, weights=given.weights, case=given.case)
    print(tell_parity(model))
    print(f"model    {model.path}")
    print(f"predict  python -m segpipe predict --model {model.path} --input SCAN --output DIR")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m segpipe export",
        description="Writes the model folder of a finished run again, e.g. with a newer version or other weights.",
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint", required=True, type=Path, metavar="RUN_DIR", help="the run folder")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the model folder to write")
    parser.add_argument("--weights", choices=("last", "best"), help="default: those that the run evaluated")
    parser.add_argument(
        "--case", type=Path, metavar="FILE", help="the scan to check parity on (default: one of the run's data set)"
    )
    return parser
