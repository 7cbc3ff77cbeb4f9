from functools import partial
from operator import attrgetter

import numpy as np
import pytest

from segpipe.errors import DatasetError, GeometryError, ImageError, LabelError
from segpipe.evaluation.comparison.case_table import read_case_table
from segpipe.evaluation.evaluated_cases import evaluate_each, sort_outcomes
from segpipe.evaluation.folders import evaluate_mask_pair, pair_masks
from segpipe.evaluation.mask_pairs import Foreground
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume

GRID = Grid((20, 20, 10), np.diag([-0.8, -0.8, 2.5, 1.0]))


def block(start, value=1):
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    mask[start : start + 4, 5:9, 2:6] = value
    return mask


def write(folder, name, mask, grid=GRID):
    return write_volume(folder / name, mask, grid)


def evaluate_pairs(pairs, *, counted=None, processes=1):
    evaluate = partial(evaluate_mask_pair, counted=counted or Foreground())
    return sort_outcomes(evaluate_each(evaluate, pairs, name=attrgetter("case"), progress=False, workers=processes))


@pytest.fixture
def folders(tmp_path):
    """Case a is half right, b right in another format."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    write(references, "a.nii.gz", block(4))
    write(references, "b.nii.gz", block(8))
    write(predictions, "a.nii.gz", block(6))
    write(predictions, "b.nrrd", block(8))
    return predictions, references


@pytest.mark.parametrize("processes", [1, 2])
def test_pairs_are_evaluated_in_order_whatever_the_format_and_number_of_processes(folders, processes):
    pairs, alone = pair_masks(*folders)
    evaluated = evaluate_pairs(pairs, processes=processes)
    assert (alone, evaluated.errors) == ([], [])
    assert [result.case for result in evaluated.results] == ["a", "b"]
    assert [result.figures["dice"] for result in evaluated.results] == [0.5, 1.0]


def test_missing_surplus_and_bad_files_are_named_and_the_rest_is_done(folders):
    predictions, references = folders
    write(references, "c.nii.gz", block(4))
    write(predictions, "d.nii.gz", block(4))
    write(references, "e.nii.gz", block(4))
    write(predictions, "e.nii.gz", block(4)[:-1], Grid((19, 20, 10), GRID.affine))
    write(references, "f.nii.gz", block(4))
    (predictions / "f.nii.gz").write_bytes(b"no image")
    write(references, "g.nii.gz", block(4))
    write(predictions, "g.nii.gz", block(4) * np.float32(0.7))
    pairs, alone = pair_masks(predictions, references)
    evaluated = evaluate_pairs(pairs)
    assert [(error.message, error.facts["case"]) for error in alone] == [
        ("a case has no prediction", "c"),
        ("a prediction has no reference", "d"),
    ]
    assert [(type(error), error.facts["case"]) for error in evaluated.errors] == [
        (GeometryError, "e"),
        (ImageError, "f"),
        (LabelError, "g"),
    ]
    assert evaluated.errors[0].message == "prediction and reference are not on the same grid"
    assert evaluated.errors[2].message == "a mask must hold whole numbers"
    assert [result.case for result in evaluated.results] == ["a", "b"]


def test_errors_keep_their_facts_on_the_way_from_another_process(folders):
    predictions, references = folders
    write(references, "e.nii.gz", block(4))
    write(predictions, "e.nii.gz", block(4), Grid(GRID.shape, np.diag([1.0, 1.0, 1.0, 1.0])))
    evaluated = evaluate_pairs(pair_masks(predictions, references)[0], processes=2)
    assert evaluated.errors[0].facts["case"] == "e"
    assert evaluated.errors[0].hint


def test_one_value_of_a_mask_may_be_chosen_on_either_side(folders):
    predictions, references = folders
    write(predictions, "a.nii.gz", block(4, value=2) + block(12, value=1))
    write(predictions, "b.nrrd", block(8, value=2))
    pairs, _ = pair_masks(predictions, references)
    evaluated = evaluate_pairs(pairs, counted=Foreground(prediction=2, reference=1))
    assert [result.figures["dice"] for result in evaluated.results] == [1.0, 1.0]


def test_masks_may_lie_in_a_folder_for_each_case(folders, tmp_path):
    for name, start in (("a", 4), ("b", 10)):
        write(tmp_path / "cases" / name, "lung_nodules.nii.gz", block(start))
    pairs, alone = pair_masks(tmp_path / "cases", folders[1])
    assert [result.figures["dice"] for result in evaluate_pairs(pairs).results] == [1.0, 0.5]
    assert alone == []
    write(tmp_path / "cases" / "a", "lung.nii.gz", block(0))
    with pytest.raises(DatasetError, match="holds several masks") as caught:
        pair_masks(tmp_path / "cases", folders[1])
    assert "--mask-name" in caught.value.hint
    assert len(pair_masks(tmp_path / "cases", folders[1], mask_name="lung_nodules")[0]) == 2


def test_patients_and_facts_come_from_a_table(folders, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case,patient,texture,note\na,p1,5,round\nb,p1,,\n")
    pairs, alone = pair_masks(*folders, table=table)
    assert [pair.patient for pair in pairs] == ["p1", "p1"]
    assert pairs[0].extra == {"texture": 5.0, "note": "round"}
    assert alone == []


def test_a_table_that_lacks_cases_is_reported_once(folders, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case,patient\nz,p1\n")
    pairs, alone = pair_masks(*folders, table=table)
    assert [pair.patient for pair in pairs] == ["a", "b"]
    assert [error.facts["cases"] for error in alone] == ["2: a, b"]


@pytest.mark.parametrize(("text", "message"), [("case;patient\n", "must have the columns"), (None, "cannot be read")])
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_case_table(tmp_path / "cases.csv")


def test_folders_that_cannot_be_paired_are_refused(tmp_path, folders):
    predictions, references = folders
    with pytest.raises(DatasetError, match="the folder of masks must exist"):
        pair_masks(tmp_path / "nowhere", references)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="the folder has no masks"):
        pair_masks(tmp_path / "empty", references)
    write(tmp_path / "other", "x.nii.gz", block(4))
    with pytest.raises(DatasetError, match="no prediction has the name of a reference"):
        pair_masks(tmp_path / "other", references)
    write(predictions, "b.nii.gz", block(4))
    with pytest.raises(DatasetError, match="two masks have the same name"):
        pair_masks(predictions, references)
