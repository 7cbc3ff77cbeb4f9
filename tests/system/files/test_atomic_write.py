"""Files that appear whole or not at all, next to writers that live, hang and were killed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from segpipe.errors import OutputError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from segpipe.system.files import atomic_write as atomic_write_module
from segpipe.system.files.atomic_write import append_whole, atomic_write, write_json, write_text

WRITER = """
import sys
from pathlib import Path
from segpipe.system.files.atomic_write import atomic_write

with atomic_write(Path(sys.argv[1])) as part:
    part.write_text("half")
    print("writing", flush=True)
    sys.stdin.readline()
    part.write_text("whole")
"""


@pytest.fixture
def writer(tmp_path):
    """Another process in the middle of writing `slow.txt`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "slow.txt")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def write(folder, name="new.txt"):
    with atomic_write(folder / name) as part:
        part.write_text(name)


def grow_old(folder):
    """As if nothing in the folder had been changed, and nobody had looked there, for two minutes."""
    atomic_write_module._swept.clear()
    for file in (folder, *folder.rglob("*")):
        os.utime(file, (time.time() - 120,) * 2)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_what_a_killed_writer_left_goes_with_the_next_write(writer, tmp_path):
    kill(writer)
    (left,) = tmp_path.iterdir()
    write(tmp_path)
    assert names(tmp_path) == sorted([left.name, "new.txt"])  # too young to be called killed
    grow_old(left)
    write(tmp_path)
    assert names(tmp_path) == ["new.txt"]


def test_every_kind_of_output_takes_it_away(writer, tmp_path):
    kill(writer)
    grow_old(next(tmp_path.iterdir()))
    write_volume(tmp_path / "mask.nii.gz", np.zeros((2, 3, 4), np.uint8), Grid((2, 3, 4), np.eye(4)))
    assert names(tmp_path) == ["mask.nii.gz"]


def test_one_killed_before_it_could_lock_goes_too(writer, tmp_path):
    kill(writer)
    (left,) = tmp_path.iterdir()
    (left / "lock").unlink(missing_ok=True)
    grow_old(left)
    write(tmp_path)
    assert names(tmp_path) == ["new.txt"]


def test_a_writer_that_hangs_is_left_alone_and_finishes(writer, tmp_path):
    (left,) = tmp_path.iterdir()
    grow_old(left)
    write(tmp_path)
    assert left.is_dir()
    writer.communicate("go on\n")
    assert writer.returncode == 0
    assert names(tmp_path) == ["new.txt", "slow.txt"]
    assert (tmp_path / "slow.txt").read_text() == "whole"


def test_what_others_left_stays(tmp_path):
    (tmp_path / ".part-of-mine").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".segpipe-part-link").symlink_to(tmp_path / "elsewhere")
    before = names(tmp_path)
    for file in tmp_path.iterdir():
        os.utime(file, (0, 0))
    atomic_write_module._swept.clear()
    write(tmp_path)
    assert names(tmp_path) == sorted([*before, "new.txt"])
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_block_that_fails_leaves_the_file_before(tmp_path):
    write(tmp_path)
    with pytest.raises(TypeError), atomic_write(tmp_path / "new.txt") as part:
        part.write_text(None)
    assert names(tmp_path) == ["new.txt"]
    assert (tmp_path / "new.txt").read_text() == "new.txt"


def test_writers_side_by_side_do_not_disturb_each_other(tmp_path):
    with atomic_write(tmp_path / "a") as first, atomic_write(tmp_path / "b") as second:
        first.write_text("a")
        second.write_text("b")
    assert names(tmp_path) == ["a", "b"]


def test_a_durable_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append((tmp_path / "new.txt").exists()))
    with atomic_write(tmp_path / "new.txt", durable=True) as part:
        part.write_text("safe")
    assert seen == [False, True]  # the file, then the folder with its name
    assert (tmp_path / "new.txt").read_text() == "safe"


def test_a_folder_appears_whole_and_safe_on_the_disk(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append((tmp_path / "new").exists()))
    with atomic_write(tmp_path / "new", durable=True) as part:
        part.mkdir()
        for name in ("a", "b"):
            (part / name).write_text(name)
    assert seen == [False, False, False, True]  # two files, their folder, and the one that holds its name
    assert names(tmp_path / "new") == ["a", "b"]
    assert names(tmp_path) == ["new"]


def test_a_private_text_is_for_its_owner_alone(tmp_path):
    write_text(tmp_path / "secret", "x", what="the secret", private=True)
    write_text(tmp_path / "open", "x", what="the text")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "open").stat().st_mode & 0o400


def test_a_text_that_cannot_be_written_says_what_it_is(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="the report cannot be written") as caught:
        write_text(tmp_path / "file" / "report.html", "x", what="the report", hint="make room")
    assert caught.value.facts["file"] == tmp_path / "file" / "report.html"
    assert caught.value.facts["found"] in ("Not a directory", "File exists")
    assert caught.value.hint == "make room"


def test_json_is_plain_data_without_nan(tmp_path):
    file = write_json(tmp_path / "a.json", {"name": "é", "value": 0.5}, what="the summary")
    assert file.read_text(encoding="utf-8") == '{\n "name": "é",\n "value": 0.5\n}\n'
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(file, {"value": float("nan")}, what="the summary")
    assert "0.5" in file.read_text()


def test_lines_are_added_behind_whole_ones(tmp_path):
    file = tmp_path / "lines.txt"
    append_whole(file, "one\n")
    append_whole(file, "two\nthree")
    append_whole(file, "vier – ö\n")
    assert file.read_text(encoding="utf-8") == "one\ntwo\nthree\nvier – ö\n"


FULL_DISK = """
import resource, sys
from pathlib import Path
from segpipe.system.files.atomic_write import append_whole

resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
append_whole(Path(sys.argv[1]), "1234567\\n")
append_whole(Path(sys.argv[1]), "89012345\\n")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a POSIX system")
def test_a_disk_that_takes_a_part_has_none_of_it(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path / "lines.txt"], capture_output=True, check=False)
    assert b"OSError" in done.stderr
    assert (tmp_path / "lines.txt").read_text() == "1234567\n"
