"""The kinds of tracking that the configuration can choose."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from segpipe.parts import Registry, build_part
from segpipe.system.processes.stopping import closing
from segpipe.tracking.harmless import harmless
from segpipe.tracking.mlflow import Tracker
from segpipe.tracking.server import connect


@dataclass(frozen=True)
class RunToTrack:
    """What a tracker must know of a run.

    Args:
        folder: The run's folder; its name is the run's name unless the configuration gives one.
        config: The resolved configuration as plain data.
        tags: Facts to search runs by.
        run_id: The MLflow run to continue.
        parent: The MLflow run that holds this one.
        may_wait: Whether the run is opened later where the server does not answer now.
    """

    folder: Path
    config: Mapping[str, Any]
    tags: Mapping[str, Any] = field(default_factory=dict)
    run_id: str | None = None
    parent: str | None = None
    may_wait: bool = False


def mlflow(
    run: RunToTrack,
    *,
    uri: Annotated[str, MinLen(1)],
    experiment: Annotated[str, MinLen(1)],
    run_name: str | None,
    system_metrics: bool,
) -> Tracker:
    """Tracks the run with MLflow; see `Tracker.start`."""
    tracker = Tracker.start(
        uri=uri,
        experiment=experiment,
        run_name=run_name or run.folder.name,
        config=run.config,
        tags=run.tags,
        run_id=run.run_id,
        folder=run.folder,
        parent=run.parent,
        may_wait=run.may_wait,
    )
    if system_metrics:
        tracker.watch_system()
    return tracker


def none(run: RunToTrack) -> None:
    """Does not track the run."""


_SHIPPED: dict[str, Callable[..., Tracker | None]] = {"mlflow": mlflow, "none": none}
TRACKERS = Registry("tracking", _SHIPPED, group="segpipe.trackers", given=("run",))


def ask_tracker(spec: Mapping[str, Any]) -> None:
    """Makes sure that MLflow answers, where it is wanted, before any work is done.

    Raises:
        ServiceError: when it does not.
    """
    if spec.get("name") == "mlflow":
        connect(str(spec["uri"]))


def build_tracker(spec: Mapping[str, Any], run: RunToTrack) -> Tracker | None:
    """Starts the tracker that the section `tracking` of a configuration names; None for `none`."""
    tracker: Tracker | None = build_part(TRACKERS, spec, run=run)
    return tracker


@contextmanager
def closed_at_end(tracker: Tracker | None) -> Iterator[None]:
    """Closes the tracker, if there is one, by what the block ended with; whatever goes wrong there ends nothing."""
    try:
        yield
    except BaseException as error:
        _close(tracker, error)
        raise
    _close(tracker)


def _close(tracker: Tracker | None, error: BaseException | None = None) -> None:
    with closing(error), harmless("ending the MLflow run"):
        if tracker:
            tracker.close(error)
