"""Finds series that wait for an answer, answers each exactly once, and tries again while the PACS is away."""

import logging
import random
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from segpipe.errors import ImageError, OutputError, SegpipeError
from segpipe.io.dicom_receive import Arrival
from segpipe.io.dicomweb import PacsAwayError, SeriesEntry, WrongPasswordError
from segpipe.serving.alias import Aliases
from segpipe.serving.queue import FETCHED, RECEIVED, Job, Queue

_LOG = logging.getLogger("segpipe.serve")
FIRST_DELAY_S, LONGEST_DELAY_S, MOST_SURPRISES = 1.0, 300.0, 5
_CHEST = ("CHEST", "THORAX", "LUNG", "TORAX")
_SEGMENTATION = ".seg.dcm"


class Archive(Protocol):
    """What a worker needs of a PACS; `segpipe.io.dicomweb.Pacs` is one."""

    def find_ct(self, *, study_uid: str | None = None, days: int | None = None) -> list[SeriesEntry]: ...  # noqa: D102
    def fetch(self, study_uid: str, series_uid: str, *, folder: Path) -> int: ...  # noqa: D102
    def has(self, study_uid: str, instance_uid: str) -> bool: ...  # noqa: D102
    def store(self, study_uid: str, files: Sequence[Path]) -> None: ...  # noqa: D102


class Answers(Protocol):
    """What a worker needs of a model; `segpipe.serving.answer.Answerer` is one."""

    def answer(self, source: Path, folder: Path) -> list[Path]: ...  # noqa: D102
    def report_uid(self, study_uid: str, series_uid: str) -> str: ...  # noqa: D102
    def segmentation_uid(self, study_uid: str, series_uid: str) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Habits:
    """How a worker goes about it.

    Args:
        stable_s: A series is whole when it has not grown for so many seconds.
        poll_s: Seconds between two looks into the PACS.
        studies: Only these studies, whatever their body part and date; all when there are none.
        days: Without `studies`, only studies at most so many days old; None for all.
    """

    stable_s: float = 30.0
    poll_s: float = 10.0
    studies: tuple[str, ...] = field(default=(), repr=False)
    days: int | None = 2


