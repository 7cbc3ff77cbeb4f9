"""The series to answer, on disk: whatever kills the worker, none is lost and none is forgotten to be done."""

import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

from segpipe.serving.database import Database
from segpipe.serving.work_item import OPEN, STATES, UNSEEN, WorkItem

_NAME_BYTES = 16
_COLUMNS = [column.name.removesuffix("_uid") for column in fields(WorkItem)]
_ITEM = ", ".join(_COLUMNS)
_IS_OPEN = f"state IN {OPEN}"
_IS_KEPT = (
    f"({_IS_OPEN} OR (state IN ('refused', 'failed') AND since > ?"
    " AND series IN (SELECT series FROM acknowledged)))"
)  # fmt: skip


def steady_clock() -> Callable[[], float]:
    """Seconds that never jump while the process lives, whatever happens to the computer's clock."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


class Queue:
    """A bounded queue of series, each once per model; safe for threads.

    Args:
        file: SQLite database; made when it is not there.
        model: Digest of the model that answers and of how it does.
        bound: How many series may wait.
        clock: Seconds.

    Raises:
        OutputError: when the file cannot be opened.
    """

    def __init__(self, file: Path, *, model: str, bound: int, clock: Callable[[], float] | None = None) -> None:
        self._model, self._bound, self._clock = model, bound, clock or steady_clock()
        self._database = Database(file)

    @property
    def now(self) -> float:
        """The queue's time, by which it waits."""
        return self._clock()

    def resume(self, *, keep_s: float) -> int:
        """Takes up what an earlier worker left, of any model; returns how many series were in work.

        Args:
            keep_s: For how long the images of refused series are kept.
        """
        self._adopt(keep_s)
        with self._database.change():
            items = self._select(f"model=? AND ({_IS_OPEN} OR since>?)", self._model, self.now)
            for item in items:
                self._save(item.resumed(self.now), item)
        return sum(item.state == "working" for item in items)

    def put_back(self) -> None:
        """What is in work waits again, without a fault of its own."""
        with self._database.change():
            for item in self._select("state='working' AND model=?", self._model):
                self._save(item.put_back(), item)

    def notice(self, study_uid: str, series_uid: str, *, instances: int | None = None) -> bool:
        """The PACS lists a series with so many instances; false when there is no room for it."""
        new = WorkItem(study_uid, series_uid, self.now, listed=instances)
        with self._database.change():
            known = self._item(series_uid)
            return self._let_in(known, known.seen(instances, self.now) if known else new)

    def receive(self, study_uid: str, series_uid: str, name: str) -> bool:
        """An instance of a series is on disk and may be acknowledged; false when there is no room for the series."""
        with self._database.change():
            known = self._item(series_uid)
            new = (known or WorkItem(study_uid, series_uid, self.now)).grown(self.now)
            if not self._let_in(known, new):
                return False
            self._acknowledge(new, [name])
            return True

    def hold(self, series_uid: str, names: Iterable[str]) -> None:
        """Counts instances of a series that waits as acknowledged."""
        with self._database.change():
            item = self._item(series_uid)
            if item is not None:
                self._acknowledge(item, names)

    def acknowledged(self, series_uid: str) -> frozenset[str]:
        """Names of the instances that were received and not answered yet."""
        return frozenset(str(name) for (name,) in self._database.rows(
            "SELECT name FROM acknowledged WHERE series=?", series_uid))  # fmt: skip

    def answered(self, series_uid: str) -> frozenset[str]:
        """Names of the instances of which there is an answer, of any model."""
        return frozenset().union(*(item.answered for item in self._select("series=?", series_uid)))

    def refuse_unseen(self, study_uid: str, series_uid: str, message: str) -> bool:
        """Marks a series as refused that need not even be fetched; false when it was known already."""
        with self._database.change():
            if self._item(series_uid) is not None:
                return False
            self._save(WorkItem(study_uid, series_uid, self.now, "refused", listed=UNSEEN, message=message))
            return True

    def reconsider(self, message: str, *, keep_s: float) -> None:
        """Series that were refused for this reason are tried again: at once if received, else when listed again.

        Args:
            message: The reason.
            keep_s: See `resume`.
        """
        kept = self.kept_series(keep_s=keep_s)
        with self._database.change():
            for item in self._select("state='refused' AND message=? AND model=?", message, self._model):
                self._save(item.grown(self.now) if item.series_uid in kept else replace(item, listed=UNSEEN))

    def promote(self, *, polled: float, stable_s: float) -> None:
        """Queues the series that had not grown for `stable_s` seconds when the PACS was last polled."""
        with self._database.change():
            for item in self._select("state='arriving' AND since<=? AND model=?", polled - stable_s, self._model):
                self._save(item.promoted(polled=polled, stable_s=stable_s, now=self.now), item)

    def take(self) -> WorkItem | None:
        """The next series that is due, now in work; None when there is none."""
        with self._database.change():
            query = "state='queued' AND due<=? AND model=? ORDER BY due, since LIMIT 1"
            for item in self._select(query, self.now, self._model):
                return self._save(item.taken())
        return None

    def recount(self, item: WorkItem, instances: int) -> None:
        """The PACS has more or fewer instances of a series than it listed."""
        self._end(item, lambda now: now.recounted(item, instances, self.now))

    def finish(self, item: WorkItem, names: frozenset[str]) -> None:
        """The answer to these instances is in the PACS."""
        with self._database.change() as database:
            database.executemany(
                "DELETE FROM acknowledged WHERE series=? AND name=? AND growth<=?",
                [(item.series_uid, name, item.growths) for name in names],
            )
            self._end(item, lambda now: now.finished(item, names))

    def refuse(self, item: WorkItem, message: str, *, instances: int = 0) -> None:
        """What there is of the series, so many instances, cannot be answered."""
        self._end(item, lambda now: now.refused(item, message, instances=instances, now=self.now))

    def give_up(self, item: WorkItem, message: str) -> None:
        """The series should have been answered and could not be."""
        self._end(item, lambda now: now.failed(item, message, self.now))

    def postpone(self, item: WorkItem, message: str, *, delay_s: float) -> None:
        """The series, with what is counted in the item, waits for another try."""
        self._end(item, lambda now: now.postponed(item, message, due=self.now + delay_s))

    def counts(self) -> dict[str, int]:
        """Series per state."""
        rows: Any = self._database.rows("SELECT state, COUNT(*) FROM series WHERE model=? GROUP BY state", self._model)
        return {**dict.fromkeys(STATES, 0), **dict(rows)}

    def reasons(self) -> dict[str, int]:
        """Why series were refused or given up: message → how many."""
        rows: Any = self._database.rows(
            "SELECT message, COUNT(*) FROM series WHERE state IN ('refused', 'failed') AND model=?"
            " GROUP BY message ORDER BY COUNT(*) DESC, message",
            self._model,
        )
        return dict(rows)

    def room(self) -> int:
        """How many more series may wait."""
        waiting: Any = self._database.rows(f"SELECT COUNT(*) FROM series WHERE {_IS_OPEN} AND model=?", self._model)
        return self._bound - int(waiting[0][0])

    def open_series(self) -> set[str]:
        """The UIDs of the series that still wait for their answer."""
        return {item.series_uid for item in self._select(_IS_OPEN)}

    def kept_series(self, *, keep_s: float) -> set[str]:
        """The UIDs of the series of which images may be kept: those that wait, and received ones just refused."""
        return {item.series_uid for item in self._select(_IS_KEPT, self.now - keep_s)}

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def _adopt(self, keep_s: float) -> None:
        """What still has to be answered for another model, or could not be, has to be by this one."""
        with self._database.change() as database:
            for other in self._select(f"{_IS_KEPT} AND model<>?", self.now - keep_s, self._model):
                known = self._item(other.series_uid) or WorkItem(other.study_uid, other.series_uid, self.now)
                growths = 1 + max(known.growths, other.growths)
                self._save(replace(known.grown(self.now), listed=other.listed, growths=growths))
            taken_over, given = f"{_IS_KEPT} AND model<>?", (self.now - keep_s, self._model)
            database.execute(f"UPDATE series SET state='done' WHERE {taken_over} AND answered<>x''", given)
            database.execute(f"DELETE FROM series WHERE {taken_over}", given)

    def _let_in(self, known: WorkItem | None, new: WorkItem) -> bool:
        """Saves what has become of a series, unless that would open one more than may wait."""
        with self._database.change():
            if new.is_open and not (known and known.is_open) and self.room() <= 0:
                return False
            self._save(new, known)
            return True

    def _end(self, item: WorkItem, change: Callable[[WorkItem], WorkItem]) -> None:
        with self._database.change():
            now = self._item(item.series_uid)
            if now is not None:
                self._save(change(now), now)

    def _item(self, series_uid: str) -> WorkItem | None:
        items = self._select("series=? AND model=?", series_uid, self._model)
        return items[0] if items else None

    def _select(self, condition: str, *given: object) -> list[WorkItem]:
        return [_item_of(row) for row in self._database.rows(f"SELECT {_ITEM} FROM series WHERE {condition}", *given)]

    def _save(self, item: WorkItem, before: WorkItem | None = None) -> WorkItem:
        if item != before:
            values = dict(zip(_COLUMNS, astuple(item), strict=True))
            values["answered"] = b"".join(bytes.fromhex(name) for name in sorted(item.answered))
            with self._database.change() as database:
                database.execute(
                    f"INSERT OR REPLACE INTO series (model, {_ITEM}) VALUES (?{', ?' * len(_COLUMNS)})",
                    (self._model, *values.values()),
                )
        return item

    def _acknowledge(self, item: WorkItem, names: Iterable[str]) -> None:
        with self._database.change() as database:
            database.executemany(
                "INSERT OR REPLACE INTO acknowledged (series, name, growth) VALUES (?, ?, ?)",
                [(item.series_uid, name, item.growths) for name in names],
            )


def _item_of(row: tuple[Any, ...]) -> WorkItem:
    values = dict(zip(_COLUMNS, row, strict=True))
    names = values.pop("answered").hex()
    wide = 2 * _NAME_BYTES
    answered = frozenset(names[start : start + wide] for start in range(0, len(names), wide))
    study, series = values.pop("study"), values.pop("series")
    return WorkItem(study, series, answered=answered, **values)
