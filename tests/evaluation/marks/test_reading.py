import pytest

from segpipe.errors import DatasetError
from segpipe.evaluation.marks.luna16 import read_luna16
from segpipe.evaluation.marks.mark_table import read_marks

HEADER = "seriesuid,coordX,coordY,coordZ,probability\n"
FINDINGS = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"


def table(folder, text):
    file = folder / "marks.csv"
    file.write_text(text)
    return file


def write_luna16(folder, nodules="a,1,2,3,6\n", excluded="b,4,5,6,-1\n", scans="a\nb\n"):
    (folder / "annotations.csv").write_text(FINDINGS + nodules)
    (folder / "annotations_excluded.csv").write_text(FINDINGS + excluded)
    (folder / "seriesuids.csv").write_text(scans)
    return folder


def test_a_submission_is_lps_and_findings_of_predict_are_ras(tmp_path):
    points, errors = read_marks(table(tmp_path, HEADER + "b,1,2,3,0.5\na,-1,0,0,7e-1\n"), ("a", "b"))
    assert points.scan.tolist() == [1, 0]
    assert points.centre_mm.tolist() == [[-1.0, -2.0, 3.0], [1.0, 0.0, 0.0]]
    assert points.probability.tolist() == [0.5, 0.7]
    assert errors == []
    own = "scan,lesion,mean_probability,centre_x_mm,centre_y_mm,centre_z_mm\na,1,0.5,1,2,3\n"
    points, _ = read_marks(table(tmp_path, own), ("a",))
    assert points.centre_mm.tolist() == [[1.0, 2.0, 3.0]]


def test_a_table_with_its_header_alone_has_no_marks(tmp_path):
    points, errors = read_marks(table(tmp_path, HEADER), ("a",))
    assert (len(points.scan), errors) == (0, [])


def test_bad_rows_are_all_named_with_their_lines_in_one_message(tmp_path):
    rows = "a,1,2,3,0.5\n\na,1,2,3,nan\na,x,2,3,0.5\n,1,2,3,0.5\na,1,2,3\na,1,inf,3,0.5\n"
    with pytest.raises(DatasetError, match="every row of the table of marks must name a scan") as error:
        read_marks(table(tmp_path, HEADER + rows), ("a",))
    reported = str(error.value)
    assert [f"line {line}" in reported for line in range(2, 9)] == [False, False, True, True, True, True, True]
    assert "line 4    coordX 1, coordY 2, coordZ 3, probability nan" in reported
    assert "no seriesuid, coordX 1" in reported
    assert "probability empty" in reported
    assert "5 of 6" in reported


def test_a_long_list_of_bad_rows_is_cut(tmp_path):
    with pytest.raises(DatasetError) as error:
        read_marks(table(tmp_path, HEADER + "a,1,2,3,\n" * 1000), ("a",))
    assert "1000 of 1000" in str(error.value)
    assert len(str(error.value).splitlines()) < 12


@pytest.mark.parametrize(
    ("text", "message"),
    [("seriesuid,coordX\na,1\n", "the table of marks lacks columns"), ("", "the table of marks lacks columns")],
)
def test_other_columns_are_refused_naming_those_needed(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message) as error:
        read_marks(table(tmp_path, text), ("a",))
    assert "seriesuid, coordX, coordY, coordZ, probability or scan, centre_x_mm" in str(error.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DatasetError, match="the table of marks cannot be read"):
        read_marks(tmp_path / "nowhere.csv", ("a",))


def test_marks_in_unknown_scans_are_left_out_and_named_by_line(tmp_path):
    points, errors = read_marks(table(tmp_path, HEADER + "a,1,2,3,0.5\nz,1,2,3,0.5\n" + "y,1,2,3,0.5\n" * 6), ("a",))
    assert points.scan.tolist() == [0]
    assert "marks are in scans that the reference does not know" in str(errors[0])
    assert errors[0].facts["marks"] == 7
    assert errors[0].facts["lines"] == "3, 4, 5, 6, 7, …"


def test_a_table_of_another_data_set_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no mark is in a scan of the reference"):
        read_marks(table(tmp_path, HEADER + "z,1,2,3,0.5\n"), ("a",))


def test_the_tables_of_luna16(tmp_path):
    reference = read_luna16(write_luna16(tmp_path, scans="seriesuid\nb\na\n"))
    assert reference.scans == reference.patients == ("b", "a")
    assert reference.nodules.scan.tolist() == [1]
    assert reference.nodules.centre_mm.tolist() == [[-1.0, -2.0, 3.0]]
    assert reference.nodules.diameter_mm.tolist() == [6.0]
    assert reference.ignored.diameter_mm.tolist() == [10.0]  # what a negative one stands for


def test_findings_in_scans_that_are_not_listed_do_not_count(tmp_path):
    reference = read_luna16(write_luna16(tmp_path, nodules="a,1,2,3,6\nc,1,2,3,6\n", scans="a\n"))
    assert (len(reference.nodules), len(reference.ignored)) == (1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scans": "a\na\n"}, "the list of scans must name each once"),
        ({"scans": "z\n"}, "the scans listed must hold a nodule"),
        ({"nodules": "a,1,2,3,big\n"}, "every row of the table of findings must name a scan and hold finite numbers"),
    ],
)
def test_tables_of_luna16_that_cannot_be_used(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message):
        read_luna16(write_luna16(tmp_path, **change))


def test_a_folder_without_the_tables_says_which_are_needed(tmp_path):
    with pytest.raises(DatasetError, match="the list of scans cannot be read") as error:
        read_luna16(tmp_path)
    assert "annotations_excluded.csv and seriesuids.csv" in str(error.value)
