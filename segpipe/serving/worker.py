"""Finds series that wait for an answer, answers each exactly once, and tries again while the PACS is away."""

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from segpipe.errors import ImageError, OutputError, SegpipeError, ServiceError
from segpipe.io.pacs.dicomweb import SeriesEntry
from segpipe.io.pacs.errors import PacsAccessError, PacsAwayError, PacsFaultError
from segpipe.io.pacs.receive import Arrival
from segpipe.serving.alias import Aliases
from segpipe.serving.policy import WorkerPolicy, back_off, in_one_line, is_of_the_disk, rejection_reason
from segpipe.serving.queue import FETCHED, RECEIVED, Job, Queue

_LOG = logging.getLogger("segpipe.serve")
MOST_SURPRISES, MOST_PACS_FAULTS = 5, 20
_SEGMENTATION = ".seg.dcm"
_PACS, _DISK, _QUEUE = "pacs", "disk", "queue"


class Archive(Protocol):
    """What a worker needs of a PACS; `segpipe.io.pacs.dicomweb.Pacs` is one."""

    def find_ct(self, *, days: int | None = None) -> list[SeriesEntry]: ...  # noqa: D102
    def find_in_study(self, study_uid: str) -> list[SeriesEntry]: ...  # noqa: D102
    def fetch(self, study_uid: str, series_uid: str, *, folder: Path) -> int: ...  # noqa: D102
    def has(self, study_uid: str, instance_uid: str) -> bool: ...  # noqa: D102
    def store(self, study_uid: str, files: Sequence[Path]) -> None: ...  # noqa: D102


