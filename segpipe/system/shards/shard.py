"""Which part of a job one of several calls does: names alone decide, so that the calls need not know of each other."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segpipe.errors import ConfigError

_FORMS = "must be NUMBER/COUNT, auto/COUNT or auto"


@dataclass(frozen=True)
class Shard:
    """One of several calls.

    Args:
        number: From 1.
        count: How many there are.

    Raises:
        ConfigError: when there is no such shard.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(
                "the number of a shard must be between 1 and the count",
                facts={"found": self},
                hint="number the tasks of an array from 1, e.g. #SBATCH --array=1-16",
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> "Shard":
        """Reads `3/16`; `auto/16`, whose number a Slurm array or a Kubernetes indexed job gives; or Slurm's `auto`.

        >>> Shard.parse("auto/16", {"JOB_COMPLETION_INDEX": "0"})
        Shard(number=1, count=16)

        Raises:
            ConfigError: when it is none of these, or when nothing gives the number.
        """
        match = re.fullmatch(r"(auto|\d+)(?:/(\d+))?", text)
        if not match or (match[2] is None and match[1] != "auto"):
            raise ConfigError(f"a shard {_FORMS}", facts={"found": text}, hint="e.g. --shard 3/16")
        if match[1] != "auto":
            return cls(int(match[1]), int(match[2]))
        return cls(_task_number(environment), int(match[2])) if match[2] else _of_whole_array(environment)

    def share(self, names: Sequence[str]) -> list[int]:
        """The positions of the names that this shard does, the same whatever the order; counts differ by one at most.

        Names are dealt out in the order of their digests, so that no rhythm in them (two scans of each patient, say)
        gives one shard all the long ones.

        >>> names = ["a", "b", "c", "d", "e"]
        >>> sorted(Shard(1, 2).share(names) + Shard(2, 2).share(names))
        [0, 1, 2, 3, 4]
        """
        dealt = sorted(range(len(names)), key=lambda position: _digest(names[position]))
        return sorted(dealt[self.number - 1 :: self.count])


def digest_listing(names: Sequence[str]) -> str:
    """How many names there are, and what they are, in their order; the same for all shards of a job."""
    return f"{len(names)} {_digest(*names)[:16]}"


def _digest(*names: str) -> str:
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()


def _task_number(environment: Mapping[str, str]) -> int:
    if "SLURM_ARRAY_TASK_ID" in environment:
        return int(environment["SLURM_ARRAY_TASK_ID"])
    if "JOB_COMPLETION_INDEX" in environment:
        return int(environment["JOB_COMPLETION_INDEX"]) + 1
    raise ConfigError(
        "--shard auto needs the task of an array",
        facts={"looked for": "SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX"},
        hint="--shard 1/4, 2/4 … where nothing numbers the calls",
    )


def _of_whole_array(environment: Mapping[str, str]) -> Shard:
    """A Slurm array from 0 or 1 on; of one with gaps, as of tasks that are done again, nobody knows the count."""
    task = _task_number(environment)
    names = ("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT")
    found = {name: environment[name] for name in names if name in environment}
    if len(found) == len(names):
        first, last, count = map(int, found.values())
        if first in (0, 1) and last - first + 1 == count:
            return Shard(task - first + 1, count)
    raise ConfigError(
        "--shard auto needs a Slurm array without gaps, which begins at 0 or 1",
        facts={"found": ", ".join(f"{name}={value}" for name, value in found.items()) or "no count"},
        hint="say how many shards the job has: --shard auto/16",
    )
