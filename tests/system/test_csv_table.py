import csv

import pytest

from segpipe.errors import OutputError
from segpipe.system.csv_table import csv_text, write_csv

ROWS = [{"case": "a", "dice": 0.1 + 0.2, "note": 'said "no", twice\nor more'}, {"case": "b", "dice": None, "more": 1}]


def test_a_table_is_read_back_as_it_was(tmp_path):
    file = write_csv(tmp_path / "new" / "cases.csv", ROWS, ("case", "patient"), what="the table")
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["case", "patient", "dice", "note", "more"]
    assert float(rows[0]["dice"]) == 0.1 + 0.2
    assert rows[0]["note"] == ROWS[0]["note"]
    assert (rows[1]["dice"], rows[1]["more"], rows[1]["patient"]) == ("", "1", "")


def test_an_empty_table_has_its_header():
    assert csv_text([], ["case", "dice"]) == "case,dice\n"


def test_a_table_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the table cannot be written"):
        write_csv(tmp_path / "file" / "cases.csv", ROWS, ("case",), what="the table")
