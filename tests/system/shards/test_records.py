"""What shards write down: of one job or refused, complete or named, gathered from several folders."""

from dataclasses import replace

import pytest

from segpipe.cli.merge import run
from segpipe.errors import ConfigError
from segpipe.system.files.held_folder import hold
from segpipe.system.shards.merging import gather, merge_records
from segpipe.system.shards.records import SHARDS, ShardRecord, hold_output, read_records, write_record
from segpipe.system.shards.shard import Shard

NAMES = ["a", "b", "c", "d", "e"]


def record(number, count=2, **settings):
    return ShardRecord("predict", Shard(number, count), {"point": {"threshold": 0.5, **settings}, "flips": (0, 1)})


def finished(number, names=NAMES, **settings):
    begun = record(number, **settings)
    return begun.finish(names, [None] * len(begun.shard.share(names)), notes=[f"of {number}"])


def test_results_come_in_the_order_of_the_listing(tmp_path):
    for number in (2, 1):
        write_record(tmp_path, record(number))
        write_record(tmp_path, finished(number))
    job = merge_records(tmp_path)
    assert (job.verb, job.settings, list(job.missing)) == (
        "predict",
        {"point": {"threshold": 0.5}, "flips": [0, 1]},
        [],
    )
    assert [(result["position"], result["name"]) for result in job.results] == list(enumerate(NAMES))
    assert job.about == [{"notes": ["of 1"]}, {"notes": ["of 2"]}]


def test_only_its_owner_reads_a_record(tmp_path):
    file = write_record(tmp_path, record(1))
    assert file.stat().st_mode & 0o777 == 0o600


def test_missing_shards_are_named_and_may_be_left_out(tmp_path):
    write_record(tmp_path, record(1, 4))
    with pytest.raises(ConfigError, match="all shards must be done") as caught:
        merge_records(tmp_path, allow_missing=True)  # nothing is done
    assert caught.value.facts == {"at work, or cut off": "1/4", "not begun": "2/4, 3/4, 4/4"}
    write_record(tmp_path, record(3, 4).finish(["a"], [None] * len(Shard(3, 4).share(["a"]))))
    with pytest.raises(ConfigError, match="all shards must be done"):
        merge_records(tmp_path)
    assert list(map(str, merge_records(tmp_path, allow_missing=True).missing)) == ["1/4", "2/4", "4/4"]


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (record(2, threshold=0.4), "point.threshold: 0.4"),
        (record(2, 3), "shards: 3"),
        (record(2, classes="x"), "point.classes: x"),
        (ShardRecord("ingest", Shard(2, 2), record(2).settings), "verb: ingest"),
    ],
)
def test_a_shard_with_other_settings_is_refused_and_spoils_nothing(tmp_path, other, found):
    write_record(tmp_path, finished(1))
    with pytest.raises(ConfigError, match="the same settings") as caught:
        write_record(tmp_path, other)
    assert caught.value.facts[f"shard {other.shard}"] == found
    assert [one.shard for one in read_records(tmp_path)] == [Shard(1, 2)]


def test_shards_that_listed_other_scans_are_not_merged(tmp_path):
    write_record(tmp_path, finished(1))
    write_record(tmp_path, finished(2, [*NAMES, "f"]))
    with pytest.raises(ConfigError, match="settings, model and scans"):
        merge_records(tmp_path)


def test_a_folder_without_shards_and_a_damaged_record_are_reported(tmp_path):
    with pytest.raises(ConfigError, match="must hold the results of shards"):
        merge_records(tmp_path)
    write_record(tmp_path, finished(1)).write_text("{")
    with pytest.raises(ConfigError, match="record of a shard cannot be read"):
        merge_records(tmp_path)
    write_record(tmp_path, finished(1))  # as the message says, the shard is run again
    assert len(merge_records(tmp_path, allow_missing=True).missing) == 1


def test_of_many_missing_shards_some_are_named(tmp_path):
    write_record(tmp_path, record(1, 1000))
    with pytest.raises(ConfigError) as caught:
        merge_records(tmp_path)
    assert caught.value.facts["not begun"].endswith("17/1000 and 983 more")


def test_shards_of_a_verb_that_is_not_known_are_refused(tmp_path):
    write_record(tmp_path, replace(record(1, 1), verb="dream").finish([], []))
    with pytest.raises(ConfigError, match="of another version of segpipe"):
        run([str(tmp_path)])


def test_a_shard_keeps_itself_and_the_whole_out_and_nobody_else(tmp_path):
    with hold_output(tmp_path, Shard(1, 2), hint="wait"):
        for other in (Shard(1, 2), None):
            with pytest.raises(ConfigError, match="another process"), hold_output(tmp_path, other, hint="wait"):
                pass
        with hold_output(tmp_path, Shard(2, 2), hint="wait"):
            pass
    with hold_output(tmp_path, None, hint="wait"):
        pass


def test_the_whole_keeps_shards_out(tmp_path, monkeypatch):
    monkeypatch.setattr("segpipe.system.shards.records._PATIENCE_S", 0.05)
    begun = hold_output(tmp_path, Shard(1, 2), hint="wait")
    with hold(tmp_path), pytest.raises(ConfigError, match="another process"), begun:
        pass


def test_folders_of_several_machines_are_gathered(tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        write_record(folder, finished(number))
        (folder / f"mask_{number}.nii.gz").write_text(str(number))
        (folder / ".segpipe-part-x").mkdir()
        (folder / ".segpipe-part-x" / "half").touch()
    gather([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert sorted(file.name for file in (tmp_path / "all").iterdir()) == [SHARDS, "mask_1.nii.gz", "mask_2.nii.gz"]
    assert len(merge_records(tmp_path / "all").results) == 5


def test_a_shard_in_two_folders_is_refused(tmp_path):
    for name in ("one", "two"):
        write_record(tmp_path / name, finished(1))
    with pytest.raises(ConfigError, match="a shard must be in one folder"):
        gather([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    write_record(tmp_path / "three", finished(2, threshold=0.1))
    with pytest.raises(ConfigError, match="the same settings"):
        gather([tmp_path / "one", tmp_path / "three"], tmp_path / "all")
