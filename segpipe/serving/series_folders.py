"""What `--state` holds of series for as long as it must: instances as they are received, images in work, answers."""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segpipe.errors import OutputError
from segpipe.system.files.atomic_write import atomic_write

_INBOX, _FETCHED, _IMAGES, _ANSWERS = "received", "fetched", "images", "answers"
_SUFFIX = ".dcm"


class SeriesFolders:
    """Folders by the alias of a series. Only the inbox is written by others than the worker.

    Args:
        state: The worker's folder.
    """

    def __init__(self, state: Path) -> None:
        self._state = state

    def inbox(self, alias: str) -> Path:
        """Where instances of a series are received."""
        return self._state / _INBOX / alias

    def images(self, alias: str) -> Path:
        """Where the images of a series are while it is worked on."""
        return self._state / _IMAGES / alias

    def received(self, alias: str) -> frozenset[str]:
        """Names of the instances in the inbox."""
        return _names(self.inbox(alias))

    def count(self, alias: str) -> int:
        """How many images of a series there are."""
        return len(_names(self.images(alias)))

    def collect(self, alias: str, received: Collection[str]) -> None:
        """Moves these instances from the inbox to the images; what has come meanwhile stays.

        Raises:
            OutputError: when they cannot be moved.
        """
        with _explained("the images of a series cannot be moved"):
            for name in self.received(alias) & set(received):
                _move(self.inbox(alias) / f"{name}{_SUFFIX}", self.images(alias))

    def keep(self, alias: str, names: Collection[str]) -> frozenset[str]:
        """Removes all images of a series but these; returns the names of those that are there."""
        there = _names(self.images(alias))
        for name in there - set(names):
            (self.images(alias) / f"{name}{_SUFFIX}").unlink(missing_ok=True)
        return there & set(names)

    def fetch(self, alias: str, fetch: Callable[[Path], object]) -> frozenset[str]:
        """Adds what is fetched to the images, once it is there whole; returns the names of all.

        Raises:
            OutputError: when it cannot be written.
        """
        folder = self._state / _FETCHED / alias
        shutil.rmtree(folder, ignore_errors=True)
        fetch(folder)
        with _explained("the images of a series cannot be moved"):
            for name in _names(folder):
                _move(folder / f"{name}{_SUFFIX}", self.images(alias))
        shutil.rmtree(folder, ignore_errors=True)
        return _names(self.images(alias))

    def answer(self, alias: str, key: str, write: Callable[[Path], object]) -> list[Path]:
        """The files of an answer, written at once and only once; one with another key is dropped.

        Raises:
            OutputError: when they cannot be written.
        """
        folder = self._state / _ANSWERS / alias / key
        if not folder.exists():
            shutil.rmtree(folder.parent, ignore_errors=True)
            with _explained("an answer cannot be written"), atomic_write(folder, durable=True) as part:
                part.mkdir()
                write(part)
        return sorted(folder.glob(f"*{_SUFFIX}"))  # the segmentation, then the report that refers to it

    def clear(self, alias: str, *, received: Collection[str] = ()) -> None:
        """Removes what the worker holds of a series, but for these received images; the inbox is left as it is."""
        for kind in (_FETCHED, _ANSWERS):
            shutil.rmtree(self._state / kind / alias, ignore_errors=True)
        if not self.keep(alias, received):
            shutil.rmtree(self.images(alias), ignore_errors=True)
        with suppress(OSError):  # more may have come
            self.inbox(alias).rmdir()

    def sweep(self, kept: Collection[str]) -> None:
        """Removes what is held of all series but these; what is being received is left as it is."""
        for kind in (_FETCHED, _IMAGES, _ANSWERS):
            self._sweep(kind, kept)

    def sweep_inbox(self, kept: Iterable[str]) -> None:
        """Removes what was received of all series but these; only while nothing is being received."""
        self._sweep(_INBOX, set(kept))

    def _sweep(self, kind: str, kept: Collection[str]) -> None:
        for folder in (self._state / kind).glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def _names(folder: Path) -> frozenset[str]:
    return frozenset(file.stem for file in folder.glob(f"*{_SUFFIX}"))


def _move(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file.replace(folder / file.name)


@contextmanager
def _explained(message: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(message, facts={"found": error.strerror}, hint="has the disk of --state room?") from error
