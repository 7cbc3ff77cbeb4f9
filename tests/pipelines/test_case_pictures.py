import base64
import gzip

import nibabel
import numpy as np
import pytest
import yaml

from segpipe.evaluation.reading import Evaluation
from segpipe.evaluation.results import CaseResult
from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.pipelines.comparison.compared_runs import ComparedRun
from segpipe.pipelines.comparison.differing_cases import draw_differing_cases
from segpipe.pipelines.reports.case_pictures import choose_cases, mask_files
from tests.samples.small_models import SCAN
from tests.samples.two_classes import CORE, RIM, write_two_classes


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


@pytest.mark.parametrize(("labels", "shown"), [({1: "rim", 2: "core"}, [RIM, CORE]), ({1: "core"}, [CORE])])
def test_cases_that_differ_are_drawn_with_the_classes_of_the_run(tmp_path, labels, shown):
    data = write_two_classes(tmp_path / "data", cases=1)
    reference = read_volume(data / "masks" / "case_0.nii.gz")
    mask = np.isin(reference.array, shown)
    write_volume(tmp_path / "masks" / "case_0.nii.gz", np.roll(mask, 2, axis=0).astype(np.uint8), reference.grid)
    columns = {"table": None, "case_column": "case", "patient_column": "patient", "cache": None}
    section = {"name": "nifti", "root": str(data), "labels": {RIM: "rim", CORE: "core", 255: "ignore"}, **columns}
    config = {"data": section, "recipe": {**SCAN.to_dict(), "labels": labels}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    runs = [
        ComparedRun(Evaluation(name, {}, [], []), masks=(tmp_path / "masks",), run_folder=tmp_path)
        for name in ("old", "new")
    ]
    row = {"case": "case_0", "difference": 0.1, "first": 0.5, "second": 0.6}
    drawn, problem = draw_differing_cases({"cases": [row]}, *runs)
    assert problem is None
    packed = gzip.decompress(base64.b64decode(drawn.views["differs_1_first"].masks["reference"]))
    assert int(nibabel.Nifti1Image.from_bytes(packed).get_fdata().sum()) == int(mask.sum())
