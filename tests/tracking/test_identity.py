import json

import pytest

from segpipe.tracking.identity import TrackedRun, read_run_id, read_tracked_run, write_tracked_run


def test_the_run_is_read_back_without_its_password(tmp_path):
    file = write_tracked_run(tmp_path / "run", "abc", "postgresql://ann:secret@db/mlflow")
    assert read_tracked_run(tmp_path / "run") == TrackedRun("abc", "postgresql://db/mlflow")
    assert "secret" not in file.read_text()


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", json.dumps({"uri": "sqlite:///a.db"})])
def test_a_folder_without_a_whole_note_is_not_tracked(tmp_path, text):
    if text is not None:
        (tmp_path / "tracking.json").write_text(text)
    assert read_tracked_run(tmp_path) is None
    assert read_run_id(tmp_path) is None


def test_a_note_of_an_earlier_version_names_the_run_alone(tmp_path):
    (tmp_path / "tracking.json").write_text('{"run_id": "abc"}')
    assert read_tracked_run(tmp_path) == TrackedRun("abc", None)
    (tmp_path / "tracking.json").write_text('{"run_id": "abc", "uri": "postgresql://***@db/mlflow"}')
    assert read_tracked_run(tmp_path) == TrackedRun("abc", "postgresql://db/mlflow")
