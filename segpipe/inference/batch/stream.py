"""Many scans flow: while one is in the network the next is read and the last one written, if memory allows."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from segpipe.errors import OutputError, SegpipeError
from segpipe.system.case_errors import as_case_error

Item = TypeVar("Item")
Value = TypeVar("Value")
Result = TypeVar("Result")


def stream(
    items: Sequence[Item],
    read: Callable[[Item], Value],
    work: Callable[[Item, Value], Result],
    write: Callable[[Item, Result], None],
    *,
    together: Callable[[Sequence[Item]], bool],
) -> Iterator[tuple[Item, SegpipeError | None]]:
    """Reads, works on and writes items; yields each with what was wrong with it, or None.

    At most three items are alive: one being read, one worked on, one being written. Whatever goes wrong with an item
    costs that item; an error of the output stops everything, since it would meet the other items as well.

    Args:
        items: In the order in which they are worked on.
        read: Runs in a thread of its own.
        work: Runs in the caller's thread.
        write: Runs in a thread of its own.
        together: Whether these items may be in memory at the same time.

    Raises:
        OutputError: when a result cannot be written.
    """
    todo = deque(items)
    reading: deque[tuple[Item, Future[Value]]] = deque()
    writing: deque[tuple[Item, Future[None]]] = deque()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        while todo or reading:
            if not reading and writing and not together([writing[0][0], todo[0]]):
                yield _written(writing)
            while todo and _has_room(reading, writing, todo[0], together):
                reading.append((todo[0], reader.submit(read, todo.popleft())))
            item, value = reading.popleft()
            failed: SegpipeError | None = None
            try:
                result = work(item, value.result())
            except Exception as error:
                failed = as_case_error(error)
            finally:
                del value
            if failed:
                yield item, failed
                continue
            if writing:
                yield _written(writing)
            writing.append((item, writer.submit(write, item, result)))
            del result
        while writing:
            yield _written(writing)


def _has_room(
    reading: deque[tuple[Item, Future[Value]]],
    writing: deque[tuple[Item, Future[None]]],
    item: Item,
    together: Callable[[Sequence[Item]], bool],
) -> bool:
    """True when nothing is being read, or when one more fits next to what is alive."""
    if not reading:
        return True
    return len(reading) == 1 and together([*(other for other, _ in (*reading, *writing)), item])


def _written(writing: deque[tuple[Item, Future[None]]]) -> tuple[Item, SegpipeError | None]:
    item, done = writing.popleft()
    try:
        done.result()
    except OutputError:
        raise
    except Exception as error:
        return item, as_case_error(error)
    return item, None
