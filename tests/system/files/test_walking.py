"""Files are found while folders go."""

import os
from pathlib import Path

from segpipe.system.files.walking import files_below


def test_files_at_any_depth_fit_the_pattern(tmp_path):
    for name in ("a.ckpt", "b.txt", "c/d.ckpt", "c/e/f.ckpt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert sorted(files_below(tmp_path, "*.ckpt")) == [tmp_path / name for name in ("a.ckpt", "c/d.ckpt", "c/e/f.ckpt")]
    assert len(list(files_below(tmp_path))) == 4


def test_a_folder_that_is_not_there_has_no_files(tmp_path):
    assert list(files_below(tmp_path / "missing")) == []


def test_a_folder_that_goes_while_it_is_looked_into_is_passed_over(tmp_path, monkeypatch):
    """As the folder of an unfinished file does that another process renames."""
    (tmp_path / "passing").mkdir()
    (tmp_path / "stays").mkdir()
    (tmp_path / "stays" / "last.ckpt").touch()
    look = os.scandir

    def looked_into_late(path):
        if Path(path).name == "passing":
            (tmp_path / "passing").rmdir()
        return look(path)

    monkeypatch.setattr(os, "scandir", looked_into_late)
    assert list(files_below(tmp_path)) == [tmp_path / "stays" / "last.ckpt"]
    assert not (tmp_path / "passing").exists()
