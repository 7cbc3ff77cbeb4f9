"""`python -m segpipe sync`: brings runs on their MLflow servers up to date."""

import argparse
from pathlib import Path

from segpipe.cli.common.flags import VerbParser


def run(argv: list[str]) -> int:
    """Brings one run after the other up to date; returns 2 when one of them still is not."""
    given = _parser().parse_args(argv)
    from segpipe.tracking.syncing import Syncing, find_tracked_runs

    syncing, code = Syncing(given.tracking_uri), 0
    for folder in find_tracked_runs(given.folders):
        result = syncing.sync(folder)
        print(f"{folder}: {result.describe()}", flush=True)
        code = 2 if result.problem else code
    return code


def _parser() -> argparse.ArgumentParser:
    parser = VerbParser(
        "sync",
        description="Sends MLflow what it did not get while it was away, and ends the runs there whose process was "
        "killed. Runs that are going on are left alone; they send what waits themselves. A second call sends nothing "
        "twice. The exit code is 0 when all runs are up to date, else 2.",
    )
    parser.add_argument(
        "folders", nargs="*", type=Path, default=[Path("runs")], metavar="FOLDER",
        help="run folders, or folders of runs at any depth (default: runs)",
    )  # fmt: skip
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="the server or database (default: what each run's folder says)",
    )
    return parser
