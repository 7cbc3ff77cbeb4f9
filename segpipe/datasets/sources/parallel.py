"""Work on many cases at once: in parallel, resumable after a kill, and never stopped by one bad case."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from segpipe.datasets.manifest import Entry, entry_from_row, row_of_entry
from segpipe.errors import DatasetError, OutputError, SegpipeError

_RECORDS = ".done"
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class CaseJob:
    """The making of one case.

    Args:
        id: Of the case.
        key: Plain text of everything the result depends on; when it changes the case is made again.
        make: Makes the case's files below the folder it is given and returns the entry; a function of a module (or a
            `functools.partial` of one), since it runs in another process. It raises SegpipeError for a bad case.
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
        DatasetError: when two jobs have one id or a worker process dies.
    """
    if len({job.id for job in jobs}) < len(jobs):
        raise DatasetError("case ids must be unique", facts={"data set": folder})
    found = {job.id: _read_record(job, folder) for job in jobs}
    missing = [job for job in jobs if found[job.id] is None]
    outcomes: dict[str, Entry | SegpipeError | None] = dict(found)
    done = map_cases(partial(_do, folder=folder), missing, title=title, workers=workers, progress=progress)
    outcomes.update((missing[index].id, outcome) for index, outcome in done)
    ordered = [outcomes[job.id] for job in jobs]
    entries = tuple(outcome for outcome in ordered if isinstance(outcome, Entry))
    errors = tuple(outcome for outcome in ordered if isinstance(outcome, SegpipeError))
    return IngestResult(entries, errors, new=len(missing) - len(errors))


def map_cases(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    title: str,
    workers: int | None = None,
    progress: bool = True,
) -> Iterator[tuple[int, Result]]:
    """Does the same work on many items and yields each result with the item's index as soon as it is there.

    Args:
        work: A function of a module, or a `functools.partial` of one.
        items: What it is called with, one by one.
        title: Shown at the progress bar.
        workers: Processes; by default one per core, 0 works in this process.
        progress: Whether to draw a bar (on terminals only).

    Raises:
        DatasetError: when a worker process dies.
    """
    from tqdm import tqdm

    count = min(available_cores() if workers is None else workers, len(items))
    outcomes = enumerate(map(work, items)) if count < 2 else _in_processes(work, items, count)
    # disable=None draws on terminals only
    yield from tqdm(outcomes, total=len(items), desc=title, unit="case", disable=None if progress and items else True)


def available_cores() -> int:
    """Cores this process may use, which on a shared machine are fewer than it has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_processes(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[tuple[int, Result]]:
    # a fork of a process that has used threads can hang, so workers start fresh
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(work, item): index for index, item in enumerate(items)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise DatasetError(
                "a worker process died, perhaps for want of memory",
                facts={"workers": workers},
                hint="use fewer workers; the cases that are done are kept",
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _do(job: CaseJob, folder: Path) -> Entry | SegpipeError:
    try:
        entry = job.make(folder)
        _write_record(job, entry, folder)
    except SegpipeError as error:
        return error if "case" in error.facts else error.with_facts(case=job.id)
    except OSError as error:
        return OutputError("the case cannot be written", facts={"case": job.id, "found": error})
    return entry


def _record_file(job: CaseJob, folder: Path) -> Path:
    return folder / _RECORDS / f"{job.id}.json"


def _read_record(job: CaseJob, folder: Path) -> Entry | None:
    try:
        file = _record_file(job, folder)
        record = json.loads(file.read_text())
        entry = entry_from_row(record["case"], folder, where=str(file))
    except (OSError, ValueError, KeyError, TypeError, DatasetError):
        return None
    files = [file for file in (entry.image, entry.mask) if file]
    return entry if record.get("key") == _digest(job) and all(file.is_file() for file in files) else None


def _write_record(job: CaseJob, entry: Entry, folder: Path) -> None:
    file = _record_file(job, folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps({"key": _digest(job), "case": row_of_entry(entry, folder)}))
    temporary.replace(file)


def _digest(job: CaseJob) -> str:
    return hashlib.sha256(job.key.encode()).hexdigest()
