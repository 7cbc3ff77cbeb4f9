"""Which MLflow run a folder belongs to; the one place where that is kept."""

from dataclasses import dataclass
from pathlib import Path

from segpipe.system.credentials import set_credentials_apart
from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.plain_files import read_json

FILE = "tracking.json"


@dataclass(frozen=True)
class TrackedRun:
    """An MLflow run.

    Args:
        run_id: Its id.
        uri: The server or database, without user and password; None where that is not known.
    """

    run_id: str
    uri: str | None = None


def read_tracked_run(folder: Path) -> TrackedRun | None:
    """The MLflow run that a folder of a run, a cross-validation or a sweep belongs to; None when it is not tracked."""
    try:
        content = read_json(folder / FILE)
        return TrackedRun(
            str(content["run_id"]), str(content["uri"]).replace("***@", "") if content.get("uri") else None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_run_id(folder: Path) -> str | None:
    """The id of the MLflow run that a folder belongs to, to be continued by `Tracker.start`; None without one."""
    tracked = read_tracked_run(folder)
    return tracked.run_id if tracked else None


def write_tracked_run(folder: Path, run_id: str, uri: str) -> Path:
    """Notes the MLflow run in its folder, so that a resumed run goes on in it.

    Raises:
        OutputError: when it cannot be written.
    """
    content = {"run_id": run_id, "uri": set_credentials_apart(uri)}
    return write_json(folder / FILE, content, what="the id of the MLflow run", indent=None)
