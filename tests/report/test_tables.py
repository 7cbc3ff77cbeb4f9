from segpipe.report.summary import parts, tiles
from segpipe.report.tables import column_title, show, table


def test_numbers_read_well():
    assert [show(value) for value in (0.81234, 9.6, 12.34, 1234.5, -0.5, float("nan"), True)] == [
        "0.812",
        "9.600",
        "12.3",
        "1234",
        "−0.500",
        "–",
        "yes",
    ]
    assert show([-25.4, -12.2]) == "−25.4 to −12.2"
    assert show([1, 2, 3]) == "1, 2, 3"


def test_columns_have_names_and_units_for_people():
    keys = ("dice", "reference_mm3", "matched_diameter_mm", "sensitivity_ci95", "extra_texture", "fp")
    assert [column_title(key) for key in keys] == [
        "Dice",
        "reference, mm³",
        "matched diameter, mm",
        "95 % interval",
        "texture",
        "false positives",
    ]


def test_rows_may_lack_values_and_sort_by_what_they_hold():
    content = table([{"case": "a", "dice": 0.51239}, {"case": "b"}])
    assert [column.text for column in content.columns] == [True, False]
    assert [[cell.text for cell in row] for row in content.rows] == [["a", "0.512"], ["b", "–"]]
    assert [[cell.value for cell in row] for row in content.rows] == [["", "0.51239"], ["", ""]]


def test_a_tile_without_interval_has_no_bar():
    found = tiles({"cases": 3, "patients": 2, "lesions": {"f1": 0.5}})
    assert [(tile.name, tile.value, tile.bar) for tile in found] == [("Lesion F1", "0.500", None), ("Cases", "3", None)]


def test_a_bar_covers_the_interval_in_percent():
    bar = tiles({"metrics": {"dice": {"mean": 0.5, "ci95": [0.25, 0.75]}}})[0].bar
    assert (bar.start, bar.width, bar.at) == (25.0, 50.0, 49.4)


def test_parts_that_an_evaluation_lacks_are_left_out():
    detection = {"centre": {"sensitivity_at_fp_per_scan": {"0.125": 0.5}, "cpm": 0.5, "average_precision": 0.25}}
    (part,) = parts({"detection": detection})
    assert [column.name for column in part.table.columns] == ["matched", "0.125 fp/scan", "CPM", "average precision"]
    assert [cell.text for cell in part.table.rows[0]] == ["by centre", "0.500", "0.500", "0.250"]


def test_detection_by_diameter_is_a_table_of_its_own():
    size = {"lesions": 3, "sensitivity_at_fp_per_scan": {"0.125": 0.5}, "cpm": 0.5, "cpm_ci95": [0.25, 0.75]}
    _, part = parts({"detection": {"overlap": {"cpm": 0.5, "by_diameter": {"6-8 mm": size}}}})
    names = ["matched", "diameter", "lesions", "0.125", "CPM", "95 % interval"]
    assert [column.name for column in part.table.columns] == names
    assert [cell.text for cell in part.table.rows[0]][:5] == ["by overlap", "6-8 mm", "3", "0.500", "0.500"]


def test_figures_given_as_text_are_set_flush_right():
    rows = [{"name": "Dice", "p": "< 0.001"}]
    assert [column.text for column in table(rows).columns] == [True, True]
    found = table(rows, right=("p",))
    assert [column.text for column in found.columns] == [True, False]
    assert [cell.kind for cell in found.rows[0]] == ["text", ""]
