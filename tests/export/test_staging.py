import pytest

from segpipe.errors import OutputError
from segpipe.export.staging import staged_folder


def write(path, text: str) -> None:
    with staged_folder(path, marker="index") as staging:
        (staging / "index").write_text(text)


def test_a_folder_appears_when_all_is_written(tmp_path) -> None:
    path = tmp_path / "deep" / "model"
    with staged_folder(path, marker="index") as staging:
        (staging / "index").write_text("1")
        assert not path.exists()
    assert (path / "index").read_text() == "1"
    assert [item.name for item in path.parent.iterdir()] == ["model"]


def test_an_earlier_folder_is_replaced_whole(tmp_path) -> None:
    write(tmp_path / "model", "1")
    (tmp_path / "model" / "more").write_text("old")
    write(tmp_path / "model", "2")
    assert [item.name for item in tmp_path.rglob("*")] == ["model", "index"]
    assert (tmp_path / "model" / "index").read_text() == "2"


def test_nothing_is_left_of_a_failure(tmp_path) -> None:
    write(tmp_path / "model", "1")
    with pytest.raises(ZeroDivisionError), staged_folder(tmp_path / "model", marker="index") as staging:
        (staging / "index").write_text(str(1 // 0))
    assert [item.name for item in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "index").read_text() == "1"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_is_never_overwritten(kind, tmp_path) -> None:
    path = tmp_path / "photos"
    if kind == "folder":
        path.mkdir()
        (path / "holiday").write_text("sun")
    else:
        path.write_text("sun")
    with pytest.raises(OutputError, match="holds something else"):
        write(path, "1")
    assert (path / "holiday" if kind == "folder" else path).read_text() == "sun"


def test_an_empty_folder_is_filled(tmp_path) -> None:
    (tmp_path / "model").mkdir()
    write(tmp_path / "model", "1")
    assert (tmp_path / "model" / "index").read_text() == "1"


def test_a_full_disk_is_one_message(tmp_path) -> None:
    with pytest.raises(OutputError, match="cannot be written"), staged_folder(tmp_path / "model", marker="index"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_place_below_a_file_is_one_message(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "file" / "model", "1")
