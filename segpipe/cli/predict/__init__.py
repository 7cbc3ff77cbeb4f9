"""The verb `predict`."""

from segpipe.cli.predict.command import run

__all__ = ["run"]
