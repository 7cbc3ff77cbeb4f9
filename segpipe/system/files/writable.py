"""Whether a folder can be written, asked once before any work instead of by every case after its own."""

from pathlib import Path
from tempfile import TemporaryFile

from segpipe.errors import OutputError


def check_writable(folder: Path, *, what: str, hint: str) -> None:
    """Tries to write into a folder, or into the one that it would be made in; leaves nothing there.

    Args:
        folder: The folder.
        what: What the error calls it, e.g. `the data set`.
        hint: What to try.

    Raises:
        OutputError: when nothing can be written there.
    """
    try:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        with TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        facts = {"folder": folder, "found": error.strerror or error}
        raise OutputError(f"{what} cannot be written", facts=facts, hint=hint) from error
