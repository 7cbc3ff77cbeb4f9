"""One folder, one worker."""

import pytest

from segpipe.errors import OutputError
from segpipe.serving.state import may_take_more, open_state


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
