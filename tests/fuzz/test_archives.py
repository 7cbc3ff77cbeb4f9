"""Mutated archives: unpacked or refused, and nothing ever lands outside their folder."""

import io
import shutil
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.io.archives import unpack
from tests.fuzz.mutations import apply, edits, fuzz, little_memory, read_or_refuse

FILES = {"task/dataset.json": b"{}" * 40, "task/imagesTr/a.nii": bytes(range(256)) * 4}


def _zip():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _tar(mode):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "valid"),
    [("a.zip", _zip()), ("a.tar", _tar("w")), ("a.tar.gz", _tar("w:gz")), ("a.tar.xz", _tar("w:xz"))],
)
def test_a_mutated_archive(tmp_path, name, valid):
    folder = tmp_path / "in" / "unpacked"

    @fuzz(0.25)
    @given(edits())
    def check(changes):
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / name).write_bytes(apply(changes, valid))
        read_or_refuse(lambda: unpack(tmp_path / "in" / name, folder))
        assert {path.name for path in (tmp_path / "in").iterdir()} <= {name, "unpacked"}
        assert [path.name for path in tmp_path.iterdir()] == ["in"]
        assert not list(folder.rglob("*.part"))

    with little_memory():
        check()


_NAMES = st.lists(st.sampled_from(["..", ".", "", "a", "/", "\\", "C:", "a" * 300, "b\n", "…"]), min_size=1, max_size=4)


def test_a_member_of_any_name_lands_inside_or_nowhere(tmp_path):
    @fuzz(0.25)
    @given(_NAMES, st.sampled_from("/\\"))
    def check(parts, separator):
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        (tmp_path / "in" / "deep").mkdir(parents=True)
        with tarfile.open(tmp_path / "in" / "a.tar", "w") as archive:
            archive.addfile(tarfile.TarInfo(separator.join(parts)), io.BytesIO())
        read_or_refuse(lambda: unpack(tmp_path / "in" / "a.tar", tmp_path / "in" / "deep" / "unpacked"))
        outside = [path for path in tmp_path.rglob("*") if path.is_file() and "unpacked" not in path.parts]
        assert [path.name for path in outside] == ["a.tar"]

    check()
