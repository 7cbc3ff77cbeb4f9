"""What the long run knows of a reader: how one of its inputs is made of a random generator, and read."""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from segpipe.errors import SegpipeError
from tests.fuzz.mutations import ODD_BYTES, ODD_VALUES, Edit, apply, places_in, with_value

Try = Callable[[Random], object]
_KINDS = ("set", "set", "set", "insert", "drop", "double", "cut")


@dataclass(frozen=True)
class Reader:
    """A reader of foreign bytes.

    Args:
        name: Of the reader.
        share: Of all inputs, in parts of the sum; quick readers get many.
        prepare: Empty folder → a function that makes an input, reads it, and raises nothing but what is refused.
        refuses: The errors by which this reader refuses.
    """

    name: str
    share: int
    prepare: Callable[[Path], Try]
    refuses: tuple[type[Exception], ...] = (SegpipeError,)


def mutated(random: Random, content: bytes) -> bytes:
    """The content with no to four changes."""
    return apply([_edit(random) for _ in range(random.choice((0, 1, 1, 1, 2, 4)))], content)


def mutated_start(random: Random, content: bytes, size: int) -> bytes:
    """The content with changes in its first bytes, which say how the others are read."""
    return mutated(random, content[:size]) + content[size:]


def mutated_inside(random: Random, packed: bytes, size: int) -> bytes:
    """A gzip file with changes in the first bytes of what it holds."""
    return gzip.compress(mutated_start(random, gzip.decompress(packed), size), 1)


def mutated_json(random: Random, valid: Any) -> bytes:
    """Plain data with an odd value at any place, or its text with changed bytes."""
    if random.random() < 0.5:
        return mutated(random, json.dumps(valid).encode())
    changed = with_value(valid, random.choice(list(places_in(valid))), random.choice(ODD_VALUES))
    return json.dumps(changed).encode()


def file_reader(
    file: Path, content: bytes, read: Callable[[], object], mutate: Callable[[Random, bytes], bytes] = mutated
) -> Try:
    """Writes each input into a file that is then read."""

    def attempt(random: Random) -> object:
        file.write_bytes(mutate(random, content))
        return read()

    return attempt


def any_of(attempts: Mapping[str, Try]) -> Try:
    """One of several ways, each as often."""
    ways = list(attempts.values())
    return lambda random: random.choice(ways)(random)


def _edit(random: Random) -> Edit:
    content = random.choice(ODD_BYTES) if random.random() < 0.4 else random.randbytes(random.randint(1, 4))
    return Edit(random.choice(_KINDS), random.random(), content, random.randint(1, 64))
