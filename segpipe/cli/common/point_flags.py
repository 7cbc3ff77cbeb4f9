"""The flags by which verbs choose which lesions become findings."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segpipe.inference.operating_point import OperatingPointRequest


def add_point_flags(add: Any) -> None:
    """Adds `--threshold`, `--min-volume`, `--sensitivity` and `--fp-per-scan`.

    Args:
        add: `add_argument` of a parser or a group of flags.
    """
    add("--threshold", type=float, metavar="P", help="probability from which a voxel is foreground")
    add("--min-volume", type=float, metavar="MM3", help="smaller lesions leave")
    add("--sensitivity", type=float, metavar="S", help="find this part of the lesions, e.g. 0.9")
    add("--fp-per-scan", type=float, metavar="N", help="at most so many false findings per scan, e.g. 1")


def wish_of(given: argparse.Namespace) -> "OperatingPointRequest":
    """What these flags ask of the operating point."""
    from segpipe.inference.operating_point import OperatingPointRequest

    return OperatingPointRequest(given.threshold, given.min_volume, given.sensitivity, given.fp_per_scan)
