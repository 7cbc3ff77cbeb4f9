"""Changes to the bytes and values of valid files, and what a reader may do with the outcome: read it or refuse it."""

import json
import os
import resource
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from segpipe.errors import SegpipeError

EXAMPLES = int(os.environ.get("SEGPIPE_FUZZ_EXAMPLES", "80"))
"""Inputs per reader, shared by its tests; `SEGPIPE_FUZZ_EXAMPLES=10000 pytest tests/fuzz` is the long run."""
_SPARE_BYTES = 2**31  # of address space: far more than tiny files need, far less than garbled sizes claim


def fuzz(share: float) -> settings:
    """The settings of a test that takes this share of its reader's inputs; the short run is the same every time."""
    return settings(
        max_examples=max(8, round(EXAMPLES * share)),
        deadline=None,
        database=None,
        derandomize=EXAMPLES <= 80,
        phases=list(Phase) if EXAMPLES <= 80 else [Phase.generate],  # the long run names a fault as it was found
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class Edit:
    """One change of a file: `kind` at a share of its length."""

    kind: str
    where: float
    content: bytes
    length: int

    def apply(self, content: bytes) -> bytes:
        """The content with the change."""
        start = int(self.where * len(content))
        if self.kind == "set":
            return content[:start] + self.content[: len(content) - start] + content[start + len(self.content) :]
        if self.kind == "insert":
            return content[:start] + self.content + content[start:]
        if self.kind == "drop":
            return content[:start] + content[start + self.length :]
        if self.kind == "double":
            return content[: start + self.length] + content[start:]
        return content[:start]  # cut


ODD_BYTES = [
    b"\0" * 4,
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\xfe\xff\x00\xe0",
    b"-1",
    b"nan",
    b"1e999",
    b"\\",
    b"9" * 12,
    b"<",
    b'"',
]
_bytes = st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from(ODD_BYTES))


def edits(*kinds: str) -> st.SearchStrategy[list[Edit]]:
    """A few changes, of these kinds or any."""
    kind = st.sampled_from(kinds or ("set", "set", "set", "insert", "drop", "double", "cut"))
    where = st.floats(0, 1, exclude_max=True)
    return st.lists(st.builds(Edit, kind, where, _bytes, st.integers(1, 64)), min_size=1, max_size=4)


def apply(changes: list[Edit], content: bytes) -> bytes:
    """The content with all changes."""
    for change in changes:
        content = change.apply(content)
    return content


def set_within(changes: list[Edit], content: bytes, places: list[int]) -> bytes:
    """The content with single bytes changed at some places only."""
    changed = bytearray(content)
    for change in changes:
        changed[places[int(change.where * len(places))]] = change.content[0]
    return bytes(changed)


texts = st.one_of(
    st.sampled_from(
        ["", " ", "abc", "5,0", "-1", "0", "nan", "inf", "1e999", "9" * 40, "1\\2\\3", "\\", "1.2.03", "é" * 70]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=12),
)
"""Values as odd software writes them."""


ODD_VALUES = [
    None,
    True,
    -1,
    0,
    3,
    10**9,
    1e308,
    "",
    "x",
    "../x",
    "/etc/passwd",
    [],
    [0],
    [1, 2, 3],
    {},
    {"name": "unet"},
    [[]],
    -(10**400),
    float("inf"),
    {"models/x": "0" * 64},
    "a" * 10**5,
]
"""Values that no reader of plain data expects."""


def places_in(content, path=()):
    """Where a value can be changed: the way to each."""
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    yield from [(*path, key) for key, _ in children]
    for key, child in children:
        yield from places_in(child, (*path, key))


def with_value(content, path, value):
    changed = json.loads(json.dumps(content))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def read_or_refuse(read):
    """What a reader gives; None where it refuses with one message. Any other error is a fault and fails the test."""
    try:
        return read()
    except SegpipeError:
        return None


@contextmanager
def little_memory():
    """Lets this process take no more than a little memory, so that a size that is believed is seen as MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _SPARE_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
