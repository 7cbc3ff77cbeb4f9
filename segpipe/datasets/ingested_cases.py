"""Work on many cases at once: in parallel, resumable after a kill, and never stopped by one bad case."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

from segpipe.datasets.manifest import Entry, entry_from_row, row_of_entry
from segpipe.errors import DatasetError, OutputError, SegpipeError
from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.plain_files import read_json
from segpipe.system.files.writable import check_writable
from segpipe.system.processes.parallel_map import parallel_map
from segpipe.system.shards.shard import Shard

_RECORDS = ".done"


@dataclass(frozen=True)
class CaseJob:
    """The making of one case.

    Args:
        id: Of the case.
        key: Plain text of everything the result depends on; when it changes the case is made again.
        make: Makes the case's files below the folder it is given and returns the entry; a function of a module (or a
            `functools.partial` of one), since it runs in another process. What it raises costs this case alone.
    """

    id: str
    key: str
    make: Callable[[Path], Entry]


@dataclass(frozen=True)
class IngestResult:
    """What became of the jobs.

    Args:
        outcomes: In the order of the jobs that were to be done: the good cases, and one error for each bad one.
        new: How many of the good ones were made now, not found.
        names: The ids of all jobs, also of those that other shards do.
        notes: What else the user should know, one line each, e.g. what was left out and why.
    """

    outcomes: tuple[Entry | SegpipeError, ...]
    new: int
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The good cases."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Entry))

    @property
    def errors(self) -> tuple[SegpipeError, ...]:
        """One for each bad case."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, SegpipeError))


def make_cases(
    jobs: Sequence[CaseJob], folder: Path, *, title: str, workers: int | None = None, shard: Shard | None = None
) -> IngestResult:
    """Does the jobs whose result is not yet in `folder`.

    A case counts as done when its record, which is written last, has the job's key and its files are still there.

    Args:
        jobs: One per case.
        folder: Where cases and records are kept.
        title: Shown at the progress bar.
        workers: Processes; by default one per core, 0 works in this process.
        shard: Whose share of the jobs is done; None does all.

    Raises:
        DatasetError: when two jobs have one id.
        OutputError: before any work, when nothing can be written to the folder.
    """
    names = tuple(job.id for job in jobs)
    if len(set(names)) < len(jobs):
        raise DatasetError("case ids must be unique", facts={"data set": folder})
    own = [jobs[position] for position in shard.share(names)] if shard else jobs
    outcomes: list[Entry | SegpipeError | None] = [_read_record(job, folder) for job in own]
    missing = [position for position, outcome in enumerate(outcomes) if outcome is None]
    if missing:
        check_writable(folder, what="the data set", hint="choose a folder that you may write to: --output FOLDER")
    work, todo = partial(_do, folder=folder), [own[position] for position in missing]
    for index, outcome in parallel_map(work, todo, name=attrgetter("id"), title=title, workers=workers):
        outcomes[missing[index]] = outcome
    made = [outcomes[position] for position in missing]
    new = sum(isinstance(outcome, Entry) for outcome in made)
    return IngestResult(tuple(outcome for outcome in outcomes if outcome is not None), new, names)


def _do(job: CaseJob, folder: Path) -> Entry:
    try:
        entry = job.make(folder)
    except OSError as error:
        raise OutputError("the case cannot be written", facts={"case": job.id, "found": error}) from error
    content = {"key": _digest(job), "case": row_of_entry(entry, folder)}
    write_json(_record_file(job, folder), content, what="the record of a case", indent=None)
    return entry


def _record_file(job: CaseJob, folder: Path) -> Path:
    return folder / _RECORDS / f"{job.id}.json"


def _read_record(job: CaseJob, folder: Path) -> Entry | None:
    try:
        file = _record_file(job, folder)
        record = read_json(file)
        entry = entry_from_row(record["case"], folder, where=str(file))
    except (OSError, ValueError, KeyError, TypeError, DatasetError):
        return None
    files = [file for file in (entry.image, entry.mask) if file]
    return entry if record.get("key") == _digest(job) and all(file.is_file() for file in files) else None


def _digest(job: CaseJob) -> str:
    return hashlib.sha256(job.key.encode()).hexdigest()
