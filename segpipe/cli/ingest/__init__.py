"""The verb `ingest`."""

from segpipe.cli.ingest.command import run

__all__ = ["run"]
