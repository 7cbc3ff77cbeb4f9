"""A folder that cannot be written is one message before any work."""

import pytest

from segpipe.errors import OutputError, explain
from segpipe.system.files.writable import check_writable


@pytest.mark.parametrize("name", [".", "new", "new/folder"])
def test_a_folder_that_can_be_written_or_made_is_fine_and_nothing_is_left(tmp_path, name):
    check_writable(tmp_path / name, what="the data set", hint="another one")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        check_writable(tmp_path / "file" / "folder", what="the data set", hint="another one")
    assert explain(caught.value).splitlines() == [
        "OutputError: the data set cannot be written",
        f"  folder  {tmp_path / 'file' / 'folder'}",
        "  found   Not a directory",
        "  try     another one",
    ]
