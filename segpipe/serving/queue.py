"""The series to answer, on disk: whatever kills the worker, none is lost and none is forgotten to be done."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from segpipe.errors import OutputError

_TABLE = """
CREATE TABLE IF NOT EXISTS series (
    series TEXT NOT NULL, model TEXT NOT NULL, study TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL,
    instances INTEGER, since REAL NOT NULL, due REAL NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
    faults INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '', PRIMARY KEY (series, model))
"""
OPEN = ("arriving", "queued", "working")
STATES = (*OPEN, "done", "refused", "failed")
FETCHED, RECEIVED = "fetched", "received"
MOST_DEATHS = 5
_IS_OPEN = "state IN ('arriving', 'queued', 'working')"


@dataclass(frozen=True)
class Job:
    """A series to answer.

    Args:
        study_uid: Of its study.
        series_uid: Its own.
        source: `fetched` from the PACS or `received` by C-STORE.
        tries: How often it was begun, this time included.
        faults: How often it failed for a reason that another try need not mend.
    """

    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    source: str
    tries: int
    faults: int = 0


class Queue:
    """A bounded queue of series, each once per model; safe for threads.

    Args:
        file: SQLite database; made when it is not there.
        model: Digest of the model that answers and of how it does.
        bound: How many series may wait.
        clock: Seconds since some fixed day.

    Raises:
        OutputError: when the file cannot be opened.
    """

    def __init__(self, file: Path, *, model: str, bound: int, clock: Callable[[], float] = time.time) -> None:
        self._model, self._bound, self._clock = model, bound, clock
        self._lock = threading.RLock()
        try:
            file.touch(mode=0o600)
            self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise OutputError("the queue cannot be opened", facts={"file": file, "found": error}) from error

    def resume(self) -> int:
        """Queues again what a killed worker was working on; returns how many series that were.

        A series in whose work the worker has died five times is given up: it may be what kills it.
        """
        with self._change() as database:
            database.execute("UPDATE series SET faults=faults+1 WHERE state='working' AND model=?", (self._model,))
            database.execute(
                "UPDATE series SET state='failed', message='the worker died of it' WHERE state='working' AND model=?"
                " AND faults>=?", (self._model, MOST_DEATHS))  # fmt: skip
        return self.put_back()

    def put_back(self) -> int:
        """Queues again what is in work, without a fault of its own; returns how many series that were."""
        with self._change() as database:
            return database.execute(
                "UPDATE series SET state='queued' WHERE state='working' AND model=?", (self._model,)
            ).rowcount

    def notice(self, study_uid: str, series_uid: str, *, source: str = FETCHED, instances: int | None = None) -> bool:
        """Remembers a series that may still grow; more instances begin its time again. False when there is no room.

        A series that was refused is looked at again when it has grown: it may have come in part.
        """
        key = (series_uid, self._model)
        with self._change() as database:
            known = database.execute(
                "SELECT state, instances, source FROM series WHERE series=? AND model=?", key
            ).fetchone()
            if known is not None and not _has_grown(known, source, instances):
                return True
            if (known is None or known[0] == "refused") and self._is_full(database):
                return False
            database.execute(
                "INSERT INTO series (series, model, study, source, state, instances, since)"
                " VALUES (?, ?, ?, ?, 'arriving', ?, ?) ON CONFLICT (series, model) DO UPDATE SET"
                " state='arriving', source=excluded.source, instances=excluded.instances, since=excluded.since",
                (*key, study_uid, source, instances, self._clock()),
            )
        return True

    def refuse_unseen(self, study_uid: str, series_uid: str, message: str) -> bool:
        """Marks a series as refused that need not even be fetched; false when it was known already."""
        with self._change() as database:
            return bool(database.execute(
                "INSERT INTO series (series, model, study, source, state, since, message)"
                " VALUES (?, ?, ?, ?, 'refused', ?, ?) ON CONFLICT (series, model) DO NOTHING",
                (series_uid, self._model, study_uid, FETCHED, self._clock(), message)).rowcount)  # fmt: skip

    def reconsider(self, message: str) -> None:
        """Series that were refused for this reason count as grown when they are listed again."""
        with self._change() as database:
            database.execute(
                "UPDATE series SET instances=-1 WHERE state='refused' AND message=? AND model=?",
                (message, self._model),
            )

    def promote(self, *, stable_s: float) -> int:
        """Queues the series that have not grown for `stable_s` seconds; returns how many."""
        with self._change() as database:
            return database.execute(
                "UPDATE series SET state='queued' WHERE state='arriving' AND since<=? AND model=?",
                (self._clock() - stable_s, self._model),
            ).rowcount

    def take(self) -> Job | None:
        """The next series that is due, now in work; None when there is none."""
        with self._change() as database:
            row = database.execute(
                "SELECT study, series, source, tries, faults FROM series WHERE state='queued' AND due<=? AND model=?"
                " ORDER BY due, since LIMIT 1",
                (self._clock(), self._model),
            ).fetchone()
            if row is None:
                return None
            database.execute("UPDATE series SET state='working', tries=tries+1 WHERE series=? AND model=?",
                             (row[1], self._model))  # fmt: skip
            return Job(row[0], row[1], row[2], row[3] + 1, row[4])

    def finish(self, job: Job) -> None:
        """The answer is in the PACS."""
        self._settle(job, "done")

    def refuse(self, job: Job, message: str) -> None:
        """The series is none that can be answered."""
        self._settle(job, "refused", message=message)

    def give_up(self, job: Job, message: str) -> None:
        """The series should have been answered and could not be."""
        self._settle(job, "failed", message=message)

    def postpone(self, job: Job, message: str, *, delay_s: float, fault: bool = False) -> None:
        """The series waits for another try; a fault is counted."""
        self._settle(job, "queued", message=message, due=self._clock() + delay_s, faults=job.faults + fault)

    def counts(self) -> dict[str, int]:
        """Series per state."""
        with self._lock:
            rows = self._database.execute(
                "SELECT state, COUNT(*) FROM series WHERE model=? GROUP BY state", (self._model,)
            ).fetchall()
        return {**dict.fromkeys(STATES, 0), **dict(rows)}

    def reasons(self) -> dict[str, int]:
        """Why series were refused or given up: message → how many."""
        with self._lock:
            rows = self._database.execute(
                "SELECT message, COUNT(*) FROM series WHERE state IN ('refused', 'failed') AND model=?"
                " GROUP BY message ORDER BY COUNT(*) DESC, message",
                (self._model,),
            ).fetchall()
        return dict(rows)

    def room(self) -> int:
        """How many more series may wait."""
        with self._lock:
            return self._bound - self._waiting(self._database)

    def open_series(self) -> set[str]:
        """The UIDs of the series that still wait for their answer, for any model."""
        with self._lock:
            return {row[0] for row in self._database.execute(f"SELECT series FROM series WHERE {_IS_OPEN}")}

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._database.close()

    def _settle(self, job: Job, state: str, *, message: str = "", due: float = 0.0, faults: int = 0) -> None:
        with self._change() as database:
            database.execute(
                "UPDATE series SET state=?, message=?, due=?, faults=? WHERE series=? AND model=?",
                (state, message, due, faults, job.series_uid, self._model),
            )

    def _is_full(self, database: sqlite3.Connection) -> bool:
        return self._waiting(database) >= self._bound

    def _waiting(self, database: sqlite3.Connection) -> int:
        query = f"SELECT COUNT(*) FROM series WHERE {_IS_OPEN} AND model=?"
        return int(database.execute(query, (self._model,)).fetchone()[0])

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when it ends."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise OutputError("the queue cannot be written", facts={"found": error},
                                  hint="is the disk of --state full?") from error  # fmt: skip


def _has_grown(known: tuple[str, int | None, str], source: str, instances: int | None) -> bool:
    state, before, first_source = known
    if state == "refused":
        # one refused unseen has no count; a peer that sends again wants another try
        return source == RECEIVED or (before is not None and before != instances)
    return state == "arriving" and first_source == source and (source == RECEIVED or before != instances)
