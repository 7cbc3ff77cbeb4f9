"""The bar of predict: what it reports on stderr."""

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


def test_scans_that_come_later_are_added_and_bad_ones_named(capsys):
    with Bar() as bar:
        bar.expect(1)
        bar.report(outcome("first"))
        bar.expect(2)
        bar.advance(5, 10)
        bar.report(outcome("second", ImageError("no lungs in the scan")))
        bar.report(outcome("third"))
    reported = capsys.readouterr().err
    assert "0.00/1" in reported
    assert "1.00/3" in reported
    assert "3.00/3" in reported
    assert "ImageError: no lungs in the scan\n  scan  second" in reported
