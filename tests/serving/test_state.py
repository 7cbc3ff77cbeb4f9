"""One folder, one worker."""

import os
import sqlite3
from pathlib import Path

import pytest

from segpipe.errors import OutputError
from segpipe.serving.state import may_take_more, open_state
from segpipe.system.files.atomic_write import atomic_write


def test_two_workers_cannot_share_a_folder(tmp_path):
    folder = tmp_path / "deep" / "state"
    with open_state(folder) as held:
        assert held.stat().st_mode & 0o777 == 0o700
        with pytest.raises(OutputError, match="another worker uses this folder"), open_state(folder):
            pass
    with open_state(folder):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the state folder cannot be made"), open_state(tmp_path / "file" / "state"):
        pass


def test_more_memory_is_noticed_once(tmp_path):
    assert [may_take_more(tmp_path, limit) for limit in (10, 10, 20, 20, 5, 10)] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_a_limit_that_cannot_be_remembered_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the state folder cannot be used"):
        may_take_more(tmp_path / "file", 10)


def test_everything_in_the_folder_is_its_owners_alone_while_it_is_written(tmp_path):
    folder = tmp_path / "state"
    (folder / "received" / "old").mkdir(parents=True)
    folder.chmod(0o755)
    with open_state(folder), sqlite3.connect(folder / "queue.sqlite") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE series (uid TEXT)")
        may_take_more(folder, 1)
        with atomic_write(folder / "received" / "new" / "a.dcm", durable=True) as part:
            part.write_bytes(b"pixels")
            assert folder.stat().st_mode & 0o777 == 0o700
            assert _open_to_others(folder) == {"received", "received/old"}
    assert _open_to_others(folder) == {"received", "received/old"}
    database.close()


def test_a_folder_that_cannot_be_made_private_is_refused(tmp_path, monkeypatch):
    (tmp_path / "state").mkdir(mode=0o750)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)  # as some network drives do
    with pytest.raises(OutputError, match="must be its owner's alone") as caught, open_state(tmp_path / "state"):
        pass
    assert caught.value.facts["found"] == "mode 0750, which cannot be set to 0700"


def test_the_process_makes_files_as_before_when_the_folder_is_given_back(tmp_path):
    before = os.umask(0o022)
    try:
        with open_state(tmp_path / "state"):
            pass
        (tmp_path / "file").touch()
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def _open_to_others(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.stat().st_mode & 0o077}
