"""Readers of archives, which must put nothing outside their folder."""

import io
import shutil
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from random import Random

from tests.fuzz.soak.reader import Reader, Try, mutated

FILES = {"task/dataset.json": b"{}" * 40, "task/imagesTr/a.nii": bytes(range(256)) * 4}


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _tar(compression: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _prepare(folder: Path, *, name: str) -> Try:
    from segpipe.io.archives import unpack

    valid = _zip() if name.endswith("zip") else _tar(name.removeprefix("a.tar").removeprefix("."))
    inside, target = folder / "in", folder / "in" / "unpacked"

    def attempt(random: Random) -> None:
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir()
        (inside / name).write_bytes(mutated(random, valid))
        try:
            unpack(inside / name, target)
        finally:
            assert {path.name for path in inside.iterdir()} <= {name, "unpacked"}
            assert [path.name for path in folder.iterdir()] == ["in"]
            assert not list(target.rglob("*.part"))

    return attempt


ARCHIVES = (
    Reader("zip", 8, partial(_prepare, name="a.zip")),
    Reader("tar", 8, partial(_prepare, name="a.tar")),
    Reader("tar_gz", 8, partial(_prepare, name="a.tar.gz")),
    Reader("tar_xz", 8, partial(_prepare, name="a.tar.xz")),
)
