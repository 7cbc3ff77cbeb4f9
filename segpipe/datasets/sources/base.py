"""What a source of data is: a request in, a data set and what became of its cases out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segpipe.datasets.ingested_cases import IngestResult
from segpipe.datasets.manifest import Manifest
from segpipe.system.shards.shard import Shard


@dataclass(frozen=True)
class IngestRequest:
    """What the user asked for.

    Args:
        output: The data set folder; files go below it, never elsewhere.
        input: What to read, for sources that read something.
        label: What the masks show: the name of value 1, or e.g. `1=solid,2=ground glass`.
        workers: Processes; None for one per core.
        options: Value of each flag of the source, by name.
        shard: Whose share of the cases is made, see `make_cases`; None makes all.
    """

    output: Path
    input: Path | None = None
    label: str = "nodule"
    workers: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    shard: Shard | None = None


Read = Callable[[IngestRequest], tuple[Manifest, IngestResult]]


@dataclass(frozen=True)
class Flag:
    """A command line flag of a source; a default of False makes it a switch.

    Args:
        name: `cases` becomes `--cases`.
        text: For `--help`.
        default: When it is not given.
        kind: Turns the word into the value.
    """

    name: str
    text: str
    default: Any = None
    kind: Callable[[str], Any] = str


@dataclass(frozen=True)
class Source:
    """A kind of data.

    Args:
        text: One line for `--help`.
        read: Makes what is missing below `request.output` and returns the manifest (not written yet) and what became
            of the cases; bad cases are left out of the manifest and reported in `IngestResult.errors`.
        flags: Its own flags.
        needs_input: Whether `--input` must be given.
    """

    text: str
    read: Read
    flags: tuple[Flag, ...] = ()
    needs_input: bool = True
