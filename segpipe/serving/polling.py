"""Asks the PACS which series there are, and reports them to the queue."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from segpipe.errors import ImageError, SegpipeError, ServiceError
from segpipe.io.pacs.dicomweb.pacs import SeriesEntry
from segpipe.io.pacs.errors import ForbiddenError, PacsFaultError
from segpipe.serving.alias import Aliases
from segpipe.serving.policy import WorkerPolicy, in_one_line, rejection_reason
from segpipe.serving.queue import Queue
from segpipe.serving.troubles import Troubles, queue_is_full

_LOG = logging.getLogger("segpipe.serve")


class SeriesIndex(Protocol):
    """What polling needs of a PACS; `segpipe.io.pacs.dicomweb.pacs.Pacs` is one."""

    def find_ct(self, *, days: int | None = None) -> list[SeriesEntry]: ...  # noqa: D102
    def find_in_study(self, study_uid: str) -> list[SeriesEntry]: ...  # noqa: D102


class Poller:
    """Asks the PACS for series to answer.

    Args:
        index: The PACS.
        queue: What is found is reported to it.
        policy: Which series are looked for.
        aliases: How studies are named in the log.
        troubles: A full queue is one of them.
    """

    def __init__(
        self, index: SeriesIndex, queue: Queue, *, policy: WorkerPolicy, aliases: Aliases, troubles: Troubles
    ) -> None:
        self._index, self._queue, self._policy = index, queue, policy
        self._aliases, self._troubles = aliases, troubles
        self._reported: set[str] = set()

    def poll(self, *, strict: bool) -> float:
        """Reports every series to the queue; returns the queue's time when it began to ask.

        Args:
            strict: Whether a named study that has nothing to answer is an error.

        Raises:
            ServiceError: when the PACS does not answer, or refuses.
            ImageError: when `strict`.
        """
        began = self._queue.now
        # every one is reported, also when the queue is full: whether those that wait have grown must be known
        with _foreseen():
            is_full = [not self._notice(entry) for entry in self._listed(strict=strict)]
        if any(is_full):
            self._troubles.begin("queue", queue_is_full())
        elif self._queue.room() > 0:
            self._troubles.end("queue")
        return began

    def _notice(self, entry: SeriesEntry) -> bool:
        """Reports a series to the queue; false when there is no room for it."""
        reason = rejection_reason(entry, named=bool(self._policy.studies))
        if not reason:
            return self._queue.notice(entry.study_uid, entry.series_uid, instances=entry.instances)
        if self._queue.refuse_unseen(entry.study_uid, entry.series_uid, reason):
            _LOG.warning("series %s is refused: %s", self._aliases.of(entry.series_uid), reason)
        return True

    def _listed(self, *, strict: bool) -> Sequence[SeriesEntry]:
        if not self._policy.studies:
            return self._index.find_ct(days=self._policy.days)
        return [entry for study in self._policy.studies for entry in self._listed_in(study, strict=strict)]

    def _listed_in(self, study_uid: str, *, strict: bool) -> list[SeriesEntry]:
        facts = {"study": self._aliases.of(study_uid)}
        try:
            found = self._index.find_in_study(study_uid)
        except ForbiddenError as error:  # which says nothing of the other studies
            self._warn(study_uid, ForbiddenError(error.message, facts=facts, hint=error.hint), strict=strict)
            return []
        if not any(entry.is_ct for entry in found):
            hint = "does it hold CT? MR, PET and pictures of reports are not answered"
            empty = ImageError("a named study has no CT series in the PACS", facts=facts, hint=hint)
            self._warn(study_uid, empty, strict=strict)
        return [entry for entry in found if entry.is_ct or rejection_reason(entry, named=True)]

    def _warn(self, study_uid: str, error: ImageError | ServiceError, *, strict: bool) -> None:
        """Once for each study."""
        if strict:
            raise error
        if study_uid not in self._reported:
            _LOG.warning("%s", in_one_line(error))
        self._reported.add(study_uid)


@contextmanager
def _foreseen() -> Iterator[None]:
    """Nothing that a listing does may end the worker, nor be quoted, since it may hold UIDs."""
    try:
        yield
    except SegpipeError:
        raise
    except Exception as error:
        facts = {"found": type(error).__name__}
        raise PacsFaultError("what the PACS lists cannot be understood", facts=facts) from None
