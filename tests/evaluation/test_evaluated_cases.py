"""The loop that all evaluations share: bad cases are named by their kind, the others summarised and written."""

import json

import numpy as np
import pytest
import torch

from segpipe.errors import DatasetError, ImageError
from segpipe.evaluation.evaluate import evaluate_pair
from segpipe.evaluation.evaluated_cases import EvaluatedCases, evaluate_each, sort_outcomes, write_summary
from segpipe.geometry import Grid

GRID = Grid((8, 8, 8), np.eye(4))
ERRORS = {
    "memory": MemoryError(),
    "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "odd": RuntimeError("size mismatch"),
    "image": ImageError("the image is constant"),
}


def evaluate(name):
    if name in ERRORS:
        raise ERRORS[name]
    mask = np.zeros(GRID.shape, np.uint8)
    mask[2:5, 2:5, 2:5] = 1
    return evaluate_pair(name, name, mask, mask, GRID)


def test_a_case_that_fails_in_any_way_is_named_and_the_others_are_summarised(tmp_path):
    cases = sort_outcomes(evaluate_each(evaluate, ["a", *ERRORS, "b"], name=str, progress=False))
    assert [result.case for result in cases.results] == ["a", "b"]
    assert [error.facts["case"] for error in cases.errors] == list(ERRORS)
    assert [error.message for error in cases.errors] == [
        "MemoryError: the memory does not suffice for this case",
        "OutOfMemoryError: the memory does not suffice for this case",
        "RuntimeError: size mismatch",
        "the image is constant",
    ]
    summary = write_summary(cases, tmp_path / "new", about={"data": "blocks"}, seed=0)
    assert (summary["data"], summary["cases"], summary["failed_cases"]) == ("blocks", 2, 4)
    assert summary["metrics"]["dice"]["mean"] == 1.0
    assert json.loads((tmp_path / "new" / "summary.json").read_text()) == summary
    assert {file.name for file in (tmp_path / "new").iterdir()} == {
        "summary.json",
        "cases.csv",
        "lesions.csv",
        "froc.csv",
        "froc_by_diameter.csv",
    }


def test_no_good_case_is_no_evaluation(tmp_path):
    cases = EvaluatedCases(errors=[ImageError("bad")])
    with pytest.raises(DatasetError, match="no case could be evaluated") as caught:
        write_summary(cases, tmp_path / "new", about={}, seed=0)
    assert caught.value.facts == {"bad cases": 1}
    assert not (tmp_path / "new").exists()


def test_an_interrupt_ends_the_evaluation():
    def stop(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_each(stop, ["a"], name=str, progress=False)
