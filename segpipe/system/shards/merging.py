"""Puts together what the shards of a job have written down, when all are done and of one job."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.errors import ConfigError, OutputError
from segpipe.system.files.atomic_write import atomic_write, is_part
from segpipe.system.files.held_folder import MARK
from segpipe.system.files.walking import files_below
from segpipe.system.shards.plain_errors import error_from_dict
from segpipe.system.shards.records import (
    Result,
    ShardRecord,
    check_same,
    check_scans,
    read_records,
    shard_folders,
)
from segpipe.system.shards.shard import Shard

_MOST_NAMED = 16


@dataclass(frozen=True)
class MergedJob:
    """What the shards of a job have done together.

    Args:
        verb: What the job does.
        settings: Of all shards.
        results: Of all scans, in the order of an unsharded call; `error` is an error or None.
        about: What each shard has written down in addition, by its number.
        missing: Shards that are not done.
    """

    verb: str
    settings: Mapping[str, Any]
    results: Sequence[Result]
    about: Sequence[Mapping[str, Any]]
    missing: Sequence[Shard]


def merge_records(output: Path, *, allow_missing: bool = False) -> MergedJob:
    """Reads what the shards in a folder have done.

    Raises:
        ConfigError: when there are none, they are not of one job, or some are missing and must not.
    """
    records = read_records(output)
    if not records:
        raise ConfigError(
            "the folder must hold the results of shards",
            facts={"folder": output},
            hint="they are made by predict, evaluate or ingest with --shard 1/4, --shard 2/4 …",
        )
    check_same(records)
    done = [record for record in records if record.listing]
    check_scans(done)
    missing = _missing(records)
    if missing and not (allow_missing and done):
        raise _incomplete(missing, records)
    results = sorted((_as_met(one) for record in done for one in record.results), key=lambda one: one["position"])
    return MergedJob(records[0].verb, records[0].settings, results, [record.about for record in done], missing)


def gather(folders: Sequence[Path], output: Path) -> None:
    """Copies what shards have written into folders of their own into one.

    Raises:
        ConfigError: when two folders hold the same shard, or shards of different jobs.
        OutputError: when a file cannot be copied.
    """
    owners: dict[str, Path] = {}
    for shard in (shard for folder in folders for shard in shard_folders(folder)):
        first = owners.setdefault(shard.name, shard)
        if first != shard:
            raise ConfigError("a shard must be in one folder", facts={"found": f"{first}, {shard}"})
    check_same([record for folder in folders for record in read_records(folder)])
    for folder in folders:
        for file in _files(folder):
            try:
                with atomic_write(output / file.relative_to(folder)) as part:
                    shutil.copy2(file, part)
            except OSError as error:
                raise OutputError("a result cannot be copied", facts={"file": file, "found": error}) from error


def _as_met(result: Result) -> Result:
    """A result with its error as one that can be raised and printed."""
    return {**result, "error": error_from_dict(result["error"]) if result["error"] else None}


def _files(folder: Path) -> Iterator[Path]:
    """All files but marks of calls at work and what they have written in part."""
    for file in sorted(files_below(folder)):
        if file.is_file() and file.name != MARK and not any(map(is_part, file.relative_to(folder).parts)):
            yield file


def _missing(records: Sequence[ShardRecord]) -> list[Shard]:
    count = records[0].shard.count
    done = {record.shard for record in records if record.listing}
    return [shard for shard in (Shard(number, count) for number in range(1, count + 1)) if shard not in done]


def _incomplete(missing: Sequence[Shard], records: Sequence[ShardRecord]) -> ConfigError:
    begun = {record.shard for record in records}
    parts = {
        "at work, or cut off": [shard for shard in missing if shard in begun],
        "not begun": [shard for shard in missing if shard not in begun],
    }
    return ConfigError(
        "all shards must be done before they are merged",
        facts={what: describe_shards(shards) for what, shards in parts.items() if shards},
        hint=f"run each of them with the command of the others and --shard {missing[0]}, which goes on where one was "
        "cut off; or merge the others with --allow-missing",
    )


def describe_shards(shards: Sequence[Shard]) -> str:
    """The first of them.

    >>> describe_shards([Shard(1, 16), Shard(3, 16)])
    '1/16, 3/16'
    """
    more = len(shards) - _MOST_NAMED
    return ", ".join(map(str, shards[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
