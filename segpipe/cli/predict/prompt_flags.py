"""The flags of `predict` that say where a lesion is: points inside and outside it, a box or a line."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from segpipe.errors import ConfigError

if TYPE_CHECKING:
    from segpipe.inference.prompts.prompt import Ends, Prompt
    from segpipe.inference.window.grid import Point

FLAGS = ("--at", "--box", "--line")
_POSITIVE, _NEGATIVE = "+:", "-:"


class MarkedPoint(NamedTuple):
    """A point of `--at`: as given, the mark before it, and where it is."""

    text: str
    mark: str
    place: "Point"


def add_prompt_flags(add: Any) -> None:
    """Adds `--at`, `--box` and `--line`."""
    add(
        "--at",
        type=parse_points,
        metavar="x,y,z …",
        help="segment the lesion at this point alone: RAS+ mm (x to the patient's right, y to the front, z to the head)"
        ", as NIfTI viewers show it; for a DICOM (LPS) position change the signs of x and y; a lesion of up to about "
        "60 mm is seen whole. Further points correct it: +:x,y,z lies in the lesion, -:x,y,z does not",
    )
    add(
        "--box",
        type=parse_ends,
        metavar="x,y,z,x,y,z",
        help="segment the lesion in the box with these opposite corners",
    )
    add(
        "--line",
        type=parse_ends,
        metavar="x,y,z,x,y,z",
        help="segment the lesion whose longest diameter in an axial slice (RECIST) has these ends",
    )


def join_words(argv: Sequence[str]) -> list[str]:
    """Joins each of these flags with its points, which argparse would take for flags where they begin with a minus.

    >>> join_words(["--at", "-1,2,3", "-:4,5,6", "--flips", "xy"])
    ['--at=-1,2,3 -:4,5,6', '--flips', 'xy']
    """
    joined: list[str] = []
    for word in argv:
        before = joined[-1] if joined else ""
        flag, has_points, _ = before.partition("=")
        if before in FLAGS:
            joined[-1] = f"{before}={word}"
        elif has_points and flag in FLAGS and "," in word and not word.startswith("--"):
            joined[-1] = f"{before} {word}"
        else:
            joined.append(word)
    return joined


def read_prompt(given: argparse.Namespace) -> "Prompt | None":
    """What the flags say of one lesion, if anything.

    Raises:
        ConfigError: when it contradicts itself, or a sign could be that of a point or of its first coordinate.
    """
    points: list[MarkedPoint] = given.at or []
    if not (points or given.box or given.line):
        return None
    from segpipe.inference.prompts.prompt import Prompt

    unclear = [point.text for point in points if point.text[0] in "+-" and not point.mark]
    if unclear and (len(points) > 1 or given.box or given.line):
        raise ConfigError(
            "next to other points, a box or a line a sign may be that of the point or of its first coordinate",
            facts={"found": " ".join(unclear)},
            hint=f"{_POSITIVE}{unclear[0]} lies in the lesion, {_NEGATIVE}{unclear[0]} does not",
        )
    negatives = tuple(point.place for point in points if point.mark == _NEGATIVE)
    positives = tuple(point.place for point in points if point.mark != _NEGATIVE)
    return Prompt(positives, negatives, given.box, given.line)


def parse_points(text: str) -> list[MarkedPoint]:
    """Reads points that spaces separate, each with its mark if it has one.

    >>> parse_points("-41.5,20,7 -:-38,22,7")[1]
    MarkedPoint(text='-:-38,22,7', mark='-:', place=(-38.0, 22.0, 7.0))
    """
    return [_parse_point(word) for word in text.split() or [text]]


def parse_ends(text: str) -> "Ends":
    """Reads two points, as six numbers or as two times three.

    >>> parse_ends("1,2,3 -4,5,6")
    ((1.0, 2.0, 3.0), (-4.0, 5.0, 6.0))
    """
    try:
        a, b, c, d, e, f = (float(number) for number in text.replace(" ", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"two points are six numbers x,y,z,x,y,z in mm, not {text!r}") from None
    return (a, b, c), (d, e, f)


def _parse_point(text: str) -> MarkedPoint:
    mark = text[:2] if text.startswith((_POSITIVE, _NEGATIVE)) else ""
    try:
        x, y, z = (float(number) for number in text.removeprefix(mark).split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a point is three numbers x,y,z in mm, not {text!r}") from None
    return MarkedPoint(text, mark, (x, y, z))
