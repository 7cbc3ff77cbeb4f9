"""The parts of a multipart answer, one after the other and piece by piece, so that no part is ever held as a whole."""

from collections.abc import Iterable, Iterator
from email.message import Message

from segpipe.io.pacs.limits import TooMuchError

_MOST_HEAD = 2**16


def boundary_of(content_type: str) -> bytes:
    """The boundary between the parts.

    >>> boundary_of('multipart/related; type="application/dicom"; boundary="a b"')
    b'a b'

    Raises:
        ValueError: for an answer that has no parts.
    """
    head = Message()
    head["Content-Type"] = content_type
    boundary = head.get_param("boundary")
    if head.get_content_maintype() != "multipart" or not isinstance(boundary, str) or not boundary:
        raise ValueError("not multipart")
    return boundary.encode()


def parts(pieces: Iterable[bytes], boundary: bytes, *, most: int) -> Iterator[Iterator[bytes]]:
    """Yields the pieces of each part, which must be read before the next part.

    Args:
        pieces: The body as it arrives.
        boundary: See `boundary_of`.
        most: Bytes that a part may have.

    Raises:
        TooMuchError: for a part that is larger.
        EOFError: when the body ends before its last boundary.
    """
    reader = _Reader(pieces)
    end_of_part = b"\r\n--" + boundary
    _skip(reader.until(end_of_part, most=_MOST_HEAD))
    while reader.peek(2) != b"--":
        _skip(reader.until(b"\r\n\r\n", most=_MOST_HEAD))
        yield reader.until(end_of_part, most=most)


class _Reader:
    """Holds as much of a body as is needed to see a mark."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = bytearray(b"\r\n")  # the first boundary may be the very first line

    def until(self, mark: bytes, *, most: int) -> Iterator[bytes]:
        """What comes before a mark, which is dropped."""
        left, place = most, -1
        while place < 0:
            place = self._held.find(mark)
            ready = place if place >= 0 else max(0, len(self._held) - len(mark) + 1)  # the rest may begin the mark
            left -= ready
            if left < 0:
                raise TooMuchError(f"{most} bytes in a part")
            yield self._take(ready)
            if place < 0:
                self._read()
        self._take(len(mark))

    def peek(self, size: int) -> bytes:
        """The next bytes, which stay."""
        while len(self._held) < size:
            self._read()
        return bytes(self._held[:size])

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def _read(self) -> None:
        piece = next(self._pieces, b"")
        if not piece:
            raise EOFError
        self._held += piece


def _skip(pieces: Iterable[bytes]) -> None:
    for _ in pieces:
        pass
