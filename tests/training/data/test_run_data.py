"""What a run may work on: outlined cases alone; everything else is refused before any work, all of it at once."""

import hashlib
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.datasets.manifest import data_hash, write_manifest
from segpipe.datasets.opening import quick_hash
from segpipe.datasets.sources.folders import find_cases
from segpipe.errors import ConfigError, DatasetError
from segpipe.preprocessing.cache.file_digests import content_digest, file_digest
from segpipe.training.data.run_data import check_outlines, prepare_data
from segpipe.training.fitting import recipe_of


@pytest.fixture
def manifest(tiny_dataset):
    return find_cases(tiny_dataset)


def test_outlined_cases_pass(manifest):
    assert check_outlines(manifest) is None


def test_cases_without_mask_and_spheres_are_reported_together(manifest):
    first, second, *others = manifest.entries
    mixed = manifest.with_entries([replace(first, mask=None), replace(second, extra={"sphere": True}), *others])
    with pytest.raises(DatasetError, match=r"cannot be trained on \(2 mistakes\)") as caught:
        check_outlines(mixed)
    assert "without mask  1 of 10 cases: case_0" in str(caught.value)
    assert "spheres   1 of 10 cases: case_1" in str(caught.value)
    assert "predict needs no masks" in str(caught.value)
    assert "evaluate --model MODEL" in str(caught.value)


def test_a_run_on_scans_alone_is_refused_before_any_work(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGPIPE_CACHE", str(tmp_path / "cache"))
    bare = manifest.with_entries([replace(entry, mask=None) for entry in manifest.entries])
    write_manifest(bare, tmp_path / "data")
    words = ["+experiment=lung_nodule", "data=manifest", f"data.root={tmp_path / 'data'}", "tracking=none"]
    settings = settings_of(compose(words, registries), registries())
    with pytest.raises(DatasetError, match="every case to train or test on must have a mask"):
        prepare_data(settings, recipe_of(settings))
    assert not (tmp_path / "cache").exists()


def test_fewer_cases_and_old_ones_leave_the_held_out_cases_and_their_hash(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGPIPE_CACHE", str(tmp_path / "cache"))
    words = ["+experiment=lung_nodule", "data=nifti", f"data.root={tiny_dataset}", "data.fold=0", "data.workers=0"]
    few = prepared([*words, "data.limit=3"])
    joined = prepared([*words, "data.limit=0.25", f"data.rehearsal={tiny_dataset}"])
    whole = prepared(words)
    assert [len(data.entries("train")) for data in (whole, few, joined)] == [8, 3, 2 + 8]
    assert sum(entry.id.startswith("rehearsal_case_") for entry in joined.entries("train")) == 8
    assert few.entries("test") == joined.entries("test") == whole.entries("test")
    assert few.hash == joined.hash == whole.hash
    assert set(few.cached) == {entry.id for role in ("train", "test") for entry in few.entries(role)}


def prepared(words):
    settings = settings_of(compose(words, registries), registries())
    return prepare_data(settings, recipe_of(settings))


def test_no_file_is_hashed_twice_by_the_starts_of_runs_folds_and_patch_sizes(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGPIPE_CACHE", str(tmp_path / "cache"))
    write_manifest(manifest, tmp_path / "data")
    words = ["data=manifest", f"data.root={tmp_path / 'data'}", "data.workers=0", "trainer.progress=false"]
    read, digest = Counter(), hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda stream, kind: read.update([stream.name]) or digest(stream, kind))
    hashes = set()
    for more in (["data.fold=0"], ["data.fold=1"], ["data.fold=null"], ["recipe.patch=[32,32,16]"]):
        settings = settings_of(compose([*words, *more], registries), registries())
        hashes.add(prepare_data(settings, recipe_of(settings)).hash)
    assert hashes == {data_hash(manifest)}
    files = {str(file) for entry in manifest.entries for file in (entry.image, entry.mask)}
    # once by the starts of four runs, and once more by the line above, which remembers nothing
    assert read == Counter(dict.fromkeys(files, 2))


def test_the_second_hash_of_a_data_set_reads_no_file(manifest, tmp_path, monkeypatch):
    first = quick_hash(manifest, tmp_path)
    monkeypatch.setattr(hashlib, "file_digest", lambda stream, kind: pytest.fail(f"reads {stream.name}"))
    assert quick_hash(manifest, tmp_path) == first


def test_ranks_that_start_at_the_same_time_hash_a_file_once(manifest, tmp_path, monkeypatch):
    read, digest, both = [], hashlib.file_digest, Barrier(2, timeout=10)

    def slowly(stream, kind):
        read.append(stream.name)
        time.sleep(0.2)
        return digest(stream, kind)

    def ask() -> str:
        both.wait()
        return content_digest(manifest.entries[0].image, tmp_path)

    monkeypatch.setattr(hashlib, "file_digest", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = [future.result() for future in [pool.submit(ask), pool.submit(ask)]]
    assert first == second
    assert len(read) == 1


def test_a_file_that_is_written_or_replaced_is_hashed_anew_whatever_its_time_says(tmp_path):
    file, memory = tmp_path / "scan", tmp_path / "memory"
    digests = set()
    for text in ("one", "two", "six"):
        other = tmp_path / "other"
        other.write_text(text)
        os.utime(other, ns=(10**18, 10**18))
        if text == "six":
            other.replace(file)
        else:
            file.write_text(text)
            os.utime(file, ns=(10**18, 10**18))
        time.sleep(0.02)  # the clock of a file system has steps
        assert content_digest(file, memory) == file_digest(file)
        digests.add(content_digest(file, memory))
    assert len(digests) == 3


def test_without_a_memory_that_can_be_written_files_are_read_each_time(manifest, tmp_path):
    (tmp_path / "file").touch()
    assert quick_hash(manifest, tmp_path / "file") == data_hash(manifest)


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_the_balance_of_sizes_is_a_key_of_the_configuration(manifest, tmp_path, monkeypatch, balance):
    monkeypatch.setenv("SEGPIPE_CACHE", str(tmp_path / "cache"))
    write_manifest(manifest, tmp_path / "data")
    words = ["data=manifest", f"data.root={tmp_path / 'data'}", f"sampling.size_balance={balance}", "data.workers=0"]
    settings = settings_of(compose(words, registries), registries())
    monkeypatch.setattr("segpipe.training.data.datamodule.PatchDataset", lambda *_, sampling, **__: sampling)
    data = prepare_data(settings, recipe_of(settings)).patches(settings)
    assert data.train.size_balance == balance


def test_a_balance_beyond_one_is_refused():
    with pytest.raises(ConfigError, match=r"sampling\.size_balance=1\.5"):
        compose(["sampling.size_balance=1.5"], registries)