class Worker:
    """Polls, fetches, predicts and stores, one series after the other.

    Args:
        archive: The PACS.
        answers: Makes answers.
        queue: The series to answer.
        state: A folder for what is on its way.
        habits: See `Habits`.
    """

    def __init__(self, archive: Archive, answers: Answers, queue: Queue, state: Path, *, habits: Habits) -> None:
        self._archive, self._answers, self._queue, self._habits = archive, answers, queue, habits
        self._state = state
        self._aliases = Aliases(state / "salt")
        self._polls_failed = 0
        self._next_poll = 0.0
        self._told_empty: set[str] = set()
        self.trouble = ""
        self.started = time.time()

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Works until `stop` is set; with `once` until everything that waits now has been answered or given up.

        Raises:
            ServiceError: when the PACS refuses user and password, or with `once` when it is away.
            OutputError: when the state folder cannot be written.
        """
        resumed = self._queue.resume()
        if resumed:
            _LOG.info("%d series were in work when the worker ended; they are queued again", resumed)
        while not stop.is_set():
            if time.monotonic() >= self._next_poll:
                self._poll(strict=once)
            self._queue.promote(stable_s=self._habits.stable_s)
            job = self._queue.take()
            if job is not None:
                self._work(job)
            elif once and not self._waiting():
                return
            else:
                stop.wait(min(1.0, self._habits.poll_s))

    def folder_of(self, arrival: Arrival) -> Path:
        """Where the instances of a received series are."""
        return self._state / "received" / self._aliases.of(arrival.series_uid)

    def arrived(self, arrival: Arrival) -> bool:
        """Remembers a series of which an instance has arrived; false when the queue is full."""
        return self._queue.notice(arrival.study_uid, arrival.series_uid, source=RECEIVED)

    def finished(self, arrivals: Sequence[Arrival]) -> None:
        """Queues the series of an association that has ended in order."""
        for arrival in arrivals:
            self._queue.complete(arrival.series_uid)
            _LOG.info("series %s was received", self._aliases.of(arrival.series_uid))

    def _poll(self, *, strict: bool) -> None:
        self._next_poll = time.monotonic() + self._habits.poll_s
        try:
            for entry in self._wanted(strict=strict):
                if not self._queue.notice(entry.study_uid, entry.series_uid, instances=entry.instances):
                    _LOG.warning("the queue is full; the rest waits in the PACS")
                    break
        except PacsAwayError as error:
            if strict:
                raise
            self._polls_failed += 1
            self._next_poll = time.monotonic() + back_off(self._polls_failed)
            if not self.trouble:
                _LOG.warning("%s", _line(error))
            self.trouble = error.message
            return
        if self.trouble:
            _LOG.info("the PACS answers again")
        self._polls_failed, self.trouble = 0, ""

    def _wanted(self, *, strict: bool) -> list[SeriesEntry]:
        if not self._habits.studies:
            return [entry for entry in self._archive.find_ct(days=self._habits.days) if may_be_chest(entry)]
        wanted = []
        for study in self._habits.studies:
            found = self._archive.find_ct(study_uid=study)
            if not found:
                self._tell_empty(study, strict=strict)
            wanted += found
        return wanted

    def _tell_empty(self, study_uid: str, *, strict: bool) -> None:
        error = ImageError(
            "a named study has no CT series in the PACS",
            facts={"study": self._aliases.of(study_uid)},
            hint="does it hold CT? MR, PET and pictures of reports are not answered",
        )
        if strict:
            raise error
        if study_uid not in self._told_empty:
            _LOG.warning("%s", _line(error))
        self._told_empty.add(study_uid)

    def _work(self, job: Job) -> None:
        name = self._aliases.of(job.series_uid)
        try:
            self._answer(job, name)
        except PacsAwayError as error:
            delay = back_off(job.tries)
            _LOG.warning("series %s waits %.0f s: %s", name, delay, _line(error))
            self._queue.postpone(job, error.message, delay_s=delay)
        except (OutputError, WrongPasswordError):
            self._queue.postpone(job, "stopped", delay_s=0.0)
            raise
        except SegpipeError as error:
            _LOG.error("series %s is given up: %s", name, _line(error))
            self._queue.give_up(job, error.message)
            self._clear(name)
        except Exception as error:  # one strange series must not stop the others; its text may quote UIDs
            self._surprised(job, name, error)
        else:
            self._queue.finish(job)
            self._clear(name)

    def _answer(self, job: Job, name: str) -> None:
        """Answers a series unless its report, which is stored last, is in the PACS already."""
        if self._archive.has(job.study_uid, self._answers.report_uid(job.study_uid, job.series_uid)):
            _LOG.info("series %s has been answered before", name)
            return
        begun = time.monotonic()
        source, target = self._state / job.source / name, self._state / "answers" / name
        if job.source == FETCHED:
            shutil.rmtree(source, ignore_errors=True)
            self._archive.fetch(job.study_uid, job.series_uid, folder=source)
        files = self._answers.answer(source, target)
        shown = self._archive.has(job.study_uid, self._answers.segmentation_uid(job.study_uid, job.series_uid))
        self._archive.store(
            job.study_uid, [file for file in files if not (shown and file.name.endswith(_SEGMENTATION))]
        )
        _LOG.info("series %s is answered (%.1f s)", name, time.monotonic() - begun)

    def _surprised(self, job: Job, name: str, error: Exception) -> None:
        kind = type(error).__name__
        if job.tries >= MOST_SURPRISES:
            _LOG.error("series %s is given up after %d tries: %s", name, job.tries, kind)
            self._queue.give_up(job, kind)
        else:
            _LOG.error("series %s will be tried again: %s", name, kind)
            self._queue.postpone(job, kind, delay_s=back_off(job.tries))

    def _clear(self, name: str) -> None:
        for kind in (FETCHED, RECEIVED, "answers"):
            shutil.rmtree(self._state / kind / name, ignore_errors=True)

    def _waiting(self) -> bool:
        counts = self._queue.counts()
        return bool(counts["arriving"] + counts["queued"])


def back_off(tries: int) -> float:
    """Seconds until the next try: doubled each time, up to five minutes, and a little at random.

    >>> 4 <= back_off(3) <= 5
    True
    """
    doubled: float = FIRST_DELAY_S * 2 ** (min(tries, 20) - 1)
    return min(LONGEST_DELAY_S, doubled) * random.uniform(1.0, 1.25)


def may_be_chest(entry: SeriesEntry) -> bool:
    """False for a series that says of itself that it shows another part of the body.

    >>> may_be_chest(SeriesEntry("1", "2", body_part="ABDOMEN")), may_be_chest(SeriesEntry("1", "2"))
    (False, True)
    """
    part = entry.body_part.upper()
    return not part or any(word in part for word in _CHEST)


def _line(error: SegpipeError) -> str:
    """An error in one line of a log."""
    return "; ".join(line.strip() for line in str(error).splitlines())
