"""A prediction in shards: whatever is killed when, the same command goes on, and the whole is that of one call."""

import random
import signal
import time

import numpy as np
import pytest

from segpipe.cli.merge import run as merge
from segpipe.cli.predict.command import run as predict
from segpipe.errors import ConfigError, OutputError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from segpipe.system.files.atomic_write import is_part
from segpipe.system.shards.records import SHARDS
from segpipe.system.shards.shard import Shard
from tests.support.processes import PATIENCE_S, Process, as_main

SHAPE, COUNT = (20, 20, 16), 40
NAMES = [f"scan{number:02d}" for number in range(COUNT)]
BAD = 17


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A model, 40 scans of which one is damaged, and what one call makes of them."""
    from tests.samples.small_models import UNET, without_onnx_export, write_small

    home = tmp_path_factory.mktemp("job")
    with without_onnx_export():
        write_small(home / "model", UNET)
    for number, name in enumerate(NAMES):
        image = np.random.default_rng(number).integers(-1000, 300, SHAPE).astype(np.int16)
        write_volume(home / "scans" / f"{name}.nii.gz", image, Grid(SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0])))
    (home / "scans" / f"{NAMES[BAD]}.nii.gz").write_bytes(b"x")
    assert predict(words(home, home / "whole")) == 2
    return home


def words(home, output, *more):
    given = ["--model", home / "model", "--input", home / "scans", "--output", output, "--search", "everywhere"]
    return [str(word) for word in [*given, "--threshold", "0.5", "--min-volume", "100", *more]]


def contents(folder):
    """Of all files but the shards' own and what killed writers left, which a later call removes."""
    files = {file.relative_to(folder): file for file in folder.rglob("*") if file.is_file()}
    hidden = {name for name in files if name.parts[0] == SHARDS or any(map(is_part, name.parts))}
    return {str(name): file.read_bytes() for name, file in files.items() if name not in hidden}


@pytest.mark.slow
def test_killed_shards_go_on_and_their_whole_is_that_of_one_call(job, tmp_path, capsys):
    out, seeded = tmp_path / "out", random.Random(5)

    def start(number):
        given = ["predict", *words(job, out, "--shard", f"{number}/4")]
        return Process(as_main, "segpipe", given, cwd=tmp_path, log=tmp_path / f"log{number}")

    shards = {number: start(number) for number in (1, 2, 3, 4)}
    for number, process in shards.items():
        own = [NAMES[position] for position in Shard(number, 4).share(NAMES)]
        wait_for(out, own, count=seeded.randrange(0, 6), process=process)
        time.sleep(seeded.uniform(0, 0.05))
        process.end(signal.SIGTERM if number == 4 else signal.SIGKILL)
    done = {name: record_of(out, name).stat().st_mtime_ns for name in NAMES if record_of(out, name).exists()}
    with pytest.raises(ConfigError, match="all shards must be done"):
        merge([str(out)])

    codes = [process.wait() for process in [start(number) for number in (1, 2, 3, 4)]]
    owner = next(number for number in (1, 2, 3, 4) if BAD in Shard(number, 4).share(NAMES))
    assert codes == [2 if number == owner else 0 for number in (1, 2, 3, 4)]
    assert {name: record_of(out, name).stat().st_mtime_ns for name in done} == done, "a scan was done twice"
    assert merge([str(out)]) == 2
    assert contents(out) == contents(job / "whole")
    reported = capsys.readouterr()
    assert "39 scans" in reported.out
    assert "left out: scan17" in reported.out
    assert "ImageError: the image file cannot be read\n  scan   scan17\n" in reported.err


def record_of(out, name):
    return out / ".segpipe" / f"{name}.json"


def wait_for(out, names, *, count, process):
    """Until so many scans are done, or the process has ended."""
    end = time.monotonic() + PATIENCE_S
    while sum(record_of(out, name).exists() for name in names) < count and process.returncode is None:
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_shards_of_other_settings_are_refused_and_a_part_is_merged_on_request(job, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(words(job, out, "--shard", "1/8")) in (0, 2)
    assert "shard 1/8: 5 of 40 scans; when all are done: python -m segpipe merge " in capsys.readouterr().out
    with pytest.raises(ConfigError, match="the same settings"):
        predict(words(job, out, "--shard", "2/8", "--overlap", "0.25"))
    assert merge([str(out), "--allow-missing"]) in (0, 2)
    assert "without the shards 2/8, 3/8" in capsys.readouterr().out
    table = (job / "whole" / "findings.csv").read_text().splitlines()
    own = {NAMES[position] for position in Shard(1, 8).share(NAMES)}
    expected = [line for number, line in enumerate(table) if number == 0 or line.split(",")[0] in own]
    assert (out / "findings.csv").read_text().splitlines() == expected
    assert predict(words(job, out, "--shard", "1/8")) in (0, 2)
    assert not (out / "findings.csv").exists(), "it may be stale"
    next(out.glob("*.nii.gz")).unlink()
    with pytest.raises(OutputError, match="the results of all scans must be there"):
        merge([str(out), "--allow-missing"])


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (["--at", "1,2,3"], "a lesion's place or --follow-up"),
        (["--input", "https://pacs/studies/1.2"], "a DICOMweb address"),
    ],
)
def test_what_is_no_folder_of_scans_is_not_shared_out(more, found):
    with pytest.raises(ConfigError, match="--shard is for a folder of scans") as caught:
        predict(["--model", "m", "--input", "i", "--output", "o", "--shard", "1/2", *more])
    assert caught.value.facts["found"] == found


@pytest.mark.parametrize(
    ("folders", "message"), [(["a"], "the folders of shards must exist"), (["here", "there"], "need an --output")]
)
def test_folders_that_cannot_be_merged_are_reported(tmp_path, monkeypatch, folders, message):
    monkeypatch.chdir(tmp_path)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match=message):
        merge(folders)
