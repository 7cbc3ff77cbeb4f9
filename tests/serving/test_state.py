"""One folder, one worker."""

import pytest

from segpipe.errors import OutputError
from segpipe.serving.state import open_state


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
