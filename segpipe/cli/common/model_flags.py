"""The flags by which verbs choose models: folders, or those that ride in the package by their names."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.export.shipped import find_model

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def add_model_flag(add: Any, *, text: str = "", required: bool = True) -> None:
    """Adds `--model` and `--verify-key`.

    Args:
        add: `add_argument` of a parser or a group of flags.
        text: What the verb has to say in addition.
        required: Whether it must be given.
    """
    help_text = f"the model folder of a run, or the name of a shipped one{text}"
    add("--model", required=required, type=find_model, metavar="MODEL", help=help_text)
    add("--verify-key", type=Path, metavar="PEM", help="public key by which every model must be signed; see sign")


def read_verify_key(given: argparse.Namespace) -> "Ed25519PublicKey | None":
    """The key that `--verify-key` names, if any.

    Raises:
        ConfigError: when it cannot be read.
    """
    if given.verify_key is None:
        return None
    from segpipe.export.signature import read_public_key

    return read_public_key(given.verify_key)


def add_ratings_flag(add: Any) -> None:
    """Adds `--ratings`."""
    help_text = "a rating model: says how LIDC's readers would probably rate each finding (docs/ratings.md)"
    add("--ratings", type=find_model, metavar="MODEL", help=help_text)
