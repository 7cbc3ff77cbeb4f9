"""Files below a folder in which others write meanwhile: what goes while it is looked for is passed over."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path


def files_below(folder: Path, names: str = "*") -> Iterator[Path]:
    """Files in a folder at any depth, links to files among them; links to folders are not followed.

    `Path.rglob` raises when a folder is gone that it has just seen, as those of unfinished files are after a moment.

    Args:
        folder: Where to look; one that is not there has no files.
        names: A pattern of file names, e.g. `*.ckpt`.
    """
    for home, _, found in os.walk(folder):
        yield from (Path(home, name) for name in found if fnmatchcase(name, names))
