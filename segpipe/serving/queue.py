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
    message TEXT NOT NULL DEFAULT '', PRIMARY KEY (series, model))
"""
STATES = ("arriving", "queued", "working", "done", "failed")
FETCHED, RECEIVED = "fetched", "received"


@dataclass(frozen=True)
class Job:
    """A series to answer.

    Args:
        study_uid: Of its study.
        series_uid: Its own.
        source: `fetched` from the PACS or `received` by C-STORE.
        tries: How often it was begun, this time included.
    """

    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    source: str
    tries: int


class Queue:
    """A bounded queue of series, each once per model; safe for threads.

    Args:
        file: SQLite database; made when it is not there.
        model: Digest of the model that answers.
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
        """Queues again what a killed worker was working on; returns how many series that were."""
        with self._change() as database:
            return database.execute(
                "UPDATE series SET state='queued' WHERE state='working' AND model=?", (self._model,)
            ).rowcount

    def notice(self, study_uid: str, series_uid: str, *, source: str = FETCHED, instances: int | None = None) -> bool:
        """Remembers a series that may still grow; more instances begin its time again. False when there is no room."""
        now, key = self._clock(), (series_uid, self._model)
        with self._change() as database:
            known = database.execute(
                "SELECT state, instances, source FROM series WHERE series=? AND model=?", key
            ).fetchone()
            if known is None:
                if self._is_full(database):
                    return False
                row = (*key, study_uid, source, instances, now)
                database.execute(
                    "INSERT INTO series (series, model, study, source, state, instances, since)"
                    " VALUES (?, ?, ?, ?, 'arriving', ?, ?)", row)  # fmt: skip
            elif known[0] == "arriving" and (source == RECEIVED or known[1] != instances) and known[2] == source:
                database.execute("UPDATE series SET instances=?, since=? WHERE series=? AND model=?",
                                 (instances, now, *key))  # fmt: skip
        return True

    def promote(self, *, stable_s: float) -> int:
        """Queues the series that have not grown for `stable_s` seconds; returns how many."""
        with self._change() as database:
            return database.execute(
                "UPDATE series SET state='queued' WHERE state='arriving' AND since<=? AND model=?",
                (self._clock() - stable_s, self._model),
            ).rowcount

    def complete(self, series_uid: str) -> None:
        """Queues a series that is known to be whole."""
        with self._change() as database:
            database.execute(
                "UPDATE series SET state='queued' WHERE state='arriving' AND series=? AND model=?",
                (series_uid, self._model),
            )

    def take(self) -> Job | None:
        """The next series that is due, now in work; None when there is none."""
        with self._change() as database:
            row = database.execute(
                "SELECT study, series, source, tries FROM series WHERE state='queued' AND due<=? AND model=?"
                " ORDER BY due, since LIMIT 1",
                (self._clock(), self._model),
            ).fetchone()
            if row is None:
                return None
            database.execute("UPDATE series SET state='working', tries=tries+1 WHERE series=? AND model=?",
                             (row[1], self._model))  # fmt: skip
            return Job(row[0], row[1], row[2], row[3] + 1)

    def finish(self, job: Job) -> None:
        """The answer is in the PACS."""
        self._settle(job, "done")

    def give_up(self, job: Job, message: str) -> None:
        """The series cannot be answered, now or later."""
        self._settle(job, "failed", message=message)

    def postpone(self, job: Job, message: str, *, delay_s: float) -> None:
        """The series waits for another try."""
        self._settle(job, "queued", message=message, due=self._clock() + delay_s)

    def counts(self) -> dict[str, int]:
        """Series per state."""
        with self._lock:
            rows = self._database.execute(
                "SELECT state, COUNT(*) FROM series WHERE model=? GROUP BY state", (self._model,)
            ).fetchall()
        return {**dict.fromkeys(STATES, 0), **dict(rows)}

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._database.close()

    def _settle(self, job: Job, state: str, *, message: str = "", due: float = 0.0) -> None:
        with self._change() as database:
            database.execute(
                "UPDATE series SET state=?, message=?, due=? WHERE series=? AND model=?",
                (state, message, due, job.series_uid, self._model),
            )

    def _is_full(self, database: sqlite3.Connection) -> bool:
        waiting = "SELECT COUNT(*) FROM series WHERE state IN ('arriving', 'queued', 'working') AND model=?"
        return int(database.execute(waiting, (self._model,)).fetchone()[0]) >= self._bound

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
