"""Progress over scans that moves slice by slice and gives way to messages."""

import sys
from types import TracebackType
from typing import Any

from segpipe.errors import explain
from segpipe.inference.batch.runner import ScanOutcome
from segpipe.inference.stage_timer import StageTimer
from segpipe.system.progress import show_progress

_LAYOUT = "{l_bar}{bar}| {n:.2f}/{total} [{elapsed}<{remaining}{postfix}]"


class Bar(StageTimer):
    """Is shown from the first scan on."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._done = 0

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def expect(self, scans: int) -> None:
        """Adds scans that come to those of before."""
        if self._bar is None:
            self._bar = show_progress(scans, title="predicting", unit="scan", layout=_LAYOUT)
        else:
            self._bar.total += scans
            self._bar.refresh()

    def advance(self, done: int, total: int) -> None:
        """Moves within the current scan."""
        self._bar.update(max(0.0, self._done + 0.99 * done / total - self._bar.n))

    def report(self, outcome: ScanOutcome) -> ScanOutcome:
        """Moves to the end of a scan, and names it when it was left out."""
        self._done += 1
        if outcome.error:
            self._bar.write(explain(outcome.error.with_facts(scan=outcome.scan.name)), file=sys.stderr)
        self._bar.update(max(0.0, self._done - self._bar.n))
        return outcome
