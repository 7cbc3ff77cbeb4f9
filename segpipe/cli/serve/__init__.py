"""The verb `serve`."""

from segpipe.cli.serve.command import run

__all__ = ["run"]
