"""Work on many cases at once: in parallel, resumable after a kill, and never stopped by one bad case."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

from segpipe.datasets.manifest import Entry, entry_from_row, row_of_entry
from segpipe.errors import DatasetError, OutputError, SegpipeError
from segpipe.system.atomic_write import write_json
from segpipe.system.parallel_map import parallel_map
from segpipe.system.plain_files import read_json

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
        entries: The good cases, in the order of the jobs.
        errors: One for each bad case.
        new: How many of the good ones were made now, not found.
        notes: What else the user should know, one line each, e.g. what was left out and why.
    """

    entries: tuple[Entry, ...]
    errors: tuple[SegpipeError, ...]
    new: int
    notes: tuple[str, ...] = ()


def make_cases(
    jobs: Sequence[CaseJob], folder: Path, *, title: str, workers: int | None = None, progress: bool = True
) -> IngestResult:
    """Does the jobs whose result is not yet in `folder`.

    A case counts as done when its record, which is written last, has the job's key and its files are still there.

    Args:
        jobs: One per case.
        folder: Where cases and records are kept.
        title: Shown at the progress bar.
        workers: Processes; by default one per core, 0 works in this process.
        progress: Whether to draw a bar (on terminals only).

    Raises:
        DatasetError: when two jobs have one id.
    """
    if len({job.id for job in jobs}) < len(jobs):
        raise DatasetError("case ids must be unique", facts={"data set": folder})
    found = {job.id: _read_record(job, folder) for job in jobs}
    missing = [job for job in jobs if found[job.id] is None]
    outcomes: dict[str, Entry | SegpipeError | None] = dict(found)
    done = parallel_map(
        partial(_do, folder=folder),
        missing,
        name=attrgetter("id"),
        title=title if progress else None,
        workers=workers,
    )
    outcomes.update((missing[index].id, outcome) for index, outcome in done)
    ordered = [outcomes[job.id] for job in jobs]
    entries = tuple(outcome for outcome in ordered if isinstance(outcome, Entry))
    errors = tuple(outcome for outcome in ordered if isinstance(outcome, SegpipeError))
    return IngestResult(entries, errors, new=len(missing) - len(errors))


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
