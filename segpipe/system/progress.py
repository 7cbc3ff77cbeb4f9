"""How far work has come: a bar on a terminal, and in a log a line every half minute with rate and time left."""

import sys
import time
from collections.abc import Mapping
from typing import Protocol, TextIO

LINE_EVERY_S = 30.0
_MINUTE_S, _HOUR_S = 60.0, 3600.0


class Progress(Protocol):
    """What `show_progress` shows; `tqdm` has more than this."""

    n: float
    total: float

    def update(self, n: float = 1) -> object:
        """Adds what was done."""

    def set_postfix(self, values: Mapping[str, object], refresh: bool = True) -> None:
        """Says more, with the next update."""

    def refresh(self) -> object:
        """Shows a new total."""

    def write(self, text: str, file: TextIO) -> None:
        """Writes a message in between."""

    def close(self) -> None:
        """Shows for the last time."""


def show_progress(total: int, *, title: str | None, unit: str, initial: int = 0, layout: str | None = None) -> Progress:
    """Shows on stderr how far work is.

    Args:
        total: How much there is to do.
        title: What is being done; None shows nothing.
        unit: What is counted, in the singular.
        initial: What was done before.
        layout: A bar's, see `bar_format` of tqdm.
    """
    if title is not None and not sys.stderr.isatty():
        return ProgressLines(total, title=title, unit=unit, initial=initial)
    from tqdm import tqdm

    bar: Progress = tqdm(total=total, desc=title, unit=unit, initial=initial, bar_format=layout, disable=title is None)
    return bar


class ProgressLines:
    """A line from time to time and one at the end, for a file that is read later.

    Args:
        total: How much there is to do.
        title: What is being done.
        unit: What is counted, in the singular.
        initial: What was done before.
    """

    def __init__(self, total: float, *, title: str, unit: str, initial: float = 0) -> None:
        self.n, self.total = float(initial), float(total)
        self._initial, self._title, self._unit, self._more = float(initial), title, unit, ""
        self._begin = self._shown_at = time.monotonic()
        self._shown = self.n

    def update(self, n: float = 1) -> None:
        """Adds what was done, and shows it when it is time."""
        self.n += n
        now = time.monotonic()
        if now >= self._shown_at + LINE_EVERY_S:
            self._show(now)

    def set_postfix(self, values: Mapping[str, object], refresh: bool = True) -> None:
        """Says more, with the next line."""
        self._more = "".join(f", {name} {value}" for name, value in values.items())

    def refresh(self) -> None:
        """Nothing: a new total is shown with the next line."""

    def write(self, text: str, file: TextIO) -> None:
        """Writes a message."""
        print(text, file=file, flush=True)

    def close(self) -> None:
        """Shows where it ended, unless the last line did."""
        if self.n > self._shown:
            self._show(time.monotonic())

    def _show(self, now: float) -> None:
        spent_s = now - self._begin
        per_s = (self.n - self._initial) / max(spent_s, 1e-3)
        left_s = (self.total - self.n) / per_s if per_s > 0 else None
        done = f"{describe_number(self.n)} of {describe_number(self.total)} {self._unit}s"
        times = f"in {clock_time(spent_s)}" + (f", {clock_time(left_s)} left" if left_s else "")
        print(
            f"{self._title}: {done} {times}, {describe_rate(per_s, self._unit)}{self._more}",
            file=sys.stderr,
            flush=True,
        )
        self._shown_at, self._shown = now, self.n


def describe_number(number: float) -> str:
    """A number in whole or in tenths.

    >>> describe_number(750.0), describe_number(3.25)
    ('750', '3.2')
    """
    return f"{number:.1f}".removesuffix(".0")


def clock_time(seconds: float) -> str:
    """A time as a clock shows it.

    >>> clock_time(7.6), clock_time(3725)
    ('0:08', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def describe_rate(per_s: float, unit: str) -> str:
    """A rate per second, minute or hour, whichever is a number above 1.

    >>> describe_rate(4.21, "step"), describe_rate(0.2, "case"), describe_rate(0.001, "scan")
    ('4.2 steps/s', '12.0 cases/min', '3.6 scans/h')
    """
    if per_s >= 1:
        return f"{per_s:.1f} {unit}s/s"
    per, name = (_MINUTE_S, "min") if per_s * _MINUTE_S >= 1 else (_HOUR_S, "h")
    return f"{per_s * per:.1f} {unit}s/{name}"
