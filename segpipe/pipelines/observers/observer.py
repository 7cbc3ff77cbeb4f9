"""A run as its observers see it, and what they receive; none of them can stop it or change what it finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from segpipe.config.schema import Settings
from segpipe.errors import SegpipeError
from segpipe.system.case_errors import attempt_step
from segpipe.system.processes.stopping import closing
from segpipe.training.data.run_data import RunData
from segpipe.training.run_result import RunResult


@dataclass(frozen=True)
class Run:
    """A run that has its data and begins to train.

    Args:
        settings: The checked configuration.
        config: The same as plain data.
        folder: The run folder.
        data: The cases by role.
        provenance: Code, data, recipe and split, as plain data.
        files: What was written into the run folder of its data.
    """

    settings: Settings
    config: Mapping[str, Any]
    folder: Path
    data: RunData
    provenance: Mapping[str, Any]
    files: Sequence[Path] = ()


class RunObserver(Protocol):
    """Somebody who watches a run."""

    def measured(self, metrics: Mapping[str, float], step: int) -> None:
        """One point of each curve."""

    def finished(self, result: RunResult) -> None:
        """What the run found and made."""

    def closed(self, error: BaseException | None) -> None:
        """The run is over, by this error if there was one."""


@dataclass
class Observers:
    """Those who watch a run, in the order in which they are called; each may use what the ones before it wrote."""

    every: Sequence[RunObserver] = field(default_factory=list)

    def measured(self, metrics: Mapping[str, float], step: int) -> None:
        """Passes on one point of each curve."""
        for observer in self.every:
            observer.measured(metrics, step)

    def finished(self, result: RunResult) -> SegpipeError | None:
        """Passes on the result; returns the first error of an observer, after all were called."""
        problems = [attempt_step(partial(observer.finished, result))[1] for observer in self.every]
        return next((problem for problem in problems if problem), None)

    def closed(self, error: BaseException | None) -> None:
        """Passes on that the run is over."""
        for observer in self.every:
            observer.closed(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with closing(error):
            self.closed(error)
