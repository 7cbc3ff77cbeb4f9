"""The verb `evaluate`."""

from segpipe.cli.evaluate.command import run

__all__ = ["run"]
