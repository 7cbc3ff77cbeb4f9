"""The verb `robustness`."""

from segpipe.cli.robustness.command import run

__all__ = ["run"]