class Answers(Protocol):
    """What a worker needs of a model; `segpipe.serving.answer.Answerer` is one."""

    def answer(self, source: Path, folder: Path) -> list[Path]: ...  # noqa: D102
    def report_uid(self, study_uid: str, series_uid: str) -> str: ...  # noqa: D102
    def segmentation_uid(self, study_uid: str, series_uid: str) -> str: ...  # noqa: D102


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
        self._archive, self._answers, self._queue, self._habits = archive, answers, queue, policy
        self._state = state
        self._aliases = Aliases(state / "salt")
        self._next_poll = 0.0
        self._in_a_row = {_PACS: 0, _DISK: 0}
        self._told_empty: set[str] = set()
        self._troubles: dict[str, str] = {}
        self.started = time.time()

    @property
    def trouble(self) -> str:
        """What keeps the worker from working now; empty when nothing does."""
        return "; ".join(self._troubles[kind] for kind in (_PACS, _DISK) if kind in self._troubles)

    def run(self, stop: threading.Event, *, once: bool = False) -> None:
        """Works until `stop` is set; with `once` until everything that waits now has been answered or given up.

        Raises:
            PacsAccessError: when the PACS refuses user and password or cannot be trusted.
            ServiceError: with `once` when the PACS is away.
            OutputError: with `once` when the state folder cannot be written.
        """
        resumed = self._queue.resume()
        if resumed:
            _LOG.info("%d series were in work when the worker ended; they are queued again", resumed)
        self._sweep()
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
                stop.wait(min(1.0, self._habits.poll_s))

    def folder_of(self, arrival: Arrival) -> Path:
        """Where the instances of a received series are."""
        return self._state / RECEIVED / self._aliases.of(arrival.series_uid)

    def arrived(self, arrival: Arrival, name: str) -> bool:
        """Remembers a series of which an instance has arrived; false when the queue is full."""
        if self._queue.notice(arrival.study_uid, arrival.series_uid, source=RECEIVED):
            self._well(_QUEUE, "the queue has room again")
            return True
        self._tell_full()
        return False

    def finished(self, arrivals: Sequence[Arrival]) -> None:
        """Says the series of an association that has ended; drops what was answered before.

        They still wait until they have not grown for a while: a sender may take several associations for one series.
        """
        for arrival in arrivals:
            name = self._aliases.of(arrival.series_uid)
            if arrival.series_uid in self._queue.open_series():
                _LOG.info("series %s was received", name)
            else:
                _LOG.info("series %s was received again and is dropped", name)
                shutil.rmtree(self.folder_of(arrival), ignore_errors=True)

    def _turn(self, *, strict: bool) -> bool:
        """One look into the PACS, if it is time, and one series; true when there was one."""
        if time.monotonic() >= self._next_poll:
            self._poll(strict=strict)
        self._queue.promote(stable_s=self._habits.stable_s)
        job = None if _PACS in self._troubles else self._queue.take()
        if job is not None:
            self._work(job)
        if _PACS not in self._troubles:
            self._in_a_row[_DISK] = 0
            self._well(_DISK, "the state folder can be written again")
        return job is not None

    def _poll(self, *, strict: bool) -> None:
        self._next_poll = time.monotonic() + self._habits.poll_s
        try:
            self._notice(self._listed(strict=strict))
        except (PacsAwayError, PacsFaultError) as error:
            if strict:
                raise
            self._away(error)
            return
        self._in_a_row[_PACS] = 0
        self._well(_PACS, "the PACS answers again")

    def _notice(self, entries: Sequence[SeriesEntry]) -> None:
        for entry in entries:
            reason = rejection_reason(entry, named=bool(self._habits.studies))
            if reason:
                if self._queue.refuse_unseen(entry.study_uid, entry.series_uid, reason):
                    _LOG.warning("series %s is refused: %s", self._aliases.of(entry.series_uid), reason)
            elif not self._queue.notice(entry.study_uid, entry.series_uid, instances=entry.instances):
                self._tell_full()
                return
        self._well(_QUEUE, "the queue has room again")

    def _listed(self, *, strict: bool) -> list[SeriesEntry]:
        if not self._habits.studies:
            return self._archive.find_ct(days=self._habits.days)
        listed = []
        for study in self._habits.studies:
            found = self._archive.find_in_study(study)
            if not any(entry.is_ct for entry in found):
                self._tell_empty(study, strict=strict)
            listed += [entry for entry in found if entry.is_ct or rejection_reason(entry, named=True)]
        return listed

    def _work(self, job: Job) -> None:
        name = self._aliases.of(job.series_uid)
        try:
            self._answer(job, name)
        except PacsAwayError as error:
            self._queue.postpone(job, error.message, delay_s=back_off(job.tries))
            self._away(error)
        except PacsAccessError:
            self._queue.put_back()
            raise
        except PacsFaultError as error:
            self._try_again(job, name, in_one_line(error), error.message, most=MOST_PACS_FAULTS)
        except ServiceError as error:
            self._queue.give_up(job, error.message)
            _LOG.error("series %s is given up: %s", name, in_one_line(error))
        except SegpipeError as error:
            if is_of_the_disk(error):
                with suppress(OutputError):  # the queue may lie on the same disk
                    self._queue.postpone(job, error.message, delay_s=back_off(job.tries))
                raise
            self._queue.refuse(job, error.message)
            _LOG.warning("series %s is refused: %s", name, in_one_line(error))
            self._clear(name)
        except Exception as error:  # one strange series must not stop the others; its text may quote UIDs
            kind = type(error).__name__
            self._try_again(job, name, kind, kind, most=MOST_SURPRISES)
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

    def _try_again(self, job: Job, name: str, reason: str, message: str, *, most: int) -> None:
        if job.faults + 1 >= most:
            _LOG.error("series %s is given up after %d tries: %s", name, job.faults + 1, reason)
            self._queue.give_up(job, message)
            self._clear(name)
        else:
            _LOG.error("series %s will be tried again: %s", name, reason)
            self._queue.postpone(job, message, delay_s=back_off(job.faults + 1), fault=True)

    def _away(self, error: SegpipeError) -> None:
        """Asks nothing more of the PACS for a while; a look into it that succeeds ends that."""
        self._in_a_row[_PACS] += 1
        self._next_poll = time.monotonic() + back_off(self._in_a_row[_PACS])
        self._report(_PACS, error)

    def _wait_for_room(self, error: SegpipeError, stop: threading.Event) -> None:
        """Waits for the disk; what was in work is queued again, as soon as that can be written."""
        self._report(_DISK, error)
        self._in_a_row[_DISK] += 1
        stop.wait(back_off(self._in_a_row[_DISK]))
        with suppress(OutputError):
            self._queue.put_back()

    def _report(self, kind: str, error: SegpipeError) -> None:
        if kind not in self._troubles:
            _LOG.warning("%s", in_one_line(error))
        self._troubles[kind] = error.message

    def _tell_full(self) -> None:
        hint = "a larger --queue-size holds more"
        self._report(_QUEUE, OutputError("the queue is full; further series wait outside", hint=hint))

    def _well(self, kind: str, text: str) -> None:
        if self._troubles.pop(kind, None):
            _LOG.info("%s", text)

    def _tell_empty(self, study_uid: str, *, strict: bool) -> None:
        error = ImageError(
            "a named study has no CT series in the PACS",
            facts={"study": self._aliases.of(study_uid)},
            hint="does it hold CT? MR, PET and pictures of reports are not answered",
        )
        if strict:
            raise error
        if study_uid not in self._told_empty:
            _LOG.warning("%s", in_one_line(error))
        self._told_empty.add(study_uid)

    def _sweep(self) -> None:
        """Removes what a killed worker left of series that wait no more."""
        wanted = {self._aliases.of(series) for series in self._queue.open_series()}
        for kind in (FETCHED, RECEIVED, "answers"):
            for folder in (self._state / kind).glob("*"):
                if folder.name not in wanted:
                    shutil.rmtree(folder, ignore_errors=True)

    def _clear(self, name: str) -> None:
        for kind in (FETCHED, RECEIVED, "answers"):
            shutil.rmtree(self._state / kind / name, ignore_errors=True)

    def _is_waiting(self) -> bool:
        counts = self._queue.counts()
        return bool(counts["arriving"] + counts["queued"]) or _QUEUE in self._troubles
