"""The same work on many cases in processes of their own; a case that fails, or ends its process, fails alone."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from segpipe.errors import OutputError, SegpipeError
from segpipe.system.case_errors import CaseError, attempt
from segpipe.system.machine.cores import available_cores
from segpipe.system.machine.threads import ONE_THREAD
from segpipe.system.processes.stopping import end_with_parent
from segpipe.system.progress import show_progress

MOST_DEATHS = 5
"""So many processes that die in a row without any result die of something else than their case."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    name: Callable[[Item], str],
    title: str | None = None,
    workers: int | None = None,
) -> Iterator[tuple[int, Result | SegpipeError]]:
    """Does the same work on many items and yields each result with the item's index as soon as it is there.

    An item whose work raises, whatever the kind, yields an error with the item's name as the fact `case`.

    Args:
        work: A function of a module, or a `functools.partial` of one.
        items: What it is called with, one by one.
        name: Item → what it is called.
        title: What the progress is called; None shows none.
        workers: Processes; by default one per core, 0 works in this process.

    Raises:
        OutputError: when processes cannot work here at all.
    """
    count = min(available_cores() if workers is None else workers, len(items))
    outcomes = _in_this_process(work, items, name) if count < 2 else _in_processes(work, items, name, count)
    with closing(show_progress(len(items), title=title if items else None, unit="case")) as progress:
        for outcome in outcomes:
            yield outcome
            progress.update()


def _in_this_process(
    work: Callable[[Item], Result], items: Sequence[Item], name: Callable[[Item], str]
) -> Iterator[tuple[int, Result | SegpipeError]]:
    for index, item in enumerate(items):
        yield index, attempt(partial(work, item), case=name(item))


def _in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], name: Callable[[Item], str], workers: int
) -> Iterator[tuple[int, Result | SegpipeError]]:
    """Goes on with one process after a process was killed, since only then it is known in which case that happened."""
    waiting, deaths = dict(enumerate(items)), 0
    while waiting:
        before = len(waiting)
        for index, outcome in _until_killed(work, waiting, name, workers):
            del waiting[index]
            yield index, outcome
        deaths = deaths + 1 if len(waiting) == before else 0
        if deaths == MOST_DEATHS:
            raise _useless(deaths)
        if waiting and workers == 1:
            index = next(iter(waiting))
            yield index, _killed(name(waiting.pop(index)))
        workers = 1


def _until_killed(
    work: Callable[[Item], Result], items: dict[int, Item], name: Callable[[Item], str], workers: int
) -> Iterator[tuple[int, Result | SegpipeError]]:
    # a fork of a process that has used threads can hang, so workers start fresh
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        futures: dict[Future[Result | SegpipeError], int] = {
            pool.submit(_attempt_in_worker, partial(work, item), name(item)): index for index, item in items.items()
        }
        for future in as_completed(futures):
            index = futures.pop(future)  # or the results of all items would stay in memory
            if not isinstance(future.exception(), BrokenProcessPool):
                yield index, attempt(future.result, case=name(items[index]))
    except BrokenProcessPool:
        return  # while the cases were still being submitted
    except BaseException:
        _end_workers(pool)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _attempt_in_worker(work: Callable[[], Result], case: str) -> Result | SegpipeError:
    """Ends the process when it is asked to, after what the case has written in part is removed."""
    try:
        return attempt(work, case=case)
    except SystemExit as stop:
        os._exit(int(stop.code or 1))


def _end_workers(pool: ProcessPoolExecutor) -> None:
    """Lets the cases in work remove what they have written in part; nobody waits for their results any more."""
    for process in list((pool._processes or {}).values()):
        process.terminate()


def _start_worker() -> None:
    """There is a worker for each core: threads of their own would only hold them up."""
    end_with_parent()
    os.environ.update(ONE_THREAD)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _useless(deaths: int) -> OutputError:
    return OutputError(
        "processes for the work end before they do any",
        facts={"in a row": deaths},
        hint='in a program of your own, call segpipe below `if __name__ == "__main__":`; or use no workers',
    )


def _killed(case: str) -> CaseError:
    return CaseError(
        "the process that worked on this case was killed, most likely for lack of memory",
        facts={"case": case},
        hint="use fewer workers, or take a machine with more memory; the cases that are done are kept",
    )
