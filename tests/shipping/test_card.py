"""Tables of a cross-validation for a model card."""

import pytest

NODULES = "nodule,diameter_mm,texture,margin\na,4,5,5\nb,7,3,2\nc,9,5,4\n"


@pytest.fixture
def runs(tmp_path):
    cases = (["a,p1,0.75,10", "b,p1,0.25,-30"], ["c,p2,0.5,-20"])
    for number, lines in enumerate(cases):
        folder = tmp_path / f"fold_{number}" / "evaluation"
        folder.mkdir(parents=True)
        (folder / "cases.csv").write_text("\n".join(["case,patient,dice,volume_error_pct", *lines]) + "\n")
    (tmp_path / "nodules.csv").write_text(NODULES)
    return [tmp_path / "fold_0", tmp_path / "fold_1"]


def test_every_nodule_counts_once_in_each_table(runs, tmp_path):
    from card import out_of_fold

    lines = out_of_fold(runs, tmp_path / "nodules.csv")
    # patients are drawn with replacement: p1 alone has 0.5, p2 alone 0.5, both 0.5
    assert "| every nodule once | 3 | 2 | 0.500 | 0.500 … 0.500 | 0.500 | 20 % |" in lines
    assert "| under 6 mm | 1 | 1 | 0.750 | one patient | 0.750 | 10 % |" in lines
    assert "| part-solid | 1 | 1 | 0.250 | one patient | 0.250 | 30 % |" in lines
    assert "| sharp | 2 | 2 | 0.625 | 0.500 … 0.750 | 0.625 | 15 % |" in lines
    assert "| fold 1 | 1 | 1 | 0.500 | one patient | 0.500 | 20 % |" in lines
    diameters = [line for line in lines if " mm | " in line]
    assert [line.split(" | ")[0] for line in diameters] == ["| under 6 mm", "| 6-8 mm", "| 8-15 mm"]


def test_one_run_has_no_table_of_folds(runs, tmp_path):
    from card import out_of_fold

    assert not [line for line in out_of_fold(runs[:1], tmp_path / "nodules.csv") if "fold" in line]


def test_clicks_are_a_table_of_their_own(runs, tmp_path):
    from card import out_of_fold

    clicks = ["lesion,patient,diameter_mm,distance_mm,inside,dice", "a 1,p1,4,0.0,True,0.5", "a 1,p1,4,4.0,False,0.25"]
    (tmp_path / "clicks.csv").write_text("\n".join(clicks) + "\n")
    lines = out_of_fold(runs, tmp_path / "nodules.csv", tmp_path / "clicks.csv")
    assert "| 0 mm | 1 | 1 | 0.500 | one patient | 0.500 (1 clicks) |" in lines
    assert "| 4 mm | 1 | 1 | 0.250 | one patient | none |" in lines
