"""The flag by which verbs do a part of a job, and how they say that it is one."""

from pathlib import Path
from typing import Any

from segpipe.system.shards.shard import Shard


def add_shard_flag(add: Any) -> None:
    """Adds `--shard`.

    Args:
        add: `add_argument` of a parser or a group of flags.
    """
    add(
        "--shard",
        type=Shard.parse,
        metavar="N/COUNT",
        help="do this share of the scans alone, e.g. 3/16; auto takes it from a Slurm array, auto/16 the number from "
        "that or from a Kubernetes indexed job; python -m segpipe merge OUTPUT makes one result of all",
    )


def describe_shard(shard: Shard, done: int, of: int, output: Path) -> str:
    """What was done, and what makes the whole of it."""
    return f"shard {shard}: {done} of {of} scans; when all are done: python -m segpipe merge {output}"
