import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.errors import OutputError
from segpipe.system.files import csv_table
from segpipe.system.files.csv_table import csv_text, read_csv, write_csv

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


def test_a_table_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the table cannot be written"):
        write_csv(tmp_path / "file" / "cases.csv", ROWS, ("case",), what="the table")


FORMULAS = ['=HYPERLINK("http://x")', "+1+2", "-2+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "''-x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_and_no_column_is_a_formula_and_all_are_read_back(tmp_path, text):
    file = write_csv(tmp_path / "a.csv", [{"case": text, text: 1}], ("case",), what="the table")
    with file.open(newline="", encoding="utf-8") as stream:
        for cell in [cell for line in csv.reader(stream) for cell in line]:
            assert cell[0] not in "=+-@\t\r＝"
    assert read_csv(file) == (["case", text], [{"case": text, text: "1"}])


@pytest.mark.parametrize("number", [-1.5, 3, "-1.5", "+2e-3", "-.5", "-3.", float("-inf")])
def test_numbers_stay_numbers(number):
    assert csv_text([{"a": number}], ["a"]) == f"a\n{number}\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_every_text_is_read_back_as_it_was(texts):
    with TemporaryDirectory() as folder:
        rows = [{"n": "x", "text": text} for text in texts]
        assert read_csv(write_csv(Path(folder, "a.csv"), rows, ("n", "text"), what="it"))[1] == rows


def test_missing_cells_are_empty_and_surplus_ones_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffa,b\n1\n1,2,3\n", encoding="utf-8")
    assert read_csv(tmp_path / "a.csv") == (["a", "b"], [{"a": "1", "b": ""}, {"a": "1", "b": "2"}])


@pytest.mark.parametrize(
    ("content", "reason"), [(b"a\n\xff", "utf-8"), (b"a\n" + b"x" * 200_000, "field larger than field limit")]
)
def test_what_is_no_table_is_refused(tmp_path, content, reason):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_csv(tmp_path / "a.csv")


def test_a_table_beyond_all_bounds_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "LARGEST_TABLE", 2**20)
    with (tmp_path / "a.csv").open("wb") as stream:
        stream.truncate(2**20 + 1)
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        read_csv(tmp_path / "a.csv")
