"""The verb `compare`."""

from segpipe.cli.compare.command import run

__all__ = ["run"]
