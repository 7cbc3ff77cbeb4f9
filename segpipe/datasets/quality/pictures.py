"""Pictures of as many cases as there are, which memory need not hold until their pages are written."""

import weakref
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile

_IN_MEMORY = 2**26


class PictureStore:
    """Keeps pictures in memory, and in a temporary file when they are more than 64 MiB.

    Args:
        in_memory: Bytes beyond which they go to the disk.
    """

    def __init__(self, *, in_memory: int = _IN_MEMORY) -> None:
        self.file = SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115 (closed with the store)
        weakref.finalize(self, self.file.close)
        self._end = 0

    def add(self, picture: bytes) -> "StoredPicture":
        """Takes a picture; what it returns gives it back."""
        self.file.seek(self._end)
        self.file.write(picture)
        stored = StoredPicture(self, self._end, len(picture))
        self._end += len(picture)
        return stored


@dataclass(frozen=True)
class StoredPicture:
    """A picture, as `bytes(it)`."""

    store: PictureStore
    start: int
    length: int

    def __bytes__(self) -> bytes:
        """Reads it."""
        self.store.file.seek(self.start)
        return self.store.file.read(self.length)
