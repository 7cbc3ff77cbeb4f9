"""The SQLite file behind the queue: brought up to date when it is opened, changed whole or not at all."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segpipe.errors import OutputError

_FIRST = """CREATE TABLE IF NOT EXISTS series (
    series TEXT NOT NULL, model TEXT NOT NULL, study TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL,
    instances INTEGER, since REAL NOT NULL, due REAL NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
    faults INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '', PRIMARY KEY (series, model))"""
_SECOND = (
    "ALTER TABLE series RENAME TO first_series",
    """CREATE TABLE series (
        series TEXT NOT NULL, model TEXT NOT NULL, study TEXT NOT NULL, state TEXT NOT NULL, since REAL NOT NULL,
        due REAL NOT NULL, listed INTEGER, counted INTEGER, settled INTEGER NOT NULL DEFAULT 0,
        answered BLOB NOT NULL DEFAULT x'', growths INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL,
        faults INTEGER NOT NULL, surprises INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL,
        PRIMARY KEY (series, model))""",
    # of how many instances an answer was is known for what was fetched alone; for the others no number is more
    """INSERT INTO series (series, model, study, state, since, due, listed, settled, tries, faults, message)
        SELECT series, model, study, state, since, due, instances,
        CASE state WHEN 'done' THEN COALESCE(instances, 1000000000) ELSE 0 END, tries, faults, message
        FROM first_series""",
    "DROP TABLE first_series",
    """CREATE TABLE acknowledged (
        series TEXT NOT NULL, name TEXT NOT NULL, growth INTEGER NOT NULL, PRIMARY KEY (series, name)
    ) WITHOUT ROWID""",
    "CREATE INDEX series_by_state ON series (model, state)",
)
_MIGRATIONS = ((_FIRST,), _SECOND)
_PASSING = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM,
)  # fmt: skip
_HINTS = {
    sqlite3.SQLITE_FULL: "make room on the disk of --state",
    sqlite3.SQLITE_IOERR: "look at the disk of --state: full, or failing?",
    sqlite3.SQLITE_READONLY: "the worker must be allowed to write in --state",
    sqlite3.SQLITE_CANTOPEN: "the worker must be allowed to write in --state, and its disk must have room",
    sqlite3.SQLITE_BUSY: "end the program that holds the queue open",
    sqlite3.SQLITE_CORRUPT: "move the file away; what is in the PACS is found again, answers included",
    sqlite3.SQLITE_NOTADB: "it is no SQLite file; move it away or choose another --state",
}


class QueueError(OutputError):
    """The queue itself cannot be used, which no series is to blame for."""


class Database:
    """One connection for all threads, which take turns.

    Args:
        file: Made when it is not there.

    Raises:
        QueueError: when it cannot be opened, or a newer version has written it.
    """

    def __init__(self, file: Path) -> None:
        self._lock = threading.RLock()
        try:
            file.touch(mode=0o600)
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise _explained("the queue cannot be opened", error, file=file) from error
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._migrate(file)
        except sqlite3.Error as error:
            self.close()
            raise _explained("the queue cannot be opened", error, file=file) from error

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when the outermost block ends; nothing of it is done when that fails.

        Raises:
            QueueError: when it cannot be written.
        """
        with self._lock:
            if self._is_inside():
                yield self._connection
                return
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise _explained("the queue cannot be written", error) from error
            finally:
                if self._is_inside():
                    self._connection.execute("ROLLBACK")

    def rows(self, query: str, *given: object) -> list[tuple[object, ...]]:
        """What a query finds.

        Raises:
            QueueError: when it cannot be read.
        """
        with self._lock:
            try:
                return self._connection.execute(query, given).fetchall()
            except sqlite3.Error as error:
                raise _explained("the queue cannot be read", error) from error

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def _is_inside(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._connection.in_transaction

    def _migrate(self, file: Path) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(_MIGRATIONS):
            self.close()
            raise QueueError(
                "the queue was written by a newer version of segpipe",
                facts={"file": file, "its version": version, "known": len(_MIGRATIONS)},
                hint="serve with that version, or choose another --state",
            )
        for number, statements in enumerate(_MIGRATIONS[version:], start=version + 1):
            with self.change() as connection:
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")


def is_passing(error: QueueError) -> bool:
    """True for what is wrong with the disk or its rights, and may be better later."""
    return isinstance(error.__cause__, OSError) or _code(error.__cause__) in _PASSING


def _code(error: BaseException | None) -> int:
    """The primary one of SQLite's result codes; 0 for none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _explained(message: str, error: OSError | sqlite3.Error, **facts: object) -> QueueError:
    found = (error.strerror or error) if isinstance(error, OSError) else error
    return QueueError(message, facts={**facts, "found": found}, hint=_HINTS.get(_code(error)))
