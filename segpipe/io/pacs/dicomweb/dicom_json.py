"""DICOM JSON from a stranger: read entry by entry within bounds, and each value only if it is what it should be."""

import codecs
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from segpipe.io.pacs.address import UID
from segpipe.io.pacs.limits import ENTRY_CHARACTERS, TooMuchError

_LARGEST = 2**31 - 1  # of an integer string (DICOM PS3.5, 6.2)
_INTEGER = re.compile(r"[0-9]{1,10}")
_TEXT = re.compile(r"[ -~]{0,64}")
_SPACE = re.compile(r"[ \t\r\n]*")


class OddValueError(ValueError):
    """A value that is not what its attribute must hold; it is never quoted."""


def read_entries(pieces: Iterable[bytes]) -> Iterator[Any]:
    """Yields the entries of a JSON array as they arrive; none when there is no body.

    Raises:
        ValueError: for what is no array.
        TooMuchError: for an entry that is too long.
        RecursionError: for an entry that is nested too deep.
    """
    array = _Reader(pieces)
    if not array.next_sign():
        return
    array.drop("[")
    while array.next_sign() != "]":
        yield array.take()
        if array.next_sign() != "]":
            array.drop(",")


def parse(content: bytes) -> Any:
    """The value of a short text.

    Raises:
        ValueError: for what is no JSON.
        RecursionError: when it is nested too deep.
    """
    return _DECODER.decode(content.decode("utf-8-sig"))


def uid_of(entry: Any, tag: str) -> str:
    """A UID; empty where the entry has none.

    Raises:
        OddValueError: for anything else.
    """
    value = first_of(entry, tag)
    uid = value.strip(" \0") if isinstance(value, str) else value
    if uid and not (isinstance(uid, str) and UID.fullmatch(uid)):
        raise OddValueError
    return uid or ""


def integer_of(entry: Any, tag: str) -> int | None:
    """A whole number that is not negative, also one that is written as text; None where the entry has none.

    Raises:
        OddValueError: for anything else.
    """
    value = first_of(entry, tag)
    if value is None:
        return None
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise OddValueError
    return value


def text_of(entry: Any, tag: str) -> str:
    """A short text of the basic characters; empty where the entry has none.

    Raises:
        OddValueError: for anything else.
    """
    value = first_of(entry, tag)
    if value is None:
        return ""
    if not isinstance(value, str) or not _TEXT.fullmatch(value):
        raise OddValueError
    return value.strip()


def first_of(entry: Any, tag: str) -> Any:
    """The first value of an attribute, whatever VR is said to have; None where the entry has none.

    Raises:
        OddValueError: for an entry or an attribute that is no object, or values that are no list.
    """
    if not isinstance(entry, dict):
        raise OddValueError
    attribute = entry.get(tag, {})
    values = attribute.get("Value") or [] if isinstance(attribute, dict) else None
    if not isinstance(values, list):
        raise OddValueError
    return values[0] if values else None


class _Reader:
    """Holds as much of a text as is needed to see one value."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._texts = codecs.iterdecode(pieces, "utf-8-sig")
        self._held, self._place = "", 0

    def next_sign(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            space = _SPACE.match(self._held, self._place)
            self._place = space.end() if space else self._place
            if self._place < len(self._held) or not self._read(1):
                return self._held[self._place : self._place + 1]

    def drop(self, sign: str) -> None:
        """Passes a sign that must be there."""
        if self.next_sign() != sign:
            raise ValueError("no JSON array")
        self._place += 1

    def take(self) -> Any:
        """The next value."""
        while True:
            try:
                value, self._place = _DECODER.raw_decode(self._held, self._place)
                return value
            except json.JSONDecodeError:
                held = len(self._held) - self._place
                if held > ENTRY_CHARACTERS:
                    raise TooMuchError(f"{ENTRY_CHARACTERS} characters in an entry") from None
                if not self._read(held):  # twice as much each time, however small the pieces are
                    raise

    def _read(self, size: int) -> bool:
        """Reads at least so many characters more if there are; false at the end."""
        texts = [self._held[self._place :]]
        while size > 0 and (text := next(self._texts, None)) is not None:
            texts.append(text)
            size -= len(text)
        self._held, self._place = "".join(texts), 0
        return len(texts) > 1


def _integer(digits: str) -> float:
    """Numbers that nothing in DICOM can be are infinite: thousands of digits take long to read."""
    return int(digits) if len(digits) <= 20 else math.inf


_DECODER = json.JSONDecoder(parse_int=_integer)
