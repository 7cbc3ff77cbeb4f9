"""Writes the list of cases of a data set and says what became of them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from segpipe.datasets.manifest import Manifest, write_manifest
from segpipe.errors import ConfigError, SegpipeError, explain, merge_alike


def report_dataset(
    manifest: Manifest, output: Path, *, errors: Sequence[SegpipeError], notes: Sequence[str], new: int
) -> int:
    """Writes the manifest; returns 0, or 2 when cases were left out.

    Args:
        manifest: The good cases.
        output: The data set folder.
        errors: One for each bad case.
        notes: What else the user should know.
        new: How many of the good cases were made now, not found.

    Raises:
        ConfigError: when there is no good case.
    """
    for error in merge_alike(errors):
        print(explain(error), file=sys.stderr)
    for note in notes:
        print(note)
    if not manifest.entries:
        raise ConfigError("no case could be used", facts={"source": manifest.source, "bad cases": len(errors)})
    file = write_manifest(manifest, output)
    print(f"{len(manifest.entries)} cases ({new} new, {len(errors)} left out): {file}")
    return 2 if errors else 0
