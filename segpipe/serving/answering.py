"""From a series that is due to its answer in the PACS: gathered whole, predicted once, stored once."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from segpipe.errors import ImageError
from segpipe.io.pacs.errors import PacsFaultError
from segpipe.io.pacs.names import instance_name, set_digest
from segpipe.serving.queue import Queue
from segpipe.serving.series_folders import SeriesFolders
from segpipe.serving.work_item import WorkItem

_LOG = logging.getLogger("segpipe.serve")


class SeriesArchive(Protocol):
    """What answering needs of a PACS; `segpipe.io.pacs.dicomweb.pacs.Pacs` is one."""

    def list_instances(self, study_uid: str, series_uid: str) -> frozenset[str]: ...  # noqa: D102
    def fetch(self, study_uid: str, series_uid: str, *, folder: Path) -> int: ...  # noqa: D102
    def has(self, study_uid: str, instance_uid: str) -> bool: ...  # noqa: D102
    def store(self, study_uid: str, files: Sequence[Path]) -> None: ...  # noqa: D102


class Answers(Protocol):
    """What answering needs of a model; `segpipe.serving.answer.Answerer` is one."""

    def answer(self, source: Path, folder: Path, *, instances: str, former: str = "") -> list[Path]: ...  # noqa: D102
    def report_uid(self, study_uid: str, series_uid: str, instances: str) -> str: ...  # noqa: D102


class Answering:
    """Answers one series after the other.

    Args:
        archive: The PACS.
        answers: Makes answers.
        queue: Knows what has been received and answered.
        folders: Holds images and answers.
    """

    def __init__(self, archive: SeriesArchive, answers: Answers, queue: Queue, folders: SeriesFolders) -> None:
        self._archive, self._answers, self._queue, self._folders = archive, answers, queue, folders

    def answer(self, item: WorkItem, alias: str) -> None:
        """Answers every instance that the PACS lists or that was acknowledged, together; or waits while they change.

        Raises:
            ImageError: when the series cannot be answered as it is.
            PacsFaultError: when the PACS does not give what it lists.
            ServiceError: when it does not answer or refuses.
            OutputError: when the disk cannot be written.
        """
        begun = time.monotonic()
        received = self._queue.acknowledged(item.series_uid)
        self._folders.collect(alias, received)
        listed = self._archive.list_instances(item.study_uid, item.series_uid)
        if not item.agrees(len(listed)):
            self._queue.recount(item, len(listed))
            return
        whole = listed | received
        _check_whole(whole, self._queue.answered(item.series_uid))
        if whole <= item.answered or self._archive.has(item.study_uid, self._report_uid(item, whole)):
            _LOG.info("series %s has been answered before", alias)
        else:
            whole = self._gather(item, alias, listed=listed, received=received)
            self._archive.store(item.study_uid, self._answer(item, alias, whole))
            grown = ", again since it has grown" if item.answered else ""
            _LOG.info("series %s is answered%s (%.1f s)", alias, grown, time.monotonic() - begun)
        self._queue.finish(item, max(whole, item.answered, key=len))
        self._folders.clear(alias)

    def _gather(
        self, item: WorkItem, alias: str, *, listed: frozenset[str], received: frozenset[str]
    ) -> frozenset[str]:
        """Brings all images of a series together; returns their names, which may be more than the PACS lists."""
        held = self._folders.keep(alias, listed | received)
        if not listed <= held:
            held = self._folders.fetch(
                alias, lambda folder: self._archive.fetch(item.study_uid, item.series_uid, folder=folder)
            )
        lacking = (listed | received) - held
        if lacking & listed:
            raise PacsFaultError("the PACS gave a series in part", facts={"missing": f"{len(lacking)} instances"})
        if lacking:
            raise ImageError(
                "instances that were received are no longer here",
                facts={"missing": f"{len(lacking)} of {len(listed | received)}"},
                hint="send the whole series again, or to the PACS",
            )
        return held

    def _answer(self, item: WorkItem, alias: str, names: frozenset[str]) -> list[Path]:
        """The files of the answer: whatever happens from here on, they come from this one prediction."""
        instances, former = set_digest(names), set_digest(item.answered) if item.answered else ""
        source, key = self._folders.images(alias), instance_name(self._report_uid(item, names))
        return self._folders.answer(
            alias, key, lambda folder: self._answers.answer(source, folder, instances=instances, former=former)
        )

    def _report_uid(self, item: WorkItem, names: frozenset[str]) -> str:
        return self._answers.report_uid(item.study_uid, item.series_uid, set_digest(names))


def _check_whole(whole: frozenset[str], answered: frozenset[str]) -> None:
    if not whole:
        raise PacsFaultError("the PACS has no instance of a series that it lists")
    new, missing = whole - answered, answered - whole
    if new and missing:  # an answer to a grown series must speak of all that the former one does
        raise ImageError(
            "a series has grown, and instances of it that were answered before are no longer here",
            facts={"new": f"{len(new)} instances", "missing": len(missing)},
            hint="send the whole series again, or to the PACS",
        )
