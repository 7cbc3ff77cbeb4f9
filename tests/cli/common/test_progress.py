"""The progress of predict: what it reports on stderr."""

import sys

from segpipe.cli.common.progress import Bar
from segpipe.errors import ImageError
from segpipe.inference.batch.runner import ScanOutcome
from segpipe.inference.batch.scans import Scan


def outcome(name, error=None):
    return ScanOutcome(Scan(name, lambda: None, lambda: 0, ""), None if error else [], error)


def test_nothing_is_drawn_before_there_is_a_scan(capsys):
    with Bar():
        pass
    assert capsys.readouterr().err == ""


def predict_three(capsys):
    with Bar() as bar:
        bar.expect(1)
        bar.report(outcome("first"))
        bar.expect(2)
        bar.advance(5, 10)
        bar.report(outcome("second", ImageError("no lungs in the scan")))
        bar.report(outcome("third"))
    return capsys.readouterr().err


def test_scans_that_come_later_are_added_and_bad_ones_named(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    reported = predict_three(capsys)
    assert "0.00/1" in reported
    assert "1.00/3" in reported
    assert "3.00/3" in reported
    assert "ImageError: no lungs in the scan\n  scan  second" in reported


def test_a_log_has_the_bad_scans_and_a_line_at_the_end(capsys):
    *named, last = predict_three(capsys).splitlines()
    assert named[:2] == ["ImageError: no lungs in the scan", "  scan  second"]
    assert last.startswith("predicting: 3 of 3 scans in 0:00")
