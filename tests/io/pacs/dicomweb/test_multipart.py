"""Parts are read as they arrive, whatever the pieces, and never held as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.io.pacs.dicomweb.multipart import boundary_of, parts
from segpipe.io.pacs.limits import TooMuchError


def read(content, *, size=7, most=1000):
    pieces = (content[start : start + size] for start in range(0, len(content), size))
    return [b"".join(part) for part in parts(pieces, b"xx", most=most)]


def wrapped(contents, *, preamble=b"", head=b"a: b\r\n", end=b"--xx-- and more"):
    return preamble + b"".join(b"--xx\r\n" + head + b"\r\n" + content + b"\r\n" for content in contents) + end


@given(
    st.lists(st.binary(max_size=20).filter(lambda content: b"--xx" not in content), max_size=4),
    st.integers(1, 50),
    st.sampled_from([b"", b"a: b\r\n", b"a: b\r\nc: --xx\r\n"]),
    st.sampled_from([b"", b"text\r\n", b"\r\n"]),
)
def test_parts_are_what_was_wrapped(contents, size, head, preamble):
    assert read(wrapped(contents, preamble=preamble, head=head), size=size) == contents


def test_a_part_begins_before_it_has_arrived():
    taken = []

    def pieces():
        yield b"--xx\r\n\r\n"
        for number in range(1000):
            taken.append(number)
            yield bytes(100)

    first = next(parts(pieces(), b"xx", most=10**6))
    assert sum(len(next(first)) for _ in range(10)) > 500
    assert len(taken) <= 11


@pytest.mark.parametrize("end", [b"", b"--xx", b"--xx\r\n", b"--xx-"])
def test_a_body_without_its_end(end):
    with pytest.raises(EOFError):
        read(wrapped([b"abc"], end=end))


def test_a_part_that_is_too_large():
    assert read(wrapped([b"a" * 100]), most=100) == [b"a" * 100]
    with pytest.raises(TooMuchError, match="99 bytes in a part"):
        read(wrapped([b"a" * 100]), most=99)
    with pytest.raises(TooMuchError):
        read(b"a" * 10**6, size=1000)


def test_boundaries():
    assert boundary_of('Multipart/Related; type=a; Boundary="b c"') == b"b c"
    for content_type in (
        "",
        "text/html",
        "application/dicom; boundary=a",
        "multipart/related",
        "multipart/related; boundary=",
    ):
        with pytest.raises(ValueError, match="not multipart"):
            boundary_of(content_type)
