"""A data set that is made in shards is the one that one call makes: names, patients, splits and files."""

import re

import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.datasets.manifest import read_manifest
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from segpipe.system.shards.records import SHARDS

SHAPE = (6, 7, 8)
GRID = Grid(SHAPE, np.diag([-0.8, -0.8, 2.0, 1.0]))


@pytest.fixture
def raw(tmp_path):
    """Nine scans of five patients, one of them damaged; a name holds a date."""
    lines = ["case,patient"]
    for number in range(9):
        name = f"ct_1950010{number + 1}"
        image = np.random.default_rng(number).integers(-1000, 400, SHAPE).astype(np.int16)
        mask = np.zeros(SHAPE, np.uint8)
        mask[2:4, 2:4, 2:4] = 1
        write_volume(tmp_path / "raw" / "images" / f"{name}.nii.gz", image, GRID)
        write_volume(tmp_path / "raw" / "masks" / f"{name}.nii.gz", mask, GRID)
        lines.append(f"{name},Doe {number // 2}")
    (tmp_path / "raw" / "images" / "ct_19500105.nii.gz").write_bytes(b"x")
    (tmp_path / "raw" / "list.csv").write_text("\n".join(lines))


def ingest(output, *more):
    words = ["--source", "nifti", "--input", "raw", "--table", "list.csv", "--workers", "0", "--output", output]
    return main(["ingest", *words, *map(str, more)])


def contents(folder):
    files = [file for file in folder.rglob("*") if file.is_file() and SHARDS not in file.parts]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("more", [["--copy"], ["--copy", "--rename"], []])
def test_shards_make_the_data_set_of_one_call(raw, tmp_path, monkeypatch, capsys, more):
    monkeypatch.chdir(tmp_path)
    assert ingest("a/set", *more) == 2
    whole = capsys.readouterr()
    codes = [ingest("b/set", *more, "--shard", f"{number}/4") for number in (3, 1, 4, 2)]
    assert sorted(codes) == [0, 0, 0, 2]
    assert not (tmp_path / "b" / "set" / "manifest.json").exists()
    capsys.readouterr()
    assert main(["merge", "b/set"]) == 2
    merged = capsys.readouterr()
    assert contents(tmp_path / "b" / "set") == contents(tmp_path / "a" / "set")
    assert merged.out.replace("b/set", "a/set") == whole.out
    assert merged.err == re.sub(r"^nifti: .*\n", "", whole.err, flags=re.MULTILINE)
    entries = read_manifest(tmp_path / "b" / "set").entries
    assert [entry.id for entry in entries] == [f"case_{number:04d}" for number in (1, 2, 3, 4, 6, 7, 8, 9)]
    assert [entry.patient for entry in entries] == [f"patient_{number:04d}" for number in (1, 1, 2, 2, 3, 4, 4, 5)]


def test_shards_of_several_machines_make_the_data_set_of_one_call(raw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ingest("set", "--copy") == 2
    for number in (1, 2):
        ingest(f"node{number}/set", "--copy", "--shard", f"{number}/2")
    assert main(["merge", "node1/set", "node2/set", "--output", "all/set"]) == 2
    assert contents(tmp_path / "all" / "set") == contents(tmp_path / "set")


def test_shards_of_other_settings_are_refused(raw, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    manifest = tmp_path / "set" / "manifest.json"
    manifest.parent.mkdir()
    manifest.touch()
    ingest("set", "--shard", "1/2")
    assert not manifest.exists(), "it is of another call"
    manifest.touch()
    assert ingest("set", "--shard", "2/2", "--label", "tumour") == 2
    assert "label: tumour" in capsys.readouterr().err
    assert manifest.exists()
    assert main(["merge", "set"]) == 2
    assert "not begun  2/2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [(["sample"], "the sample has no shards"), (["msd", "--download", "Task06_Lung"], "a task that is unpacked")],
)
def test_what_is_fetched_is_not_shared_out(tmp_path, capsys, source, message):
    assert main(["ingest", "--source", *source, "--output", str(tmp_path / "set"), "--shard", "1/2"]) == 2
    assert message in capsys.readouterr().err


def test_a_source_that_knows_no_shards_is_named(tmp_path):
    from segpipe.cli.ingest.sharding import ingest_shard
    from segpipe.datasets.ingested_cases import CaseJob, make_cases
    from segpipe.datasets.manifest import Entry, Manifest
    from segpipe.datasets.sources.base import IngestRequest, Source
    from segpipe.errors import ConfigError
    from segpipe.system.shards.shard import Shard

    def read(request):
        jobs = [CaseJob(name, name, lambda folder: Entry("x", "p", folder)) for name in "abcd"]
        made = make_cases(jobs, request.output, title="old", workers=0)
        return Manifest("old", "old", made.entries, {1: "nodule"}), made

    with pytest.raises(ConfigError, match="the source does not know shards"):
        ingest_shard("old", Source("old", read), IngestRequest(tmp_path, shard=Shard(1, 2)))
