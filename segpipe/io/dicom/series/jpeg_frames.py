"""Looks at the head of a JPEG frame before GDCM does, which ends the process over most that libjpeg would refuse."""

from collections.abc import Iterator

from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1})
"""Transfer syntaxes of such frames."""
_LOSSLESS, _SEQUENTIAL = 0xC3, (0xC0, 0xC1)
_FRAME_HEADS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES, _SCAN = 0xC4, 0xDA
_PREDICTORS = range(1, 8)
_LARGEST_DIFFERENCE = 16
"""Bits of a difference of two pixels, which a table of class 0 has as its values."""


def check_jpeg(frame: bytes, *, rows: int, columns: int) -> None:
    """Makes sure that everything up to the pixels of a frame is whole, and what the data set says.

    Source: ITU-T T.81, annexes B, C and H.

    Raises:
        ValueError: when it is not.
        IndexError: when it ends too early.
    """
    head, tables = b"", set[int]()
    for marker, content in _segments(frame):
        if marker in _FRAME_HEADS:
            head = bytes([marker]) + content
            _check(_sides(head) == (rows, columns) and len(head) == 7 + 3 * head[6] and 2 <= head[1] <= 16)
        elif marker == _TABLES:
            tables |= _read_tables(content)
        elif marker == _SCAN:
            _check_scan(content, head, tables)
            return
    raise ValueError("a JPEG frame without a scan")


def _segments(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers and what belongs to each, one behind the other."""
    _check(frame[:2] == b"\xff\xd8")
    place = 2
    while place < len(frame):
        _check(frame[place] == 0xFF)
        while frame[place + 1] == 0xFF:  # filled up
            place += 1
        marker, size = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4], "big")
        _check(0xC0 <= marker < 0xFF and not 0xD0 <= marker < 0xDA and 2 <= size <= len(frame) - place - 2)
        yield marker, frame[place + 4 : place + 2 + size]
        place += 2 + size


def _sides(head: bytes) -> tuple[int, int]:
    return int.from_bytes(head[2:4], "big"), int.from_bytes(head[4:6], "big")


def _read_tables(content: bytes) -> set[int]:
    """Class (high bits) and number (low bits) of each Huffman table of a segment."""
    numbers, place = set[int](), 0
    while place < len(content):
        counts = content[place + 1 : place + 17]
        values = content[place + 17 : place + 17 + sum(counts)]
        _check(len(counts) == 16 and len(values) == sum(counts) <= 256 and content[place] & ~0x13 == 0)
        _check(_has_codes(counts) and (content[place] >= 0x10 or max(values, default=0) <= _LARGEST_DIFFERENCE))
        numbers.add(content[place])
        place += 17 + sum(counts)
    return numbers


def _has_codes(counts: bytes) -> bool:
    """Whether there are as many codes of 1, 2, … bits."""
    code = 0
    for bits, count in enumerate(counts, start=1):
        code = 2 * code + count
        if count and code > 2**bits:
            return False
    return True


def _check_scan(content: bytes, head: bytes, tables: set[int]) -> None:
    _check(bool(head) and len(content) == 4 + 2 * content[0] and 1 <= content[0] <= head[6])
    known = {head[7 + 3 * number] for number in range(head[6])}
    parts = [(content[1 + 2 * number], content[2 + 2 * number]) for number in range(content[0])]
    second = {0x10 | chosen & 0x0F for _, chosen in parts} if head[0] in _SEQUENTIAL else set()
    _check(len({name for name, _ in parts} & known) == len(parts))
    if head[0] in (_LOSSLESS, *_SEQUENTIAL):
        _check({chosen >> 4 for _, chosen in parts} | second <= tables)
    if head[0] == _LOSSLESS:
        _check(content[-3] in _PREDICTORS and content[-2] == 0 and content[-1] >> 4 == 0)


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError("a damaged JPEG frame")
