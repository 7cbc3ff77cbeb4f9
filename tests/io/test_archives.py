"""Archives are unpacked below their folder or not at all."""

import io
import shutil
import tarfile
import zipfile

import pytest

from segpipe.errors import DatasetError, OutputError
from segpipe.io.archives import unpack


def _tar(path, entries, mode="w", *, special=None):
    with tarfile.open(path, mode) as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if special:
            info = tarfile.TarInfo("special")
            info.type, info.linkname = special, "/etc/passwd"
            tar.addfile(info)
    return path


def _zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


FILES = {"a/b.txt": b"hello", "c.txt": b"x" * 5000}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_files_are_unpacked_and_wanted_ones_chosen(tmp_path, kind):
    archive = tmp_path / f"data.{kind}"
    _zip(archive, FILES) if kind == "zip" else _tar(archive, FILES, "w:gz" if "gz" in kind else "w")

    files = unpack(archive, tmp_path / "out")

    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == list(FILES)
    assert [file.read_bytes() for file in files] == list(FILES.values())
    assert unpack(archive, tmp_path / "some", wanted=lambda name: name.startswith("a/")) == [
        tmp_path / "some" / "a" / "b.txt"
    ]
    assert not (tmp_path / "some" / "c.txt").exists()


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "C:\\out.txt", "..\\out.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_that_leads_out_stops_all(tmp_path, kind, name):
    (tmp_path / "deep").mkdir()
    archive = (_zip if kind == "zip" else _tar)(tmp_path / f"data.{kind}", {"good.txt": b"1", name: b"2"})

    with pytest.raises(DatasetError, match="may not write outside its folder") as caught:
        unpack(archive, tmp_path / "deep" / "out")

    assert caught.value.facts["member"] == name
    assert not (tmp_path / "deep" / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_stop_all(tmp_path, kind):
    archive = _tar(tmp_path / "data.tar", {"good.txt": b"1"}, special=kind)

    with pytest.raises(DatasetError, match="plain files only"):
        unpack(archive, tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_a_link_in_a_zip_stops_all(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")

    with pytest.raises(DatasetError, match="plain files only"):
        unpack(tmp_path / "data.zip", tmp_path / "out")


def test_a_damaged_archive_leaves_no_half_file(tmp_path):
    archive = _tar(tmp_path / "data.tar", FILES)
    archive.write_bytes(archive.read_bytes()[:2000])

    with pytest.raises(DatasetError, match="the archive is damaged"):
        unpack(archive, tmp_path / "out")

    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] in ([], ["b.txt"])


def test_other_files_and_missing_ones_are_reported(tmp_path):
    (tmp_path / "a.tar").write_text("no archive")

    with pytest.raises(DatasetError, match="neither a zip nor a tar"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    with pytest.raises(DatasetError, match="does not exist"):
        unpack(tmp_path / "b.tar", tmp_path / "out")


def test_what_is_there_is_not_written_again(tmp_path):
    archive = _tar(tmp_path / "data.tar", FILES)
    unpack(archive, tmp_path / "out")
    (tmp_path / "out" / "a" / "b.txt").write_bytes(b"HELLO")
    (tmp_path / "out" / "c.txt").write_bytes(b"half")

    unpack(archive, tmp_path / "out")

    assert (tmp_path / "out" / "a" / "b.txt").read_bytes() == b"HELLO"
    assert (tmp_path / "out" / "c.txt").read_bytes() == FILES["c.txt"]


def test_too_little_room_is_reported_before_writing(tmp_path, monkeypatch):
    archive = _tar(tmp_path / "data.tar", FILES)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=10))

    with pytest.raises(OutputError, match="too little room"):
        unpack(archive, tmp_path / "out")

    assert not any((tmp_path / "out").iterdir())


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    archive = _tar(tmp_path / "data.tar", FILES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file where a folder must go")

    with pytest.raises(OutputError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")
