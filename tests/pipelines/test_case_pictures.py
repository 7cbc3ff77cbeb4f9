import pytest

from segpipe.evaluation.results import CaseResult
from segpipe.pipelines.reports.case_pictures import choose_cases, mask_files


def results(*dice):
    return [
        CaseResult(f"c{n}", f"p{n}", "no", {"dice": value}, reference_mm3=1.0, predicted_mm3=1.0)
        for n, value in enumerate(dice)
    ]


@pytest.mark.parametrize(
    ("dice", "count", "chosen"),
    [
        ((0.5, 0.1, 0.9, 0.3, 0.7), 3, {"best": "c2", "median": "c0", "worst": "c1"}),
        (
            (0.5, 0.1, 0.9, 0.3, 0.7),
            12,
            {"best": "c2", "median": "c0", "worst": "c1", "worst_2": "c3", "worst_3": "c4"},
        ),
        ((0.5, 0.1), 12, {"best": "c0", "worst": "c1"}),
        ((0.5, None), 12, {"best": "c0"}),
        ((None,), 12, {}),
        ((0.5,), 0, {}),
    ],
)
def test_the_best_the_median_and_the_worst_cases_are_shown_once(dice, count, chosen):
    assert {name: result.case for name, result in choose_cases(results(*dice), count).items()} == chosen


def test_twelve_pictures_are_the_best_the_median_and_the_worst_ten():
    chosen = choose_cases(results(*(n / 100 for n in range(40))), 12)
    assert {name: result.case for name, result in chosen.items()} == {
        "best": "c39",
        "median": "c20",
        "worst": "c0",
        **{f"worst_{n}": f"c{n - 1}" for n in range(2, 11)},
    }


def test_a_mask_is_found_in_the_folder_of_the_fold_that_has_it(tmp_path):
    for fold in (0, 1):
        (tmp_path / str(fold)).mkdir()
    (tmp_path / "1" / "a.nii.gz").touch()
    find = mask_files(tmp_path / "0", tmp_path / "1")
    assert find("a") == tmp_path / "1" / "a.nii.gz"
    assert find("b") == tmp_path / "0" / "b.nii.gz"
