"""Finds series that wait for an answer, answers each exactly once, and tries again while the PACS is away."""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from segpipe.errors import OutputError, SegpipeError, ServiceError
from segpipe.io.pacs.errors import ForbiddenError, PacsAccessError, PacsAwayError
from segpipe.io.pacs.receiving.receiver import Arrival
from segpipe.serving.alias import Aliases
from segpipe.serving.answering import Answering, Answers, SeriesArchive
from segpipe.serving.database import QueueError
from segpipe.serving.policy import WorkerPolicy, back_off, in_one_line, is_of_the_disk
from segpipe.serving.polling import Poller, SeriesIndex
from segpipe.serving.queue import Queue
from segpipe.serving.series_folders import SeriesFolders
from segpipe.serving.troubles import Troubles, queue_is_full
from segpipe.serving.work_item import WorkItem

_LOG = logging.getLogger("segpipe.serve")
MOST_SURPRISES, MOST_PACS_FAULTS = 5, 20


class Archive(SeriesIndex, SeriesArchive, Protocol):
    """What a worker needs of a PACS; `segpipe.io.pacs.dicomweb.pacs.Pacs` is one."""


class Worker:
    """Polls, fetches, predicts and stores, one series after the other.

    Args:
        archive: The PACS.
        answers: Makes answers.
        queue: The series to answer.
        state: A folder for what is on its way.
        policy: See `WorkerPolicy`.
    """

    def __init__(self, archive: Archive, answers: Answers, queue: Queue, state: Path, *, policy: WorkerPolicy) -> None:
        self._queue, self._policy = queue, policy
        self._aliases, self._folders, self._troubles = Aliases(state / "salt"), SeriesFolders(state), Troubles()
        self._answering = Answering(archive, answers, queue, self._folders)
        self._poller = Poller(archive, queue, policy=policy, aliases=self._aliases, troubles=self._troubles)
        self._next_poll, self._begun = 0.0, time.monotonic()

    @property
    def trouble(self) -> str:
        """What keeps the worker from working now; empty when nothing does."""
        return str(self._troubles)

    @property
    def up_s(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._begun

    def resume(self) -> None:
        """Takes up what an earlier worker left, and removes what is needed no more.

        To be called before anything is received, which it could not distinguish from that.
        """
        in_work = self._queue.resume(keep_s=self._policy.keep_s)
        if in_work:
            _LOG.info("%d series were in work when the worker ended; they are taken up again", in_work)
        waiting = {uid: self._aliases.of(uid) for uid in self._queue.open_series()}
        for series_uid, alias in waiting.items():  # it may have died before it could note what it had written
            self._queue.hold(series_uid, self._folders.received(alias))
            self._folders.keep(alias, self._queue.acknowledged(series_uid))  # what was fetched may not be on the disk
        self._folders.sweep_inbox(waiting.values())
        self._folders.sweep(self._kept())

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Works until `stop` is set; with `once` until everything that waits now has been answered or given up.

        Raises:
            PacsAccessError: when the PACS refuses user and password or cannot be trusted.
            ServiceError: with `once` when the PACS is away.
            OutputError: when the queue is damaged, and with `once` when the state folder cannot be written.
        """
        self._next_poll = 0.0
        while not stop.is_set():
            try:
                worked = self._turn(strict=once)
            except OutputError as error:
                if once or not is_of_the_disk(error):
                    raise
                self._wait_for_room(error, stop)
                continue
            if once and not worked and not self._is_waiting():
                return
            if not worked:
                stop.wait(min(1.0, self._policy.poll_s))

    def folder_of(self, arrival: Arrival) -> Path:
        """Where the instances of a series are received."""
        return self._folders.inbox(self._aliases.of(arrival.series_uid))

    def arrived(self, arrival: Arrival, name: str) -> bool:
        """Remembers an instance that is on disk; false when it cannot be kept and its file must go.

        Raises:
            QueueError: when it cannot be noted, though its file must stay: it was acknowledged before.
        """
        try:
            has_room = self._queue.receive(arrival.study_uid, arrival.series_uid, name)
        except QueueError:
            if name in self._queue.acknowledged(arrival.series_uid):
                raise
            return False
        if not has_room:
            self._troubles.begin("queue", queue_is_full())
        return has_room

    def finished(self, arrivals: Sequence[Arrival]) -> None:
        """Says the series of an association that has ended; a sender may take several for one series."""
        for arrival in arrivals:
            _LOG.info("series %s was received", self._aliases.of(arrival.series_uid))

    def _turn(self, *, strict: bool) -> bool:
        """Polls the PACS, if it is time, and answers one series; true when there was one."""
        if time.monotonic() >= self._next_poll:
            self._poll(strict=strict)
        item = None if "pacs" in self._troubles else self._queue.take()
        if item is not None:
            self._work(item, self._aliases.of(item.series_uid))
        if "pacs" not in self._troubles:
            self._troubles.end("disk")
        return item is not None

    def _poll(self, *, strict: bool) -> None:
        self._next_poll = time.monotonic() + self._policy.poll_s
        try:
            polled = self._poller.poll(strict=strict)
        except ServiceError as error:
            if strict or isinstance(error, PacsAccessError):
                raise
            self._away(error)
            return
        self._troubles.end("pacs")
        self._queue.promote(polled=polled, stable_s=self._policy.stable_s)
        self._folders.sweep(self._kept())

    def _work(self, item: WorkItem, alias: str) -> None:
        try:
            self._answering.answer(item, alias)
        except PacsAwayError as error:
            self._queue.postpone(item, error.message, delay_s=back_off(item.tries))
            self._away(error)
        except PacsAccessError:
            self._queue.put_back()
            raise
        except QueueError:
            raise
        except ForbiddenError as error:
            self._refuse(item, alias, error)
        except ServiceError as error:
            self._try_again(replace(item, faults=item.faults + 1), alias, error)
        except SegpipeError as error:
            if is_of_the_disk(error):
                with suppress(OutputError):  # the queue may lie on the same disk
                    self._queue.postpone(item, error.message, delay_s=back_off(item.tries))
                raise
            self._refuse(item, alias, error)
        except Exception as error:  # one strange series must not stop the others; its text may quote UIDs
            surprise = SegpipeError(type(error).__name__)
            self._try_again(replace(item, surprises=item.surprises + 1), alias, surprise)

    def _refuse(self, item: WorkItem, alias: str, error: SegpipeError) -> None:
        _LOG.warning("series %s is refused: %s", alias, in_one_line(error))
        self._queue.refuse(item, error.message, instances=self._folders.count(alias))
        self._drop(item, alias)

    def _try_again(self, item: WorkItem, alias: str, error: SegpipeError) -> None:
        """Later, unless it has failed too often already."""
        if item.faults >= MOST_PACS_FAULTS or item.surprises >= MOST_SURPRISES:
            times = item.faults + item.surprises
            _LOG.error("series %s is given up after %d tries: %s", alias, times, in_one_line(error))
            self._queue.give_up(item, error.message)
            self._drop(item, alias)
        else:
            _LOG.error("series %s will be tried again: %s", alias, in_one_line(error))
            self._queue.postpone(item, error.message, delay_s=back_off(item.faults + item.surprises))

    def _drop(self, item: WorkItem, alias: str) -> None:
        """Removes what can be fetched again; what was received is kept for a while."""
        self._folders.clear(alias, received=self._queue.acknowledged(item.series_uid))

    def _away(self, error: SegpipeError) -> None:
        """Asks nothing more of the PACS for a while; a poll that succeeds ends that."""
        self._next_poll = time.monotonic() + self._troubles.begin("pacs", error)

    def _wait_for_room(self, error: SegpipeError, stop: threading.Event) -> None:
        """Waits for the disk; what was in work waits again, too, as soon as that can be written."""
        stop.wait(self._troubles.begin("disk", error))
        with suppress(OutputError):
            self._queue.put_back()

    def _kept(self) -> set[str]:
        """Aliases of the series of which images may be kept."""
        return {self._aliases.of(uid) for uid in self._queue.kept_series(keep_s=self._policy.keep_s)}

    def _is_waiting(self) -> bool:
        counts = self._queue.counts()
        return bool(counts["arriving"] + counts["queued"]) or "queue" in self._troubles
