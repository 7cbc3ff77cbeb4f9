"""Progress: a bar on a terminal, whole lines elsewhere, nothing without a title."""

import pytest

from segpipe.system import progress as module
from segpipe.system.progress import ProgressLines, show_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock whose seconds a test sets."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_line_is_written_every_half_minute(clock, capsys):
    progress = ProgressLines(100, title="training", unit="step")
    for _ in range(65):
        clock[0] += 1
        progress.update()
    assert capsys.readouterr().err.splitlines() == [
        "training: 30 of 100 steps in 0:30, 1:10 left, 1.0 steps/s",
        "training: 60 of 100 steps in 1:00, 0:40 left, 1.0 steps/s",
    ]


def test_the_last_line_says_where_it_ended(clock, capsys):
    progress = ProgressLines(4, title="preparing", unit="case")
    clock[0] += 20
    progress.update(4)
    progress.close()
    assert capsys.readouterr().err == "preparing: 4 of 4 cases in 0:20, 12.0 cases/min\n"


def test_the_last_line_is_not_said_twice(clock, capsys):
    progress = ProgressLines(2, title="preparing", unit="case")
    clock[0] += 40
    progress.update(2)
    progress.close()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_was_done_before_counts_for_no_rate(clock, capsys):
    progress = ProgressLines(750, title="training", unit="step", initial=500)
    progress.set_postfix({"loss": "0.123"})
    clock[0] += 50
    progress.update(100)
    assert capsys.readouterr().err == "training: 600 of 750 steps in 0:50, 1:15 left, 2.0 steps/s, loss 0.123\n"


def test_work_may_grow_and_parts_of_it_count(clock, capsys):
    progress = ProgressLines(1, title="predicting", unit="scan")
    progress.total += 1
    progress.refresh()
    clock[0] += 30
    progress.update(0.5)
    assert capsys.readouterr().err == "predicting: 0.5 of 2 scans in 0:30, 1:30 left, 1.0 scans/min\n"


def test_nothing_done_is_no_line(clock, capsys):
    progress = ProgressLines(5, title="training", unit="step", initial=3)
    progress.close()
    assert capsys.readouterr().err == ""


def test_messages_come_in_between(capsys):
    progress = ProgressLines(5, title="training", unit="step")
    progress.write("a message", file=module.sys.stderr)
    assert capsys.readouterr().err == "a message\n"


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    progress = show_progress(2, title="predicting", unit="scan")
    progress.update(2)
    progress.close()
    assert "predicting: 100%" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_without_a_title_nothing_is_shown(monkeypatch, capsys, terminal):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: terminal, raising=False)
    progress = show_progress(2, title=None, unit="scan")
    progress.update()
    progress.update()
    progress.close()
    assert capsys.readouterr().err == ""
