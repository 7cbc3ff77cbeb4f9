"""The flags by which verbs choose models: folders, or those that ride in the package by their names."""

from typing import Any

from segpipe.export.shipped import find_model


def add_model_flag(add: Any, *, text: str = "", required: bool = True) -> None:
    """Adds `--model`.

    Args:
        add: `add_argument` of a parser or a group of flags.
        text: What the verb has to say in addition.
        required: Whether it must be given.
    """
    help_text = f"the model folder of a run, or the name of a shipped one{text}"
    add("--model", required=required, type=find_model, metavar="MODEL", help=help_text)


def add_ratings_flag(add: Any) -> None:
    """Adds `--ratings`."""
    help_text = "a rating model: says how LIDC's readers would probably rate each finding (docs/ratings.md)"
    add("--ratings", type=find_model, metavar="MODEL", help=help_text)
