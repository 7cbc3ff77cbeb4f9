"""What the shards of a job write down in the folder they share: their settings, and what they have done."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segpipe.errors import ConfigError, SegpipeError
from segpipe.system.files.atomic_write import write_text
from segpipe.system.files.held_folder import hold
from segpipe.system.files.plain_files import read_json
from segpipe.system.shards.plain_errors import error_to_dict
from segpipe.system.shards.shard import Shard, digest_listing

SHARDS = ".shards"
"""The hidden folder of an output folder for all that shards write down."""
_RECORD = "record.json"
_MOST_DIFFERENCES = 8
_PATIENCE_S = 10.0
"""The other shards hold the folder as a whole for moments only, when they begin."""
Result = Mapping[str, Any]


@dataclass(frozen=True)
class ShardRecord:
    """What is known of a shard.

    Args:
        verb: What it does.
        shard: Which it is.
        settings: Everything that the result depends on apart from the scans, as plain data.
        listing: See `digest_listing`; empty until the shard is done.
        results: Of each of its scans at least `position` in the listing, `name` and `error`.
        about: What else merging needs.
    """

    verb: str
    shard: Shard
    settings: Mapping[str, Any]
    listing: str = ""
    results: Sequence[Result] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def finish(
        self, names: Sequence[str], outcomes: Sequence[SegpipeError | Result | None], **about: Any
    ) -> "ShardRecord":
        """The record of the shard that is done.

        Args:
            names: All scans of the job, in their order.
            outcomes: Of each of the shard's own scans, in their order: what was wrong, or what is known of it.
            about: What else merging needs.
        """
        positions = self.shard.share(names)
        results = [
            {"position": position, "name": names[position], "error": None, **_plain(outcome)}
            for position, outcome in zip(positions, outcomes, strict=True)
        ]
        return replace(self, listing=digest_listing(names), results=results, about=about)


@contextmanager
def hold_output(output: Path, shard: Shard | None, *, hint: str) -> Iterator[None]:
    """Keeps other calls out of an output folder; a shard only those that do the same shard, or the whole.

    Raises:
        ConfigError: when another call works there.
    """
    with ExitStack() as stack:
        if shard is None:
            for folder in (output, *shard_folders(output)):
                stack.enter_context(hold(folder, hint=hint, marks_errors=False))
        else:
            own = _folder(output, shard)
            own.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(own, hint=hint, marks_errors=False))
            with hold(output, hint=hint, marks_errors=False, wait_s=_PATIENCE_S):
                pass  # nobody does the whole
        yield


def shard_folders(output: Path) -> list[Path]:
    """Where shards have begun to write down what they do."""
    return sorted(Path(output, SHARDS).glob("*-of-*"))


def begin_record(output: Path, record: ShardRecord, *, whole: Iterable[str]) -> None:
    """Writes down that a shard begins, and removes what an earlier call or merge has made of the whole.

    It would pass for what the next merge will make.

    Args:
        output: The folder that the shards share.
        record: Of the shard.
        whole: The names of the files that are of the whole.

    Raises:
        ConfigError: when another shard has other settings; then nothing is removed.
        OutputError: when it cannot be written.
    """
    write_record(output, record)
    for name in whole:
        (output / name).unlink(missing_ok=True)


def write_record(output: Path, record: ShardRecord) -> Path:
    """Writes down what a shard does or has done.

    Raises:
        ConfigError: when another shard has other settings.
        OutputError: when it cannot be written.
    """
    content = json.loads(json.dumps({**vars(record), "shard": str(record.shard)}))
    own = _folder(output, record.shard)
    others = _read_all(folder for folder in shard_folders(output) if folder != own)
    check_same([*others, replace(record, settings=content["settings"])])
    # private, since its errors may quote names of files, which a data set leaves out
    return write_text(own / _RECORD, json.dumps(content), what="the record of a shard", private=True)


def read_records(output: Path) -> list[ShardRecord]:
    """The records of all shards that have begun.

    Raises:
        ConfigError: when one is damaged.
    """
    return _read_all(shard_folders(output))


def check_same(records: Sequence[ShardRecord]) -> None:
    """Checks that records are of one job.

    Raises:
        ConfigError: naming what differs.
    """
    _check_equal(records, lambda one: {"verb": one.verb, "shards": one.shard.count, **one.settings})


def check_scans(records: Sequence[ShardRecord]) -> None:
    """Checks that shards that are done have shared out the same scans.

    Raises:
        ConfigError: when they have not.
    """
    _check_equal(records, lambda one: {"scans": one.listing})


def _check_equal(records: Sequence[ShardRecord], of: Callable[[ShardRecord], Mapping[str, Any]]) -> None:
    for record in records[1:]:
        both = {f"shard {one.shard}": _flat(of(one)) for one in (records[0], record)}
        first, other = both.values()
        names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
        if names:
            raise ConfigError(
                "all shards of a job must have the same settings, model and scans",
                facts={
                    shard: ", ".join(f"{name}: {flat.get(name)}" for name in names[:_MOST_DIFFERENCES])
                    for shard, flat in both.items()
                },
                hint=f"choose another --output; or remove its folder {SHARDS} and run all shards again, which keeps "
                "what is done with the same settings",
            )


def _plain(outcome: SegpipeError | Result | None) -> Result:
    return {"error": error_to_dict(outcome)} if isinstance(outcome, SegpipeError) else outcome or {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _folder(output: Path, shard: Shard) -> Path:
    return Path(output, SHARDS, f"{shard.number}-of-{shard.count}")


def _read_all(folders: Iterable[Path]) -> list[ShardRecord]:
    files = [folder / _RECORD for folder in folders]
    return sorted((_read(file) for file in files if file.exists()), key=lambda record: record.shard.number)


def _read(file: Path) -> ShardRecord:
    try:
        content = read_json(file)
        number, count = map(int, content.pop("shard").split("/"))
        return ShardRecord(shard=Shard(number, count), **content)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(
            "the record of a shard cannot be read",
            facts={"file": file, "found": f"{type(error).__name__}: {error}"},
            hint="run this shard again",
        ) from error
