"""Folders that appear whole or not at all: written next to their place and renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from segpipe.errors import OutputError
from segpipe.system.processes.stopping import check_stop


@contextmanager
def staged_folder(path: Path, *, marker: str) -> Iterator[Path]:
    """Yields an empty folder next to `path` that takes its place when the block ends well, else is removed.

    Args:
        path: Where the folder shall be.
        marker: A file that shows that an existing folder was written by this tool and may be replaced.

    Raises:
        OutputError: when `path` holds something else, or when writing fails.
    """
    path = path.absolute()
    if path.exists() and not (path / marker).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(
            "the output folder holds something else, which is not overwritten",
            facts={"folder": path},
            hint="give a folder that does not exist yet",
        )
    staging: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        yield staging
        check_stop()  # in case a library has swallowed what a signal raised
        staging.chmod(0o777 & ~_umask())
        _replace(path, staging)
    except OSError as error:
        raise OutputError("the folder cannot be written", facts={"folder": path, "found": error}) from error
    finally:
        if staging:
            shutil.rmtree(staging, ignore_errors=True)


def _replace(path: Path, staging: Path) -> None:
    if not path.exists():
        staging.rename(path)
        return
    former = Path(mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent)) / path.name
    path.rename(former)
    try:
        staging.rename(path)
    except OSError:
        former.rename(path)
        raise
    finally:
        shutil.rmtree(former.parent, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
