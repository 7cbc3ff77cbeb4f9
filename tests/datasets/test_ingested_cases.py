"""Many cases: done once, done again when something they depend on changes, and never stopped by a bad one."""

from functools import partial

import pytest

from segpipe.datasets.ingested_cases import CaseJob, make_cases
from segpipe.datasets.manifest import Entry
from segpipe.errors import DatasetError, ImageError, OutputError


def _make(case, text, folder):
    if text == "bad":
        raise ImageError("the image is bad", facts={"found": text})
    if text == "full":
        raise OSError(28, "No space left on device")
    with (folder / "log").open("a") as log:
        log.write(case)
    image = folder / f"{case}.nii"
    image.write_text(text)
    return Entry(case, "p", image, extra={"text": text})


def _jobs(**texts):
    return [CaseJob(case, text, partial(_make, case, text)) for case, text in texts.items()]


def _do(folder, workers=0, **texts):
    return make_cases(_jobs(**texts), folder, title="test", workers=workers)


def test_a_second_call_does_only_what_is_missing(tmp_path):
    first = _do(tmp_path, a="1", b="2")
    assert ([entry.id for entry in first.entries], first.new) == (["a", "b"], 2)
    second = _do(tmp_path, a="1", b="2", c="3")
    assert second.entries[:2] == first.entries
    assert second.new == 1
    assert (tmp_path / "log").read_text() == "abc"


def test_a_case_is_made_again_when_its_key_changes_or_a_file_is_gone(tmp_path):
    _do(tmp_path, a="1", b="2", c="3")
    (tmp_path / "b.nii").unlink()
    assert _do(tmp_path, a="other", b="2", c="3").new == 2
    assert (tmp_path / "a.nii").read_text() == "other"
    assert (tmp_path / "log").read_text() == "abcab"


def test_a_damaged_record_counts_as_not_done(tmp_path):
    _do(tmp_path, a="1")
    (tmp_path / ".done" / "a.json").write_text("{")
    assert _do(tmp_path, a="1").new == 1


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_bad_cases_are_named_and_the_others_done_in_order(tmp_path, workers):
    made = _do(tmp_path, workers, a="1", b="bad", c="3", d="full")
    assert [entry.id for entry in made.entries] == ["a", "c"]
    assert made.new == 2
    assert [error.facts["case"] for error in made.errors] == ["b", "d"]
    assert "the image is bad" in str(made.errors[0])
    assert "No space left" in str(made.errors[1])


def test_two_cases_with_one_id_are_reported(tmp_path):
    with pytest.raises(DatasetError, match="unique"):
        make_cases([*_jobs(a="1"), *_jobs(a="2")], tmp_path, title="test", workers=0)


def test_a_case_without_memory_costs_that_case(tmp_path):
    def make(folder):
        raise MemoryError

    made = make_cases([CaseJob("a", "", make), *_jobs(b="1")], tmp_path, title="test", workers=0)
    assert [entry.id for entry in made.entries] == ["b"]
    assert made.errors[0].facts == {"case": "a"}
    assert "MemoryError" in made.errors[0].message


def test_a_folder_that_cannot_be_written_is_one_message_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the data set cannot be written"):
        make_cases(_jobs(a="1", b="2"), tmp_path / "file" / "set", title="test", workers=0)
