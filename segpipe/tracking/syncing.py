"""Brings runs on the MLflow server up to date: what an outage kept from it, and the end of those that were killed."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.errors import ConfigError, ServiceError
from segpipe.system.credentials import without_secrets
from segpipe.system.files.held_folder import MARK, visit, was_cut_off
from segpipe.system.files.walking import files_below
from segpipe.tracking.delivery.sender import Sender
from segpipe.tracking.delivery.spool import Spool
from segpipe.tracking.delivery.spool_file import SpoolFile
from segpipe.tracking.identity import FILE, read_tracked_run
from segpipe.tracking.mlflow import UNSENT
from segpipe.tracking.opening import SPOOL, WAITING, read_request
from segpipe.tracking.server import connect

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class SyncResult:
    """What became of one run.

    Args:
        sent: Messages that the server took.
        kept: Messages that still wait.
        ended: Whether the run, which nobody continues, was ended as KILLED.
        problem: Why it is not up to date.
    """

    sent: int = 0
    kept: int = 0
    ended: bool = False
    problem: str | None = None

    def describe(self) -> str:
        """One line.

        >>> SyncResult(sent=3, ended=True).describe()
        '3 messages sent, ended as KILLED'
        """
        parts = [f"{self.sent} messages sent"] if self.sent else []
        parts += ["ended as KILLED"] if self.ended else []
        parts += [f"{self.kept} messages wait"] if self.kept else []
        parts += [self.problem] if self.problem else []
        return ", ".join(parts) or "up to date"


def find_tracked_runs(folders: Sequence[Path]) -> list[Path]:
    """The folders of tracked runs in these folders, at any depth.

    Raises:
        ConfigError: for a folder that is not there, or when there is no tracked run.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError("there is no such folder", facts={"found": folder}, hint="name a folder of runs")
    known = {file.parent for folder in folders for file in files_below(folder, FILE)}
    waiting = [file for folder in folders for file in files_below(folder, WAITING.name) if file.parent.name == SPOOL]
    found = sorted(known | {file.parents[1] for file in waiting})
    if not found:
        names = ", ".join(map(str, folders))
        raise ConfigError("there is no tracked run", facts={"looked in": names}, hint="name a folder of runs")
    return found


class Syncing:
    """Brings one run after the other up to date; each server is asked once.

    Args:
        uri: The server or database, where it is another than the runs' folders say.
    """

    def __init__(self, uri: str | None = None) -> None:
        self._uri = uri
        self._servers: dict[str, MlflowClient | ServiceError] = {}

    def sync(self, folder: Path) -> SyncResult:
        """Sends what waits in the folder of a run, and ends the run where its process was killed.

        A folder in which a process is at work is not touched. What is sent twice, as the one who sent it was killed,
        is there once.
        """
        family = _family(folder)
        waiting = len(SpoolFile(folder / SPOOL / UNSENT).messages())
        cut_off = any(map(was_cut_off, family))
        if not (waiting or cut_off):
            return SyncResult()
        try:
            with ExitStack() as stack:
                for one in family:
                    stack.enter_context(visit(one))
                return self._sync(folder, cut_off=cut_off)
        except (ConfigError, ServiceError) as error:
            found = error.facts.get("found")
            return SyncResult(kept=waiting, problem=f"{error.message} ({found})" if found else error.message)

    def _sync(self, folder: Path, *, cut_off: bool) -> SyncResult:
        seen = _last_change(folder)
        client, run_id = self._open(folder)
        _status(client, run_id)
        spool = Spool(Sender(client, run_id, folder), folder / SPOOL / UNSENT)
        before = spool.unsent
        kept = spool.close()
        ended = cut_off and not kept and _end(client, run_id, seen)
        return SyncResult(before - kept, kept, ended, "the server went away" if kept else None)

    def _open(self, folder: Path) -> "tuple[MlflowClient, str]":
        """The server and the run's id; a run that the server never heard of is opened."""
        tracked, request = read_tracked_run(folder), read_request(folder)
        if tracked:
            return self._server(self._uri or tracked.uri), tracked.run_id
        if request is None:
            raise ServiceError(f"{FILE} cannot be read")
        uri = self._uri or request.uri
        return self._server(uri), replace(request, uri=uri).open(self._server(uri), folder).run_id

    def _server(self, uri: str | None) -> "MlflowClient":
        if uri is None:
            raise ServiceError("its server is not known, name it with --tracking-uri")
        if uri not in self._servers:
            try:
                self._servers[uri] = connect(uri)
            except ServiceError as error:
                self._servers[uri] = error
        found = self._servers[uri]
        if isinstance(found, ServiceError):
            raise found
        return found


def _family(folder: Path) -> list[Path]:
    """The folder, and those of the cross-validation or sweep that it is a part of, whose process trains it."""
    family = [folder]
    while (family[-1].parent / FILE).is_file():
        family.append(family[-1].parent)
    return family


def _status(client: "MlflowClient", run_id: str) -> str:
    """The status of a run; a server that does not know it would refuse all messages, and they would be gone."""
    try:
        return str(client.get_run(run_id).info.status)
    except Exception as error:
        raise _refusal("the server does not give the run", error) from error


def _end(client: "MlflowClient", run_id: str, seen: float) -> bool:
    """Ends a run that still counts as running at the time when it was seen last; says whether it did."""
    if _status(client, run_id) != "RUNNING":
        return False
    try:
        client.set_terminated(run_id, "KILLED", int(seen * 1000))
    except Exception as error:
        raise _refusal("the server does not end the run", error) from error
    return True


def _refusal(message: str, error: Exception) -> ServiceError:
    reason = (without_secrets(error).splitlines() or [type(error).__name__])[0]
    return ServiceError(message, facts={"found": reason[:300]})


def _last_change(folder: Path) -> float:
    """When its process wrote into the folder last, in seconds since 1970; the mark changes whenever it is locked."""
    return max(file.stat().st_mtime for file in folder.iterdir() if file.name != MARK)
