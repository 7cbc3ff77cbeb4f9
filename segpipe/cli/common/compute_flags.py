"""The flags by which verbs choose what computes, and how much memory it may take."""

import argparse
from typing import Any


def add_compute_flags(add: Any) -> None:
    """Adds `--backend` and `--device`.

    Args:
        add: `add_argument` of a parser or a group of flags.
    """
    add(
        "--backend",
        metavar="NAME",
        help="torch, onnx or openvino; default: torch, or onnx for a network from elsewhere",
    )
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="default: auto")


def add_memory_flag(add: Any) -> None:
    """Adds `--memory`.

    Args:
        add: `add_argument` of a parser or a group of flags.
    """
    add("--memory", metavar="SIZE", help="bound of the memory taken, e.g. 4GB; the result is the same")


def memory_limit(given: argparse.Namespace) -> int | None:
    """The bytes that `--memory` allows; None without it.

    Raises:
        ConfigError: when it is no amount of memory.
    """
    from segpipe.inference.batch.memory import parse_bytes

    return parse_bytes(given.memory) if given.memory else None
